//! Windows of time, aligned to 1970, and what is calculated of the readings in each. Windows follow the events' own time, so
//! that a backlog gives the same rows as live events.

use std::collections::BTreeMap;

use bessai_plugin::Timestamp;

use crate::config::Aggregate;
use crate::sample::{Sample, StateReader, StateWriter, seconds_between};

/// Longer gaps than so many periods of the source are not integrated over: what the value was is not known.
const GAP_PERIODS: u64 = 3;
/// Events of different sources come in any order within about a millisecond; an older one than this means that the clock was set
/// back. In nanoseconds.
const DISORDER: u64 = 1_000_000_000;
/// Seconds of an hour, the unit of time of integrals.
const HOUR_S: f64 = 3600.0;

/// The open window of a source.
#[derive(Debug)]
pub(crate) struct Window {
    length: u64,
    gap: u64,
    /// One per row column: the column of the readings, and what is calculated of it.
    outputs: Vec<(usize, Aggregate)>,
    state: State,
}

#[derive(Debug, Default)]
struct State {
    /// None if no window is open.
    start: Option<Timestamp>,
    /// The newest reading.
    last_at: Option<Timestamp>,
    /// One per column.
    columns: Vec<Accumulator>,
    texts: BTreeMap<usize, String>,
}

/// The readings of one column in the open window.
#[derive(Clone, Copy, Debug)]
struct Accumulator {
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
    last: f64,
    /// The area in the unit times seconds, and the seconds that it covers.
    area: f64,
    covered_s: f64,
    /// The newest value of any window, from which the next area begins.
    previous: Option<(Timestamp, f64)>,
}

impl Window {
    /// Windows of readings with so many columns, of a source with this period.
    pub(crate) fn new(length: u64, period_ms: u32, columns: usize, outputs: Vec<(usize, Aggregate)>) -> Self {
        let gap = u64::from(period_ms).max(1) * 1_000_000 * GAP_PERIODS;
        let columns = vec![Accumulator::new(None); columns];
        Self { length, gap, outputs, state: State { columns, ..State::default() } }
    }

    /// Adds a reading; returns the rows of the windows that ended before it.
    pub(crate) fn push(&mut self, sample: &Sample) -> Vec<Sample> {
        let mut rows = Vec::new();
        let mut at = sample.at;
        match self.state.start {
            Some(start) if at < start => {
                if start - at > DISORDER {
                    rows.extend(self.close(start));
                    self.forget();
                } else {
                    at = start;
                }
            }
            Some(_) => rows = self.end_windows(sample),
            None => {}
        }
        self.state.start = Some(at - at % self.length);
        self.state.last_at = Some(at);
        for (accumulator, &value) in self.state.columns.iter_mut().zip(&sample.values) {
            accumulator.add(at, value, self.gap);
        }
        let texts = sample.texts.iter().map(|(&column, text)| (column, text.clone()));
        self.state.texts.extend(texts);
        rows
    }

    /// The row of the open window, if it ended and no reading is to be expected that still counts for it.
    pub(crate) fn tick(&mut self, now: Timestamp) -> Option<Sample> {
        let start = self.state.start?;
        let overdue = self.state.last_at? + self.gap;
        if now < (start + self.length + DISORDER).max(overdue) {
            return None;
        }
        let row = self.close(start);
        self.state.start = None;
        row
    }

    /// Ends each window up to that of a reading. The line from the reading before is cut at each end, so that each window has its
    /// own part of the area.
    fn end_windows(&mut self, sample: &Sample) -> Vec<Sample> {
        let mut rows = Vec::new();
        while let Some(start) = self.state.start {
            let end = start + self.length;
            if sample.at < end {
                break;
            }
            for (accumulator, &value) in self.state.columns.iter_mut().zip(&sample.values) {
                accumulator.add_until(end, (sample.at, value), self.gap);
            }
            rows.extend(self.close(start));
            // Nothing is known of the windows within a longer gap.
            let is_gap = sample.at.saturating_sub(end) > self.gap;
            self.state.start = Some(if is_gap { sample.at - sample.at % self.length } else { end });
        }
        rows
    }

