//! `bessai-edge plugin`: creates, inspects, tests and measures plugins. Needs no broker, no device and no configuration.

#![allow(clippy::disallowed_methods, reason = "these commands read and write files without the gateway's runtime")]

use std::path::{Path, PathBuf};

use bessai_domain::record;
use bessai_plugin_runtime::{self as runtime, PluginInterface};
use clap::Subcommand;
use clap::builder::PossibleValuesParser;

use crate::app::BESSAI_JSON;
use crate::config::{self, FeedLimits, StandaloneSettings};
use crate::quarantine;
use crate::scaffold::{self, Language, Origin};
use crate::testing::bench::BenchStep;
use crate::testing::{self, PluginRunner, RunSettings, TestOptions};

use super::check::print_rights;
use super::configuration::process_environment;
use super::error::CommandError;
use super::output::{OutputError, print, print_error, print_line};
use super::progress::Progress;

mod watch;

/// Folder of test cases, beside the component or in the working directory, if the command line names none.
const CASES: &str = "cases";

#[derive(Subcommand)]
pub(super) enum PluginCommand {
    /// Create a plugin project with a passing test case.
    ///
    /// A project in Rust contains everything it needs and builds without network access. In another language the first build
    /// downloads the tools, pinned by their digests: from npm for JavaScript and TypeScript, from PyPI for Python.
    #[command(after_help = "\
Examples:
  bessai-edge plugin new acme
  bessai-edge plugin new acme --language python
  bessai-edge plugin new acme --from template
  bessai-edge plugin new acme --dir ~/plugins")]
    New {
        /// Name of the project folder and of the package.
        name: String,
        /// Language of the plugin.
        #[arg(long, value_enum, default_value = "rust")]
        language: Language,
        /// Shipped plugin whose source the project begins with.
        #[arg(long, value_name = "PLUGIN", conflicts_with = "language", value_parser = PossibleValuesParser::new(scaffold::SHIPPED))]
        from: Option<String>,
        /// Folder in which the project folder is created.
        #[arg(long, value_name = "FOLDER", default_value = ".")]
        dir: PathBuf,
    },
    /// Print what a component exports and imports, its rights and limits, and whether this gateway can run it.
    #[command(after_help = "\
Examples:
  bessai-edge plugin inspect acme.wasm
  bessai-edge plugin inspect acme.wasm --settings plugins/acme.toml")]
    Inspect {
        /// Component to inspect.
        file: PathBuf,
        /// Feed file with rights and limits [default: the .toml file of the same name beside the component, if present]
        #[arg(long, value_name = "FILE")]
        settings: Option<PathBuf>,
    },
    /// Run test cases in the gateway's sandbox, with a feed's rights and limits, and compare the messages.
    #[command(after_help = "\
Examples:
  bessai-edge plugin test acme.wasm
  bessai-edge plugin test acme.wasm cases/first --update
  bessai-edge plugin test acme.wasm --junit report.xml")]
    Test {
        /// Component to test.
        file: PathBuf,
        /// Folder of one test case or of several [default: the folder cases beside the component, else here]
        cases: Option<PathBuf>,
        /// Replace the expected messages of a case by the actual ones if they differ.
        #[arg(long)]
        update: bool,
        /// Show the plugin's log of passed cases, too.
        #[arg(long)]
        show_log: bool,
        /// Also write a report in JUnit format.
        #[arg(long, value_name = "FILE")]
        junit: Option<PathBuf>,
    },
    /// Run recorded events through a component and print the messages, one JSON object per line.
    #[command(after_help = "\
Examples:
  bessai-edge plugin replay acme.wasm --events events.jsonl
  bessai-edge plugin replay acme.wasm --events events.jsonl --settings plugins/acme.toml")]
    Replay {
        /// Component to run.
        file: PathBuf,
        /// Recording with one event per line; the first event is the site description.
        #[arg(long, value_name = "FILE")]
        events: PathBuf,
        /// What happens in the session beside the events: logins and messages from the broker, one per line.
        #[arg(long, value_name = "FILE")]
        session: Option<PathBuf>,
        /// Feed file with [config], [rights] and [limits].
        #[arg(long, value_name = "FILE")]
        settings: Option<PathBuf>,
    },
    /// Build, test and run a plugin after every change of its sources, beside the version before, until Ctrl-C.
    #[command(after_help = "\
Examples:
  bessai-edge plugin watch acme
  bessai-edge plugin watch acme --events events.jsonl
  bessai-edge plugin watch acme --journal /var/lib/bessai/journal")]
    Watch(watch::WatchArguments),
    /// Measure the time of a call, compared with the built-in plugin in the sandbox and as native code.
    #[command(after_help = "\
Examples:
  bessai-edge plugin bench acme.wasm
  bessai-edge plugin bench acme.wasm --settings plugins/acme.toml
  bessai-edge plugin bench acme.wasm --events events.jsonl")]
    Bench {
        /// Component to measure.
        file: PathBuf,
        /// Recorded events to measure with, instead of frames of different sizes; the first event is the site description.
        #[arg(long, value_name = "FILE")]
        events: Option<PathBuf>,
        /// Feed file with [config] and [limits].
        #[arg(long, value_name = "FILE")]
        settings: Option<PathBuf>,
    },
}

