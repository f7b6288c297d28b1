//! The figures of the program: start, memory, processor time. The two programs run in turns, never at the same time.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::formatting;
use crate::process::Memory;
use crate::program::{Program, Run};
use crate::table::ComparedFigure;
use crate::test_bed::TestBed;

/// Starts of each program; odd, so that the median is one of them.
const STARTS: usize = 11;
/// The default polling period.
const SLOW: Duration = Duration::from_secs(5);
/// The polling period for 1,000 readings a second.
const FAST: Duration = Duration::from_millis(1);
/// Half a slow period: a slow window begins and ends between two readings, so that it contains complete ones.
const BETWEEN_READINGS: Duration = Duration::from_millis(2500);
/// Time between a start and a fast window, which must not include the start.
const WARM_UP: Duration = Duration::from_secs(1);
/// Time between the end of a program and the next start, in which the broker closes the session.
const REST: Duration = Duration::from_millis(200);

/// Repetitions and durations of the measurements.
pub(crate) struct ProgramParameters {
    /// Time from the first reading to the measurement of memory; a multiple of [`SLOW`], and longer than the gateway keeps the
    /// code of its start.
    memory_after: Duration,
    slow_window: Duration,
    /// Odd, so that the median is one of them.
    fast_windows: usize,
    fast_window: Duration,
}

/// A value for each program.
struct PerProgram<T> {
    gateway: T,
    native: T,
}

/// Processor time and readings of a window.
#[derive(Clone, Copy)]
struct WindowCost {
    processor_time: Duration,
    readings: u32,
    window: Duration,
}

impl ProgramParameters {
    /// For the published figures.
    pub(crate) const FULL: Self = Self {
        memory_after: Duration::from_secs(30),
        slow_window: Duration::from_secs(60),
        fast_windows: 5,
        fast_window: Duration::from_secs(4),
    };
    /// For `--quick`.
    pub(crate) const QUICK: Self = Self {
        memory_after: Duration::from_secs(15),
        slow_window: Duration::from_secs(20),
        fast_windows: 1,
        fast_window: Duration::from_secs(5),
    };
}

/// Measures all figures, with progress on standard error.
pub(crate) fn measure(
    gateway: &Program,
    native: &Program,
    test_bed: &TestBed,
    parameters: &ProgramParameters,
) -> anyhow::Result<Vec<ComparedFigure>> {
    let programs = PerProgram { gateway, native };
    eprintln!("first start, which compiles the plugin");
    let first = first_start(gateway, test_bed)?;
    eprintln!("{STARTS} starts of each");
    let starts = programs.starts(test_bed)?;
    eprintln!("a reading every {SLOW:?}, {:?} of each", parameters.memory_after + parameters.slow_window);
    let slow = programs.try_map(|program| slow(program, test_bed, parameters))?;
    eprintln!("a reading every {FAST:?}, {} windows of {:?} of each", parameters.fast_windows, parameters.fast_window);
    let fast = programs.fast(test_bed, parameters)?;
    eprintln!("the same of the gateway with LOG_LEVEL=TRACE");
    let traced = traced(gateway, test_bed, parameters)?;
    Ok(rows(first, &starts, &slow, &fast, traced))
}

/// Processor time while every reading logs its frames and packets, most of which the log's limits suppress.
fn traced(gateway: &Program, test_bed: &TestBed, parameters: &ProgramParameters) -> anyhow::Result<WindowCost> {
    let run = gateway.start_at_trace(test_bed, FAST)?;
    sleep(WARM_UP);
    cost(&run, test_bed, parameters.fast_window)
}

fn first_start(gateway: &Program, test_bed: &TestBed) -> anyhow::Result<Duration> {
    let run = gateway.start(test_bed, SLOW)?;
    let cache = test_bed.folder().join("cache");
    let files = std::fs::read_dir(&cache).context("failed to find the gateway's cache")?.count();
    ensure!(files > 0, "the gateway's cache is empty, so later starts would compile the plugin again");
    Ok(run.start_time)
}

impl PerProgram<&Program> {
    fn try_map<T>(&self, mut take: impl FnMut(&Program) -> anyhow::Result<T>) -> anyhow::Result<PerProgram<T>> {
        let gateway = take(self.gateway)?;
        sleep(REST);
        let native = take(self.native)?;
        sleep(REST);
        Ok(PerProgram { gateway, native })
    }

    /// Measures the programs in turns.
    fn turns<T>(
        &self,
        turns: usize,
        take: impl Fn(&Program) -> anyhow::Result<T>,
    ) -> anyhow::Result<PerProgram<Vec<T>>> {
        let mut all = PerProgram { gateway: Vec::new(), native: Vec::new() };
        for _ in 0..turns {
            let turn = self.try_map(&take)?;
            all.gateway.push(turn.gateway);
            all.native.push(turn.native);
        }
        Ok(all)
    }

