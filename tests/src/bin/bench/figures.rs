//! What is measured, and for how long. The two programs take turns and never run at once.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::process::Memory;
use crate::program::{Program, Run};
use crate::shown;
use crate::surroundings::Surroundings;
use crate::table::Compared;

/// Odd, so that the median is one of them.
const STARTS: usize = 11;
/// The default time between two readings, and the shortest.
const SLOW: Duration = Duration::from_secs(5);
const FAST: Duration = Duration::from_millis(1);
/// A slow window begins and ends between two readings, so that it holds whole ones.
const BETWEEN_READINGS: Duration = Duration::from_millis(2500);
/// After a start and before a fast window, which is to hold nothing of the start.
const WARM_UP: Duration = Duration::from_secs(1);
/// Between the end of a program and the next start, for the broker to get over it.
const REST: Duration = Duration::from_millis(200);

/// How long things are watched.
pub(crate) struct Lengths {
    /// From the first reading until memory is looked at; a multiple of [`SLOW`].
    memory_after: Duration,
    slow_window: Duration,
    /// Odd, so that the median is one of them.
    fast_windows: usize,
    fast_window: Duration,
}

/// Both programs' results of one kind.
struct Pair<T> {
    gateway: T,
    bare: T,
}

/// What a window has shown.
#[derive(Clone, Copy)]
struct Cost {
    spent: Duration,
    readings: u32,
    window: Duration,
}

impl Lengths {
    pub(crate) const FULL: Self = Self {
        memory_after: Duration::from_secs(30),
        slow_window: Duration::from_secs(60),
        fast_windows: 5,
        fast_window: Duration::from_secs(4),
    };
    pub(crate) const QUICK: Self = Self {
        memory_after: Duration::from_secs(5),
        slow_window: Duration::from_secs(20),
        fast_windows: 1,
        fast_window: Duration::from_secs(5),
    };
}

/// Takes all figures, telling on standard error what is going on.
pub(crate) fn measure(
    gateway: &Program,
    bare: &Program,
    surroundings: &Surroundings,
    lengths: &Lengths,
) -> anyhow::Result<Vec<Compared>> {
    let both = Pair { gateway, bare };
    eprintln!("the first start, which compiles the plugin");
    let first = first_start(gateway, surroundings)?;
    eprintln!("{STARTS} starts of each");
    let starts = both.starts(surroundings)?;
    eprintln!("one reading every {SLOW:?}, {:?} each", lengths.memory_after + lengths.slow_window);
    let slow = both.try_map(|program| slow(program, surroundings, lengths))?;
    eprintln!("{} windows of {:?} at a reading every {FAST:?}, of each", lengths.fast_windows, lengths.fast_window);
    let fast = both.fast(surroundings, lengths)?;
    Ok(rows(first, &starts, &slow, &fast))
}

fn first_start(gateway: &Program, surroundings: &Surroundings) -> anyhow::Result<Duration> {
    let run = gateway.start(surroundings, SLOW)?;
    let cache = surroundings.folder().join("cache");
    let kept = std::fs::read_dir(&cache).context("failed to find the gateway's cache")?.count();
    ensure!(kept > 0, "the gateway has left nothing in its cache, so no later start would be a warm one");
    Ok(run.start)
}

impl Pair<&Program> {
    fn try_map<T>(&self, mut take: impl FnMut(&Program) -> anyhow::Result<T>) -> anyhow::Result<Pair<T>> {
        let gateway = take(self.gateway)?;
        sleep(REST);
        let bare = take(self.bare)?;
        sleep(REST);
        Ok(Pair { gateway, bare })
    }

    /// Takes turns, and sorts the results by program.
    fn turns<T>(&self, turns: usize, take: impl Fn(&Program) -> anyhow::Result<T>) -> anyhow::Result<Pair<Vec<T>>> {
        let mut all = Pair { gateway: Vec::new(), bare: Vec::new() };
        for _ in 0..turns {
            let turn = self.try_map(&take)?;
            all.gateway.push(turn.gateway);
            all.bare.push(turn.bare);
        }
        Ok(all)
    }

    fn starts(&self, surroundings: &Surroundings) -> anyhow::Result<Pair<Vec<Duration>>> {
        self.turns(STARTS, |program| Ok(program.start(surroundings, SLOW)?.start))
    }

