//! Plugins that import WASI 0.3: it is there, with nothing behind it, and what would wait fails when it is called.

use serde_json::json;

use crate::support::guests::{component_from_text, contract, transformer_text, world};
use crate::support::site::TestSite;

/// What the components import: a clock that can be read and waited for, and an output that takes a stream.
const WASI: [&str; 2] = [
    "package wasi:clocks@0.3.0;
    interface monotonic-clock { now: func() -> u64; wait-for: async func(how-long: u64); }",
    "package wasi:cli@0.3.0;
    interface stdout { write-via-stream: func(data: stream<u8>) -> future<result>; }",
];
/// Their world.
const WORLD: &str = "package test:wasi;
    world concurrent {
        include bessai:edge/transformer@0.2.0;
        import wasi:clocks/monotonic-clock@0.3.0;
        import wasi:cli/stdout@0.3.0;
    }";

/// A component that does this with each batch of events.
fn component(process: &str) -> Vec<u8> {
    let mut resolve = contract("0.2.0", |text| text);
    for (index, text) in WASI.into_iter().enumerate() {
        resolve.push_str(format!("wasi-{index}.wit"), text).unwrap();
    }
    let world = world(&mut resolve, WORLD, "concurrent");
    let imports = r#"
        (import "wasi:clocks/monotonic-clock@0.3.0" "now" (func $now (result i64)))
        (import "wasi:clocks/monotonic-clock@0.3.0" "wait-for" (func $wait (param i64)))
        (import "wasi:clocks/monotonic-clock@0.3.0" "[async-lower]wait-for" (func $begin_to_wait (param i64) (result i32)))
        (import "wasi:cli/stdout@0.3.0" "write-via-stream" (func $write (param i32) (result i32)))
        (import "wasi:cli/stdout@0.3.0" "[stream-new-0]write-via-stream" (func $new_stream (result i64)))"#;
    component_from_text(&resolve, world, &transformer_text(imports, "", process))
}

#[tokio::test]
async fn what_does_not_wait_works_and_the_rest_fails_with_its_name() {
    let called = |function: &str| format!("the plugin called {function}, which the gateway does not provide");
    let failing = [
        ("waits", "(call $wait (i64.const 1))", "cannot block a synchronous task".to_owned()),
        ("begins", "(drop (call $begin_to_wait (i64.const 1)))", called("`wait-for` of `wasi:clocks/monotonic-clock`")),
        (
            "writes",
            "(drop (call $write (i32.wrap_i64 (call $new_stream))))",
            called("`write-via-stream` of `wasi:cli/stdout`"),
        ),
    ];
    // The event's time is the clock's.
    let reads = component("(if (i64.eqz (call $now)) (then unreachable))");
    let mut site = TestSite::with(|setup| {
        let setup = setup.file("plugins/reads.wasm", reads);
        failing
            .iter()
            .fold(setup, |setup, (name, process, _)| setup.file(&format!("plugins/{name}.wasm"), component(process)))
    })
    .await;
    let feed = site.feed("reads", |feed| feed["calls"].as_u64() >= Some(10)).await;
    assert_eq!((&feed["failures"], &feed["off"]), (&json!(0), &json!(null)), "{feed}");
    for (name, _, expected) in &failing {
        let feed = site.off(name).await;
        assert!(feed["off"].as_str().unwrap().contains(expected), "{name}: {feed}");
    }
    site.undisturbed().await;
}