    fn starts(&self, test_bed: &TestBed) -> anyhow::Result<PerProgram<Vec<Duration>>> {
        self.turns(STARTS, |program| Ok(program.start(test_bed, SLOW)?.start_time))
    }

    fn fast(&self, test_bed: &TestBed, parameters: &ProgramParameters) -> anyhow::Result<PerProgram<Vec<WindowCost>>> {
        self.turns(parameters.fast_windows, |program| {
            let run = program.start(test_bed, FAST)?;
            sleep(WARM_UP);
            cost(&run, test_bed, parameters.fast_window)
        })
    }
}

/// Memory and processor time at the default period, from one process.
fn slow(program: &Program, test_bed: &TestBed, parameters: &ProgramParameters) -> anyhow::Result<(Memory, WindowCost)> {
    let run = program.start(test_bed, SLOW)?;
    let measured_at = run.first + parameters.memory_after + BETWEEN_READINGS;
    sleep(measured_at.saturating_duration_since(Instant::now()));
    let memory = run.process.memory()?;
    Ok((memory, cost(&run, test_bed, parameters.slow_window)?))
}

fn cost(run: &Run, test_bed: &TestBed, window: Duration) -> anyhow::Result<WindowCost> {
    let begin = Instant::now();
    let before = run.process.processor_time()?;
    sleep(window);
    let processor_time = run.process.processor_time()?.since(&before);
    let end = Instant::now();
    let readings = test_bed.subscriber.count(&run.site, &(begin..end));
    ensure!(readings > 0, "no telemetry arrived in a window of {window:?}:\n{}", run.process.log_tail());
    Ok(WindowCost { processor_time, readings, window: end - begin })
}

impl WindowCost {
    fn per_reading(self) -> Duration {
        self.processor_time / self.readings
    }

    fn readings_per_second(self) -> f64 {
        f64::from(self.readings) / self.window.as_secs_f64()
    }
}

fn rows(
    first: Duration,
    starts: &PerProgram<Vec<Duration>>,
    slow: &PerProgram<(Memory, WindowCost)>,
    fast: &PerProgram<Vec<WindowCost>>,
    traced: WindowCost,
) -> Vec<ComparedFigure> {
    let costs = |costs: &[WindowCost]| formatting::range(costs.iter().map(|cost| cost.per_reading()).collect());
    let rates = |costs: &[WindowCost]| {
        let rates: Vec<_> = costs.iter().map(|cost| format!("{:.0}/s", cost.readings_per_second())).collect();
        rates.join(", ")
    };
    let slow_rate = |cost: WindowCost| format!("{} in {:.0} s", cost.readings, cost.window.as_secs_f64());
    let (gateway, native) = (slow.gateway, slow.native);
    vec![
        ComparedFigure {
            figure: format!("start to first telemetry, component cached, median of {STARTS} (lowest to highest)"),
            target: "≤ 0.15 s",
            gateway: formatting::range(starts.gateway.clone()),
            baseline: formatting::range(starts.native.clone()),
            elsewhere: "Python gateway 0.7–2.4 s; by hand in Python 0.17 s; Neuron 1.1 s",
        },
        of_gateway_alone("very first start, compiles the plugin", first),
        ComparedFigure {
            figure: "resident memory (anonymous part)".into(),
            target: "≤ 15 MB",
            gateway: formatting::memory(gateway.0),
            baseline: formatting::memory(native.0),
            elsewhere: "Python gateway 85 MB; by hand in Python 27 MB; Neuron 15.5 MB",
        },
        ComparedFigure {
            figure: "processor time per reading, one every 5 s, journal on disk".into(),
            target: "≤ 1 ms",
            gateway: formatting::time(gateway.1.per_reading()),
            baseline: formatting::time(native.1.per_reading()),
            elsewhere: "Python gateway 15 ms (5.5 ms at one a second)",
        },
        ComparedFigure {
            figure: "readings delivered in that window".into(),
            target: "all",
            gateway: slow_rate(gateway.1),
            baseline: slow_rate(native.1),
            elsewhere: "",
        },
        ComparedFigure {
            figure: "processor time per reading, 1,000/s, median (lowest to highest)".into(),
            target: "≤ 0.15 ms",
            gateway: costs(&fast.gateway),
            baseline: costs(&fast.native),
            elsewhere: "",
        },
        of_gateway_alone("the same with LOG_LEVEL=TRACE", traced.per_reading()),
        ComparedFigure {
            figure: "readings delivered per second in these windows".into(),
            target: "1,000/s",
            gateway: rates(&fast.gateway),
            baseline: rates(&fast.native),
            elsewhere: "",
        },
    ]
}

/// A figure that has no target and that the native program does not have.
fn of_gateway_alone(figure: &str, time: Duration) -> ComparedFigure {
    let (figure, gateway) = (figure.to_owned(), formatting::time(time));
    ComparedFigure { figure, target: "", gateway, baseline: String::new(), elsewhere: "" }
}
