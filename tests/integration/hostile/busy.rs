//! Plugins that never come back, by looping or by sleeping: ended at their limit of wall-clock time.

use crate::support::guests::{contract, doing, from_text, hostile, transformer_text, world};
use crate::support::plant::Plant;

/// As much of WASI as a nap needs.
const WASI: [&str; 2] = [
    "package wasi:io@0.2.0; interface poll { resource pollable { block: func(); } }",
    "package wasi:clocks@0.2.0;
    interface monotonic-clock {
        use wasi:io/poll@0.2.0.{pollable};
        subscribe-duration: func(when: u64) -> pollable;
    }",
];
const SLEEPER: &str = "package test:sleeper;
    world sleeper {
        include bessai:edge/transformer@0.1.0;
        import wasi:io/poll@0.2.0;
        import wasi:clocks/monotonic-clock@0.2.0;
    }";

/// A component that sleeps for an hour in every call: no epoch ends that, as no guest code runs.
fn sleeper() -> Vec<u8> {
    let mut resolve = contract("0.1.0", |text| text);
    for (index, text) in WASI.into_iter().enumerate() {
        resolve.push_str(format!("wasi-{index}.wit"), text).unwrap();
    }
    let world = world(&mut resolve, SLEEPER, "sleeper");
    let imports = r#"
        (import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $after (param i64) (result i32)))
        (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))"#;
    let nap = "(call $block (call $after (i64.const 3_600_000_000_000)))";
    from_text(&resolve, world, &transformer_text(imports, "", nap))
}

#[tokio::test]
async fn calls_that_do_not_end_are_ended_at_their_limit() {
    let limit = "[limits]\ncall = \"100ms\"\n";
    let mut plant = Plant::with(|setup| {
        let setup = setup.file("plugins/hostile.wasm", hostile()).file("plugins/sleep.wasm", sleeper());
        let setup = setup.file("plugins/sleep.toml", limit);
        setup.file("plugins/loop.toml", doing("loop", limit))
    })
    .await;
    for name in ["loop", "sleep"] {
        let feed = plant.off(name).await;
        let off = feed["off"].as_str().unwrap();
        assert!(off.contains("ran longer than 100ms, which [limits] call sets"), "{name}: {off}");
        assert_eq!((&feed["set_aside"], &feed["delivered"]), (&0.into(), &0.into()), "{name}: {feed}");
    }
    plant.all_readings().await;
}

#[tokio::test]
async fn a_start_that_does_not_end_is_ended_at_its_limit() {
    let mut plant = Plant::start(&[("loop.toml", doing("loop-at-configure", ""))]).await;
    let feed = plant.feed("loop", |feed| feed["failures"].as_u64() >= Some(1)).await;
    assert_eq!((&feed["calls"], &feed["set_aside"]), (&0.into(), &0.into()), "{feed}");
    plant.gateway.says("the plugin failed: did not start within 5s").await;
    plant.all_readings().await;
}
