//! What workers do for delivery's figures.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::pin;
use std::task::Poll;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bessai_domain::event::EventBody;
use bessai_domain::session::Login;
use bessai_edge::journal::look;
use bessai_edge::mqtt::{Broker, Protocol, Session};
use rustix::time::ClockId;

use super::frames::{self, Kind, Series};
use super::session;
use crate::worker::{processor, say, say_ready};

/// Channels of a frame.
pub(super) const CHANNELS: usize = 100;
const SITE: &str = "bench-journal";
/// Between two frames that come singly.
const PACE: Duration = Duration::from_millis(1);
/// For what threads beside do.
const SETTLED: Duration = Duration::from_millis(1500);

/// The task that the arguments name.
pub(crate) fn run(arguments: &[&str]) -> anyhow::Result<()> {
    match arguments {
        ["full", kind, frames, folder] => full(Kind::named(kind)?, frames.parse()?, Path::new(folder)),
        ["paced", kind, frames, folder] => paced(Kind::named(kind)?, frames.parse()?, Path::new(folder)),
        ["hold", kind, frames, folder] => hold_open(Kind::named(kind)?, frames.parse()?, Path::new(folder)),
        ["open", folder] => open(Path::new(folder)),
        ["sessions", count, broker] => sessions(count.parse()?, broker.parse()?),
        _ => bail!("no worker does {arguments:?}"),
    }
}

fn micros_each(spent: Duration, count: u32) -> f64 {
    spent.as_secs_f64() * 1e6 / f64::from(count)
}

/// Of this thread the calls alone count, without what makes the readings.
fn full(kind: Kind, count: u32, folder: &Path) -> anyhow::Result<()> {
    let journal = frames::open(folder)?;
    let at = frames::now()?;
    journal.append(at, EventBody::Site(frames::site(SITE, CHANNELS)));
    let thread = || processor(ClockId::ThreadCPUTime);
    let (all_before, own_before) = (processor(ClockId::ProcessCPUTime)?, thread()?);
    let mut calls = Duration::ZERO;
    frames::append(&mut Series::new(kind, CHANNELS), at, count, |part| {
        let start = thread()?;
        for (at, frame) in part {
            journal.append(at, EventBody::Frame(frame));
        }
        calls += thread()? - start;
        Ok(())
    })?;
    sleep(SETTLED);
    let (all, own) = (processor(ClockId::ProcessCPUTime)? - all_before, thread()? - own_before);
    frames::close(&journal)?;
    say("processor_us", micros_each(all.saturating_sub(own) + calls, count));
    say("calls_us", micros_each(calls, count));
    say_size(folder, count)
}

/// Every frame is there, and this is what each takes.
fn say_size(folder: &Path, count: u32) -> anyhow::Result<()> {
    let files = look::files(folder)?;
    let events: u64 = files.iter().filter_map(|file| file.extent).map(|it| it.last.0 - it.first.0 + 1).sum();
    ensure!(events == u64::from(count) + 1, "{events} events are in {} and not {count}", folder.display());
    let bytes: u64 = files.iter().map(|file| file.bytes).sum();
    let mebibytes = u32::try_from(bytes / 1024).map(f64::from)? / 1024.0;
    say("mebibytes", mebibytes);
    say("bytes", mebibytes * f64::from(1 << 20) / f64::from(count));
    Ok(())
}

/// Singly. Waking up every millisecond costs more than any journal and is none of its doing: of this thread the calls alone
/// count, without the clock that times them; the journal's own threads count whole, with their waking up.
fn paced(kind: Kind, count: u32, folder: &Path) -> anyhow::Result<()> {
    let mut series = Series::new(kind, CHANNELS);
    let journal = frames::open(folder)?;
    journal.append(frames::now()?, EventBody::Site(frames::site(SITE, CHANNELS)));
    sleep(SETTLED);
    let thread = || processor(ClockId::ThreadCPUTime);
    let (all_before, own_before) = (processor(ClockId::ProcessCPUTime)?, thread()?);
    let (mut within, mut of_clock) = (Duration::ZERO, Duration::ZERO);
    let mut due = Instant::now();
    for _ in 0..count {
        due += PACE;
        sleep(due.saturating_duration_since(Instant::now()));
        let (at, body) = (frames::now()?, EventBody::Frame(series.next()));
        let start = thread()?;
        let clock = thread()?;
        journal.append(at, body);
        within += thread()? - clock;
        of_clock += clock - start;
    }
    sleep(SETTLED);
    let (all, own) = (processor(ClockId::ProcessCPUTime)? - all_before, thread()? - own_before);
    let calls = within.saturating_sub(of_clock);
    say("calls_us", micros_each(calls, count));
    say("processor_us", micros_each(all.saturating_sub(own) + calls, count));
    frames::close(&journal)?;
    say_size(folder, count)
}

/// Leaves a journal as a kill leaves it.
fn hold_open(kind: Kind, count: u32, folder: &Path) -> anyhow::Result<()> {
    let journal = frames::open(folder)?;
    frames::append_to(&journal, &mut Series::new(kind, CHANNELS), frames::now()?, count)?;
    sleep(SETTLED);
    say_ready();
    loop {
        std::thread::park();
    }
}

fn open(folder: &Path) -> anyhow::Result<()> {
    let begin = Instant::now();
    let journal = frames::open(folder)?;
    say("open_ms", begin.elapsed().as_secs_f64() * 1e3);
    say("resident_mb", resident()?);
    frames::close(&journal)
}

/// Sessions that do nothing but stay, as the gateway has them: one thread, each polled when something comes.
fn sessions(count: u32, broker: SocketAddr) -> anyhow::Result<()> {
    crate::machine::allow_many_files()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut sessions = Vec::new();
        for place in 0..=count {
            let settings = session::settings(broker, Protocol::V5, format!("bench-idle-{place}"));
            let mut session = Broker::new(settings).sign_in(Login::default()).await.map_err(anyhow::Error::msg)?;
            ensure!(!is_told(&mut session).await, "a session that published nothing was told something");
            sessions.push(session);
            if place == 0 {
                say("one_mb", resident()?);
            }
        }
        say("all_mb", resident()?);
        drop(sessions);
        Ok(())
    })
}

/// Polled once, so that a session that waits has made the room that it needs for it.
async fn is_told(session: &mut Session) -> bool {
    let mut notice = pin!(session.notice());
    poll_fn(|context| Poll::Ready(notice.as_mut().poll(context).is_ready())).await
}

/// Megabytes.
fn resident() -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status").context("failed to read /proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes: Option<f64> = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
    Ok(kibibytes.context("failed to find VmRSS")? * 1024.0 / 1e6)
}
