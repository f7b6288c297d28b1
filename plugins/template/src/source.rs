//! The readings of one source: which values are taken, when they become rows, and what of that outlives a call.

use std::collections::BTreeMap;

use bessai_plugin::{Event, FaultKind, Frame, Timestamp, state};

use crate::compression::{Bound, Compression};
use crate::config::{Aggregate, Schedule, Settings};
use crate::row::{Column, rounded};
use crate::sample::{Sample, StateReader, StateWriter};
use crate::selection::Pick;
use crate::window::Window;

/// A reading may come this part of the time early and still count as the next one: periods are never exact.
const EARLY_PART: u64 = 10;

/// The readings of one source.
#[derive(Debug)]
pub(crate) struct Source {
    /// Where its state is stored.
    key: String,
    /// What the state depends on beside the readings; a state of other settings is discarded.
    fingerprint: u64,
    picks: Vec<Pick>,
    pace: Pace,
    decimals: Vec<Option<u8>>,
    /// The output's group and the position of the first column in it.
    pub(crate) group: usize,
    pub(crate) offset: usize,
    /// Whether a row of this source is published, or only remembered for the rows of another source of the device.
    pub(crate) is_trigger: bool,
    is_changed: bool,
}

/// When readings become rows.
#[derive(Debug)]
enum Pace {
    Every,
    Throttled { every: u64, last: Option<Timestamp>, compression: Option<Compression> },
    Windows(Window),
    Compressed(Compression),
}

impl Source {
    /// The source with the state that an earlier instance left, and its columns.
    pub(crate) fn new(key: String, period_ms: u32, picks: Vec<Pick>, settings: &Settings) -> (Self, Vec<Column>) {
        let outputs = outputs(&picks, settings);
        let columns: Vec<_> = outputs.iter().map(|(column, _)| column.clone()).collect();
        let pace = match settings.schedule {
            Schedule::Windows(length) => {
                let aggregates = outputs.into_iter().map(|(_, output)| output).collect();
                Pace::Windows(Window::new(length, period_ms, picks.len(), aggregates))
            }
            Schedule::Throttled(every) => {
                Pace::Throttled { every, last: None, compression: compression(&picks, settings) }
            }
            Schedule::EveryReading => compression(&picks, settings).map_or(Pace::Every, Pace::Compressed),
        };
        let fingerprint = fingerprint(&format!("{pace:?}{picks:?}"));
        let decimals = columns.iter().map(|column| column.decimals).collect();
        let (group, offset, is_trigger, is_changed) = (0, 0, true, false);
        let mut source = Self { key, fingerprint, picks, pace, decimals, group, offset, is_trigger, is_changed };
        source.load();
        (source, columns)
    }

    /// Takes a frame; returns the rows to publish.
    pub(crate) fn frame(&mut self, event: &Event, frame: &Frame) -> Vec<Sample> {
        let sample = self.sample(event.at, frame);
        let rows = match &mut self.pace {
            Pace::Every => vec![sample],
            _ if sample.texts.is_empty() && sample.values.is_empty() => return Vec::new(),
            Pace::Windows(window) => window.push(&sample),
            Pace::Compressed(compression) => compression.push(sample),
            Pace::Throttled { every, last, compression } => {
                let is_early = |last: Timestamp| {
                    sample.at >= last && sample.at.saturating_add(*every / EARLY_PART) < last.saturating_add(*every)
                };
                if sample.is_empty() || last.is_some_and(is_early) {
                    return Vec::new();
                }
                let at = sample.at;
                let rows = compression.as_mut().map_or_else(|| vec![sample.clone()], |own| own.push(sample.clone()));
                if !rows.is_empty() {
                    *last = Some(at);
                }
                rows
            }
        };
        self.is_changed |= !matches!(self.pace, Pace::Every);
        rows.into_iter().map(|row| self.finished(row)).collect()
    }

    /// The row that is due although no reading came.
    pub(crate) fn tick(&mut self, now: Timestamp) -> Option<Sample> {
        let row = match &mut self.pace {
            Pace::Every | Pace::Throttled { .. } => None,
            Pace::Windows(window) => window.tick(now),
            Pace::Compressed(compression) => compression.tick(now),
        };
        self.is_changed |= row.is_some();
        row.map(|row| self.finished(row))
    }