/// Runs a command.
pub(super) fn run(command: PluginCommand) -> Result<(), CommandError> {
    match command {
        PluginCommand::New { name, language, from, dir } => {
            let origin = from.as_deref().map_or(Origin::Example(language), Origin::Shipped);
            create(&name, origin, &dir)
        }
        PluginCommand::Inspect { file, settings } => inspect(&file, settings),
        PluginCommand::Test { file, cases, update, show_log, junit } => {
            test(&file, cases, TestOptions { update }, show_log, junit.as_deref())
        }
        PluginCommand::Replay { file, events, session, settings } => {
            replay(&file, &events, session.as_deref(), settings.as_deref())
        }
        PluginCommand::Watch(arguments) => watch::run(&arguments),
        PluginCommand::Bench { file, events, settings } => bench(&file, events.as_deref(), settings.as_deref()),
    }
}

fn create(name: &str, origin: Origin<'_>, dir: &Path) -> Result<(), CommandError> {
    let project = scaffold::create(name, origin, dir).map_err(CommandError::Failed)?;
    let project = project.display();
    print_line(format_args!("created {project}"))?;
    if let Some(download) = origin.download() {
        print_line(format_args!("  the first build downloads {download}"))?;
    }
    Ok(print_line(format_args!("  cd {project} && ./build.sh && bessai-edge plugin test {name}.wasm"))?)
}

fn inspect(file: &Path, settings: Option<PathBuf>) -> Result<(), CommandError> {
    let contract = runtime::inspect(&read_component(file)?);
    let contract = contract.map_err(|error| CommandError::Failed(format!("{} {error}", file.display())))?;
    print(format_args!("{}: {contract}", file.display()))?;
    let beside = file.with_extension("toml");
    let settings = settings.or_else(|| beside.is_file().then_some(beside));
    let settings = run_settings(settings.as_deref())?;
    print_rights(&settings.rights)?;
    print_limits(&settings.limits)?;
    let interfaces = contract.check().map_err(|reasons| {
        let reasons: Vec<_> = reasons.iter().map(|reason| format!("{} {reason}", file.display())).collect();
        CommandError::Failed(reasons.join("\n"))
    })?;
    let interfaces: Vec<_> = interfaces.into_iter().map(PluginInterface::name).collect();
    Ok(print_line(format_args!("fits this host: {}", interfaces.join(", ")))?)
}

fn print_limits(limits: &FeedLimits) -> Result<(), OutputError> {
    let rate = limits.rate_per_s.map_or_else(|| "any number of".to_owned(), |rate| rate.to_string());
    let age = limits.max_age.map_or_else(|| "of any age".to_owned(), |age| format!("not older than {age:?}"));
    print_line(format_args!(
        "  {} MiB of memory, {:?} a call, {rate} messages a second, QoS {} at most, events {age}",
        limits.memory_bytes >> 20,
        limits.call,
        limits.qos.level()
    ))
}

fn test(
    file: &Path,
    cases: Option<PathBuf>,
    options: TestOptions,
    show_log: bool,
    junit: Option<&Path>,
) -> Result<(), CommandError> {
    let wasm = read_component(file)?;
    let folder = cases.unwrap_or_else(|| {
        let beside = file.parent().unwrap_or(Path::new("")).join(CASES);
        if beside.is_dir() { beside } else { CASES.into() }
    });
    let cases = testing::find(&folder, &options).map_err(CommandError::invalid("test cases"))?;
    let runner = runner(file, &wasm, true)?;
    let summary = testing::run(&cases, &options, &mut |case| runner.run_case(case));
    print(testing::report::text(&summary, show_log))?;
    if let Some(path) = junit {
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        std::fs::write(path, testing::junit::xml(&name, &summary))
            .map_err(|error| CommandError::Failed(format!("failed to write {}: {error}", path.display())))?;
    }
    if summary.all_passed() { Ok(()) } else { Err(CommandError::FailureIsPrinted) }
}

