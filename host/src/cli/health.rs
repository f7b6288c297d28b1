//! `bessai-edge health`: the report of the gateway on this machine.

use crate::health::Answer;
use crate::{app, config, health};

use super::configuration::process_environment;
use super::error::CommandError;
use super::output::print_line;

/// Prints `/health` of the gateway that listens where this environment says; fails if the gateway does not answer or its main
/// loop does not respond.
pub(super) fn run() -> Result<(), CommandError> {
    // Only the address is read: a gateway may still run although its configuration has become invalid.
    let address = health::reachable(config::health_address(&process_environment()));
    match app::runtime()?.block_on(health::ask(address)).map_err(CommandError::Failed)? {
        Answer::Report(report) => Ok(print_line(report)?),
        Answer::Stuck(report) => {
            print_line(report)?;
            Err(CommandError::failed(
                "the gateway is stuck: its main loop does not respond; the report is the last one",
            ))
        }
    }
}
