//! The soak test: the real gateway with simulated devices and real brokers, in continuous trouble for as long as wanted.
//!
//! It samples memory, descriptors, threads, disk, log and `/health` every second. At the end it checks that none of them has
//! grown, that the feeds have caught up after each trouble, and that every event has arrived, in order. It fails if a bound is
//! broken.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::float_cmp,
    clippy::disallowed_methods,
    reason = "a test, which has no main loop to block"
)]

use std::process::ExitCode;

/// The integration tests' devices, brokers and subscribers.
#[allow(dead_code, reason = "the integration tests use what is unused here")]
#[path = "../integration"]
mod integration {
    pub mod support;
}

mod delivery;
mod gateway;
mod options;
mod report;
mod run;
mod sampling;
mod site;
#[allow(dead_code, reason = "the benchmark uses what is unused here")]
#[path = "../bench/table.rs"]
mod table;
mod trouble;

use integration::support;
use options::Options;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let options = match Options::read(&arguments) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("soak: {error}");
            return ExitCode::from(64);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let report = runtime.block_on(run::soak(&options));
    if let Some(file) = &options.samples {
        std::fs::write(file, report.samples_as_lines()).unwrap();
    }
    if options.as_markdown {
        eprintln!("{}", report.table().text);
        println!("{}", report.table().markdown);
    } else {
        println!("{}", report.table().text);
    }
    report.violations().iter().for_each(|violation| eprintln!("soak: {violation}"));
    if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
