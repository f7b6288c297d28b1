//! The command line: the commands, their arguments and their help.

#![deny(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "println! and eprintln! panic on a closed pipe; print through `output`"
)]

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bessai_domain::profile;
use clap::builder::PossibleValuesParser;
use clap::{CommandFactory, Parser, Subcommand};

use crate::{demo, logging};

mod broker;
mod check;
mod compile;
mod completions;
mod configuration;
mod control;
mod device;
mod error;
mod feed;
mod health;
mod journal;
mod man;
mod output;
mod plugin;
mod progress;
mod run;
mod values;

use broker::BrokerCommand;
use completions::CompletionShell;
use configuration::ConfigArgument;
use control::ControlCommand;
use device::DeviceCommand;
use error::CommandError;
use feed::FeedCommand;
use journal::JournalCommand;
use plugin::PluginCommand;

/// Gateway between a battery plant and everyone who wants its data.
#[derive(Parser)]
#[command(
    name = "bessai-edge",
    version,
    after_help = "\
Examples:
  bessai-edge demo
  bessai-edge check
  bessai-edge run"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway until SIGTERM or SIGINT.
    #[command(after_help = "\
Examples:
  bessai-edge run
  bessai-edge run --config /etc/bessai/bessai.toml")]
    Run {
        #[command(flatten)]
        file: ConfigArgument,
    },
    /// Run a simulated battery, a broker and the gateway, and print what is published.
    #[command(after_help = "\
Examples:
  bessai-edge demo
  bessai-edge demo --for 20s --profile victron-multiplus2
  bessai-edge demo --fault silence
  bessai-edge demo --keep demo-site")]
    Demo {
        /// Stop after this time, for example 20s, and print how many messages were published.
        #[arg(long = "for", value_name = "TIME", value_parser = values::duration)]
        duration: Option<Duration>,
        /// Profile of the simulated device.
        #[arg(
            long,
            value_name = "NAME",
            default_value = demo::DEFAULT_PROFILE,
            value_parser = PossibleValuesParser::new(profile::built_in_names())
        )]
        profile: String,
        /// Fault that the device has from time to time, for example silence, slow, exception, garbage or block-limit.
        #[arg(long, value_name = "NAME", value_parser = demo::DeviceFault::named)]
        fault: Option<demo::DeviceFault>,
        /// Keep settings and journal in this folder, for `plugin watch --journal` and `journal export --dir`.
        #[arg(long, value_name = "FOLDER")]
        keep: Option<PathBuf>,
    },
    /// Validate the configuration and what a start needs of this machine, and print what the gateway would do.
    ///
    /// Connects to no device and no broker, and does not disturb a running gateway.
    #[command(after_help = "\
Examples:
  bessai-edge check
  bessai-edge check --config site/bessai.toml")]
    Check {
        #[command(flatten)]
        file: ConfigArgument,
    },
    /// Create, inspect, test and measure plugins; needs no gateway.
    #[command(
        subcommand,
        after_help = "\
Examples:
  bessai-edge plugin new acme
  bessai-edge plugin test acme.wasm"
    )]
    Plugin(PluginCommand),
    /// Read, scan and write a Modbus device directly, for commissioning; needs no gateway.
    #[command(
        subcommand,
        after_help = "\
Examples:
  bessai-edge device scan --address tcp://192.168.1.30:502
  bessai-edge device read --address tcp://192.168.1.20:502 --profile huawei-sun2000"
    )]
    Device(DeviceCommand),
    /// Sign in to a feed's broker for commissioning; needs no gateway.
    #[command(
        subcommand,
        after_help = "\
Examples:
  bessai-edge broker test
  bessai-edge broker test --feed acme"
    )]
    Broker(BrokerCommand),
    /// List and deliver again what a feed has quarantined, also while a gateway runs.
    #[command(
        subcommand,
        after_help = "\
Examples:
  bessai-edge feed quarantine acme
  bessai-edge feed requeue acme"
    )]
    Feed(FeedCommand),
    /// Show, set and release the set-points of the running gateway on this machine.
    #[command(
        subcommand,
        after_help = "\
Examples:
  bessai-edge control status
  bessai-edge control set battery 2.5 --for 10m
  bessai-edge control release battery"
    )]
    Control(ControlCommand),
    /// List and export recorded events, also while a gateway runs.
    #[command(
        subcommand,
        after_help = "\
Examples:
  bessai-edge journal ls
  bessai-edge journal export --last 1h --out events.jsonl"
    )]
    Journal(JournalCommand),
    /// Print the /health report of the gateway on this machine.
    #[command(after_help = "\
