//! Files that are no plugins or cost too much to compile are refused with a reason, and the default feed continues.

use crate::support::guests::{component_from_text, contract, dummy, hostile, transformer_text, world};
use crate::support::site::TestSite;

/// A component of some other world.
fn of_another_world() -> Vec<u8> {
    let mut resolve = contract("0.2.0", |text| text);
    let world = world(&mut resolve, "package other:thing; world command { export run: func(); }", "command");
    dummy(&resolve, world)
}

/// A component for a later contract, whose frames have an additional field.
fn of_a_later_contract() -> Vec<u8> {
    let change = |text: String| text.replace("source: u32,", "source: u32, quality: u8,");
    let mut resolve = contract("0.2.0", change);
    let text = "package test:later; world later { include bessai:edge/transformer@0.2.0; }";
    let world = world(&mut resolve, text, "later");
    dummy(&resolve, world)
}

/// A harmless plugin with much code: this many functions of this many steps.
fn large_component(functions: usize, steps: usize) -> Vec<u8> {
    let resolve = contract("0.2.0", |text| text);
    let (_, package) = resolve.package_names.iter().find(|(name, _)| name.name == "edge").unwrap();
    let world = resolve.select_world(&[*package], Some("transformer")).unwrap();
    let step = "(local.set 0 (i64.mul (i64.rotl (local.get 0) (local.get 1)) (i64.xor (local.get 1) (local.get 0))))";
    let function = format!("(func (param i64 i64) (result i64) {} (local.get 0))", step.repeat(steps));
    component_from_text(&resolve, world, &transformer_text("", &function.repeat(functions), ""))
}

#[tokio::test]
async fn files_that_are_no_plugins_are_refused_with_a_reason() {
    let truncated = hostile()[..5000].to_vec();
    let files: [(&str, Vec<u8>, &str); 6] = [
        ("text", b"hello, world".to_vec(), "is a text file, not a component"),
        ("core", b"\0asm\x01\0\0\0".to_vec(), "is a core WebAssembly module"),
        ("short", b"\0as".to_vec(), "is cut off after 3 bytes"),
        ("truncated", truncated, "is cut off after 5000 bytes"),
        ("world", of_another_world(), "is a component for another world: it exports `run`"),
        ("later", of_a_later_contract(), "exports `process` of bessai:edge@0.2.0, whose `frame` has an extra field"),
    ];
    let mut site = TestSite::with(|setup| {
        files.iter().fold(setup, |setup, (name, wasm, _)| setup.file(&format!("plugins/{name}.wasm"), wasm))
    })
    .await;
    for (name, _, reason) in &files {
        let feed = site.off(name).await;
        let off = feed["off"].as_str().unwrap();
        assert!(off.contains(&format!("{name}.wasm {reason}")), "{name}: {off}");
        site.gateway.assert_logged_once(off).await;
    }
    site.undisturbed().await;
}

#[tokio::test]
async fn compilation_has_a_time_limit() {
    let wasm = large_component(400, 3000);
    let settings = "[plugins]\ncompile_time = \"1s\"\n";
    let mut site = TestSite::with(|setup| setup.file("bessai.toml", settings).file("plugins/slow.wasm", wasm)).await;
    let feed = site.off("slow").await;
    let off = feed["off"].as_str().unwrap();
    assert!(off.contains("takes longer than 1s to compile, the limit set by [plugins] compile_time"), "{off}");
    site.undisturbed().await;
}

#[tokio::test]
async fn compilation_has_a_memory_limit() {
    let wasm = large_component(2, 40_000);
    let settings = "[plugins]\ncompile_memory = \"64MiB\"\n";
    let mut site = TestSite::with(|setup| setup.file("bessai.toml", settings).file("plugins/huge.wasm", wasm)).await;
    let feed = site.off("huge").await;
    let off = feed["off"].as_str().unwrap();
    assert!(
        off.contains("needs more than 64 MiB of memory to compile, the limit set by [plugins] compile_memory"),
        "{off}"
    );
    site.undisturbed().await;
}
