//! The functions of the plugin runtime's fuzz targets with damaged results: a bounded run of what `scripts/fuzz` does without
//! end.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

#[path = "fuzz/bodies.rs"]
mod bodies;
#[path = "fuzz/events.rs"]
mod events;
#[path = "fuzz/guest.rs"]
mod guest;
#[path = "fuzz/image.rs"]
mod image;
#[allow(dead_code, reason = "shared by the tests of several crates")]
#[path = "../../../fuzz/mutations.rs"]
mod mutations;
#[path = "fuzz/seeds.rs"]
mod seeds;

#[test]
fn the_seeds_are_results() {
    let images = seeds::returned().into_iter().map(|seed| image::Image::messages(&mut image::Input(&seed[1..])));
    let messages = images.filter(|(image, _)| image.is_valid).map(|(_, messages)| messages.len());
    assert!(messages.max() > Some(1), "no seed holds messages");
}

#[test]
fn any_result_of_a_plugin_is_converted_or_refused() {
    mutations::run(&seeds::returned(), &["\u{ffff}", "a/b", "\u{1}\0\u{1}\0", "\0\0\u{1}\0"], bodies::returned);
}

#[test]
fn any_event_reaches_the_plugin() {
    mutations::run(&seeds::handed_over(), &["\u{1}\0\u{1}\0", "battery"], bodies::handed_over);
}

#[test]
fn any_file_is_a_component_or_not() {
    mutations::run(&seeds::component(), &["cabi_realloc", "bessai:edge/session@0.2.0"], bodies::component);
}
