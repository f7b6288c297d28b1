//! Fuzzes the files of models: what they say about themselves, and their manifests.
#![no_main]

#[allow(dead_code, reason = "the test uses more")]
#[path = "../../host/inference/tests/fuzz/bodies.rs"]
mod bodies;
#[allow(dead_code, reason = "the test uses more")]
#[path = "../../host/inference/tests/fuzz/seeds.rs"]
mod inputs;
#[path = "../memory.rs"]
mod memory;
#[path = "../seeds.rs"]
mod seeds;

/// Bytes of memory for any input.
const BASE_BYTES: usize = 1 << 20;
/// Bytes of memory for each byte of an input: a manifest's input of three bytes is some hundred bytes.
const BYTES_PER_BYTE: usize = 512;

libfuzzer_sys::fuzz_target!(init: seeds::write(&inputs::models()), |data: &[u8]| {
    memory::bounded(data, BASE_BYTES, BYTES_PER_BYTE, bodies::model);
});
