//! What a plugin that never returns costs the feeds beside it: the age of their messages, without it and with it in turns.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant, UNIX_EPOCH};

use anyhow::ensure;
use serde_json::Value;

use super::{EXAMPLE, component, example_settings, folder, missing, write};
use crate::gateway::{Health, LOOK_EVERY, Log, has_called};
use crate::process::Process;
use crate::program::Program;
use crate::shown;
use crate::subscriber::{Arrival, Subscriber};
use crate::surroundings::Surroundings;
use crate::table::Measured;

const HEALTHY: usize = 20;
const PERIOD: Duration = Duration::from_millis(20);
const MESSAGES: &str = "spin/+/+/power";
/// Where scripts/test and scripts/bench put guests that are compiled only for tests.
const GUESTS: &str = "EDGE_TEST_GUESTS";
const HOSTILE: &str = "guest-hostile.wasm";
const SPINNER: &str = "spinner";
const SPINS: &str = "component = \"hostile.wasm\"\n[config]\ndo = \"loop\"\ntopic = \"spinner\"\n";
/// The thread of the gateway that guests are moved to when they take long.
const GUESTS_THREAD: &str = "guests";
const SWITCHED_OFF: &str = "switched off until its file changes";
const READY_WITHIN: Duration = Duration::from_secs(30);
/// After the spinner came or went.
const WARM_UP: Duration = Duration::from_secs(2);
const FIGURE: &str = "age of 20 feeds' messages at the subscriber, 50 readings a second";

pub(super) struct Lengths {
    /// Odd, so that the median is one of them.
    turns: usize,
    window: Duration,
}

/// What a window has shown.
struct Window {
    median: Duration,
    high: Duration,
    messages: usize,
    /// Processor time of the guests' thread.
    spun: Duration,
    switched_off: usize,
}

/// The gateway with its feeds.
struct Feeds<'a> {
    process: &'a Process,
    log: Log,
    spinner: PathBuf,
    subscriber: Subscriber,
}

impl Lengths {
    pub(super) const FULL: Self = Self { turns: 5, window: Duration::from_secs(10) };
    pub(super) const QUICK: Self = Self { turns: 1, window: Duration::from_secs(10) };
}

pub(super) fn measure(
    gateway: &Program,
    surroundings: &Surroundings,
    lengths: &Lengths,
) -> anyhow::Result<Vec<Measured>> {
    let hostile = std::env::var_os(GUESTS).map(|folder| Path::new(&folder).join(HOSTILE));
    let (Some(Ok(hostile)), Ok(example)) = (hostile.map(fs::read), fs::read(component(EXAMPLE))) else {
        let reason = format!("needs {EXAMPLE} in dist/plugins and {HOSTILE} in the folder that {GUESTS} names");
        return Ok(vec![missing(FIGURE.into(), "≤ 2 ×", reason)]);
    };
    eprintln!("{HEALTHY} feeds, {} windows of {:?} without and with one that spins", lengths.turns, lengths.window);
    let plugins = folder(surroundings, "spin")?;
    write(&plugins.join("example.wasm"), example)?;
    write(&plugins.join("hostile.wasm"), hostile)?;
    for feed in 1..=HEALTHY {
        let settings = format!("component = \"example.wasm\"\n{}", example_settings(&format!("spin/{feed}")));
        write(&plugins.join(format!("feed-{feed}.toml")), settings)?;
    }
    // Keeps its component from being a feed of its own.
    let spinner = plugins.join(SPINNER).with_extension("toml");
    write(&spinner, format!("enabled = false\n{SPINS}"))?;
    let subscriber = Subscriber::of_times(surroundings.broker, MESSAGES)?;
    let run = gateway.start_with_plugins(surroundings, PERIOD, &plugins)?;
    Health::of(&run.process)?.wait(HEALTHY + 1, READY_WITHIN, |feed: &Value| has_called(feed, 1))?;
    let log = Log::of(&run.process)?;
    let mut feeds = Feeds { process: &run.process, log, spinner, subscriber };
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..lengths.turns {
        without.push(feeds.without(lengths.window)?);
        with.push(feeds.with(lengths.window)?);
    }
    Ok(rows(&without, &with))
}

