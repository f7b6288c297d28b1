//! `bessai-edge plugin`: the bench of a plugin's author. Needs no broker, no device and no configuration.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bessai_domain::record;
use clap::Subcommand;

use super::{CONFIGURATION, FAILED, outside, tell};
use crate::app::BESSAI_JSON;
use crate::config::{self, FeedLimits, Rights};
use crate::testing::{self, Case, Runner, Surroundings};
use crate::{plugin, scaffold};

/// Where a plugin's cases are looked for when none are named.
const CASES: &str = "cases";

#[derive(Subcommand)]
pub(super) enum Command {
    /// Writes a plugin in Rust that builds without a network, with a test case that passes.
    New {
        /// The folder and package to make.
        name: String,
        /// Where to make it.
        #[arg(long, value_name = "FOLDER", default_value = ".")]
        dir: PathBuf,
    },
    /// Says what a component exports and imports, whether it fits, and what it may do and use up.
    Inspect {
        file: PathBuf,
        /// The feed's settings [default: the .toml of the same name beside it].
        #[arg(long, value_name = "FILE")]
        settings: Option<PathBuf>,
    },
    /// Holds a component against its test cases, under the gateway's own limits.
    Test {
        file: PathBuf,
        /// A case's folder, or a folder of cases [default: cases beside the component, or here].
        cases: Option<PathBuf>,
        /// Writes what comes as what is expected.
        #[arg(long)]
        update: bool,
        /// Writes a report in JUnit's format as well.
        #[arg(long, value_name = "FILE")]
        junit: Option<PathBuf>,
    },
    /// Runs recorded events and prints the messages, one JSON object a line.
    Replay {
        file: PathBuf,
        /// One event a line; the first describes the site.
        #[arg(long, value_name = "FILE")]
        events: PathBuf,
        /// A feed's settings: its [config], [rights] and [limits] count.
        #[arg(long, value_name = "FILE")]
        settings: Option<PathBuf>,
    },
    /// Measures calls, beside the shipped plugin in the sandbox and natively.
    Bench {
        file: PathBuf,
        /// A feed's settings: its [config] and [limits] count.
        #[arg(long, value_name = "FILE")]
        settings: Option<PathBuf>,
    },
}

pub(super) fn run(command: Command) -> ExitCode {
    let done = match command {
        Command::New { name, dir } => new(&name, &dir),
        Command::Inspect { file, settings } => inspect(&file, settings),
        Command::Test { file, cases, update, junit } => test(&file, cases, update, junit.as_deref()),
        Command::Replay { file, events, settings } => replay(&file, &events, settings.as_deref()),
        Command::Bench { file, settings } => bench(&file, settings.as_deref()),
    };
    done.unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::from(FAILED)
    })
}

fn new(name: &str, dir: &Path) -> Result<ExitCode, String> {
    let project = scaffold::new(name, dir)?;
    println!("made {}", project.display());
    println!("  cd {} && ./build.sh && bessai-edge plugin test {name}.wasm", project.display());
    Ok(ExitCode::SUCCESS)
}

fn inspect(file: &Path, settings: Option<PathBuf>) -> Result<ExitCode, String> {
    let contract = plugin::inspect(&read(file)?).map_err(|error| format!("{} {error}", file.display()))?;
    print!("{}: {contract}", file.display());
    let beside = file.with_extension("toml");
    let settings = settings.or_else(|| beside.is_file().then_some(beside));
    let surroundings = match surroundings(settings.as_deref()) {
        Ok(surroundings) => surroundings,
        Err(code) => return Ok(code),
    };
    super::check::show_rights(&surroundings.rights);
    show_limits(&surroundings.limits);
    match contract.check() {
        Ok(kinds) => {
            let kinds: Vec<_> = kinds.into_iter().map(plugin::Kind::name).collect();
            println!("fits this host: {}", kinds.join(", "));
            Ok(ExitCode::SUCCESS)
        }
        Err(reasons) => {
            reasons.iter().for_each(|reason| eprintln!("{} {reason}", file.display()));
            Ok(ExitCode::from(FAILED))
        }
    }
}

