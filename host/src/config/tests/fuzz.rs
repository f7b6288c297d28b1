//! The function of the settings' fuzz target with damaged files: a bounded run of what `scripts/fuzz` does without end.

mod bodies;
#[allow(dead_code, unreachable_pub, reason = "shared by the tests of several crates")]
#[path = "../../../../fuzz/mutations.rs"]
mod mutations;
mod seeds;

#[test]
fn the_seeds_are_configurations() {
    for seed in &seeds::settings()[..seeds::VALID] {
        assert_eq!(bodies::load(seed).map(|config| config.feeds.len()), Ok(2));
    }
}

#[test]
fn any_files_are_a_configuration_or_have_mistakes() {
    mutations::run(&seeds::settings(), &seeds::WORDS, bodies::settings);
}
