//! Plugins that never return, because they loop or sleep, are interrupted at their time limit.

use crate::support::guests::{component_from_text, contract, hostile, hostile_feed, transformer_text, world};
use crate::support::site::TestSite;

/// The WASI interfaces that a sleep needs.
const WASI: [&str; 2] = [
    "package wasi:io@0.2.0; interface poll { resource pollable { block: func(); } }",
    "package wasi:clocks@0.2.0;
    interface monotonic-clock {
        use wasi:io/poll@0.2.0.{pollable};
        subscribe-duration: func(when: u64) -> pollable;
    }",
];
/// The world of the sleeping component.
const SLEEPER: &str = "package test:sleeper;
    world sleeper {
        include bessai:edge/transformer@0.2.0;
        import wasi:io/poll@0.2.0;
        import wasi:clocks/monotonic-clock@0.2.0;
    }";

/// A component that sleeps for an hour in every call, in which no epoch interrupts it because no guest code runs.
fn sleeper() -> Vec<u8> {
    let mut resolve = contract("0.2.0", |text| text);
    for (index, text) in WASI.into_iter().enumerate() {
        resolve.push_str(format!("wasi-{index}.wit"), text).unwrap();
    }
    let world = world(&mut resolve, SLEEPER, "sleeper");
    let imports = r#"
        (import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $after (param i64) (result i32)))
        (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))"#;
    let sleep = "(call $block (call $after (i64.const 3_600_000_000_000)))";
    component_from_text(&resolve, world, &transformer_text(imports, "", sleep))
}

#[tokio::test]
async fn calls_are_interrupted_at_their_time_limit() {
    let limit = "[limits]\ncall = \"100ms\"\n";
    let mut site = TestSite::with(|setup| {
        let setup = setup.file("plugins/hostile.wasm", hostile()).file("plugins/sleep.wasm", sleeper());
        let setup = setup.file("plugins/sleep.toml", limit);
        setup.file("plugins/loop.toml", hostile_feed("loop", limit))
    })
    .await;
    for name in ["loop", "sleep"] {
        let feed = site.off(name).await;
        let off = feed["off"].as_str().unwrap();
        assert!(off.contains("ran longer than 100ms, the limit set by [limits] call"), "{name}: {off}");
        assert_eq!((&feed["set_aside"], &feed["delivered"]), (&0.into(), &0.into()), "{name}: {feed}");
    }
    site.undisturbed().await;
}

#[tokio::test]
async fn a_start_is_interrupted_at_its_time_limit() {
    let mut site = TestSite::start(&[("loop.toml", hostile_feed("loop-at-configure", ""))]).await;
    let feed = site.feed("loop", |feed| feed["failures"].as_u64() >= Some(1)).await;
    assert_eq!((&feed["calls"], &feed["set_aside"]), (&0.into(), &0.into()), "{feed}");
    site.gateway.wait_for_log("the plugin failed: did not start within 5s").await;
    site.undisturbed().await;
}
