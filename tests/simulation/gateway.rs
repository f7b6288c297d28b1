//! One life of the gateway: pipeline, Modbus pollers, feeds and journal as the program connects them, in one virtual machine.

use std::cell::Cell;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bessai_domain::event::{EventBody, SafetyState};
use bessai_domain::journal::StartAt;
use bessai_domain::message::Qos;
use bessai_domain::time::{Clock, Moment};
use bessai_feed::{
    BrokerGates, Feed, FeedSettings, Policy, ProcessorShare, RecordWrite, Replacement, Replacements, SharedFeedHealth,
};
use bessai_journal::{Journal, JournalSettings};
use bessai_modbus::{StreamFraming, WriteQueue};
use bessai_pipeline::{Pipeline, PipelineInput, Sinks};
use bessai_simulator::server::Framing;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::Instant;

use crate::broker::SimBroker;
use crate::clock;
use crate::devices::{self, SimDevice};
use crate::disk::Disk;
use crate::disturbance;
use crate::plugin::SimPlugin;
use crate::sabotage::{self, Sabotage};
use crate::storage::{self, Shown, SimEvents, SimQuarantine};
use crate::world::World;

/// Reports that may wait for the pipeline, as in the program.
const PIPELINE_QUEUE: usize = 256;
/// No event is deleted for its age in a run.
const MAX_AGE: Duration = Duration::from_hours(24);
/// No event is deleted for its size in a run.
const MAX_BYTES: u64 = 1 << 30;
/// Age above which a feed with such a limit skips events: no run takes that long.
const FEED_MAX_AGE: Duration = Duration::from_hours(12);

/// A running gateway. Dropping it is a kill.
pub(crate) struct Gateway {
    pub(crate) tasks: LocalSet,
    pub(crate) shown: Shown,
    pub(crate) journal: Journal,
    pub(crate) health: Vec<SharedFeedHealth>,
    stop: watch::Sender<bool>,
    pollers: Vec<JoinHandle<()>>,
    pipeline: JoinHandle<()>,
    feeds: Vec<JoinHandle<()>>,
    work: JoinHandle<()>,
    operator: JoinHandle<()>,
    wake: Rc<Notify>,
    /// New versions, of which there are none.
    _replacements: Vec<mpsc::Sender<Box<Replacement<SimPlugin, SimBroker>>>>,
    world: Rc<World>,
}

impl Gateway {
    /// Starts it on what the disk holds.
    pub(crate) fn start(world: &Rc<World>, devices: &[Rc<SimDevice>], disk: &Disk) -> Self {
        clock::start_process();
        let settings = JournalSettings {
            folder: disk.path().to_owned(),
            sync: world.scenario.sync,
            max_bytes: MAX_BYTES,
            max_age: MAX_AGE,
        };
        let opened = Journal::open_in_steps(&settings, clock::now(), &clock::boot_id());
        let (journal, steps) = opened.unwrap_or_else(|error| panic!("the journal does not open: {error}"));
        world.delivery.borrow_mut().started(clock::elapsed());
        let durable = world.delivery.borrow().durable();
        world.safety.borrow_mut().restarted(durable);
        let tasks = LocalSet::new();
        let entered = tasks.enter();
        let (stop, stopped) = watch::channel(false);
        let (wake, shown) = (Rc::new(Notify::new()), Rc::new(Cell::new(SafetyState::Unknown)));
        let work = spawn(world, "journal", storage::work(steps, Rc::clone(&wake), Rc::clone(world)));
        let mut health = Vec::new();
        let (mut feeds, mut senders) = (Vec::new(), Vec::new());
        for index in 0..world.scenario.feeds.len() {
            health.push(SharedFeedHealth::default());
            let (sender, replacements) = mpsc::channel(1);
            senders.push(sender);
            let feed = feed(world, index, &journal, &wake, &health[index], replacements);
            feeds.push(spawn(world, "feed", feed.run(stopped.clone())));
        }
        let (inputs, received) = mpsc::channel(PIPELINE_QUEUE);
        let pipeline = pipeline(world, devices, &journal, &wake, &shown);
        let pipeline = spawn(world, "pipeline", pipeline.run(received, stopped));
        let start = Instant::now();
        let poll = |device: &Rc<SimDevice>| poll(Rc::clone(device), Rc::clone(world), start, inputs.clone());
        let pollers = devices.iter().map(|device| spawn(world, "bus", poll(device))).collect();
        let operator = spawn(world, "operator", disturbance::operate(Rc::clone(world), inputs.clone()));
        drop(entered);
        let world = Rc::clone(world);
        Self {
            tasks,
            shown,
            journal,
            health,
            stop,
            pollers,
            pipeline,
            feeds,
            work,
            operator,
            wake,
            _replacements: senders,
            world,
        }
    }

