//! Readings as plants give them, and journals filled with them.

use std::path::Path;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use bessai_domain::event::{EventBody, Frame};
use bessai_domain::site::{Channel, ChannelKind, Device, Site, Source, channel};
use bessai_domain::time::Timestamp;
use bessai_edge::journal::{Journal, Settings, Start, Sync};

/// Frames that are appended between two rests, and how long such a part takes at least: 100,000 a second, less than the
/// journal's own thread writes.
const PART: u32 = 500;
const PART_TAKES: Duration = Duration::from_millis(5);
const MAX_BYTES: u64 = 4 << 30;
const MAX_AGE: Duration = Duration::from_hours(72);
/// Between two readings.
const PERIOD: Duration = Duration::from_millis(1);
/// The gateway's default feed.
const FEED: &str = "default";

/// How a channel's values change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Never: set-points, states, alarms.
    Constant,
    /// Decimals of one place, by a step every third time on average: voltages, temperatures.
    Decimal,
    /// Single floats with noise in each reading.
    Single,
    /// Whole numbers that rise by 0 to 3 each time: energies.
    Counter,
    /// 40 constants, 40 decimals, 10 singles, 10 counters of 100.
    Mix,
}

impl Kind {
    pub(super) const ALL: [(&str, Self); 5] = [
        ("mix", Self::Mix),
        ("constant", Self::Constant),
        ("decimal", Self::Decimal),
        ("single", Self::Single),
        ("counter", Self::Counter),
    ];

    pub(super) fn named(name: &str) -> anyhow::Result<Self> {
        let known = Self::ALL.iter().find(|(known, _)| *known == name);
        known.map(|(_, kind)| *kind).with_context(|| format!("no kind of values is named {name}"))
    }

    fn of(self, channel: usize) -> Self {
        match (self, channel % 10) {
            (Self::Mix, 0..4) => Self::Constant,
            (Self::Mix, 4..8) => Self::Decimal,
            (Self::Mix, 8) => Self::Single,
            (Self::Mix, _) => Self::Counter,
            (kind, _) => kind,
        }
    }
}

/// Readings of one source, one after the other.
pub(crate) struct Series {
    channels: Vec<(Kind, i32)>,
    noise: u64,
}

impl Series {
    pub(crate) fn new(kind: Kind, channels: usize) -> Self {
        let start = |channel| (kind.of(channel), 5000 + i32::try_from(channel).unwrap_or_default());
        Self { channels: (0..channels).map(start).collect(), noise: 88_172_645_463_325_252 }
    }

    pub(crate) fn next(&mut self) -> Frame {
        let Self { channels, noise } = self;
        let values = channels.iter_mut().map(|(kind, state)| {
            *noise ^= *noise << 13;
            *noise ^= *noise >> 7;
            *noise ^= *noise << 17;
            let [dice, ..] = noise.to_be_bytes();
            match kind {
                Kind::Constant | Kind::Mix => f64::from(*state) / 10.0,
                Kind::Decimal => {
                    *state += match dice % 6 {
                        0 => 1,
                        1 => -1,
                        _ => 0,
                    };
                    f64::from(*state) / 10.0
                }
                Kind::Single => f64::from(230.0_f32 + f32::from(dice) * 0.0137),
                Kind::Counter => {
                    *state += i32::from(dice % 4);
                    f64::from(*state)
                }
            }
        });
        Frame { source: 0, values: values.collect(), faults: Vec::new(), texts: Vec::new() }
    }
}

/// The journal of a folder, brought to the disk as it is by default.
pub(super) fn open(folder: &Path) -> anyhow::Result<Journal> {
    let sync = Sync::Interval(Duration::from_secs(1));
    let settings = Settings { folder: folder.to_owned(), sync, max_bytes: MAX_BYTES, max_age: MAX_AGE };
    Ok(Journal::open(&settings, now()?)?)
}

/// A site of one source with so many channels, the default feed's among them.
pub(super) fn site(id: &str, channels: usize) -> Arc<Site> {
    let name = |place| channel::TELEMETRY.get(place).map_or_else(|| format!("channel_{place}"), ToString::to_string);
    let channel = |place| Channel {
        name: name(place),
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

pub(super) fn now() -> anyhow::Result<Timestamp> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(Timestamp::from_nanos(u64::try_from(now.as_nanos())?))
}

/// Hands over so many readings in parts, not quicker than the journal's thread can write them.
pub(super) fn append(
    series: &mut Series,
    first_at: Timestamp,
    count: u32,
    mut part: impl FnMut(Vec<(Timestamp, Frame)>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let begin = Instant::now();
    for first in (0..count).step_by(usize::try_from(PART)?) {
        let places = first..count.min(first.saturating_add(PART));
        part(places.map(|place| (first_at.plus(PERIOD * place), series.next())).collect())?;
        sleep((begin + PART_TAKES * (first / PART)).saturating_duration_since(Instant::now()));
    }
    Ok(())
}

/// The same into a journal.
pub(super) fn append_to(journal: &Journal, series: &mut Series, first_at: Timestamp, count: u32) -> anyhow::Result<()> {
    append(series, first_at, count, |part| {
        for (at, frame) in part {
            journal.append(at, EventBody::Frame(frame));
        }
        Ok(())
    })
}

/// What an outage leaves: so many readings of four channels, none of which the default feed has passed.
pub(super) fn leave_backlog(folder: &Path, site_id: &str, count: u32) -> anyhow::Result<()> {
    let journal = open(folder)?;
    let long_ago = now()?.nanos().checked_sub(u64::try_from((PERIOD * count * 2).as_nanos())?);
    let Some(long_ago) = long_ago.map(Timestamp::from_nanos) else { bail!("the clock is not set") };
    let channels = channel::TELEMETRY.len();
    journal.append(long_ago, EventBody::Site(site(site_id, channels)));
    drop(journal.reader(FEED, Start::Oldest));
    append_to(&journal, &mut Series::new(Kind::Mix, channels), long_ago, count)?;
    close(&journal)
}

pub(super) fn close(journal: &Journal) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(journal.close());
    Ok(())
}
