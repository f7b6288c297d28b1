//! The bounds, and the figures beside them.

use std::time::Duration;

use crate::run::RECOVERED_WITHIN;
use crate::sampling::Sample;
use crate::site::JOURNAL_BYTES;
use crate::support::growth::{fitted_growth, floors, percentile};
use crate::table::{Row, Table};

/// Bytes of one MB.
const MB: f64 = 1e6;
/// What is left out of the last run of the gateway: the journal keeps 4 MiB of events in memory, which takes minutes to fill.
const WARM_UP_S: f64 = 200.0;
/// At most this part of the run is left out.
const LONGEST_WARM_UP: f64 = 0.6;
/// How much anonymous memory may grow after that.
const MEMORY_BYTES: f64 = 4e6;
/// How many descriptors or threads may be added after that.
const HANDLES: f64 = 3.0;
/// How much the data folder may grow after that, without the journal's events: the hostile feed's state and quarantine.
const DISK_BYTES: f64 = 8e6;
/// How much larger than their limit the journal's events may become: the segment that is being written.
const JOURNAL_MARGIN_BYTES: f64 = 0.5e6;
/// Lines of the log a second, on average: a plugin may write twenty.
const LOG_LINES_PER_S: f64 = 25.0;
/// The 99th percentile of the time in which `/health` answers.
const HEALTH_P99_MS: f64 = 250.0;

/// What a run has found.
pub struct Report {
    pub duration: Duration,
    pub troubles: usize,
    pub starts: usize,
    /// Different events that the working feed has delivered.
    pub events: u64,
    pub event_redeliveries: usize,
    /// Readings of the battery that the default feed has delivered.
    pub readings: u64,
    pub readings_lost_to_kills: usize,
    /// Events of the journal that were compared with those delivered.
    pub compared: usize,
    /// Seconds until all feeds had caught up, after each trouble.
    pub recoveries: Vec<f64>,
    pub violations: Vec<String>,
    pub samples: Vec<Sample>,
}

/// A figure with its bound.
struct BoundedFigure {
    figure: String,
    bound: String,
    measured: String,
    verdict: &'static str,
}

impl Row<4> for BoundedFigure {
    const HEADINGS: [&'static str; 4] = ["figure", "bound", "measured", "verdict"];

    fn cells(&self) -> [&str; 4] {
        [&self.figure, &self.bound, &self.measured, self.verdict]
    }
}

impl BoundedFigure {
    fn new(figure: &str, bound: String, measured: String, is_good: bool) -> Self {
        Self { figure: figure.into(), bound, measured, verdict: if is_good { "good" } else { "BROKEN" } }
    }

    /// A figure in MB that must not exceed its bound.
    fn bytes(figure: &str, bound: f64, measured: f64, more: &str) -> Self {
        let (shown, limit) = (format!("{:.2} MB{more}", measured / MB), format!("≤ {:.1} MB", bound / MB));
        Self::new(figure, limit, shown, measured <= bound)
    }
}

impl Report {
    /// Whether every bound was kept and everything has arrived.
    pub fn is_good(&self) -> bool {
        self.violations.is_empty() && self.figures().iter().all(|figure| figure.verdict == "good")
    }

    pub fn violations(&self) -> &[String] {
        &self.violations
    }

    pub fn table(&self) -> Table {
        Table::of(&self.figures())
    }

    /// Every sample as a line of comma-separated values, after a line of their names.
    pub fn samples_as_lines(&self) -> String {
        let names =
            "seconds,start,memory,anonymous,descriptors,threads,journal,disk,log_lines,log_bytes,lag,health_ms\n";
        let line = |sample: &Sample| {
            let Sample { at_s, run, health_ms, .. } = sample;
            let health = health_ms.map_or_else(String::new, |ms| format!("{ms:.2}"));
            let numbers = [
                sample.memory,
                sample.anonymous,
                sample.descriptors,
                sample.threads,
                sample.journal,
                sample.disk,
                sample.log_lines,
                sample.log_bytes,
                sample.lag,
            ];
            format!("{at_s:.1},{run},{},{health}\n", numbers.map(|number| number.to_string()).join(","))
        };
        names.to_owned() + &self.samples.iter().map(line).collect::<String>()
    }

    /// The samples of the last start of the gateway, after its warm-up.
    fn settled(&self) -> Vec<&Sample> {
        let last = self.starts.saturating_sub(1);
        let samples: Vec<_> = self.samples.iter().filter(|sample| sample.run == last).collect();
        let (Some(first), Some(end)) = (samples.first(), samples.last()) else { return Vec::new() };
        let from = first.at_s + WARM_UP_S.min((end.at_s - first.at_s) * LONGEST_WARM_UP);
        samples.into_iter().filter(|sample| sample.at_s >= from).collect()
    }