    /// Stops it as the program does, in the order of the path.
    pub(crate) async fn stop(self) {
        let Self { tasks, journal, stop, pollers, pipeline, feeds, work, operator, wake, world, .. } = self;
        let stopping = async {
            stop.send_replace(true);
            pollers.iter().for_each(JoinHandle::abort);
            operator.abort();
            let _ = pipeline.await;
            let drained = async {
                for feed in feeds {
                    let _ = feed.await;
                }
            };
            if tokio::time::timeout(Duration::from_secs(15), drained).await.is_err() {
                world.note("the feeds did not drain");
            }
            let close = async {
                // The first poll of the close tells the journal; then there is work to do.
                tokio::task::yield_now().await;
                wake.notify_one();
            };
            tokio::join!(biased; journal.close(), close);
            let _ = work.await;
        };
        tasks.run_until(stopping).await;
    }
}

/// A task whose panic is a violation.
fn spawn(world: &Rc<World>, name: &'static str, task: impl Future<Output = ()> + 'static) -> JoinHandle<()> {
    let world = Rc::clone(world);
    spawn_local(async move {
        if PanicGuard(AssertUnwindSafe(Box::pin(task))).await.is_err() {
            world.panicked(&format!("the task {name} panicked"));
        }
    })
}

/// A future whose panic is its result.
struct PanicGuard<F>(AssertUnwindSafe<std::pin::Pin<Box<F>>>);

impl<F: Future<Output = ()>> Future for PanicGuard<F> {
    type Output = std::thread::Result<()>;

    fn poll(mut self: std::pin::Pin<&mut Self>, context: &mut std::task::Context<'_>) -> std::task::Poll<Self::Output> {
        let polled = std::panic::catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(context)));
        match polled {
            Ok(poll) => poll.map(Ok),
            Err(panic) => std::task::Poll::Ready(Err(panic)),
        }
    }
}

/// Appends what feeds propose to the journal.
fn record_in(journal: &Journal) -> RecordWrite {
    let journal = journal.clone();
    Rc::new(move |at, step| journal.append(at, EventBody::Write(Box::new(step))))
}

fn feed(
    world: &Rc<World>,
    index: usize,
    journal: &Journal,
    wake: &Rc<Notify>,
    health: &SharedFeedHealth,
    replacements: Replacements<SimPlugin, SimBroker>,
) -> Feed<SimEvents, SimPlugin, SimBroker> {
    let plan = &world.scenario.feeds[index];
    let (reader, state) = journal.reader(&plan.name, StartAt::Oldest);
    wake.notify_one();
    Feed {
        settings: FeedSettings {
            name: plan.name.clone(),
            status_topic: None,
            clock: clock::now,
            arrival: clock::now,
            slow_call: Duration::from_millis(50),
            quarantine: Rc::new(SimQuarantine { world: Rc::clone(world), feed: index }),
            // Each feed has a broker of its own.
            gates: BrokerGates::default(),
            record_write: record_in(journal),
            propose: None,
        },
        policy: Policy {
            read: None,
            connect: Vec::new(),
            topics: None,
            qos: Qos::AtLeastOnce,
            rate_per_s: plan.rate_per_s,
            write: Vec::new(),
            reserved: Vec::new(),
            subscribe: Vec::new(),
            processor: ProcessorShare::default(),
            quarantine_bytes: u64::MAX,
            broker: None,
            order: plan.order,
            max_age: (index % 2 == 1).then_some(FEED_MAX_AGE),
        },
        events: SimEvents { reader, world: Rc::clone(world), feed: index, wake: Rc::clone(wake), has_stopped: false },
        plugin: SimPlugin::new(world, index, state),
        broker: SimBroker::new(world, index),
        health: Rc::clone(health),
        replacements,
    }
}

