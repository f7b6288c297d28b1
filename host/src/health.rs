//! `/health` over HTTP, for people, container engines and load balancers: served by a thread of its own, so that it answers
//! while the main loop is stuck or busy.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bessai_supervision::{SupervisedThread, TaskReport, spawn_thread};
use serde_json::{Map, Value, json};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};

use crate::watchdog::MainLoop;

mod client;
mod connections;
mod server;
mod text;

pub(crate) use client::{Answer, ask};
pub(crate) use text::object;

/// Time for the main loop to write its report; after it, the loop counts as stuck.
const REPORT_LIMIT: Duration = Duration::from_millis(500);
/// Pause before the main loop is asked again whose report failed.
const REPORT_RETRY: Duration = Duration::from_millis(50);
/// Requests that may wait for the main loop.
const WAITING_REQUESTS: usize = 4;

/// A wish for a report, with the channel for it.
type ReportRequest = oneshot::Sender<HealthReport>;

/// What the main loop reports. The feeds are text already: as values, the entries of 1,000 feeds would need 20 MB at once.
#[derive(Clone, Default)]
pub(crate) struct HealthReport {
    /// All but the feeds.
    pub(crate) members: Map<String, Value>,
    /// The feeds as one JSON object; empty if they are unknown.
    pub(crate) feeds: Arc<str>,
}

/// Requests for reports, as the main loop receives them.
pub(crate) struct ReportRequests(mpsc::Receiver<ReportRequest>);

impl ReportRequests {
    /// Answers requests; to be run as a task of the main loop.
    pub(crate) async fn answer(&mut self, report: impl Fn() -> HealthReport) {
        while let Some(reply) = self.0.recv().await {
            // Fails only if the client does not wait any more.
            let _ = reply.send(report());
        }
        // The server's thread keeps the channel until the process ends.
        std::future::pending().await
    }
}

/// The running server.
pub(crate) struct HealthServer {
    thread: SupervisedThread,
    stop: watch::Sender<bool>,
}

impl HealthServer {
    /// Starts the thread. The main loop has to answer the requests that this returns.
    pub(crate) fn start(address: SocketAddr, main_loop: &Arc<MainLoop>) -> io::Result<(Self, ReportRequests)> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let (requests, received) = mpsc::channel(WAITING_REQUESTS);
        let (stop, stopped) = watch::channel(false);
        let main_loop = Arc::clone(main_loop);
        // After a restart the port is the same, also if any free one was wanted.
        let address = Cell::new(address);
        let run = move || {
            let reporter =
                Reporter { requests: requests.clone(), main_loop: Arc::clone(&main_loop), last: RefCell::new(None) };
            LocalSet::new().block_on(&runtime, server::serve(&address, reporter, stopped.clone()));
        };
        let thread = spawn_thread("health", None, run)?;
        Ok((Self { thread, stop }, ReportRequests(received)))
    }

    /// Ends the thread.
    pub(crate) fn stop(self) {
        self.stop.send_replace(true);
        self.thread.join();
    }
}

/// Where a gateway that listens on `address` answers on this machine.
pub(crate) fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    address
}

/// Makes the reports that the server sends.
struct Reporter {
    requests: mpsc::Sender<ReportRequest>,
    main_loop: Arc<MainLoop>,
    /// The last report, for the time that the main loop is stuck.
    last: RefCell<Option<HealthReport>>,
}

/// The state of the gateway at this moment, as JSON.
enum Report {
    /// As the main loop sees it.
    Current(String),
    /// As the main loop saw it last: it does not respond.
    Stuck(String),
}

impl Reporter {
    async fn report(&self) -> Report {
        if let Ok(report) = timeout(REPORT_LIMIT, self.request()).await {
            *self.last.borrow_mut() = Some(report.clone());
            return Report::Current(self.complete(report));
        }
        let mut report = self.last.borrow().clone().unwrap_or_default();
        report.members.insert("status".into(), "stuck".into());
        Report::Stuck(self.complete(report))
    }

    /// Asks the main loop, again if its report fails.
    async fn request(&self) -> HealthReport {
        loop {
            let (reply, answer) = oneshot::channel();
            // Fails only if the main loop is ending.
            if self.requests.send(reply).await.is_ok()
                && let Ok(report) = answer.await
            {
                return report;
            }
            sleep(REPORT_RETRY).await;
        }
    }

    /// Adds what is known without the main loop.
    fn complete(&self, HealthReport { mut members, feeds }: HealthReport) -> String {
        let stall = self.main_loop.stall();
        members.insert("loop_stall_ms".into(), milliseconds(stall.current));
        members.insert("loop_stall_max_ms".into(), milliseconds(stall.longest));
        let tasks = bessai_supervision::reports();
        let tasks = object(tasks.iter().map(|task| (task.name.as_str(), self::task(task))));
        let parts = [("feeds", &*feeds), ("tasks", &tasks)];
        text::with_members(members, parts.into_iter().filter(|(_, text)| !text.is_empty()))
    }
}

fn task(report: &TaskReport) -> Value {
    json!({
        "restarts": report.restarts,
        "last_error": report.last_error,
        "longest_poll_ms": milliseconds(report.longest_poll),
    })
}

/// With three decimals.
fn milliseconds(duration: Duration) -> Value {
    json!((duration.as_secs_f64() * 1e6).round() / 1e3)
}
