//! What `bessai-edge plugin bench` says of the shipped plugin, line by line.

use anyhow::{Context, ensure};

use super::{component, folder, missing, write};
use crate::program::Program;
use crate::surroundings::Surroundings;
use crate::table::Measured;

const SHIPPED: &str = "bessai-json.wasm";
const FIGURE: &str = "a call of bessai-json";
const SETTINGS: &str = "[config]\nchannels = \"all\"\n";
/// How its lines begin.
const SANDBOXED: &str = "bessai-json, sandboxed";
const NATIVE: &str = "bessai-json, native";
const RATIO: &str = "sandboxed / native";
const LIVE: &str = "live from the cache";

/// The figures' columns, by their headings, and what is wanted of them.
const COLUMNS: [(&str, &str, &str); 3] = [
    ("empty", "without events", ""),
    ("100 ch", "with a frame of 100 channels", ""),
    ("1000 ch", "with a frame of 1,000 channels", ""),
];

pub(super) fn measure(gateway: &Program, surroundings: &Surroundings) -> anyhow::Result<Vec<Measured>> {
    let Ok(wasm) = component(SHIPPED).canonicalize() else {
        let reason = format!("{} is not there: scripts/build", component(SHIPPED).display());
        return Ok(vec![missing(FIGURE.into(), "", reason)]);
    };
    eprintln!("calls of the shipped plugin");
    let settings = folder(surroundings, "calls")?.join("all.toml");
    write(&settings, SETTINGS)?;
    let mut command = gateway.command();
    command.args(["plugin", "bench"]).arg(&wasm).arg("--settings").arg(&settings);
    let output = command.output().context("failed to start `bessai-edge plugin bench`")?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`bessai-edge plugin bench` failed: {complaint}");
    let text = String::from_utf8_lossy(&output.stdout);
    eprint!("{text}");
    Ok(rows(&text))
}

fn rows(text: &str) -> Vec<Measured> {
    let line = |begin: &str| text.lines().find(|line| line.starts_with(begin)).unwrap_or_default();
    let headings = cells(text.lines().next().unwrap_or_default());
    let row = |(heading, what, target): (&str, &str, &'static str)| {
        let column = headings.iter().position(|cell| *cell == heading);
        let cell = |begin: &str| column.and_then(|column| cells(line(begin)).get(column).copied()).unwrap_or("?");
        let ratio = ratio(line(RATIO), column);
        let ratio = if ratio.is_empty() { String::new() } else { format!("; {ratio}") };
        Measured {
            figure: format!("{FIGURE} {what}: sandboxed; native; ratio"),
            target,
            measured: format!("{}; {}{ratio}", cell(SANDBOXED), cell(NATIVE)),
            elsewhere: "",
        }
    };
    let mut rows: Vec<_> = COLUMNS.into_iter().map(row).collect();
    rows.push(Measured {
        figure: "bessai-json from the cache: loaded, configured, first call made".into(),
        target: "≤ 5 ms",
        measured: line(LIVE).split([' ', ':']).skip(5).take(2).collect::<Vec<_>>().join(" "),
        elsewhere: "",
    });
    rows
}

/// Two spaces and more lie between two cells.
fn cells(line: &str) -> Vec<&str> {
    line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()
}

/// That line has no cell for calls without events.
fn ratio(line: &str, column: Option<usize>) -> String {
    let column = column.filter(|column| *column > 1).map(|column| column - 1);
    column.and_then(|column| cells(line).get(column).copied()).unwrap_or_default().to_owned()
}
