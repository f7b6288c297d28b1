//! One measurement in a process of its own, so that memory, processor and bytes are of one candidate and one task.
//!
//! A worker prints `name value` lines.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::candidate::{self, Access, Journal};
use crate::payload::{BODY_BYTES, fill, is_whole};
use crate::probe::{self, Counters};

/// The journal's default.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);
/// One frame each: 1,000 a second.
const FRAME_INTERVAL: Duration = Duration::from_millis(1);
/// How often a writer at full speed looks at the clock.
const CLOCK_EVENTS: u64 = 64;
/// Frames between two rests while a journal is filled: some MiB, as an engine's own threads take them at once.
const FILL_FRAMES: u64 = 16_384;
/// For what an engine does behind its caller's back, which a caller who never rests can keep from its locks.
const FILL_REST: Duration = Duration::from_millis(20);

/// Does one task on the journal of `name` in `folder`; `amount` is the task's own.
pub(crate) fn run(name: &str, folder: &Path, task: &str, amount: u64) -> Result<()> {
    match task {
        "paced" => paced(name, folder, amount),
        "full" => full(name, folder, amount),
        "synced" => synced(name, folder, amount),
        "live" => live(name, folder, amount),
        "open" => open(name, folder, Access::Write),
        "beside" => open(name, folder, Access::Read),
        "read" => read(name, folder),
        "drop" => drop_below(name, folder, amount),
        other => bail!("no task is named {other}"),
    }
}

/// Writes frames of rising numbers and keeps the time of each call.
struct Writer {
    journal: Box<dyn Journal>,
    next: u64,
    body: [u8; BODY_BYTES],
    appends: Vec<Duration>,
    syncs: Vec<Duration>,
}

impl Writer {
    fn open(name: &str, folder: &Path) -> Result<Self> {
        let journal = candidate::open(name, folder, Access::Write)?;
        let next = journal.newest()?.map_or(1, |(newest, _)| newest + 1);
        Ok(Self { journal, next, body: [0; BODY_BYTES], appends: Vec::new(), syncs: Vec::new() })
    }

    fn append_synced(&mut self) -> Result<()> {
        fill(self.next, &mut self.body);
        let start = Instant::now();
        self.journal.append_synced(self.next, &self.body)?;
        self.syncs.push(start.elapsed());
        self.next += 1;
        Ok(())
    }

    fn append(&mut self) -> Result<u64> {
        let sequence = self.next;
        fill(sequence, &mut self.body);
        self.journal.append(sequence, &self.body)?;
        self.next += 1;
        Ok(sequence)
    }

    fn sync(&mut self) -> Result<()> {
        let start = Instant::now();
        self.journal.sync()?;
        self.syncs.push(start.elapsed());
        Ok(())
    }

    /// Appends `count` frames without a pause, with a sync each second of the clock.
    fn rush(&mut self, count: u64) -> Result<()> {
        let mut synced = Instant::now();
        for written in 0..count {
            self.append()?;
            if written % CLOCK_EVENTS == 0 && synced.elapsed() >= SYNC_INTERVAL {
                self.sync()?;
                synced = Instant::now();
            }
        }
        self.sync()
    }

    fn say(&mut self, folder: &Path, before: Counters, stored: u64, frames: u64) -> Result<()> {
        let after = Counters::now(folder)?;
        say("processor_us", (after.processor - before.processor).as_secs_f64() * 1e6 / frames as f64);
        let each = |bytes: u64| bytes as f64 / frames as f64;
        say("written", each(after.written - before.written));
        say("disk", each(after.disk - before.disk));
        say("stored", each(probe::stored(folder)?.saturating_sub(stored)));
        say("resident_mib", probe::status("VmRSS:")? as f64 / 1024.0);
        say("peak_mib", probe::status("VmHWM:")? as f64 / 1024.0);
        say("threads", probe::status("Threads:")? as f64);
        say_times("sync", &mut self.syncs);
        say_times("append", &mut self.appends);
        Ok(())
    }
}

fn say(name: &str, value: f64) {
    println!("{name} {value}");
}

fn say_times(name: &str, times: &mut [Duration]) {
    times.sort();
    if let (Some(middle), Some(last)) = (times.get(times.len() / 2), times.last()) {
        say(&format!("{name}_median_us"), middle.as_secs_f64() * 1e6);
        say(&format!("{name}_max_us"), last.as_secs_f64() * 1e6);
    }
}

