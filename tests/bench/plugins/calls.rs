//! The cost of single calls, as `bessai-edge plugin bench` prints it for the shipped plugin.

use anyhow::{Context, ensure};

use super::{component, folder, missing, write};
use crate::program::Program;
use crate::table::MeasuredFigure;
use crate::test_bed::TestBed;

/// The shipped plugin.
const SHIPPED: &str = "bessai-json.wasm";
/// The beginning of the rows' labels.
const FIGURE: &str = "a call of bessai-json";
/// Settings with which the plugin publishes every channel.
const SETTINGS: &str = "[config]\nchannels = \"all\"\n";
/// The beginning of the printed line for calls in the sandbox.
const SANDBOXED: &str = "bessai-json, sandboxed";
/// The beginning of the line for native calls.
const NATIVE: &str = "bessai-json, native";
/// The beginning of the line with their ratios.
const RATIO: &str = "sandboxed / native";
/// The beginning of the line with the time from the cache to the first call.
const LIVE: &str = "live from the cache";

/// The printed columns: heading, end of the row's label, target.
const COLUMNS: [(&str, &str, &str); 3] =
    [("empty", "without events", ""), ("100 ch", "with 100 channels", ""), ("1000 ch", "with 1,000 channels", "")];

pub(super) fn measure(gateway: &Program, test_bed: &TestBed) -> anyhow::Result<Vec<MeasuredFigure>> {
    let Ok(wasm) = component(SHIPPED).canonicalize() else {
        let reason = format!("{} is missing: run scripts/build", component(SHIPPED).display());
        return Ok(vec![missing(FIGURE.into(), "", reason)]);
    };
    eprintln!("calls of the shipped plugin");
    let settings = folder(test_bed, "calls")?.join("all.toml");
    write(&settings, SETTINGS)?;
    let mut command = gateway.command();
    command.args(["plugin", "bench"]).arg(&wasm).arg("--settings").arg(&settings);
    let output = command.output().context("failed to start `bessai-edge plugin bench`")?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`bessai-edge plugin bench` failed: {error}");
    let text = String::from_utf8_lossy(&output.stdout);
    eprint!("{text}");
    Ok(rows(&text))
}

fn rows(text: &str) -> Vec<MeasuredFigure> {
    let line = |begin: &str| text.lines().find(|line| line.starts_with(begin)).unwrap_or_default();
    let headings = cells(text.lines().next().unwrap_or_default());
    let row = |(heading, what, target): (&str, &str, &'static str)| {
        let column = headings.iter().position(|cell| *cell == heading);
        let cell = |begin: &str| column.and_then(|column| cells(line(begin)).get(column).copied()).unwrap_or("?");
        let ratio = ratio(line(RATIO), column);
        let ratio = if ratio.is_empty() { String::new() } else { format!("; {ratio}") };
        MeasuredFigure {
            figure: format!("{FIGURE} {what}: sandboxed; native; ratio"),
            target,
            measured: format!("{}; {}{ratio}", cell(SANDBOXED), cell(NATIVE)),
            elsewhere: "",
        }
    };
    let mut rows: Vec<_> = COLUMNS.into_iter().map(row).collect();
    rows.push(MeasuredFigure {
        figure: "bessai-json from the cache: loaded, configured, first call returned".into(),
        target: "≤ 5 ms",
        measured: line(LIVE).split([' ', ':']).skip(5).take(2).collect::<Vec<_>>().join(" "),
        elsewhere: "",
    });
    rows
}

/// Splits a printed line at two or more spaces.
fn cells(line: &str) -> Vec<&str> {
    line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()
}

/// The ratio of a column; the line has no cell for calls without events.
fn ratio(line: &str, column: Option<usize>) -> String {
    let column = column.filter(|column| *column > 1).map(|column| column - 1);
    column.and_then(|column| cells(line).get(column).copied()).unwrap_or_default().to_owned()
}
