//! Simulation of the whole gateway: clock, disk, network, devices, plugins and brokers under one seed, with invariants that an
//! observer checks. A seed always gives the same run.
//!
//! Pipeline, safety, Modbus pollers, feeds and journal are the program's own. Each seed runs in a process of its own, which
//! this program starts with the variables below.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::float_cmp,
    clippy::disallowed_methods
)]

mod batch;
mod broker;
mod clock;
mod devices;
mod disk;
mod disturbance;
mod gateway;
mod link;
mod observer;
mod plugin;
mod random;
mod run;
mod sabotage;
mod scenario;
mod storage;
mod trace;
mod world;

use batch::Seeds;
use sabotage::Sabotage;

/// The seeds to run: a count, or FIRST..END; 100 without it.
const SEEDS: &str = "SIMULATE_SEEDS";
/// The one seed that this process simulates.
const SEED: &str = "SIMULATE_SEED";
/// How the gateway is broken on purpose.
const SABOTAGE: &str = "SIMULATE_SABOTAGE";
/// Set to print every step of that process.
const STEPS: &str = "SIMULATE_STEPS";
/// The seeds of a test run.
const TESTED: u64 = 100;
/// Seeds that are run twice.
const REPEATED: u64 = 4;
/// Seeds with which each sabotage is looked for.
const SABOTAGED: u64 = 24;

/// A process of one seed, and without the variable a test of the first one.
#[test]
fn one_seed() {
    let seed = std::env::var(SEED).map_or(0, |seed| seed.parse().unwrap());
    let sabotage = std::env::var(SABOTAGE).ok().map(|name| Sabotage::named(&name).unwrap());
    let outcome = run::run(seed, sabotage);
    println!("{}{}", batch::RESULT, outcome.json());
    if std::env::var(SEED).is_err() {
        assert_eq!(outcome.violations, []);
    }
}

#[test]
fn all_invariants_hold() {
    let seeds = std::env::var(SEEDS).map_or(Seeds::first(TESTED), |seeds| Seeds::parse(&seeds).unwrap());
    let summary = batch::run(seeds, None);
    println!("{summary}");
    assert!(summary.failures.is_empty(), "{}", summary.failures.join("\n"));
}

#[test]
fn a_seed_repeats_exactly() {
    let digests = || batch::run(Seeds::first(REPEATED), None).digests;
    let first = digests();
    assert_eq!((first.len() as u64, &first), (REPEATED, &digests()));
    let mut different: Vec<_> = first.values().collect();
    different.sort();
    different.dedup();
    assert_eq!(different.len(), first.len(), "each seed gives another run");
}

#[test]
fn each_invariant_notices_a_gateway_that_breaks_it() {
    for (name, _, invariant) in Sabotage::ALL {
        let found = batch::find(Seeds::first(SABOTAGED), name, invariant);
        assert!(found, "no seed of {SABOTAGED} shows that a gateway which {name} violates {invariant:?}");
    }
}