fn show_limits(limits: &FeedLimits) {
    let rate = limits.rate_per_s.map_or_else(|| "any number of".to_owned(), |rate| rate.to_string());
    let age = limits.max_age.map_or_else(|| "of any age".to_owned(), |age| format!("not older than {age:?}"));
    println!(
        "  {} MiB of memory, {:?} a call, {rate} messages a second, QoS {} at most, events {age}",
        limits.memory_bytes >> 20,
        limits.call,
        limits.qos.level()
    );
}

fn test(file: &Path, cases: Option<PathBuf>, update: bool, junit: Option<&Path>) -> Result<ExitCode, String> {
    let wasm = read(file)?;
    let folder = cases.unwrap_or_else(|| {
        let beside = file.parent().unwrap_or(Path::new("")).join(CASES);
        if beside.is_dir() { beside } else { CASES.into() }
    });
    let options = testing::Options { update };
    let cases: Vec<Case> = match testing::find(&folder, &options) {
        Ok(cases) => cases,
        Err(mistakes) => {
            tell("test cases", &mistakes);
            return Ok(ExitCode::from(CONFIGURATION));
        }
    };
    let runner = runner(file, &wasm, true)?;
    let summary = testing::run(&cases, &options, &mut |case| runner.run_case(case));
    print!("{}", testing::report::text(&summary));
    if let Some(path) = junit {
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        std::fs::write(path, testing::junit::xml(&name, &summary))
            .map_err(|error| format!("failed to write {}: {error}", path.display()))?;
    }
    Ok(if summary.is_good() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

fn replay(file: &Path, events: &Path, settings: Option<&Path>) -> Result<ExitCode, String> {
    let wasm = read(file)?;
    let text = std::fs::read_to_string(events).map_err(|error| format!("{}: {error}", events.display()))?;
    let events = match record::read_events(&text) {
        Ok(events) => events,
        Err(mistakes) => {
            tell("recording", &mistakes);
            return Ok(ExitCode::from(CONFIGURATION));
        }
    };
    let surroundings = match surroundings(settings) {
        Ok(surroundings) => surroundings,
        Err(code) => return Ok(code),
    };
    let outcome = runner(file, &wasm, false)?.replay(&events, &surroundings);
    print!("{}", testing::messages(&outcome.messages));
    outcome.log.iter().for_each(|line| eprintln!("log: {line}"));
    // The description is not handed over.
    eprintln!("{}", testing::report::replayed(events.len().saturating_sub(1), &outcome));
    match outcome.failure {
        None => Ok(ExitCode::SUCCESS),
        Some(failure) => Err(failure),
    }
}

fn bench(file: &Path, settings: Option<&Path>) -> Result<ExitCode, String> {
    let wasm = read(file)?;
    let surroundings = match surroundings(settings) {
        Ok(surroundings) => surroundings,
        Err(code) => return Ok(code),
    };
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let cache = config::cache_dir(&outside());
    let report = testing::bench::run(&name, &wasm, BESSAI_JSON, cache, &surroundings).map_err(|error| {
        let mend = if settings.is_none() { "; --settings gives it a feed's [config]" } else { "" };
        format!("{error}{mend}")
    })?;
    print!("{}", report.text());
    Ok(ExitCode::SUCCESS)
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))
}

fn runner(file: &Path, wasm: &[u8], count_fuel: bool) -> Result<Runner, String> {
    let runner = Runner::new(wasm, config::cache_dir(&outside()), count_fuel);
    runner.map_err(|error| format!("{} {error}", file.display()))
}

/// As a feed's settings have them, or the defaults; mistakes in them are told.
fn surroundings(settings: Option<&Path>) -> Result<Surroundings, ExitCode> {
    let (config_json, rights, limits) = match settings {
        None => ("{}".to_owned(), Rights::default(), FeedLimits::default()),
        Some(path) => config::read_alone(path).map_err(|mistakes| {
            tell("settings", &mistakes);
            ExitCode::from(CONFIGURATION)
        })?,
    };
    Ok(Surroundings::new(config_json, rights, limits))
}
