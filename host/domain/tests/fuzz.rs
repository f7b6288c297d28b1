//! The functions of the fuzz targets with random bytes: a bounded run of what `scripts/fuzz` does without end.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

#[path = "fuzz/bodies.rs"]
mod bodies;
#[allow(dead_code, reason = "shared by the tests of several crates")]
#[path = "../../../fuzz/mutations.rs"]
mod mutations;
#[path = "fuzz/seeds.rs"]
mod seeds;

use proptest::prelude::*;

/// Valid profiles to damage, because random bytes are never close to one.
const PROFILES: [&str; 6] = [
    include_str!("../profiles/huawei-sun2000.toml"),
    include_str!("../profiles/sma-sunny-tripower.toml"),
    include_str!("../profiles/victron-multiplus2.toml"),
    include_str!("../profiles/fronius-gen24.toml"),
    include_str!("../profiles/solaredge-storedge.toml"),
    include_str!("../profiles/simulator.toml"),
];
/// The same in the Python gateway's format.
const PYTHON: [&str; 3] = [
    include_str!("../../../tests/profiles/solaredge_storedge.json"),
    include_str!("../../../tests/profiles/fronius_gen24_byd.json"),
    include_str!("../../../tests/profiles/simulator.json"),
];

/// A text with some pieces removed, doubled or replaced by numbers.
fn damaged(text: &str, damages: &[(usize, usize, u8)]) -> String {
    let mut text = text.to_owned();
    for (at, length, kind) in damages {
        let boundary = |at: usize| (0..=at % (text.len() + 1)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let (start, end) = (boundary(*at), boundary(at % (text.len() + 1) + length));
        let (start, end) = (start.min(end), start.max(end));
        let piece = text[start..end].to_owned();
        let replacement = match kind % 5 {
            0 => String::new(),
            1 => piece.repeat(2),
            2 => "-1".into(),
            3 => "1e308".into(),
            _ => "99999".into(),
        };
        text.replace_range(start..end, &replacement);
    }
    text
}

prop_compose! {
    fn any_damages()(damages in prop::collection::vec((any::<usize>(), 0_usize..12, any::<u8>()), 1..5))
        -> Vec<(usize, usize, u8)> {
        damages
    }
}

proptest! {
    #[test]
    fn any_toml_text_is_a_valid_profile_or_a_mistake(which in 0..PROFILES.len(), damages in any_damages()) {
        bodies::profile_toml(damaged(PROFILES[which], &damages).as_bytes());
    }

    #[test]
    fn any_json_text_is_a_valid_profile_or_a_mistake(which in 0..PYTHON.len(), damages in any_damages()) {
        bodies::profile_json(damaged(PYTHON[which], &damages).as_bytes());
    }

    #[test]
    fn random_bytes_are_refused(data in prop::collection::vec(any::<u8>(), 0..200)) {
        bodies::profile_toml(&data);
        bodies::profile_json(&data);
    }

    #[test]
    fn any_responses_leave_the_plan_valid(data in prop::collection::vec(any::<u8>(), 0..4000)) {
        bodies::reply(&data);
    }
}

#[test]
fn any_registers_end_a_discovery() {
    mutations::run(&seeds::discovery(), &[], bodies::discovery);
}

#[test]
fn any_text_is_a_duration_a_time_or_a_topic_or_is_refused() {
    let words = ["e308", "inf", "nan", "-", ".", "Z", "+", "#", "/", "\u{b5}s", "99999999999", "\0"];
    mutations::run(&seeds::texts(), &words, bodies::texts);
}

#[test]
fn any_text_is_a_recorded_event_or_a_mistake() {
    let words = ["null", "1e999", "-0.0", "\"\\ud800\"", "[[", "{}", "9007199254740993", "\n"];
    mutations::run(&seeds::recorded_events(), &words, bodies::recorded_events);
}