    /// The good values of a frame, converted.
    fn sample(&self, at: Timestamp, frame: &Frame) -> Sample {
        let value = |pick: &Pick| {
            let value = frame.values.get(pick.index).copied().unwrap_or(f64::NAN);
            let value = value * pick.conversion.factor + pick.conversion.offset;
            if value.is_finite() { value } else { f64::NAN }
        };
        let mut values: Vec<_> = self.picks.iter().map(value).collect();
        let column = |channel: u32| {
            let channel = usize::try_from(channel).ok()?;
            self.picks.iter().position(|pick| pick.index == channel)
        };
        for fault in &frame.faults {
            // One out of range was read, and is for the reader to judge.
            if fault.kind != FaultKind::OutOfRange
                && let Some(value) = column(fault.channel).and_then(|column| values.get_mut(column))
            {
                *value = f64::NAN;
            }
        }
        let texts = frame.texts.iter().filter_map(|text| Some((column(text.channel)?, text.value.clone())));
        Sample { at, values, texts: texts.collect() }
    }

    /// The row as it is published.
    fn finished(&self, mut row: Sample) -> Sample {
        for (value, decimals) in row.values.iter_mut().zip(&self.decimals) {
            if let Some(decimals) = decimals {
                *value = rounded(*value, i32::from(*decimals));
            }
        }
        row
    }

    /// Stores what changed since the last call.
    pub(crate) fn save(&mut self) -> Result<(), state::StateError> {
        if !std::mem::take(&mut self.is_changed) {
            return Ok(());
        }
        let mut writer = StateWriter::default();
        writer.word(self.fingerprint);
        match &self.pace {
            Pace::Every => {}
            Pace::Windows(window) => window.save(&mut writer),
            Pace::Compressed(compression) => compression.save(&mut writer),
            Pace::Throttled { last, compression, .. } => {
                writer.time(*last);
                if let Some(compression) = compression {
                    compression.save(&mut writer);
                }
            }
        }
        state::set(&self.key, &writer.0)
    }

    fn load(&mut self) {
        if matches!(self.pace, Pace::Every) {
            return;
        }
        let Some(stored) = state::get(&self.key) else { return };
        let mut reader = StateReader(&stored);
        if reader.word() != Some(self.fingerprint) {
            return;
        }
        // What cannot be read is left as it is in a new source.
        let _ = match &mut self.pace {
            Pace::Every => None,
            Pace::Windows(window) => window.load(&mut reader),
            Pace::Compressed(compression) => compression.load(&mut reader),
            Pace::Throttled { last, compression, .. } => reader.time().and_then(|stored| {
                *last = stored;
                compression.as_mut().map_or(Some(()), |compression| compression.load(&mut reader))
            }),
        };
    }
}

impl Sample {
    /// Whether there is nothing to publish.
    pub(crate) fn is_empty(&self) -> bool {
        self.texts.is_empty() && self.values.iter().all(|value| value.is_nan())
    }
}

/// The columns of the rows: one per pick, or in windows one per aggregate of each.
fn outputs(picks: &[Pick], settings: &Settings) -> Vec<(Column, (usize, Aggregate))> {
    if !matches!(settings.schedule, Schedule::Windows(_)) {
        return picks.iter().enumerate().map(|(index, pick)| (pick.column.clone(), (index, Aggregate::Last))).collect();
    }
    let of_pick = |(index, pick): (usize, &Pick)| -> Vec<_> {
        let aggregates = pick.aggregates.as_ref().unwrap_or(&settings.aggregates);
        let output = |&aggregate: &Aggregate| {
            let mut column = pick.column.clone();
            if aggregates.len() > 1 {
                column.name = format!("{}_{}", column.name, aggregate.name());
            }
            if aggregate == Aggregate::Integral {
                column.unit.push_str(".h");
            }
            (column, (index, aggregate))
        };
        aggregates.iter().map(output).collect()
    };
    picks.iter().enumerate().flat_map(of_pick).collect()
}

/// The compression of columns that have a bound; none if no column has one.
fn compression(picks: &[Pick], settings: &Settings) -> Option<Compression> {
    let bounds: Vec<_> = picks.iter().map(|pick| pick.bound).collect();
    let has_bound = bounds.iter().any(|bound| *bound != Bound::None);
    has_bound.then(|| Compression::new(bounds, settings.longest_silence))
}

/// FNV-1a, 64 bits.
fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The values of a device's slower sources, which rows of its fastest one contain, too.
pub(crate) fn store_latest(
    key: &str,
    values: &[f64],
    texts: &BTreeMap<usize, String>,
) -> Result<(), state::StateError> {
    let mut writer = StateWriter::default();
    writer.sample(Some(&Sample { at: 1, values: values.to_vec(), texts: texts.clone() }));
    state::set(key, &writer.0)
}

/// What [`store_latest`] stored, if it has as many values.
pub(crate) fn stored_latest(key: &str, columns: usize) -> Option<Sample> {
    let stored = state::get(key)?;
    let mut reader = StateReader(&stored);
    let sample = reader.sample(columns)??;
    reader.0.is_empty().then_some(sample)
}
