//! The effect of a plugin that never returns on the feeds beside it: the latency of their messages without and with it, in
//! turns.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant, UNIX_EPOCH};

use anyhow::ensure;
use serde_json::Value;

use super::{EXAMPLE, component, example_settings, folder, missing, write};
use crate::formatting;
use crate::gateway::{HealthClient, LogReader, POLL_EVERY, has_called};
use crate::process::Process;
use crate::program::Program;
use crate::subscriber::{Subscriber, TimedMessage};
use crate::table::MeasuredFigure;
use crate::test_bed::TestBed;

/// Feeds whose latency is measured.
const HEALTHY: usize = 20;
/// The polling period.
const PERIOD: Duration = Duration::from_millis(20);
/// The topics of these feeds.
const MESSAGES: &str = "spin/+/+/power";
/// The variable that names the folder of test guests; scripts/bench sets it.
const GUESTS: &str = "EDGE_TEST_GUESTS";
/// The component that can loop.
const HOSTILE: &str = "guest-hostile.wasm";
/// The looping feed.
const SPINNER: &str = "spinner";
/// Settings with which it loops.
const SPINS: &str = "component = \"hostile.wasm\"\n[config]\ndo = \"loop\"\ntopic = \"spinner\"\n";
/// The gateway's thread for calls that take long.
const GUESTS_THREAD: &str = "guests";
/// The log line for a feed that is switched off.
const SWITCHED_OFF: &str = "switched off until its file changes";
/// Time limit for the first calls of all feeds.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// Time between a change of the looping feed and a window.
const WARM_UP: Duration = Duration::from_secs(2);
/// The middle of the rows' labels.
const FIGURE: &str = "20 feeds' latency at 50 readings/s";

/// Repetitions and durations of the measurement.
pub(super) struct SpinParameters {
    /// Odd, so that the median is one of them.
    turns: usize,
    window: Duration,
}

/// The latencies of a window.
struct SpinWindow {
    median: Duration,
    percentile_99: Duration,
    messages: usize,
    /// Processor time of the thread for long calls.
    looping_time: Duration,
    switched_off: usize,
}

/// A gateway with these feeds.
struct SpinningGateway<'a> {
    process: &'a Process,
    log: LogReader,
    spinner: PathBuf,
    subscriber: Subscriber,
}

impl SpinParameters {
    /// For the published figures.
    pub(super) const FULL: Self = Self { turns: 5, window: Duration::from_secs(10) };
    /// For `--quick`.
    pub(super) const QUICK: Self = Self { turns: 1, window: Duration::from_secs(10) };
}

pub(super) fn measure(
    gateway: &Program,
    test_bed: &TestBed,
    parameters: &SpinParameters,
) -> anyhow::Result<Vec<MeasuredFigure>> {
    let hostile = std::env::var_os(GUESTS).map(|folder| Path::new(&folder).join(HOSTILE));
    let (Some(Ok(hostile)), Ok(example)) = (hostile.map(fs::read), fs::read(component(EXAMPLE))) else {
        let reason = format!("needs {EXAMPLE} in dist/plugins and {HOSTILE} in the folder that {GUESTS} names");
        return Ok(vec![missing(format!("99th percentile of {FIGURE}"), "≤ 2 ×", reason)]);
    };
    eprintln!(
        "{HEALTHY} feeds, {} windows of {:?} without and with one that loops",
        parameters.turns, parameters.window
    );
    let plugins = folder(test_bed, "spin")?;
    write(&plugins.join("example.wasm"), example)?;
    write(&plugins.join("hostile.wasm"), hostile)?;
    for feed in 1..=HEALTHY {
        let settings = format!("component = \"example.wasm\"\n{}", example_settings(&format!("spin/{feed}")));
        write(&plugins.join(format!("feed-{feed}.toml")), settings)?;
    }
    // A component that a feed's file names is not a feed of its own, even while that feed is disabled.
    let spinner = plugins.join(SPINNER).with_extension("toml");
    write(&spinner, format!("enabled = false\n{SPINS}"))?;
    let subscriber = Subscriber::start_for_timing(test_bed.broker, MESSAGES)?;
    let run = gateway.start_with_plugins(test_bed, PERIOD, &plugins)?;
    HealthClient::of(&run.process)?.wait_for_feeds(HEALTHY + 1, READY_WITHIN, |feed: &Value| has_called(feed, 1))?;
    let log = LogReader::open(&run.process)?;
    let mut feeds = SpinningGateway { process: &run.process, log, spinner, subscriber };
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..parameters.turns {
        without.push(feeds.without(parameters.window)?);
        with.push(feeds.with(parameters.window)?);
    }
    Ok(rows(&without, &with))
}