Examples:
  bessai-edge health
  HEALTH_PORT=8001 bessai-edge health")]
    Health,
    /// Print a completion script for a shell.
    #[command(after_help = "\
Examples:
  bessai-edge completions bash > ~/.local/share/bash-completion/completions/bessai-edge
  bessai-edge completions zsh > ~/.zfunc/_bessai-edge
  bessai-edge completions fish > ~/.config/fish/completions/bessai-edge.fish")]
    Completions {
        /// Shell that will run the script.
        shell: CompletionShell,
    },
    /// Print the manual page, or write the pages of all commands to a folder.
    #[command(after_help = "\
Examples:
  bessai-edge man | man -l -
  bessai-edge man --out /usr/local/share/man/man1")]
    Man {
        /// Folder for one page per command; created if it does not exist.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
}

/// Runs the command that the process was started with.
pub(crate) fn main() -> ExitCode {
    // The last lines are written when everything else is done.
    let _finish = logging::FinishAtExit;
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let done = if compile::is_requested(&arguments) { compile::run(arguments) } else { parse_and_run(arguments) };
    done.map_or_else(CommandError::report, |()| ExitCode::SUCCESS)
}

fn parse_and_run(arguments: Vec<OsString>) -> Result<(), CommandError> {
    match Arguments::try_parse_from(arguments) {
        Ok(Arguments { command }) => run(command),
        Err(error) if error.use_stderr() => Err(CommandError::Usage(error.render().to_string())),
        // Help and version come as errors, too.
        Err(error) => Ok(output::print(error.render())?),
    }
}

fn run(command: Command) -> Result<(), CommandError> {
    match command {
        Command::Run { file } => run::run(&file),
        Command::Demo { duration, profile, fault, keep } => {
            Ok(demo::run(duration, &profile, fault, keep.as_deref(), |line| Ok(output::print_line(line)?))?)
        }
        Command::Check { file } => check::run(&file),
        Command::Plugin(command) => plugin::run(command),
        Command::Device(command) => device::run(command),
        Command::Broker(command) => broker::run(command),
        Command::Control(command) => control::run(command),
        Command::Feed(command) => feed::run(command),
        Command::Journal(command) => journal::run(command),
        Command::Health => health::run(),
        Command::Completions { shell } => Ok(completions::run(shell, Arguments::command())?),
        Command::Man { out } => man::run(Arguments::command(), out.as_deref()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every command with its full name, such as `bessai-edge device read`.
    fn all_commands() -> Vec<clap::Command> {
        fn add(command: &clap::Command, all: &mut Vec<clap::Command>) {
            all.push(command.clone());
            command.get_subcommands().for_each(|subcommand| add(subcommand, all));
        }
        let mut root = Arguments::command().disable_help_subcommand(true);
        root.build();
        let mut all = Vec::new();
        add(&root, &mut all);
        all
    }

    #[test]
    fn the_definition_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_example_is_a_valid_command_line() {
        let mut checked = 0;
        for command in all_commands() {
            let name = command.get_bin_name().unwrap_or_default().to_owned();
            let help = command.get_after_help().unwrap_or_else(|| panic!("{name} has no examples")).to_string();
            let examples = help.strip_prefix(man::EXAMPLES_HEADING).unwrap_or_else(|| panic!("{name}: {help}"));
            for example in examples.lines().map(str::trim).filter(|line| !line.is_empty()) {
                // Variables are set in front of a command, pipes and redirections follow it.
                let words = example.split(' ').skip_while(|word| word.contains('='));
                let words: Vec<_> = words.take_while(|word| !["|", ">"].contains(word)).collect();
                assert!(words.join(" ").starts_with(&name), "{name}: {example}");
                assert!(Arguments::try_parse_from(&words).is_ok(), "{name}: {example}");
                checked += 1;
            }
        }
        assert!(checked > 25, "only {checked} examples");
    }

    #[test]
    fn every_command_and_argument_has_help() {
        for command in all_commands() {
            let name = command.get_bin_name().unwrap_or_default();
            assert!(command.get_about().is_some(), "{name}");
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{name}: {}", argument.get_id());
            }
        }
    }
}
