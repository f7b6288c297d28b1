//! Fuzzes the check of a component's file against the contract.
#![no_main]

#[allow(dead_code, unused_imports, reason = "each target calls one of the functions")]
#[path = "../../host/plugin/tests/fuzz/bodies.rs"]
mod bodies;
#[path = "../../host/plugin/tests/fuzz/events.rs"]
mod events;
#[path = "../../host/plugin/tests/fuzz/guest.rs"]
mod guest;
#[path = "../../host/plugin/tests/fuzz/image.rs"]
mod image;
#[allow(dead_code, reason = "each target begins with one of the lists")]
#[path = "../../host/plugin/tests/fuzz/seeds.rs"]
mod inputs;
#[path = "../seeds.rs"]
mod seeds;

libfuzzer_sys::fuzz_target!(init: seeds::write(&inputs::component()), |data: &[u8]| bodies::component(data));