    /// The row of the open window, whose accumulators begin again. It has the time of the window's end.
    fn close(&mut self, start: Timestamp) -> Option<Sample> {
        let columns = &self.state.columns;
        let value = |&(column, aggregate): &(usize, Aggregate)| {
            columns.get(column).map_or(f64::NAN, |accumulator| accumulator.value(aggregate))
        };
        let values: Vec<_> = self.outputs.iter().map(value).collect();
        let texts = std::mem::take(&mut self.state.texts);
        // A text is published with the first aggregate of its column.
        let output = |column| self.outputs.iter().position(|(own, _)| *own == column);
        let texts: BTreeMap<_, _> =
            texts.into_iter().filter_map(|(column, text)| Some((output(column)?, text))).collect();
        for accumulator in &mut self.state.columns {
            *accumulator = Accumulator::new(accumulator.previous);
        }
        let is_empty = texts.is_empty() && values.iter().all(|value| value.is_nan());
        (!is_empty).then_some(Sample { at: start + self.length, values, texts })
    }

    fn forget(&mut self) {
        self.state.columns.fill(Accumulator::new(None));
    }

    pub(crate) fn save(&self, writer: &mut StateWriter) {
        let State { start, last_at, columns, texts } = &self.state;
        writer.time(*start);
        writer.time(*last_at);
        for Accumulator { count, sum, min, max, last, area, covered_s, previous } in columns {
            writer.word(*count);
            writer.numbers(&[*sum, *min, *max, *last, *area, *covered_s]);
            writer.time(previous.map(|(at, _)| at));
            writer.number(previous.map_or(0.0, |(_, value)| value));
        }
        writer.texts(texts);
    }

    pub(crate) fn load(&mut self, reader: &mut StateReader<'_>) -> Option<()> {
        let (start, last_at) = (reader.time()?, reader.time()?);
        let column = |_| {
            Some(Accumulator {
                count: reader.word()?,
                sum: reader.number()?,
                min: reader.number()?,
                max: reader.number()?,
                last: reader.number()?,
                area: reader.number()?,
                covered_s: reader.number()?,
                previous: reader.time()?.zip(Some(reader.number()?)),
            })
        };
        let columns = (0..self.state.columns.len()).map(column).collect::<Option<_>>()?;
        self.state = State { start, last_at, columns, texts: reader.texts()? };
        Some(())
    }
}

impl Accumulator {
    fn new(previous: Option<(Timestamp, f64)>) -> Self {
        let (min, max) = (f64::INFINITY, f64::NEG_INFINITY);
        Self { count: 0, sum: 0.0, min, max, last: f64::NAN, area: 0.0, covered_s: 0.0, previous }
    }

    fn add(&mut self, at: Timestamp, value: f64, gap: u64) {
        if value.is_nan() {
            return;
        }
        self.add_until(at, (at, value), gap);
        self.count += 1;
        self.sum += value;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.last = value;
        self.previous = Some((at, value));
    }

    /// Adds the area from the value before up to `end` under the line to a reading.
    fn add_until(&mut self, end: Timestamp, (at, value): (Timestamp, f64), gap: u64) {
        let Some((before, first)) = self.previous else { return };
        if value.is_nan() || at <= before || at - before > gap {
            return;
        }
        let covered_s = seconds_between(before, end);
        let second = first + (value - first) * covered_s / seconds_between(before, at);
        self.area += (first + second) / 2.0 * covered_s;
        self.covered_s += covered_s;
        self.previous = Some((end, second));
    }

