//! The models: one call in each engine beside Python's ONNX Runtime in the same run, and the memory of a gateway with all of them.
//!
//! An engine is chosen once per process, so each measurement runs in a process of its own.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bessai_inference::TriedModel;
use serde_json::Value;

use crate::formatting;
use crate::gateway::{HealthClient, POLL_EVERY};
use crate::program::Program;
use crate::table::{Row, Table};
use crate::test_bed::TestBed;
use crate::worker;

/// The first argument of a worker of this benchmark.
pub(crate) const TASK: &str = "inference";
/// Calls of a measurement; odd, so that the median is one of them.
const CALLS: usize = 20_001;
/// Calls before a measurement.
const WARM_UP: usize = 200;
/// A policy of 8-64-64-1.
const POLICY: &str = "host/inference/tests/models/policy.onnx";
/// An isolation forest of 100 trees.
const FOREST: &str = "models/anomaly.onnx";
/// The models of the gateway whose memory is measured.
const SHIPPED: [&str; 2] = ["models/dispatch.onnx", FOREST];
/// Names the native ONNX Runtime.
const NATIVE: &str = "ORT_DYLIB_PATH";
/// Time until the models are loaded.
const LOADED_WITHIN: Duration = Duration::from_secs(30);
/// Longer than the gateway keeps the code of its start.
const MEMORY_AFTER: Duration = Duration::from_secs(15);
/// The polling period of the gateway whose memory is measured.
const PERIOD: Duration = Duration::from_secs(1);

/// A figure of both engines and of Python.
struct InferenceFigure {
    figure: &'static str,
    target: &'static str,
    built_in: String,
    native: String,
    python: String,
}

impl Row<5> for InferenceFigure {
    const HEADINGS: [&'static str; 5] =
        ["figure", "target", "built-in engine", "native ONNX Runtime", "Python's onnxruntime, same run"];

    fn cells(&self) -> [&str; 5] {
        [self.figure, self.target, &self.built_in, &self.native, &self.python]
    }
}

/// Measures all figures, with progress on standard error.
pub(crate) fn measure(gateway: &Program, test_bed: &TestBed) -> anyhow::Result<Table> {
    let native = native_runtime()?;
    let mut rows = vec![
        call("8-64-64-1 policy, one row, median", "≤ 10 µs, not slower than Python", POLICY, &native)?,
        call("isolation forest of 100 trees, one row, median", "≤ 50 µs", FOREST, &native)?,
    ];
    eprintln!("resident memory with {} models, in each engine", SHIPPED.len());
    rows.push(InferenceFigure {
        figure: "resident memory with both models (anonymous part)",
        target: "≤ 35 MB",
        built_in: resident(gateway, test_bed, None)?,
        native: resident(gateway, test_bed, Some(&native))?,
        python: String::new(),
    });
    Ok(Table::of(&rows))
}

fn call(figure: &'static str, target: &'static str, model: &str, native: &Path) -> anyhow::Result<InferenceFigure> {
    eprintln!("{CALLS} calls of {model} in each engine and in Python");
    let measured = |engine: Option<&Path>| -> anyhow::Result<String> {
        let variable = engine.map(|path| (NATIVE, path.as_os_str()));
        let output = worker::run_to_end_with(&[TASK, model], variable)?;
        Ok(format!("{:.1} µs", output.value("median_us")?))
    };
    Ok(InferenceFigure {
        figure,
        target,
        built_in: measured(None)?,
        native: measured(Some(native))?,
        python: format!("{:.1} µs", python(model)?),
    })
}

/// Measures one model in the engine of this process.
pub(crate) fn run(arguments: &[&str]) -> anyhow::Result<()> {
    let [model] = arguments else { anyhow::bail!("the worker of models takes a file") };
    let mut model = TriedModel::load(Path::new(model), None).map_err(anyhow::Error::msg)?;
    let inputs: Vec<_> = model.windows().into_iter().map(|window| vec![0.5; window]).collect();
    let mut call = || model.run(black_box(&inputs)).map_err(anyhow::Error::msg);
    for _ in 0..WARM_UP {
        call()?;
    }
    let mut times = Vec::with_capacity(CALLS);
    for _ in 0..CALLS {
        let start = Instant::now();
        black_box(call()?);
        times.push(start.elapsed());
    }
    times.sort_unstable();
    let median = times.get(CALLS / 2).context("there were no calls")?;
    worker::print_value("median_us", median.as_secs_f64() * 1e6);
    Ok(())
}

/// The folder of the Python packages that scripts/setup installs.
fn packages() -> anyhow::Result<PathBuf> {
    let cache = std::env::var_os("BESSAI_CACHE").context("BESSAI_CACHE is not set: run scripts/bench")?;
    Ok(Path::new(&cache).join("onnx"))
}

fn python(model: &str) -> anyhow::Result<f64> {
    let mut command = Command::new(packages()?.join("bin/python"));
    command.args(["tests/peers/onnx_peer.py", "time", &CALLS.to_string(), model]);
    let output = command.output().context("failed to run Python's onnxruntime: run scripts/setup")?;
    ensure!(output.status.success(), "Python failed: {}", String::from_utf8_lossy(&output.stderr));
    let printed: Value = serde_json::from_slice(&output.stdout)?;
    printed.get("median_us").and_then(Value::as_f64).context("Python printed no median")
}

/// The library of the Python package.
fn native_runtime() -> anyhow::Result<PathBuf> {
    let libraries = packages()?.join("lib");
    let entries =
        std::fs::read_dir(&libraries).with_context(|| format!("{}: run scripts/setup", libraries.display()))?;
    for python in entries {
        let folder = python?.path().join("site-packages/onnxruntime/capi");
        for file in std::fs::read_dir(&folder).into_iter().flatten() {
            let path = file?.path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libonnxruntime.so.")) {
                return Ok(path);
            }
        }
    }
    anyhow::bail!("the package onnxruntime is missing in {}: run scripts/setup", libraries.display())
}

/// The resident memory of a gateway that runs all shipped models.
fn resident(gateway: &Program, test_bed: &TestBed, native: Option<&Path>) -> anyhow::Result<String> {
    let mut settings = String::new();
    for (index, model) in SHIPPED.into_iter().enumerate() {
        let path = Path::new(model).canonicalize().with_context(|| format!("failed to find {model}"))?;
        settings += &format!("[[model]]\nname = \"model-{index}\"\nfile = \"{}\"\n", path.display());
    }
    let file = test_bed.folder().join("models.toml");
    std::fs::write(&file, settings).context("failed to write the settings")?;
    let run = gateway.start_with(test_bed, PERIOD, |command| {
        command.arg("--config").arg(&file);
        if let Some(native) = native {
            command.env(NATIVE, native);
        }
    })?;
    let health = HealthClient::of(&run.process)?;
    let deadline = Instant::now() + LOADED_WITHIN;
    while !all_answer(&health.get()?) {
        ensure!(Instant::now() < deadline, "not every model runs:\n{}", run.process.log_tail());
        sleep(POLL_EVERY);
    }
    sleep(MEMORY_AFTER);
    Ok(formatting::memory(run.process.memory()?))
}

/// Whether every model has answered a reading.
fn all_answer(health: &Value) -> bool {
    let models = health.pointer("/models").and_then(Value::as_object);
    let answers = |model: &Value| model.pointer("/answers").and_then(Value::as_u64) > Some(0);
    models.is_some_and(|models| models.len() == SHIPPED.len() && models.values().all(answers))
}
