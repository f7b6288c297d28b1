//! Sends fewer readings, with a stated error: deadband and swinging door.
//!
//! With a deadband, each reading is within the bound of the one that was sent last. With a swinging door, each reading is within
//! the bound of the straight line between the readings that were sent before and after it. What is sent is always a reading, with
//! all its values.

use bessai_plugin::Timestamp;

use crate::sample::{Sample, StateReader, StateWriter, seconds_between};

/// The error that a column may have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Bound {
    /// The column does not cause a reading to be sent.
    None,
    Deadband(f64),
    SwingingDoor(f64),
}

/// The compression of one source's readings.
#[derive(Debug)]
pub(crate) struct Compression {
    bounds: Vec<Bound>,
    longest_silence: u64,
    has_doors: bool,
    /// The reading that was sent last.
    sent: Option<Sample>,
    /// The newest reading, if it was not sent: each one between is within the bound of the line from `sent` to it.
    held: Option<Sample>,
    /// One per column: the slopes of lines from `sent` that are within the bound of all readings since.
    doors: Vec<(f64, f64)>,
}

/// Every slope.
const OPEN: (f64, f64) = (f64::NEG_INFINITY, f64::INFINITY);

impl Compression {
    /// One bound per column; nanoseconds after which a reading is sent in any case.
    pub(crate) fn new(bounds: Vec<Bound>, longest_silence: u64) -> Self {
        let has_doors = bounds.iter().any(|bound| matches!(bound, Bound::SwingingDoor(_)));
        let doors = vec![OPEN; bounds.len()];
        Self { bounds, longest_silence, has_doors, sent: None, held: None, doors }
    }

    /// Takes a reading; returns those that are to be sent now, in order.
    pub(crate) fn push(&mut self, sample: Sample) -> Vec<Sample> {
        let newest = self.held.as_ref().or(self.sent.as_ref()).map(|sample| sample.at);
        // At the first reading, and when the clock was set back.
        if newest.is_none_or(|newest| sample.at <= newest) {
            let mut out: Vec<_> = self.held.take().into_iter().collect();
            out.push(self.send(sample));
            return out;
        }
        let mut out = Vec::new();
        if !self.is_within_doors(&sample) {
            out.extend(self.held.take().map(|held| self.send(held)));
        }
        if self.must_be_sent(&sample) {
            out.push(self.send(sample));
        } else if self.has_doors {
            self.hold(sample);
        }
        out
    }

    /// The held reading, if the silence was long enough.
    pub(crate) fn tick(&mut self, now: Timestamp) -> Option<Sample> {
        let silence = now.saturating_sub(self.sent.as_ref()?.at);
        if silence < self.longest_silence {
            return None;
        }
        let held = self.held.take()?;
        Some(self.send(held))
    }

    /// The reading, from which the next lines begin.
    fn send(&mut self, sample: Sample) -> Sample {
        self.doors.fill(OPEN);
        self.held = None;
        self.sent = Some(sample.clone());
        sample
    }

    /// Whether the line from `sent` to this reading is within the bound of all readings between.
    fn is_within_doors(&self, sample: &Sample) -> bool {
        let Some(sent) = &self.sent else { return true };
        let elapsed_s = seconds_between(sent.at, sample.at);
        let columns = self.bounds.iter().zip(&self.doors).zip(sent.values.iter().zip(&sample.values));
        let mut doors = columns.filter(|((bound, _), _)| matches!(bound, Bound::SwingingDoor(_)));
        doors.all(|((_, (low, high)), (first, value))| {
            let slope = (value - first) / elapsed_s;
            match (first.is_nan(), value.is_nan()) {
                (false, false) => *low <= slope && slope <= *high,
                // Without a value there is no line.
                (first, value) => first == value,
            }
        })
    }

    /// Whether this reading cannot be left out.
    fn must_be_sent(&self, sample: &Sample) -> bool {
        let Some(sent) = &self.sent else { return true };
        let exceeds = |(bound, (first, value)): (&Bound, (&f64, &f64))| match bound {
            Bound::None => false,
            _ if first.is_nan() != value.is_nan() => true,
            Bound::Deadband(most) => (value - first).abs() > *most,
            Bound::SwingingDoor(_) => false,
        };
        sample.texts != sent.texts
            || sample.at.saturating_sub(sent.at) >= self.longest_silence
            || self.bounds.iter().zip(sent.values.iter().zip(&sample.values)).any(exceeds)
    }

    fn hold(&mut self, sample: Sample) {
        let Some(sent) = &self.sent else { return };
        let elapsed_s = seconds_between(sent.at, sample.at);
        for ((bound, door), (first, value)) in
            self.bounds.iter().zip(&mut self.doors).zip(sent.values.iter().zip(&sample.values))
        {
            if let (Bound::SwingingDoor(most), false) = (bound, value.is_nan()) {
                let difference = value - first;
                *door = (door.0.max((difference - most) / elapsed_s), door.1.min((difference + most) / elapsed_s));
            }
        }
        self.held = Some(sample);
    }

    pub(crate) fn save(&self, writer: &mut StateWriter) {
        writer.sample(self.sent.as_ref());
        writer.sample(self.held.as_ref());
        self.doors.iter().for_each(|&(low, high)| writer.numbers(&[low, high]));
    }

    pub(crate) fn load(&mut self, reader: &mut StateReader<'_>) -> Option<()> {
        let columns = self.bounds.len();
        let (sent, held) = (reader.sample(columns)?, reader.sample(columns)?);
        let doors = (0..columns).map(|_| Some((reader.number()?, reader.number()?))).collect::<Option<_>>()?;
        (self.sent, self.held, self.doors) = (sent, held, doors);
        Some(())
    }
}

#[cfg(test)]
mod tests;
