//! The `plugin` commands, as a plugin's author types them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::gateway::{Setup, program};
use crate::support::{component, root};

/// Runs `bessai-edge plugin …`; its exit code and output.
fn plugin(setup: &Setup, arguments: &[&str]) -> (i32, String) {
    let mut all = vec!["plugin"];
    all.extend(arguments);
    printed(&setup.output(&all))
}

fn printed(output: &Output) -> (i32, String) {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

fn cases() -> PathBuf {
    root().join("plugins/example-rust/cases")
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_new_plugin_builds_offline_and_passes_its_case() {
    let setup = Setup::new();
    let (code, text) = plugin(&setup, &["new", "acme"]);
    assert_eq!(code, 0, "{text}");
    let project = setup.folder().join("acme");
    let mut build = Command::new("./build.sh");
    build.current_dir(&project).env("CARGO_NET_OFFLINE", "true").env_remove("CARGO_TARGET_DIR");
    let (code, text) = printed(&build.output().unwrap());
    assert_eq!(code, 0, "{text}");

    let wasm = project.join("acme.wasm");
    let junit = setup.folder().join("junit.xml");
    let (code, text) = plugin(&setup, &["test", path(&wasm), "--junit", path(&junit)]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("1 case: 1 ok") && text.contains("fuel "), "{text}");
    assert!(std::fs::read_to_string(&junit).unwrap().contains("name=\"first\""));

    let expected = project.join("cases/first/expected.jsonl");
    let correct = std::fs::read_to_string(&expected).unwrap();
    std::fs::write(&expected, correct.replacen("acme", "wrong", 1)).unwrap();
    let (code, text) = plugin(&setup, &["test", path(&wasm)]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("FAIL first") && text.contains("topic"), "{text}");
    let (code, text) = plugin(&setup, &["test", path(&wasm), "--update"]);
    assert!(code == 0 && text.contains("1 written"), "{text}");
    let (code, text) = plugin(&setup, &["test", path(&wasm)]);
    assert_eq!(code, 0, "{text}");

    let (code, text) = plugin(&setup, &["new", "acme"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("already exists"), "{text}");
}

#[test]
fn the_same_cases_pass_in_every_language() {
    for language in ["rust", "javascript", "python"] {
        let wasm = component(&format!("example-{language}"));
        let (code, text) = plugin(&Setup::new(), &["test", path(&wasm), path(&cases())]);
        assert_eq!(code, 0, "{language}: {text}");
        assert!(text.contains("10 cases: 10 ok"), "{language}: {text}");
    }
}

#[test]
fn the_cases_of_every_plugin_pass() {
    let mut plugins = Vec::new();
    for entry in std::fs::read_dir(root().join("plugins")).unwrap() {
        let folder = entry.unwrap().path();
        let cases = folder.join("cases");
        if cases.is_dir() {
            let name = folder.file_name().unwrap().to_str().unwrap();
            let (code, text) = plugin(&Setup::new(), &["test", path(&component(name)), path(&cases)]);
            assert_eq!(code, 0, "{name}: {text}");
            let expected = std::fs::read_dir(&cases).unwrap().count();
            assert!(text.contains(&format!(": {expected} ok")), "{name}: {text}");
            plugins.push(name.to_owned());
        }
    }
    for shipped in ["aws-iot-core", "json-commands", "sparkplug-b", "spec-003"] {
        assert!(plugins.iter().any(|name| name == shipped), "{shipped} has no cases");
    }
}

#[test]
fn fuel_is_reproducible_and_limited_by_the_case() {
    let setup = Setup::new();
    let wasm = component("example-rust");
    let case = setup.folder().join("case");
    let copy = |file: &str| {
        let from = cases().join("two-devices").join(file);
        if from.is_file() {
            std::fs::create_dir_all(&case).unwrap();
            std::fs::copy(from, case.join(file)).unwrap();
        }
    };
    ["events.jsonl", "expected.jsonl", "case.toml"].into_iter().for_each(copy);
    let run = || plugin(&setup, &["test", path(&wasm), path(&case)]);
    let first = run();
    assert_eq!((first.0, &first), (0, &run()));
    let fuel: String = first.1.split("fuel ").nth(1).unwrap().chars().take_while(|c| *c != '\n').collect();
    let settings = std::fs::read_to_string(case.join("case.toml")).unwrap();
    let set_limit = |fuel: u64| std::fs::write(case.join("case.toml"), format!("fuel = {fuel}\n{settings}")).unwrap();
    let used: u64 = fuel.replace(',', "").parse().unwrap();
    set_limit(used);
    assert_eq!(run().0, 0);
    set_limit(used - 1);
    let (code, text) = run();
    assert_eq!(code, 1);
    assert!(text.contains(&format!("used {fuel} fuel")), "{text}");
}

#[test]
fn inspect_describes_a_component_or_the_reason_for_its_refusal() {
    let setup = Setup::new().file("acme.toml", "[rights]\ntopics = [\"acme/#\"]\n[limits]\nrate = \"5/s\"\n");
    let whole = std::fs::read(component("example-rust")).unwrap();
    let other_world = wat::parse_str("(component (core module) (export \"run\" (core module 0)))").unwrap();
    let setup = setup
        .file("acme.wasm", &whole)
        .file("cut.wasm", &whole[..whole.len() / 2])
        .file("core.wasm", wat::parse_str("(module)").unwrap())
        .file("text.wasm", "hello, world, this is a text")
        .file("other.wasm", other_world);
    let (code, text) = plugin(&setup, &["inspect", "acme.wasm"]);
    assert_eq!(code, 0, "{text}");
    for expected in ["bessai:edge/transform@0.2.0", "bessai:edge/state@0.2.0", "acme/#", "5 messages a second", "fits"]
    {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    for (file, expected) in [
        ("cut.wasm", "is cut off"),
        ("core.wasm", "is a core WebAssembly module"),
        ("text.wasm", "is a text file"),
        ("other.wasm", "bessai:edge/transform@0.2.0"),
        ("absent.wasm", "No such file"),
    ] {
        let (code, text) = plugin(&setup, &["inspect", file]);
        assert!(code == 1 && text.contains(expected), "{file}: {code}: {text}");
    }
}

#[test]
fn replay_runs_recorded_events() {
    let setup = Setup::new().file("acme.toml", "[config]\ntopic = \"acme\"\n");
    let wasm = component("example-rust");
    let events = cases().join("power-changes/events.jsonl");
    let run = ["replay", path(&wasm), "--events", path(&events), "--settings", "acme.toml"];
    let mut all = vec!["plugin"];
    all.extend(run);
    let output = setup.output(&all);
    assert!(output.status.success(), "{output:?}");
    let messages = String::from_utf8(output.stdout).unwrap();
    assert!(messages.lines().count() >= 3, "{messages}");
    for line in messages.lines() {
        let message: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(message["topic"], "acme/battery/power");
        assert!(message["json"]["kw"].is_number(), "{line}");
    }
    // Without its topic the plugin refuses its configuration.
    let (code, text) = plugin(&setup, &run[..4]);
    assert!(code == 1 && text.contains("config.topic is missing"), "{text}");
    let setup = setup.file("events.jsonl", "{\"at\":\"yesterday\",\"heartbeat\":{}}\n");
    let (code, text) = plugin(&setup, &["replay", path(&wasm), "--events", "events.jsonl"]);
    assert!(code == 78 && text.contains("line 1") && text.contains("yesterday"), "{code}: {text}");
}

#[test]
fn bench_compares_a_plugin_with_the_shipped_one() {
    let setup = Setup::new().file("acme.toml", "[config]\ntopic = \"acme\"\n");
    let wasm = component("example-rust");
    let (code, text) = plugin(&setup, &["bench", path(&wasm), "--settings", "acme.toml"]);
    assert_eq!(code, 0, "{text}");
    for expected in
        ["example-rust.wasm", "bessai-json, sandboxed", "bessai-json, native", "1000 ch", "live from the cache"]
    {
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

#[test]
fn usage_errors_have_their_own_exit_codes() {
    let setup = Setup::new();
    assert_eq!(plugin(&setup, &["test"]).0, 64);
    assert_eq!(plugin(&setup, &["tset", "x"]).0, 64);
    let (code, text) = plugin(&setup, &["test", path(&component("example-rust")), "nowhere"]);
    assert!(code == 78 && text.contains("nowhere"), "{code}: {text}");
    assert!(program().is_file());
}