fn pipeline(
    world: &Rc<World>,
    devices: &[Rc<SimDevice>],
    journal: &Journal,
    wake: &Rc<Notify>,
    shown: &Shown,
) -> Pipeline {
    let in_force = journal.site().map(AsRef::as_ref);
    let revision = in_force.map_or(1, |site| site.revision);
    let site = Arc::new(devices::site(devices, revision));
    let clock: Clock = if world.sabotage == Some(Sabotage::ForgetsAges) { clock::frozen } else { clock::now };
    let sinks = sinks(world, journal, wake, shown);
    let mut pipeline = Pipeline::new(site, &devices::limits(), devices::report_filters(devices), clock, sinks);
    if world.sabotage != Some(Sabotage::ForgetsTrips)
        && let Some(last) = journal.last_verdict()
    {
        pipeline.restore_trips(&last);
    }
    pipeline
}

fn sinks(world: &Rc<World>, journal: &Journal, wake: &Rc<Notify>, shown: &Shown) -> Sinks {
    let (journal, wake, appending) = (journal.clone(), Rc::clone(wake), Rc::clone(world));
    let (shown, judging, inferring) = (Rc::clone(shown), Rc::clone(world), Rc::clone(world));
    Sinks {
        append: Box::new(move |at: Moment, body: EventBody| {
            if let EventBody::Safety(safety) = &body
                && at.monotonic == clock::now().monotonic
            {
                appending.judged(safety.state());
            }
            let (fingerprint, kind) = (storage::fingerprint(at.wall, &body), storage::kind(&body));
            let safety = if let EventBody::Safety(safety) = &body { Some(safety.clone()) } else { None };
            let sequence = journal.append(at, body);
            safety.iter().for_each(|safety| appending.verdict_recorded(sequence.0, safety));
            appending.appended(sequence.0, fingerprint, kind);
            wake.notify_one();
            if appending.sabotage == Some(Sabotage::Panics) && appending.choose(|random| random.chance(0.001)) {
                panic!("sabotage");
            }
        }),
        judged: Box::new(move |state| {
            shown.set(state);
            judging.judged(state);
        }),
        infer: Box::new(move |at, frame, _, _| inferring.frame(at, frame)),
        reports: Box::new(|_, _| None),
        failed: Box::new(|_| {}),
        missing: Box::new(|_| {}),
        discovered: Box::new(|_, _| {}),
    }
}

async fn poll(device: Rc<SimDevice>, world: Rc<World>, start: Instant, reports: mpsc::Sender<PipelineInput>) {
    let framing = match device.plan.framing {
        Framing::Tcp => StreamFraming::Tcp,
        Framing::Rtu => StreamFraming::Rtu,
    };
    let devices = vec![device.settings()];
    let reports =
        if world.sabotage == Some(Sabotage::KeepsOldValues) { sabotage::old_values(reports) } else { reports };
    let connect = move || Rc::clone(&device).connect(Rc::clone(&world));
    bessai_modbus::run_on_streams(framing, connect, devices, start, clock::now, reports, WriteQueue::closed()).await;
}
