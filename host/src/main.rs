//! bessai-edge: the gateway between a battery plant and everyone who wants its data.
//!
//! A sample's path: `bessai_modbus` reads registers into a frame, [`pipeline`] judges it and appends it to
//! `bessai_journal`, each `bessai_feed` runs it through its plugin (`bessai_plugin_runtime`) and hands the messages to
//! `bessai_mqtt`. These crates do not know each other; [`app`] connects them.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::float_cmp,
        clippy::panic,
        clippy::expect_used,
        clippy::disallowed_methods
    )
)]

mod cli;
mod clock;
mod config;

mod app;

mod quarantine;
mod watch;

mod demo;
mod health;
mod local_protocol;
mod logging;
mod memory;
mod scaffold;
mod service_manager;
mod testing;
mod watchdog;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
