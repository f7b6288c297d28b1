//! Fuzzes the handling of device replies.
#![no_main]

#[allow(dead_code, unused_imports, reason = "each target calls one of the functions")]
#[path = "../../host/domain/tests/fuzz/bodies.rs"]
mod bodies;
#[path = "../memory.rs"]
mod memory;
#[path = "../../host/domain/tests/fuzz/seeds.rs"]
mod inputs;
#[path = "../seeds.rs"]
mod seeds;

/// Bytes of memory for any input.
const BASE_BYTES: usize = 8 << 20;
/// Bytes of memory for each byte of an input.
const BYTES_PER_BYTE: usize = 1024;

libfuzzer_sys::fuzz_target!(init: seeds::write(&inputs::reply()), |data: &[u8]| {
    memory::bounded(data, BASE_BYTES, BYTES_PER_BYTE, bodies::reply);
});