    fn fast(&self, surroundings: &Surroundings, lengths: &Lengths) -> anyhow::Result<Pair<Vec<Cost>>> {
        self.turns(lengths.fast_windows, |program| {
            let run = program.start(surroundings, FAST)?;
            sleep(WARM_UP);
            cost(&run, surroundings, lengths.fast_window)
        })
    }
}

/// One process gives both the memory and what a reading costs at the default period.
fn slow(program: &Program, surroundings: &Surroundings, lengths: &Lengths) -> anyhow::Result<(Memory, Cost)> {
    let run = program.start(surroundings, SLOW)?;
    let look = run.first + lengths.memory_after + BETWEEN_READINGS;
    sleep(look.saturating_duration_since(Instant::now()));
    let memory = run.process.memory()?;
    Ok((memory, cost(&run, surroundings, lengths.slow_window)?))
}

fn cost(run: &Run, surroundings: &Surroundings, window: Duration) -> anyhow::Result<Cost> {
    let begin = Instant::now();
    let before = run.process.spent()?;
    sleep(window);
    let spent = run.process.spent()?.since(&before);
    let end = Instant::now();
    let readings = surroundings.subscriber.count(&run.site, &(begin..end));
    ensure!(readings > 0, "no telemetry in a window of {window:?}:\n{}", run.process.last_words());
    Ok(Cost { spent, readings, window: end - begin })
}

impl Cost {
    fn per_reading(self) -> Duration {
        self.spent / self.readings
    }

    fn readings_per_second(self) -> f64 {
        f64::from(self.readings) / self.window.as_secs_f64()
    }
}

fn rows(
    first: Duration,
    starts: &Pair<Vec<Duration>>,
    slow: &Pair<(Memory, Cost)>,
    fast: &Pair<Vec<Cost>>,
) -> Vec<Compared> {
    let costs = |costs: &[Cost]| shown::range(costs.iter().map(|cost| cost.per_reading()).collect());
    let rates = |costs: &[Cost]| {
        let rates: Vec<_> = costs.iter().map(|cost| format!("{:.0}/s", cost.readings_per_second())).collect();
        rates.join(", ")
    };
    let slow_rate = |cost: Cost| format!("{} in {:.0} s", cost.readings, cost.window.as_secs_f64());
    let (gateway, bare) = (slow.gateway, slow.bare);
    vec![
        Compared {
            figure: format!("start to first telemetry, median of {STARTS} (lowest to highest)"),
            target: "≤ 0.15 s",
            gateway: shown::range(starts.gateway.clone()),
            bare: shown::range(starts.bare.clone()),
            elsewhere: "Python gateway 0.7–2.4 s; by hand in Python 0.17 s; Neuron 1.1 s",
        },
        Compared {
            figure: "the very first start, which compiles the plugin".into(),
            target: "",
            gateway: shown::time(first),
            bare: String::new(),
            elsewhere: "",
        },
        Compared {
            figure: "resident memory (of it not from files)".into(),
            target: "≤ 25 MB",
            gateway: shown::memory(gateway.0),
            bare: shown::memory(bare.0),
            elsewhere: "Python gateway 85 MB; by hand in Python 27 MB; Neuron 15.5 MB",
        },
        Compared {
            figure: "processor time per reading, one every 5 s".into(),
            target: "≤ 1 ms",
            gateway: shown::time(gateway.1.per_reading()),
            bare: shown::time(bare.1.per_reading()),
            elsewhere: "Python gateway 15 ms (5.5 ms at one a second)",
        },
        Compared {
            figure: "readings delivered in that time".into(),
            target: "all",
            gateway: slow_rate(gateway.1),
            bare: slow_rate(bare.1),
            elsewhere: "",
        },
        Compared {
            figure: "processor time per reading, 1,000 a second, median (lowest to highest)".into(),
            target: "≤ 0.15 ms",
            gateway: costs(&fast.gateway),
            bare: costs(&fast.bare),
            elsewhere: "",
        },
        Compared {
            figure: "readings delivered per second in that time".into(),
            target: "1,000/s",
            gateway: rates(&fast.gateway),
            bare: rates(&fast.bare),
            elsewhere: "",
        },
    ]
}