    fn figures(&self) -> Vec<BoundedFigure> {
        let settled = self.settled();
        let growth = |value: fn(&Sample) -> f64| {
            let samples: Vec<_> = settled.iter().map(|sample| (sample.at_s, value(sample))).collect();
            fitted_growth(&floors(&samples))
        };
        let last = |value: fn(&Sample) -> f64| settled.last().map_or(0.0, |sample| value(sample));
        let handles = |figure: &str, value: fn(&Sample) -> f64| {
            let measured = format!("{:.1}; {} at the end", growth(value), last(value));
            BoundedFigure::new(figure, format!("≤ {HANDLES}"), measured, growth(value) <= HANDLES)
        };
        let (anonymous, memory) = (last(|sample| sample.anonymous) / MB, last(|sample| sample.memory) / MB);
        let memory = format!("; {anonymous:.1} MB at the end, {memory:.1} MB with files");
        let disk = format!("; {:.1} MB at the end", last(|sample| sample.disk) / MB);
        let journal = self.samples.iter().map(|sample| sample.journal).fold(0.0, f64::max);
        vec![
            self.length(&settled),
            BoundedFigure::bytes(
                "growth of anonymous memory",
                MEMORY_BYTES,
                growth(|sample| sample.anonymous),
                &memory,
            ),
            handles("growth of open descriptors", |sample| sample.descriptors),
            handles("growth of threads", |sample| sample.threads),
            BoundedFigure::bytes(
                "the journal's events at their largest",
                JOURNAL_BYTES + JOURNAL_MARGIN_BYTES,
                journal,
                "",
            ),
            BoundedFigure::bytes(
                "growth of the data folder beside it",
                DISK_BYTES,
                growth(|sample| sample.disk),
                &disk,
            ),
            self.log(&settled),
            self.health(),
            self.recovery(),
            self.delivery(),
        ]
    }

    fn length(&self, settled: &[&Sample]) -> BoundedFigure {
        let minutes = self.duration.as_secs_f64() / 60.0;
        let measured = format!(
            "{minutes:.0} min, {} troubles, {} starts; growth over {} samples",
            self.troubles,
            self.starts,
            settled.len()
        );
        BoundedFigure::new("the run", "samples of the last start".into(), measured, settled.len() >= 10)
    }

    fn log(&self, settled: &[&Sample]) -> BoundedFigure {
        let ends = settled.first().zip(settled.last()).filter(|(first, last)| last.at_s > first.at_s);
        let rate = |value: fn(&Sample) -> f64| {
            ends.map_or(0.0, |(first, last)| (value(last) - value(first)) / (last.at_s - first.at_s))
        };
        let (lines, bytes) = (rate(|sample| sample.log_lines), rate(|sample| sample.log_bytes));
        let measured = format!("{lines:.1} lines/s, {:.2} kB/s", bytes / 1e3);
        BoundedFigure::new("log", format!("≤ {LOG_LINES_PER_S} lines/s"), measured, lines <= LOG_LINES_PER_S)
    }

    fn health(&self) -> BoundedFigure {
        let answered = || self.samples.iter().filter_map(|sample| sample.health_ms);
        let missing = self.samples.iter().filter(|sample| sample.health_ms.is_none()).count();
        let share = |share: f64| percentile(answered(), share);
        let (median, p99, longest) = (share(0.5), share(0.99), share(1.0));
        let measured = format!("{median:.1}, {p99:.1}, {longest:.1} ms; {missing} unanswered");
        let is_good = p99 <= HEALTH_P99_MS && missing == 0;
        let bound = format!("99 % ≤ {HEALTH_P99_MS} ms, none unanswered");
        BoundedFigure::new("/health: median, 99 %, longest", bound, measured, is_good)
    }

    fn recovery(&self) -> BoundedFigure {
        let share = |share: f64| percentile(self.recoveries.iter().copied(), share);
        let largest = self.samples.iter().map(|sample| sample.lag).filter(|lag| lag.is_finite()).fold(0.0, f64::max);
        let count = self.recoveries.len();
        let measured = format!("{:.1}, {:.1} s; {count} times; up to {largest} events", share(0.5), share(1.0));
        let limit = RECOVERED_WITHIN.as_secs();
        // One that takes longer is a violation.
        let is_good = !self.violations.iter().any(|violation| violation.contains("lags"));
        BoundedFigure::new("caught up after a trouble: median, longest", format!("≤ {limit} s"), measured, is_good)
    }

    fn delivery(&self) -> BoundedFigure {
        let measured = format!(
            "{} events ({} compared with the journal, {} redeliveries), {} readings ({} lost to kills)",
            self.events, self.compared, self.event_redeliveries, self.readings, self.readings_lost_to_kills
        );
        let is_good = self.violations.is_empty() && self.events > 0 && self.readings > 0;
        BoundedFigure::new("delivered at least once, in order", "all".into(), measured, is_good)
    }
}