fn replay(file: &Path, events: &Path, session: Option<&Path>, settings: Option<&Path>) -> Result<(), CommandError> {
    let wasm = read_component(file)?;
    let text = read_text(events)?;
    let events = record::read_events(&text).map_err(CommandError::invalid("recording"))?;
    let steps = session.map(|path| testing::read_session(&read_text(path)?).map_err(CommandError::invalid("session")));
    let steps = steps.transpose()?.unwrap_or_default();
    let mut settings = run_settings(settings)?;
    if let Some(state) = quarantine::state_before(&text) {
        settings.state = state.iter().map(|(key, value)| (key.to_owned(), value.to_vec())).collect();
    }
    let outcome = runner(file, &wasm, false)?.replay(&events, &steps, &settings);
    print(testing::message_lines(&outcome.messages))?;
    print(testing::session_lines(&outcome.session))?;
    outcome.log.iter().for_each(|line| print_error(format_args!("log: {line}")));
    // The first event is the site description, which is not passed to `process`.
    print_error(testing::report::replayed(events.len().saturating_sub(1), &outcome));
    outcome.failure.map_or(Ok(()), |failure| Err(CommandError::Failed(failure)))
}

fn bench(file: &Path, events: Option<&Path>, settings: Option<&Path>) -> Result<(), CommandError> {
    let wasm = read_component(file)?;
    let events = events.map(|path| record::read_events(&read_text(path)?).map_err(CommandError::invalid("recording")));
    let events = events.transpose()?;
    let run_settings = run_settings(settings)?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let cache = config::cache_dir(&process_environment());
    let progress = Progress::new(file, wasm.len());
    let note = |step| match step {
        BenchStep::Compiling => progress.begin(),
        BenchStep::Measuring => progress.end(),
    };
    let text = match &events {
        None => testing::bench::run(&name, &wasm, BESSAI_JSON, cache, &run_settings, &note).map(|report| report.text()),
        Some(events) => testing::bench::run_events(&name, &wasm, BESSAI_JSON, cache, events, &run_settings, &note),
    };
    let text = text.map_err(|error| {
        let hint = if settings.is_none() { "; use --settings if the plugin needs a [config]" } else { "" };
        CommandError::Failed(format!("{error}{hint}"))
    })?;
    Ok(print(text)?)
}

fn read_component(file: &Path) -> Result<Vec<u8>, CommandError> {
    bessai_files::read(file, runtime::MAX_COMPONENT_BYTES)
        .map_err(|error| CommandError::Failed(format!("failed to read {}: {error}", file.display())))
}

/// Reads a file that may also be a pipe: the command line names it.
fn read(file: &Path) -> Result<Vec<u8>, CommandError> {
    std::fs::read(file).map_err(|error| CommandError::Failed(format!("failed to read {}: {error}", file.display())))
}

fn read_text(file: &Path) -> Result<String, CommandError> {
    String::from_utf8(read(file)?)
        .map_err(|error| CommandError::Failed(format!("{} is not a text file: {error}", file.display())))
}

fn runner(file: &Path, wasm: &[u8], count_fuel: bool) -> Result<PluginRunner, CommandError> {
    let cache = config::cache_dir(&process_environment());
    let progress = Progress::new(file, wasm.len());
    let runner = PluginRunner::new(wasm, cache, count_fuel, &|| progress.begin());
    progress.end();
    runner.map_err(|error| CommandError::Failed(format!("{} {error}", file.display())))
}

/// Settings from a feed file, or the defaults.
fn run_settings(file: Option<&Path>) -> Result<RunSettings, CommandError> {
    let settings = match file {
        None => StandaloneSettings::default(),
        Some(path) => StandaloneSettings::read_file(path).map_err(CommandError::invalid("settings"))?,
    };
    Ok(RunSettings::new(settings.config_json, settings.rights, settings.limits))
}
