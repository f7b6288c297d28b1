//! The function of the models' fuzz target with damaged files: a bounded run of what `scripts/fuzz` does without end.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::expect_used,
    clippy::disallowed_methods
)]

#[path = "fuzz/bodies.rs"]
mod bodies;
#[path = "fuzz/seeds.rs"]
mod inputs;
#[allow(dead_code, reason = "shared by the tests of several crates")]
#[path = "../../../fuzz/mutations.rs"]
mod mutations;

#[test]
fn the_seeds_are_models() {
    assert!(inputs::models().iter().all(|seed| bodies::usable(seed)));
}

#[test]
fn any_file_is_a_model_or_has_a_reason() {
    mutations::run(&inputs::models(), &inputs::WORDS, bodies::model);
}
