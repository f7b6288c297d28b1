//! Fuzzes the handling of device replies.
#![no_main]

#[allow(dead_code, reason = "each target calls one of the functions")]
#[path = "../../host/domain/tests/fuzz/bodies.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::reply(data));