/// Frames that come singly, 1,000 a second.
fn paced(name: &str, folder: &Path, seconds: u64) -> Result<()> {
    let mut writer = Writer::open(name, folder)?;
    writer.sync()?;
    writer.syncs.clear();
    let (before, stored) = (Counters::now(folder)?, probe::stored(folder)?);
    let (frames, thread_before) = (seconds * 1_000, probe::thread_processor()?);
    let mut in_calls = Duration::ZERO;
    let mut due = Instant::now();
    for written in 1..=frames {
        due += FRAME_INTERVAL;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let (start, thread_start) = (Instant::now(), probe::thread_processor()?);
        writer.append()?;
        writer.appends.push(start.elapsed());
        if written % 1_000 == 0 {
            writer.sync()?;
        }
        in_calls += probe::thread_processor()? - thread_start;
    }
    // Waking up every millisecond costs more than any journal and is none of its doing, so it is left out.
    let waking = (probe::thread_processor()? - thread_before).saturating_sub(in_calls);
    let before = Counters { processor: before.processor + waking, ..before };
    writer.say(folder, before, stored, frames)
}

/// As fast as it goes.
fn full(name: &str, folder: &Path, frames: u64) -> Result<()> {
    let mut writer = Writer::open(name, folder)?;
    let (before, stored, start) = (Counters::now(folder)?, probe::stored(folder)?, Instant::now());
    writer.rush(frames)?;
    say("rate", frames as f64 / start.elapsed().as_secs_f64());
    writer.say(folder, before, stored, frames)
}

/// Each frame is on the disk before the next: what a site with a frame a second or less has, and `every-event`.
fn synced(name: &str, folder: &Path, frames: u64) -> Result<()> {
    let mut writer = Writer::open(name, folder)?;
    writer.append_synced()?;
    writer.syncs.clear();
    let (before, stored) = (Counters::now(folder)?, probe::stored(folder)?);
    for _ in 0..frames {
        writer.append_synced()?;
    }
    writer.say(folder, before, stored, frames)
}

/// Fills the journal with `count` frames, then goes on at 1,000 a second, saying each frame that was appended, until
/// it is killed.
fn live(name: &str, folder: &Path, count: u64) -> Result<()> {
    let mut writer = Writer::open(name, folder)?;
    for _ in 0..count.div_ceil(FILL_FRAMES) {
        writer.rush(FILL_FRAMES)?;
        std::thread::sleep(FILL_REST);
    }
    let mut told = std::io::stdout().lock();
    loop {
        for _ in 0..1_000 {
            std::thread::sleep(FRAME_INTERVAL);
            let sequence = writer.append()?;
            writeln!(told, "appended {sequence}")?;
        }
        writer.sync()?;
    }
}

/// Opens and finds the newest event, as the gateway does at its start.
fn open(name: &str, folder: &Path, access: Access) -> Result<()> {
    let start = Instant::now();
    let journal = candidate::open(name, folder, access)?;
    let newest = journal.newest()?;
    say("open_ms", start.elapsed().as_secs_f64() * 1e3);
    say("newest", newest.map_or(0, |(sequence, _)| sequence) as f64);
    say("resident_mib", probe::status("VmRSS:")? as f64 / 1024.0);
    say("peak_mib", probe::status("VmHWM:")? as f64 / 1024.0);
    Ok(())
}

/// Reads everything: how many events are there, and how many are there but not what was appended.
fn read(name: &str, folder: &Path) -> Result<()> {
    let journal = candidate::open(name, folder, Access::Write)?;
    let (mut whole, mut wrong) = (0_u64, 0_u64);
    let outcome = journal.read(&mut |sequence, body| {
        if is_whole(sequence, body) { whole += 1 } else { wrong += 1 }
    });
    say("whole", whole as f64);
    say("wrong", wrong as f64);
    if let Err(reason) = outcome {
        println!("refused {reason:#}");
    }
    Ok(())
}

/// Drops what is older than a number.
fn drop_below(name: &str, folder: &Path, sequence: u64) -> Result<()> {
    let mut journal = candidate::open(name, folder, Access::Write)?;
    let (before, stored) = (Counters::now(folder)?, probe::stored(folder)?);
    let start = Instant::now();
    journal.drop_below(sequence)?;
    say("drop_ms", start.elapsed().as_secs_f64() * 1e3);
    let after = Counters::now(folder)?;
    say("drop_processor_ms", (after.processor - before.processor).as_secs_f64() * 1e3);
    say("drop_written_mib", (after.written - before.written) as f64 / f64::from(1 << 20));
    drop(journal);
    say("drop_freed", 1.0 - probe::stored(folder)? as f64 / stored as f64);
    say("peak_mib", probe::status("VmHWM:")? as f64 / 1024.0);
    let journal = candidate::open(name, folder, Access::Write)?;
    let mut oldest = None;
    journal.read(&mut |first, _| {
        oldest.get_or_insert(first);
    })?;
    say("oldest", oldest.context("nothing is left")? as f64);
    Ok(())
}
