//! Fuzzes files with certificates and keys.
#![no_main]

#[allow(dead_code, reason = "the test uses more")]
#[path = "../../host/tls/tests/fuzz/bodies.rs"]
mod bodies;
#[path = "../../host/tls/tests/fuzz/seeds.rs"]
mod inputs;
#[path = "../memory.rs"]
mod memory;
#[path = "../seeds.rs"]
mod seeds;

/// Bytes of memory for any input: the most that a key's scrypt may take, and TLS itself.
const BASE_BYTES: usize = 80 << 20;
/// Bytes of memory for each byte of an input.
const BYTES_PER_BYTE: usize = 512;

libfuzzer_sys::fuzz_target!(init: seeds::write(&inputs::files()), |data: &[u8]| {
    memory::bounded(data, BASE_BYTES, BYTES_PER_BYTE, bodies::certificates);
});
