//! The plugin for templates: its recipes give what the page shows, and an independent parser reads its lines.

use std::process::Command;

use serde_json::Value;

use crate::docs::page::page;
use crate::support::gateway::Setup;
use crate::support::{cache, component, root};

/// The reading that the page's recipes take.
const EVENTS: &str = r#"{"at":"2025-02-21T15:20:00Z","site":{"id":"SITE-1","devices":[{"name":"battery"}],"sources":[{"device":"battery","period_ms":5000,"channels":[{"name":"soc_pct","unit":"%"},{"name":"power_kw","unit":"kW"},{"name":"temp_c","unit":"Cel"}]}]}}
{"at":"2025-02-21T15:20:05Z","frame":{"source":0,"values":[72.3,36.0,25.1]}}
"#;

/// The messages of a replay, one JSON object per line.
fn replayed(config: &str, events: &str) -> Vec<Value> {
    let setup = Setup::new().file("feed.toml", config).file("events.jsonl", events);
    let wasm = component("template");
    let arguments = ["plugin", "replay", wasm.to_str().unwrap(), "--events", "events.jsonl", "--settings", "feed.toml"];
    let output = setup.output(&arguments);
    assert!(output.status.success(), "{config}: {}", String::from_utf8_lossy(&output.stderr));
    lines(&String::from_utf8(output.stdout).unwrap())
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn each_recipe_gives_the_payload_that_the_page_shows() {
    let blocks = page("docs/plugins/template.md").blocks;
    let recipes: Vec<_> = blocks.windows(2).filter(|pair| pair[1].info == "json expected.jsonl").collect();
    assert_eq!(recipes.len(), 7);
    for pair in recipes {
        let (recipe, expected) = (&pair[0], &pair[1]);
        assert!(recipe.info.starts_with("toml plugins/"), "{}", recipe.info);
        assert_eq!(replayed(&recipe.body, EVENTS), lines(&expected.body), "{}", recipe.info);
    }
}

/// The parser is PyPI's line-protocol-parser, which scripts/setup installs.
#[test]
fn an_independent_parser_reads_the_lines() {
    let site = r#"{"at":"2025-02-21T15:20:00Z","site":{"id":"a b,c=d","devices":[{"name":"e f"}],"sources":[{"device":"e f","period_ms":5000,"channels":[{"name":"one","unit":"kW"},{"name":"two","unit":"1"},{"name":"three","unit":"1","kind":"text"},{"name":"four","unit":"V"}]}]}}"#;
    let frame = r#"{"at":"2025-02-21T15:20:05Z","frame":{"source":0,"values":[-0.25,312,null,null],"texts":[{"channel":2,"value":"say \"hi\" \\ there\nnext, x=y"}]}}"#;
    let config = "[config]\nformat = 'influx'\ntopic = 't'\nmeasurement = 'm, n'\n[config.tags]\n'k k' = 'v=w, x\ny'\n\
                  [config.channels]\none = 'o,n e=1'\ntwo = { integer = true }\nthree = {}\nfour = {}\n";
    let config = config.replace("'v=w, x\ny'", "\"v=w, x\\ny\"");
    let messages = replayed(&config, &format!("{site}\n{frame}\n"));
    let line = messages[0]["text"].as_str().unwrap();

    let python = cache().join("line-protocol/bin/python");
    assert!(python.exists(), "{} is missing: run scripts/setup", python.display());
    let script = root().join("tests/peers/line_protocol.py");
    let output = Command::new(python).arg(script).arg(line).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    let parsed: Value = serde_json::from_slice(&output.stdout).unwrap();
    let expected = serde_json::json!({
        "measurement": "m, n",
        "tags": {"site": "a b,c=d", "device": "e f", "k k": "v=w, x y"},
        "fields": {"o,n e=1": -0.25, "two": 312, "three": "say \"hi\" \\ there\nnext, x=y"},
        "time": 1_740_151_205_000_000_000_u64,
    });
    assert_eq!(parsed, expected, "{line}");
}

#[test]
fn check_finds_the_place_of_a_mistake_in_a_template() {
    let check = |config: &str| {
        let setup = Setup::new().device(502).broker("mqtt://localhost").with("HEALTH_PORT", "0");
        let setup = setup.file("plugins/acme.wasm", std::fs::read(component("template")).unwrap());
        let output = setup.file("plugins/acme.toml", config).output(&["check"]);
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (code, text) =
        check("[config]\ntopic = 'acme/{{ device }}'\npayload = '''\n{\n  \"soc\": {{ soc_pcd }}\n}'''\n");
    assert_eq!(code, Some(78), "{text}");
    assert!(
        text.contains("refuses its configuration: config.payload, line 2, column 13: soc_pcd is unknown"),
        "{text}"
    );
    let (code, text) = check("[config]\ntopic = 'acme/{{ device }}'\npayload = '{{ soc_pct }'\n");
    assert_eq!(code, Some(78), "{text}");
    assert!(text.contains("config.payload, line 1, column"), "{text}");
    let (code, text) = check("[config]\ntopic = 'acme/{{ device }}'\npayload = '{{ soc_pct }}'\n");
    assert_eq!(code, Some(0), "{text}");
}

/// Cargo's home is empty, so a missing dependency makes the build fail.
#[test]
fn a_project_from_the_plugin_builds_without_a_network_and_passes_its_cases() {
    let setup = Setup::new();
    let output = setup.output(&["plugin", "new", "site-lines", "--from", "template"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let project = setup.folder().join("site-lines");
    let mut build = Command::new("./build.sh");
    build.args(["--offline", "--locked"]).current_dir(&project);
    build.env("CARGO_HOME", setup.folder().join("cargo")).env_remove("CARGO_TARGET_DIR");
    let output = build.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let wasm = project.join("site-lines.wasm");
    let output = setup.output(&["plugin", "test", wasm.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));

    let output = setup.output(&["plugin", "new", "other", "--from", "nothing"]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(64), "{error}");
    assert!(error.contains("azure-iot-hub, ") && error.contains("template"), "{error}");
}
