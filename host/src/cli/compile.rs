//! The internal command with which the plugin runtime starts this program to compile one component.
//!
//! It is recognised before clap parses the command line, so it appears in no help, completion or suggestion.

use std::ffi::OsString;
use std::time::Duration;

use bessai_plugin_runtime::{COMPILE_COMMAND, CompileLimits, CompileRequest, run_compile_command};
use clap::Parser;

use super::error::CommandError;

#[derive(Parser)]
#[command(name = COMPILE_COMMAND)]
struct CompileArguments {
    memory_bytes: u64,
    time_ms: u64,
    #[arg(long)]
    metered: bool,
    #[arg(long)]
    scarce_address_space: bool,
    #[arg(long)]
    concurrent: bool,
    #[arg(long, default_value_t = 1)]
    threads: u64,
}

/// Whether the plugin runtime has started this program; `arguments` begin with the program's own name.
pub(super) fn is_requested(arguments: &[OsString]) -> bool {
    arguments.get(1).is_some_and(|command| command == COMPILE_COMMAND)
}

/// Compiles a component from standard input to standard output.
pub(super) fn run(arguments: Vec<OsString>) -> Result<(), CommandError> {
    let arguments = CompileArguments::try_parse_from(arguments.into_iter().skip(1));
    let arguments = arguments.map_err(|error| CommandError::Usage(error.to_string()))?;
    let limits = CompileLimits { memory_bytes: arguments.memory_bytes, time: Duration::from_millis(arguments.time_ms) };
    let request = CompileRequest {
        limits,
        count_fuel: arguments.metered,
        is_address_space_scarce: arguments.scarce_address_space,
        is_concurrent: arguments.concurrent,
        threads: arguments.threads,
    };
    run_compile_command(request).map_err(CommandError::Failed)
}