impl SpinningGateway<'_> {
    fn without(&mut self, window: Duration) -> anyhow::Result<SpinWindow> {
        write(&self.spinner, format!("enabled = false\n{SPINS}"))?;
        sleep(WARM_UP);
        self.window(window, |_| Ok(0))
    }

    fn with(&mut self, window: Duration) -> anyhow::Result<SpinWindow> {
        write(&self.spinner, SPINS)?;
        self.keep_spinning(WARM_UP)?;
        self.window(window, |feeds| feeds.keep_spinning(window))
    }

    fn window(
        &mut self,
        length: Duration,
        during: impl FnOnce(&mut Self) -> anyhow::Result<usize>,
    ) -> anyhow::Result<SpinWindow> {
        self.subscriber.take();
        let (begin, before) = (Instant::now(), self.process.processor_time_of_threads(GUESTS_THREAD)?);
        let switched_off = during(self)?;
        sleep(length.saturating_sub(begin.elapsed()));
        let looping_time = self.process.processor_time_of_threads(GUESTS_THREAD)?.since(&before);
        let arrivals = self.subscriber.take();
        let topics: BTreeSet<_> = arrivals.iter().map(|arrival| arrival.topic.as_str()).collect();
        ensure!(topics.len() == HEALTHY, "only {topics:?} arrived:\n{}", self.process.log_tail());
        let mut ages: Vec<_> = arrivals.iter().filter_map(age).collect();
        ages.sort();
        let at = |share: usize| ages.get(ages.len() * share / 100).copied().unwrap_or_default();
        Ok(SpinWindow { median: at(50), percentile_99: at(99), messages: ages.len(), looping_time, switched_off })
    }

    /// Rewrites the feed's file whenever the feed is switched off, so that it loops again.
    fn keep_spinning(&mut self, length: Duration) -> anyhow::Result<usize> {
        let mut switched_off = 0;
        let begin = Instant::now();
        while begin.elapsed() < length {
            if self.log.new_lines()?.iter().any(|line| line.contains(SWITCHED_OFF)) {
                switched_off += 1;
                write(&self.spinner, SPINS)?;
            }
            sleep(POLL_EVERY.min(length.saturating_sub(begin.elapsed())));
        }
        Ok(switched_off)
    }
}

/// The time from the reading, by its time stamp in the payload, to the arrival of the message.
fn age(arrival: &TimedMessage) -> Option<Duration> {
    let payload: Value = serde_json::from_slice(&arrival.payload).ok()?;
    let read = Duration::try_from_secs_f64(payload.get("ts")?.as_f64()?).ok()?;
    Some(arrival.system_time.duration_since(UNIX_EPOCH).ok()?.saturating_sub(read))
}

fn rows(without: &[SpinWindow], with: &[SpinWindow]) -> Vec<MeasuredFigure> {
    let row = |what: &str, target, of: fn(&SpinWindow) -> Duration| {
        let range = |windows: &[SpinWindow]| formatting::range(windows.iter().map(of).collect());
        let growth = median(with, of).as_secs_f64() / median(without, of).as_secs_f64();
        MeasuredFigure {
            figure: format!("{what} of {FIGURE}: alone; beside one that loops forever"),
            target,
            measured: format!("{}; {}: {growth:.2} ×", range(without), range(with)),
            elsewhere: "",
        }
    };
    let messages = |windows: &[SpinWindow]| windows.iter().map(|window| window.messages).sum::<usize>();
    let looping_time: Duration = with.iter().map(|window| window.looping_time).sum();
    let switched_off: usize = with.iter().map(|window| window.switched_off).sum();
    vec![
        row("median", "", |window| window.median),
        row("99th percentile", "≤ 2 ×", |window| window.percentile_99),
        MeasuredFigure {
            figure: "messages in these windows; processor time of the looping plugin".into(),
            target: "",
            measured: format!(
                "{}; {}, in which it looped for {} and was switched off {switched_off} times",
                messages(without),
                messages(with),
                formatting::time(looping_time)
            ),
            elsewhere: "",
        },
    ]
}

fn median(windows: &[SpinWindow], of: fn(&SpinWindow) -> Duration) -> Duration {
    let mut times: Vec<_> = windows.iter().map(of).collect();
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
