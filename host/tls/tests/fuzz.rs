//! The function of the certificates' fuzz target with damaged files: a bounded run of what `scripts/fuzz` does without end.
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
fn the_seeds_are_certificates_and_keys() {
    let usable: Vec<_> = inputs::files().iter().map(|seed| bodies::usable(seed)).collect();
    assert_eq!(usable[..4], [(true, true); 4]);
    assert_eq!(usable[4..8], [(true, false), (true, false), (false, false), (true, false)]);
}

#[test]
fn any_file_is_usable_or_has_a_reason() {
    mutations::run(&inputs::files(), &inputs::WORDS, bodies::certificates);
}
