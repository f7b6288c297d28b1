//! Fuzzes the configuration: `bessai.toml`, `config/.env`, feed files and profiles.
#![no_main]

/// The sources of the gateway's program: it has no library that could be linked.
#[allow(dead_code, unused_imports, reason = "the rest of the program uses what is unused here")]
#[path = "../../host/src"]
mod host {
    pub mod config;
}
#[path = "../../host/src/config/tests/fuzz/bodies.rs"]
mod bodies;
#[allow(dead_code, reason = "the test uses more")]
#[path = "../../host/src/config/tests/fuzz/seeds.rs"]
mod inputs;
#[path = "../memory.rs"]
mod memory;
#[path = "../seeds.rs"]
mod seeds;

use host::config;

/// Bytes of memory for any input: the built-in profiles.
const BASE_BYTES: usize = 8 << 20;
/// Bytes of memory for each byte of an input.
const BYTES_PER_BYTE: usize = 2048;

libfuzzer_sys::fuzz_target!(init: seeds::write(&inputs::settings()), |data: &[u8]| {
    memory::bounded(data, BASE_BYTES, BYTES_PER_BYTE, bodies::settings);
});
