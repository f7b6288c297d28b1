//! Fuzzes a sign-in through a proxy by what the proxy answers.
#![no_main]

#[allow(dead_code, reason = "the test uses more")]
#[path = "../../host/mqtt/tests/fuzz/bodies.rs"]
mod bodies;
#[allow(dead_code, reason = "shared with another target")]
#[path = "../../host/mqtt/tests/fuzz/seeds.rs"]
mod inputs;
#[path = "../memory.rs"]
mod memory;
#[path = "../seeds.rs"]
mod seeds;

/// Bytes of memory for any input: the buffers of the runtime and the sign-in.
const BASE_BYTES: usize = 8 << 20;
/// Bytes of memory for each byte of an input.
const BYTES_PER_BYTE: usize = 512;

libfuzzer_sys::fuzz_target!(init: seeds::write(&inputs::hostile_proxy()), |data: &[u8]| {
    memory::bounded(data, BASE_BYTES, BYTES_PER_BYTE, bodies::hostile_proxy);
});
