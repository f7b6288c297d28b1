//! The functions of the journal's fuzz target with damaged files: a bounded run of what `scripts/fuzz` does without end.
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
#[path = "fuzz/files.rs"]
mod files;
#[allow(dead_code, reason = "shared by the tests of several crates")]
#[path = "../../../fuzz/mutations.rs"]
mod mutations;
#[path = "fuzz/seeds.rs"]
mod seeds;

/// Inputs: fewer than of other targets, because each one is synced to its disk several times.
const INPUTS: u32 = 800;

#[test]
fn the_seeds_are_journals() {
    for seed in seeds::journal() {
        let folder = tempfile::tempdir().unwrap();
        files::FolderFiles::of(files::read_sections(&seed)).write(folder.path());
        assert!(bodies::inspected(folder.path()) > 10, "the events of a seed are not found");
    }
}

#[test]
fn any_files_are_a_journal_or_an_error() {
    let words = ["{\"heartbeat\":{}}", "\x03", "\x04", "\u{7f}", "exact   ", "reserved"];
    mutations::run_some(INPUTS, &seeds::journal(), &words, bodies::journal);
}
