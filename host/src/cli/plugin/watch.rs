//! `plugin watch`: builds, tests and runs a plugin after every change of its sources, until it is interrupted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use bessai_domain::event::Event;
use bessai_domain::record;
use bessai_journal::inspect;
use clap::Args;

use super::{CASES, read_component, read_text, run_settings, runner};
use crate::cli::error::CommandError;
use crate::cli::output::{print, print_error, print_line};
use crate::testing::{self, PluginRunner, ReplayedVersion, RunSettings, TestOptions};

/// Pause between two looks at the files: short beside the time of a build.
const PERIOD: Duration = Duration::from_millis(200);
/// The project's build script.
const BUILD: &str = "build.sh";
/// Folders that a build writes to, or that hold tools.
const NOT_SOURCES: [&str; 6] = ["target", "node_modules", "venv", "types", "bindings", "__pycache__"];
/// Levels of folders that are looked into.
const DEPTH: usize = 6;

#[derive(Args)]
pub(in crate::cli) struct WatchArguments {
    /// Folder of the plugin's project, with its build.sh.
    folder: PathBuf,
    /// Recorded events to run after the cases, read anew each time; the first event is the site description.
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,
    /// Journal of a gateway or of `demo --keep`, whose newest events are run after the cases, also while it is written.
    #[arg(long, value_name = "FOLDER", conflicts_with = "events")]
    journal: Option<PathBuf>,
    /// How many of the journal's newest events are run.
    #[arg(long, value_name = "NUMBER", default_value_t = 1000)]
    newest: u64,
    /// Feed file with [config], [rights] and [limits] for these events [default: the .toml file beside the component]
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
}

/// The version that a changed one is compared with.
struct VersionBefore {
    runner: PluginRunner,
    settings: RunSettings,
}

/// Files with their times of change.
type Snapshot = BTreeMap<PathBuf, Option<SystemTime>>;

/// Runs until it is interrupted, or nobody reads its output any more.
pub(super) fn run(arguments: &WatchArguments) -> Result<(), CommandError> {
    let script = arguments.folder.join(BUILD);
    std::fs::metadata(&script).map_err(|error| {
        let hint = "name the folder of a plugin's project";
        CommandError::Failed(format!("failed to read {}: {error}; {hint}", script.display()))
    })?;
    let mut before = None;
    loop {
        let seen = snapshot(&arguments.folder);
        match round(arguments, &mut before) {
            Ok(()) | Err(CommandError::FailureIsPrinted) => {}
            Err(CommandError::OutputClosed) => return Err(CommandError::OutputClosed),
            // Printed; the next change is built all the same.
            Err(error) => drop(error.report()),
        }
        print_line("waiting for a change; Ctrl-C ends")?;
        while snapshot(&arguments.folder) == seen {
            std::thread::sleep(PERIOD);
        }
    }
}

/// Builds, tests and runs the plugin once.
/// The version before runs with the same events, as a journal has new ones each time.
fn round(arguments: &WatchArguments, before: &mut Option<VersionBefore>) -> Result<(), CommandError> {
    let start = Instant::now();
    let component = build(&arguments.folder)?;
    print_line(format_args!("built {} in {:.1} s", component.display(), start.elapsed().as_secs_f64()))?;
    let wasm = read_component(&component)?;
    let runner = runner(&component, &wasm, true)?;
    let options = TestOptions::default();
    let cases = testing::find(&arguments.folder.join(CASES), &options).map_err(CommandError::invalid("test cases"))?;
    let summary = testing::run(&cases, &options, &mut |case| runner.run_case(case));
    print(testing::report::text(&summary, false))?;
    let Some(events) = recorded(arguments)? else { return Ok(()) };
    let beside = component.with_extension("toml");
    let settings = arguments.settings.clone().or_else(|| beside.is_file().then_some(beside));
    let settings = run_settings(settings.as_deref())?;
    let version = run_events(&runner, &events, &settings);
    let earlier = before.as_ref().map(|before| run_events(&before.runner, &events, &before.settings));
    print(testing::comparison::text(&version, earlier.as_ref()))?;
    *before = Some(VersionBefore { runner, settings });
    Ok(())
}

fn run_events(runner: &PluginRunner, events: &[Event], settings: &RunSettings) -> ReplayedVersion {
    let start = Instant::now();
    let outcome = runner.replay(events, &[], settings);
    ReplayedVersion { events: events.len().saturating_sub(1), outcome, took: start.elapsed() }
}

/// Runs the build script, whose output is shown only if it fails; returns the newest component of the folder.
fn build(folder: &Path) -> Result<PathBuf, CommandError> {
    let failed = |reason: String| CommandError::Failed(format!("{BUILD} {reason}"));
    let output = Command::new(format!("./{BUILD}")).current_dir(folder).output();
    let output = output.map_err(|error| failed(format!("cannot be run: {error}")))?;
    if !output.status.success() {
        print_error(String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).trim_end());
        return Err(failed(format!("failed with {}", output.status)));
    }
    let entries = std::fs::read_dir(folder).map_err(|error| failed(format!("cannot be followed: {error}")))?;
    let components = entries.flatten().map(|entry| entry.path()).filter(|path| is_component(path));
    components.max_by_key(|path| modified(path)).ok_or_else(|| failed("made no .wasm file in its folder".into()))
}

fn is_component(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "wasm") && !is_hidden(path)
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'))
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

/// The events to run, if there are some.
fn recorded(arguments: &WatchArguments) -> Result<Option<Vec<Event>>, CommandError> {
    let text = match (&arguments.events, &arguments.journal) {
        (Some(file), _) => read_text(file)?,
        (None, Some(folder)) => newest_events(folder, arguments.newest)?,
        (None, None) => return Ok(None),
    };
    record::read_events(&text).map(Some).map_err(CommandError::invalid("recording"))
}

/// The newest events of a journal, as `journal export` writes them.
fn newest_events(folder: &Path, count: u64) -> Result<String, CommandError> {
    let files = inspect::files(folder).map_err(CommandError::failed)?;
    let last = files.iter().filter_map(|file| file.extent).map(|extent| extent.last.0).max().unwrap_or_default();
    let from = inspect::EventBound::Number(bessai_domain::event::Sequence((last + 1).saturating_sub(count)));
    let mut text = Vec::new();
    inspect::export(folder, Some(from), None, &mut text).map_err(CommandError::failed)?;
    String::from_utf8(text).map_err(CommandError::failed)
}

/// The project's sources, without what a build writes.
fn snapshot(folder: &Path) -> Snapshot {
    let mut files = Snapshot::new();
    collect(folder, DEPTH, &mut files);
    files
}

fn collect(folder: &Path, depth: usize, files: &mut Snapshot) {
    // A folder that is gone has no files.
    for path in std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if is_hidden(&path) || NOT_SOURCES.contains(&name.as_str()) || is_component(&path) {
            continue;
        }
        if path.is_dir() {
            if depth > 0 {
                collect(&path, depth - 1, files);
            }
        } else {
            files.insert(path.clone(), modified(&path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_build_writes_is_no_change() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        };
        write("src/lib.rs");
        let before = snapshot(folder.path());
        assert_eq!(before.len(), 1);
        for written in ["acme.wasm", ".new.wasm", "target/release/acme.d", "node_modules/a/b.js", "types/a.d.ts"] {
            write(written);
        }
        assert_eq!(snapshot(folder.path()), before);
        write("cases/second/events.jsonl");
        assert_ne!(snapshot(folder.path()), before);
    }
}