    fn value(&self, aggregate: Aggregate) -> f64 {
        if aggregate == Aggregate::Integral {
            return if self.covered_s > 0.0 { self.area / HOUR_S } else { f64::NAN };
        }
        // A window has far fewer readings than 2^32.
        let count = u32::try_from(self.count).unwrap_or(u32::MAX);
        match aggregate {
            _ if count == 0 => f64::NAN,
            Aggregate::Min => self.min,
            Aggregate::Max => self.max,
            Aggregate::Mean => self.sum / f64::from(count),
            Aggregate::Last | Aggregate::Integral => self.last,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const ALL: [Aggregate; 5] = [Aggregate::Min, Aggregate::Max, Aggregate::Mean, Aggregate::Last, Aggregate::Integral];

    fn window(length_s: u64) -> Window {
        Window::new(length_s * SECOND, 5000, 1, ALL.map(|aggregate| (0, aggregate)).to_vec())
    }

    fn sample(at_s: u64, value: f64) -> Sample {
        Sample { at: at_s * SECOND, values: vec![value], texts: BTreeMap::new() }
    }

    /// The rows as (end in seconds, values).
    fn rows(window: &mut Window, readings: &[(u64, f64)]) -> Vec<(u64, Vec<f64>)> {
        let rows = readings.iter().flat_map(|&(at, value)| window.push(&sample(at, value)));
        rows.map(|row| (row.at / SECOND, row.values)).collect()
    }

    #[test]
    fn a_window_ends_with_the_first_reading_after_it() {
        let mut window = window(60);
        let readings: Vec<_> =
            (0..13).map(|step| (600 + step * 5, 10.0 + 2.0 * f64::from(u32::try_from(step).unwrap()))).collect();
        // 10 kW rising to 34 kW within a minute: 22 kW on average along the line.
        assert_eq!(rows(&mut window, &readings), [(660, vec![10.0, 32.0, 21.0, 32.0, 22.0 / 60.0])]);
    }

    #[test]
    fn gaps_are_not_integrated_and_their_windows_give_no_rows() {
        let mut window = window(60);
        let rows =
            rows(&mut window, &[(600, 36.0), (605, 36.0), (900, 72.0), (905, f64::NAN), (910, 72.0), (960, 1.0)]);
        let hours = |seconds: f64| seconds / 3600.0;
        assert_eq!(rows[0], (660, vec![36.0, 36.0, 36.0, 36.0, hours(36.0 * 5.0)]));
        assert_eq!(rows[1], (960, vec![72.0, 72.0, 72.0, 72.0, hours(720.0)]));
        assert_eq!(rows.len(), 2);
    }

    #[test]
    fn the_parts_of_an_area_add_up() {
        let mut fine = window(1);
        let readings: Vec<_> =
            (0..=12).map(|step: u64| (600 + 5 * step, if step % 2 == 0 { 10.0 } else { -4.0 })).collect();
        let parts: f64 = rows(&mut fine, &readings).iter().map(|(_, values)| values[4]).sum();
        assert!((parts - 3.0 * 60.0 / 3600.0).abs() < 1e-12, "{parts}");
    }

    #[test]
    fn a_tick_ends_a_window_when_no_reading_comes() {
        let mut window = window(60);
        window.push(&sample(655, 5.0));
        assert_eq!(window.tick(661 * SECOND), None, "a reading may still come");
        let row = window.tick(670 * SECOND).unwrap();
        assert_eq!((row.at, row.values[3]), (660 * SECOND, 5.0));
        assert_eq!(window.tick(700 * SECOND), None);
    }

    #[test]
    fn a_clock_that_is_set_back_starts_again_and_disorder_does_not() {
        let mut window = window(60);
        window.push(&sample(660, 5.0));
        let late = Sample { at: 660 * SECOND - 1_000_000, ..sample(0, 7.0) };
        assert_eq!(window.push(&late), []);
        let rows = rows(&mut window, &[(300, 1.0), (360, 2.0)]);
        assert_eq!((rows[0].0, &rows[0].1[..4]), (720, [5.0, 7.0, 6.0, 7.0].as_slice()));
        assert_eq!((rows[1].0, rows[1].1[2]), (360, 1.0));
    }

    #[test]
    fn a_restart_continues_the_window() {
        let (mut first, mut second) = (window(60), window(60));
        first.push(&sample(600, 1.0));
        first.push(&sample(605, 3.0));
        let mut writer = StateWriter::default();
        first.save(&mut writer);
        second.load(&mut StateReader(&writer.0)).unwrap();
        assert_eq!(first.push(&sample(660, 9.0)), second.push(&sample(660, 9.0)));
        assert_eq!(window(60).load(&mut StateReader(&writer.0[..20])), None);
    }
}
