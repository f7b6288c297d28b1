//! Generated readings like those of real plants, and journals filled with them.

use std::path::Path;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use bessai_domain::event::{EventBody, Frame};
use bessai_domain::journal::{StartAt, SyncPolicy};
use bessai_domain::site::{Channel, ChannelKind, Device, Site, Source, channel};
use bessai_domain::time::{Moment, MonotonicTime, Timestamp};
use bessai_journal::{Journal, JournalSettings};
use rustix::time::{ClockId, clock_gettime};

/// Frames that are appended between two pauses.
const PART: u32 = 500;
/// The least time for them: 100,000 frames a second, fewer than the journal's thread can write.
const PART_MIN: Duration = Duration::from_millis(5);
/// The journal's size limit, above what the measurements write.
const MAX_BYTES: u64 = 4 << 30;
/// The journal's age limit, as by default.
const MAX_AGE: Duration = Duration::from_hours(72);
/// The time between two readings.
const PERIOD: Duration = Duration::from_millis(1);
/// The gateway's default feed.
const FEED: &str = "default";

/// How a channel's values change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ValuePattern {
    /// Constant: set-points, states, alarms.
    Constant,
    /// One decimal place, changed by a step in every third reading on average: voltages, temperatures.
    Decimal,
    /// Single-precision floats with noise in each reading.
    Single,
    /// Integers that rise by 0 to 3 with each reading: energies.
    Counter,
    /// 40 % constants, 40 % decimals, 10 % single floats, 10 % counters.
    Mix,
}

impl ValuePattern {
    /// The names and patterns.
    pub(super) const ALL: [(&str, Self); 5] = [
        ("mix", Self::Mix),
        ("constant", Self::Constant),
        ("decimal", Self::Decimal),
        ("single", Self::Single),
        ("counter", Self::Counter),
    ];

    pub(super) fn from_name(name: &str) -> anyhow::Result<Self> {
        let known = Self::ALL.iter().find(|(known, _)| *known == name);
        known.map(|(_, pattern)| *pattern).with_context(|| format!("no pattern of values is named {name}"))
    }

    fn for_channel(self, channel: usize) -> Self {
        match (self, channel % 10) {
            (Self::Mix, 0..4) => Self::Constant,
            (Self::Mix, 4..8) => Self::Decimal,
            (Self::Mix, 8) => Self::Single,
            (Self::Mix, _) => Self::Counter,
            (pattern, _) => pattern,
        }
    }
}

/// The readings of one source.
pub(crate) struct FrameSeries {
    channels: Vec<(ValuePattern, i32)>,
    noise: u64,
}

impl FrameSeries {
    pub(crate) fn new(pattern: ValuePattern, channels: usize) -> Self {
        let start = |channel| (pattern.for_channel(channel), 5000 + i32::try_from(channel).unwrap_or_default());
        Self { channels: (0..channels).map(start).collect(), noise: 88_172_645_463_325_252 }
    }

    pub(crate) fn next(&mut self) -> Frame {
        let Self { channels, noise } = self;
        let values = channels.iter_mut().map(|(pattern, state)| {
            *noise ^= *noise << 13;
            *noise ^= *noise >> 7;
            *noise ^= *noise << 17;
            let [dice, ..] = noise.to_be_bytes();
            match pattern {
                ValuePattern::Constant | ValuePattern::Mix => f64::from(*state) / 10.0,
                ValuePattern::Decimal => {
                    *state += match dice % 6 {
                        0 => 1,
                        1 => -1,
                        _ => 0,
                    };
                    f64::from(*state) / 10.0
                }
                ValuePattern::Single => f64::from(230.0_f32 + f32::from(dice) * 0.0137),
                ValuePattern::Counter => {
                    *state += i32::from(dice % 4);
                    f64::from(*state)
                }
            }
        });
        Frame { source: 0, values: values.collect(), faults: Vec::new(), texts: Vec::new() }
    }
}

/// Opens the journal of a folder with the default sync interval.
pub(super) fn open(folder: &Path) -> anyhow::Result<Journal> {
    let sync = SyncPolicy::Interval(Duration::from_secs(1));
    let settings = JournalSettings { folder: folder.to_owned(), sync, max_bytes: MAX_BYTES, max_age: MAX_AGE };
    Ok(Journal::open(&settings, now()?)?)
}

/// A site with one source of this many channels, the default feed's first.
pub(super) fn site(id: &str, channels: usize) -> Arc<Site> {
    let name = |index| channel::TELEMETRY.get(index).map_or_else(|| format!("channel_{index}"), ToString::to_string);
    let channel = |index| Channel {
        name: name(index),
        unit: "1".into(),
        kind: ChannelKind::Gauge,
        writable: false,
        attributes: Vec::new(),
    };
    let source = Source {
        device: "battery-0".into(),
        period: PERIOD,
        channels: (0..channels).map(channel).collect(),
        attributes: Vec::new(),
    };
    let device = Device { name: source.device.clone(), attributes: Vec::new() };
    Arc::new(Site { id: id.into(), revision: 1, devices: vec![device], sources: vec![source], attributes: Vec::new() })
}

/// Both clocks, as the gateway reads them.
pub(super) fn now() -> anyhow::Result<Moment> {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let monotonic = Duration::try_from(clock_gettime(ClockId::Boottime))?;
    Ok(Moment {
        monotonic: MonotonicTime::from_nanos(i64::try_from(monotonic.as_nanos())?),
        wall: Timestamp::from_nanos(u64::try_from(wall.as_nanos())?),
    })
}

/// Passes this many readings to `part`, not faster than the journal's thread can write them.
pub(super) fn append(
    series: &mut FrameSeries,
    first_at: Moment,
    count: u32,
    mut part: impl FnMut(Vec<(Moment, Frame)>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let begin = Instant::now();
    for first in (0..count).step_by(usize::try_from(PART)?) {
        let indices = first..count.min(first.saturating_add(PART));
        part(indices.map(|index| (first_at.plus(PERIOD * index), series.next())).collect())?;
        sleep((begin + PART_MIN * (first / PART)).saturating_duration_since(Instant::now()));
    }
    Ok(())
}

/// Appends this many readings to a journal.
pub(super) fn append_to(
    journal: &Journal,
    series: &mut FrameSeries,
    first_at: Moment,
    count: u32,
) -> anyhow::Result<()> {
    append(series, first_at, count, |part| {
        for (at, frame) in part {
            journal.append(at, EventBody::Frame(frame));
        }
        Ok(())
    })
}

/// Writes a journal as an outage leaves it: this many readings of four channels, none delivered by the default feed.
pub(super) fn write_backlog(folder: &Path, site_id: &str, count: u32) -> anyhow::Result<()> {
    let journal = open(folder)?;
    let (now, before) = (now()?, PERIOD * count * 2);
    let monotonic = now.monotonic.nanos().saturating_sub(i64::try_from(before.as_nanos())?);
    let start = Moment { monotonic: MonotonicTime::from_nanos(monotonic), wall: now.wall.minus(before) };
    let channels = channel::TELEMETRY.len();
    journal.append(start, EventBody::Site(site(site_id, channels)));
    drop(journal.reader(FEED, StartAt::Oldest));
    append_to(&journal, &mut FrameSeries::new(ValuePattern::Mix, channels), start, count)?;
    close(&journal)
}

pub(super) fn close(journal: &Journal) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(journal.close());
    Ok(())
}