impl Feeds<'_> {
    fn without(&mut self, window: Duration) -> anyhow::Result<Window> {
        write(&self.spinner, format!("enabled = false\n{SPINS}"))?;
        sleep(WARM_UP);
        self.window(window, |_| Ok(0))
    }

    fn with(&mut self, window: Duration) -> anyhow::Result<Window> {
        write(&self.spinner, SPINS)?;
        self.keep_spinning(WARM_UP)?;
        self.window(window, |feeds| feeds.keep_spinning(window))
    }

    fn window(
        &mut self,
        length: Duration,
        during: impl FnOnce(&mut Self) -> anyhow::Result<usize>,
    ) -> anyhow::Result<Window> {
        self.subscriber.take();
        let (begin, before) = (Instant::now(), self.process.spent_by_thread(GUESTS_THREAD)?);
        let switched_off = during(self)?;
        sleep(length.saturating_sub(begin.elapsed()));
        let spun = self.process.spent_by_thread(GUESTS_THREAD)?.since(&before);
        let arrivals = self.subscriber.take();
        let topics: BTreeSet<_> = arrivals.iter().map(|arrival| arrival.topic.as_str()).collect();
        ensure!(topics.len() == HEALTHY, "only {topics:?} came:\n{}", self.process.last_words());
        let mut ages: Vec<_> = arrivals.iter().filter_map(age).collect();
        ages.sort();
        let at = |share: usize| ages.get(ages.len() * share / 100).copied().unwrap_or_default();
        Ok(Window { median: at(50), high: at(99), messages: ages.len(), spun, switched_off })
    }

    /// A plugin that fails again and again is switched off until its file changes: it is changed at once.
    fn keep_spinning(&mut self, length: Duration) -> anyhow::Result<usize> {
        let mut switched_off = 0;
        let begin = Instant::now();
        while begin.elapsed() < length {
            if self.log.take()?.iter().any(|line| line.contains(SWITCHED_OFF)) {
                switched_off += 1;
                write(&self.spinner, SPINS)?;
            }
            sleep(LOOK_EVERY.min(length.saturating_sub(begin.elapsed())));
        }
        Ok(switched_off)
    }
}

/// From the reading, whose time the payload tells, until the message was here.
fn age(arrival: &Arrival) -> Option<Duration> {
    let payload: Value = serde_json::from_slice(&arrival.payload).ok()?;
    let read = Duration::try_from_secs_f64(payload.get("ts")?.as_f64()?).ok()?;
    Some(arrival.clock.duration_since(UNIX_EPOCH).ok()?.saturating_sub(read))
}

fn rows(without: &[Window], with: &[Window]) -> Vec<Measured> {
    let row = |what: &str, target, of: fn(&Window) -> Duration| {
        let range = |windows: &[Window]| shown::range(windows.iter().map(of).collect());
        let growth = median(with, of).as_secs_f64() / median(without, of).as_secs_f64();
        Measured {
            figure: format!("{FIGURE}, {what}: alone, then beside one that loops for ever"),
            target,
            measured: format!("{}; {}: {growth:.2} ×", range(without), range(with)),
            elsewhere: "",
        }
    };
    let messages = |windows: &[Window]| windows.iter().map(|window| window.messages).sum::<usize>();
    let spun: Duration = with.iter().map(|window| window.spun).sum();
    let switched_off: usize = with.iter().map(|window| window.switched_off).sum();
    vec![
        row("median", "", |window| window.median),
        row("99th percentile", "≤ 2 ×", |window| window.high),
        Measured {
            figure: "messages in that time; processor time of the looping one".into(),
            target: "",
            measured: format!(
                "{}; {}, in which it spun {} and was switched off {switched_off} times",
                messages(without),
                messages(with),
                shown::time(spun)
            ),
            elsewhere: "",
        },
    ]
}

fn median(windows: &[Window], of: fn(&Window) -> Duration) -> Duration {
    let mut times: Vec<_> = windows.iter().map(of).collect();
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
