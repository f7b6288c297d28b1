//! Fuzzes the files of a journal: segments, records, cursors and reserved numbers.
#![no_main]

#[path = "../../host/journal/tests/fuzz/bodies.rs"]
mod bodies;
#[path = "../../host/journal/tests/fuzz/files.rs"]
mod files;
#[path = "../../host/journal/tests/fuzz/seeds.rs"]
mod inputs;
#[path = "../memory.rs"]
mod memory;
#[path = "../seeds.rs"]
mod seeds;

/// Bytes of memory for any input: a record may belong to the last of a million sources, whose histories are then kept.
const BASE_BYTES: usize = 256 << 20;
/// Bytes of memory for each byte of an input.
const BYTES_PER_BYTE: usize = 4096;

libfuzzer_sys::fuzz_target!(init: seeds::write(&inputs::journal()), |data: &[u8]| {
    memory::bounded(data, BASE_BYTES, BYTES_PER_BYTE, bodies::journal);
});
