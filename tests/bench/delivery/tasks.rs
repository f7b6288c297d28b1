//! The workers' tasks for the figures of delivery.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::pin;
use std::task::Poll;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bessai_domain::event::EventBody;
use bessai_domain::ports::{Broker as _, Session as _};
use bessai_domain::session::{Login, Protocol};
use bessai_journal::inspect;
use bessai_mqtt::{MqttBroker, MqttSession};
use rustix::time::ClockId;

use super::frames::{self, FrameSeries, ValuePattern};
use super::session;
use crate::worker::{print_ready, print_value, processor};

/// Channels of a frame.
pub(super) const CHANNELS: usize = 100;
/// The site id.
const SITE: &str = "bench-journal";
/// The time between two single frames.
const PERIOD: Duration = Duration::from_millis(1);
/// Time for the journal's threads to finish their work.
const SETTLED: Duration = Duration::from_millis(1500);

/// The task that the arguments name.
pub(crate) fn run(arguments: &[&str]) -> anyhow::Result<()> {
    match arguments {
        ["batched", pattern, frames, folder] => {
            append_batched(ValuePattern::from_name(pattern)?, frames.parse()?, Path::new(folder))
        }
        ["single", pattern, frames, folder] => {
            append_single(ValuePattern::from_name(pattern)?, frames.parse()?, Path::new(folder))
        }
        ["hold", pattern, frames, folder] => {
            hold_open(ValuePattern::from_name(pattern)?, frames.parse()?, Path::new(folder))
        }
        ["open", folder] => open(Path::new(folder)),
        ["sessions", count, broker] => sessions(count.parse()?, broker.parse()?),
        _ => bail!("unknown task {arguments:?}"),
    }
}

fn micros_each(total: Duration, count: u32) -> f64 {
    total.as_secs_f64() * 1e6 / f64::from(count)
}

/// Appends frames at 100,000 a second. Of this thread only the calls count, not the generation of readings.
fn append_batched(pattern: ValuePattern, count: u32, folder: &Path) -> anyhow::Result<()> {
    let journal = frames::open(folder)?;
    let at = frames::now()?;
    journal.append(at, EventBody::Site(frames::site(SITE, CHANNELS)));
    let thread = || processor(ClockId::ThreadCPUTime);
    let (all_before, own_before) = (processor(ClockId::ProcessCPUTime)?, thread()?);
    let mut calls = Duration::ZERO;
    frames::append(&mut FrameSeries::new(pattern, CHANNELS), at, count, |part| {
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
    print_value("processor_us", micros_each(all.saturating_sub(own) + calls, count));
    print_value("calls_us", micros_each(calls, count));
    print_size(folder, count)
}

/// Checks that every frame is in the journal, and prints its size.
fn print_size(folder: &Path, count: u32) -> anyhow::Result<()> {
    let files = inspect::files(folder)?;
    let events: u64 = files.iter().filter_map(|file| file.extent).map(|it| it.last.0 - it.first.0 + 1).sum();
    ensure!(events == u64::from(count) + 1, "{events} events are in {} instead of {count}", folder.display());
    let bytes: u64 = files.iter().map(|file| file.bytes).sum();
    let mebibytes = u32::try_from(bytes / 1024).map(f64::from)? / 1024.0;
    print_value("mebibytes", mebibytes);
    print_value("bytes", mebibytes * f64::from(1 << 20) / f64::from(count));
    Ok(())
}

/// Appends frames at 1,000 a second. Of this thread only the calls count, without its wake-ups and the reading of the clock;
/// the journal's threads count in full, with their wake-ups.
fn append_single(pattern: ValuePattern, count: u32, folder: &Path) -> anyhow::Result<()> {
    let mut series = FrameSeries::new(pattern, CHANNELS);
    let journal = frames::open(folder)?;
    journal.append(frames::now()?, EventBody::Site(frames::site(SITE, CHANNELS)));
    sleep(SETTLED);
    let thread = || processor(ClockId::ThreadCPUTime);
    let (all_before, own_before) = (processor(ClockId::ProcessCPUTime)?, thread()?);
    let (mut measured, mut by_clock) = (Duration::ZERO, Duration::ZERO);
    let mut due = Instant::now();
    for _ in 0..count {
        due += PERIOD;
        sleep(due.saturating_duration_since(Instant::now()));
        let (at, body) = (frames::now()?, EventBody::Frame(series.next()));
        let start = thread()?;
        let clock = thread()?;
        journal.append(at, body);
        measured += thread()? - clock;
        by_clock += clock - start;
    }
    sleep(SETTLED);
    let (all, own) = (processor(ClockId::ProcessCPUTime)? - all_before, thread()? - own_before);
    let calls = measured.saturating_sub(by_clock);
    print_value("calls_us", micros_each(calls, count));
    print_value("processor_us", micros_each(all.saturating_sub(own) + calls, count));
    frames::close(&journal)?;
    print_size(folder, count)
}

/// Appends frames and waits to be killed, with the journal open.
fn hold_open(pattern: ValuePattern, count: u32, folder: &Path) -> anyhow::Result<()> {
    let journal = frames::open(folder)?;
    frames::append_to(&journal, &mut FrameSeries::new(pattern, CHANNELS), frames::now()?, count)?;
    sleep(SETTLED);
    print_ready();
    loop {
        std::thread::park();
    }
}

fn open(folder: &Path) -> anyhow::Result<()> {
    let begin = Instant::now();
    let journal = frames::open(folder)?;
    print_value("open_ms", begin.elapsed().as_secs_f64() * 1e3);
    print_value("resident_mb", resident()?);
    frames::close(&journal)
}

/// Opens idle sessions on one thread, as in the gateway, and prints the resident memory.
fn sessions(count: u32, broker: SocketAddr) -> anyhow::Result<()> {
    crate::machine::allow_many_files()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut sessions = Vec::new();
        for index in 0..=count {
            let settings = session::settings(broker, Protocol::V5, format!("bench-idle-{index}"));
            let mut session = MqttBroker::new(settings).sign_in(Login::default()).await.map_err(anyhow::Error::msg)?;
            ensure!(!has_notice(&mut session).await, "an idle session returned a notice");
            sessions.push(session);
            if index == 0 {
                print_value("one_mb", resident()?);
            }
        }
        print_value("all_mb", resident()?);
        drop(sessions);
        Ok(())
    })
}

/// Polls a session once, so that it has allocated what it needs while it waits.
async fn has_notice(session: &mut MqttSession) -> bool {
    let mut notice = pin!(session.notice());
    poll_fn(|context| Poll::Ready(notice.as_mut().poll(context).is_ready())).await
}

/// Resident memory in megabytes.
fn resident() -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status").context("failed to read /proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes: Option<f64> = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
    Ok(kibibytes.context("failed to find VmRSS")? * 1024.0 / 1e6)
}
