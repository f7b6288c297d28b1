//! Components that fit, and those that do not, with what differs.

use wit_parser::Resolve;

use super::{PluginInterface, QUALITY, TO_0_3, component, contracts, differences, host_texts, read, real};

#[test]
fn every_export_of_the_worlds_is_a_plugin_interface() {
    let contracts = contracts().unwrap();
    assert_eq!(contracts.previous.version, "0.1.0");
    let host = &contracts.newest;
    assert_eq!((host.package.as_str(), host.version.as_str()), ("bessai:edge", "0.2.0"));
    let exports: Vec<&str> = host.exports.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(exports, PluginInterface::ALL.map(PluginInterface::name));
    for import in ["log", "secrets", "state", "metrics"] {
        assert!(host.imports.iter().any(|(name, _)| name == import), "{import}");
    }
}

#[test]
fn the_four_worlds_fit() {
    let check = |world: &str, interfaces: &[PluginInterface]| {
        assert_eq!(read(&component(world, &[], &[])).unwrap().check(), Ok(interfaces.to_vec()), "{world}");
    };
    check("transformer", &[PluginInterface::Transform]);
    check("connector", &[PluginInterface::Transform, PluginInterface::Session]);
    check("controller", &[PluginInterface::Transform, PluginInterface::Session, PluginInterface::Commands]);
    check("commander", &[PluginInterface::Transform, PluginInterface::Commands]);
}

#[test]
fn the_real_plugin_fits_and_is_described() {
    let wasm = real();
    let contract = read(&wasm).unwrap();
    assert_eq!(contract.check(), Ok(vec![PluginInterface::Transform]));
    let text = contract.to_string();
    for line in [
        &*format!("a component of {} bytes", wasm.len()),
        "  bessai:edge/transform@0.2.0",
        "    configure: func(site: site, config: string) -> result<_, string>",
        "    process: func(events: list<event>) -> result<list<message>, failure>",
        "  bessai:edge/types@0.2.0 (only types)",
    ] {
        assert!(text.lines().any(|written| written == line), "{line}\n{text}");
    }
}

#[test]
fn wasi_is_provided_and_marked_as_empty() {
    let wasi = "package wasi:random@0.2.7; interface random { get-random-u64: func() -> u64; }";
    let wasm = component("transformer", &[("import log;", "import log; import wasi:random/random@0.2.7;")], &[wasi]);
    let contract = read(&wasm).unwrap();
    assert_eq!(contract.check(), Ok(vec![PluginInterface::Transform]));
    let text = contract.to_string();
    assert!(text.contains("  wasi:random/random@0.2.7 (empty)\n"), "{text}");
    assert!(text.contains("    write: func(level: level, message: string)\n"), "{text}");
}

#[test]
fn every_function_of_wasi_0_3_may_be_imported() {
    let check = |name: &str, text: &str, needs_concurrency: bool| {
        let import = format!("import log; import {name};");
        let contract = read(&component("transformer", &[("import log;", &import)], &[text])).unwrap();
        assert_eq!(contract.check(), Ok(vec![PluginInterface::Transform]), "{name}");
        assert!(contract.to_string().contains(&format!("  {name} (empty)\n")), "{contract}");
        assert_eq!(contract.needs_concurrency(), needs_concurrency, "{name}");
    };
    let now = "package wasi:clocks@0.3.1; interface monotonic-clock { now: func() -> u64; }";
    check("wasi:clocks/monotonic-clock@0.3.1", now, false);
    let wait = "package wasi:clocks@0.3.0; interface monotonic-clock { wait-for: async func(how-long: u64); }";
    check("wasi:clocks/monotonic-clock@0.3.0", wait, true);
    let stream =
        "package wasi:cli@0.3.0; interface stdout { write-via-stream: func(data: stream<u8>) -> future<result>; }";
    check("wasi:cli/stdout@0.3.0", stream, true);
}

#[test]
fn a_component_for_another_world_is_recognised() {
    let edits = [("export transform;", "export http; export run: func();"), ("interface transform", "interface http")];
    let renamed = [&edits[..], &[("package bessai:edge@", "package acme:edge@")]].concat();
    assert_eq!(
        differences(&renamed, &[]),
        ["is a component for another world: it exports `run` and `acme:edge/http@0.2.0`, but not \
          `bessai:edge/transform@0.2.0`"]
    );
    assert_eq!(
        differences(&[("export transform;", "")], &[]),
        ["exports nothing: a plugin exports `bessai:edge/transform@0.2.0` (or the file is cut off at its end)"]
    );
}

#[test]
fn a_wit_package_is_recognised() {
    let mut resolve = Resolve::default();
    let package = resolve.push_group(host_texts(&[])).unwrap();
    let wasm = wit_component::encode(&resolve, package).unwrap();
    assert_eq!(
        read(&wasm).unwrap().check(),
        Err(vec![
            "is a WIT package, which has no code; a plugin is a component that exports `bessai:edge/transform@0.2.0`"
                .into()
        ])
    );
}

#[test]
fn a_plugin_without_transform_is_refused() {
    let wasm = component("connector", &[("export transform;", "")], &[]);
    assert_eq!(
        read(&wasm).unwrap().check(),
        Err(vec!["does not export `bessai:edge/transform@0.2.0`, which every plugin does".into()])
    );
}

#[test]
fn another_version_is_refused_with_its_differences() {
    assert_eq!(
        differences(&[TO_0_3, QUALITY], &[]),
        ["exports `process` of bessai:edge@0.3.0, whose `frame` has an extra field (`quality`: u8); this host \
          implements 0.2.0 and 0.1.0"]
    );
}

#[test]
fn another_version_is_refused_even_when_nothing_differs() {
    let patch = [("package bessai:edge@0.2.0", "package bessai:edge@0.2.1")];
    assert_eq!(
        differences(&patch, &[]),
        [
            "exports `bessai:edge/transform@0.2.1`; this host implements 0.2.0 and 0.1.0; versions before 1.0.0 do not fit each \
          other, so build the plugin from this host's wit/"
        ]
    );
    let none = differences(&[("package bessai:edge@0.2.0", "package bessai:edge")], &[]);
    assert!(none[0].starts_with("exports `bessai:edge/transform`; this host implements 0.2.0 and 0.1.0"), "{none:?}");
}

#[test]
fn each_difference_of_a_type_is_named() {
    let check = |from: &str, to: &str, clause: &str| {
        let end = "; it was built from a different wit/ than this host";
        assert_eq!(differences(&[(from, to)], &[]), [format!("exports {clause}{end}")]);
    };
    let process = "`process` of bessai:edge@0.2.0";
    let field = "texts: list<text>,";
    check(field, "", &format!("{process}, whose `frame` lacks a field (`texts`: list<text>)"));
    check(
        field,
        "words: list<text>,",
        &format!(
            "{process}, whose `frame` has an extra field (`words`: list<text>) and lacks a field (`texts`: list<text>)"
        ),
    );
    check(
        field,
        "texts: text,",
        &format!("{process}, whose `frame` has the field `texts` as text instead of list<text>"),
    );
    check(
        "source: u32,",
        "source: u64,",
        &format!("{process}, whose `frame` has the field `source` as u64 instead of u32"),
    );
    check(
        "unless the clock is set.\n    at: timestamp,",
        "unless the clock is set.\n    at: s64,",
        &format!("{process}, whose `event` has the field `at` as s64 instead of u64"),
    );
    check(
        "record text { channel: u32, value: string }",
        "record text { value: string, channel: u32 }",
        &format!(
            "{process}, whose `text` has its fields in a different order (`value`, `channel` instead of `channel`, `value`)"
        ),
    );
    check(
        "    out-of-range,",
        "    out-of-range, guessed,",
        &format!("{process}, whose `fault-kind` has an extra case (`guessed`)"),
    );
    check(
        "    heartbeat,\n",
        "    heartbeat(u32),\n",
        &format!("{process}, whose `event-body` has the case `heartbeat` with u32 instead of nothing"),
    );
    check(
        "    gap(gap),\n",
        "    gap,\n",
        &format!("{process}, whose `event-body` has the case `gap` with nothing instead of gap"),
    );
    check("    other(other),\n", "", &format!("{process}, whose `event-body` lacks a case (`other`: other)"));
    check("enum qos {", "flags qos {", &format!("{process}, whose `qos` is flags instead of an enum"));
}

#[test]
fn a_type_of_both_functions_is_reported_once() {
    let found = differences(&[("revision: u64,", "revision: u64, zone: string, owner: string,")], &[]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with(
        "exports `configure` of bessai:edge@0.2.0, whose `site` has 2 extra fields (`zone`: string, `owner`: string);"
    ));
}

#[test]
fn each_difference_of_a_function_is_named() {
    let check = |from: &str, to: &str, expected: &str| {
        let found = differences(&[(from, to)], &[]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(expected), "{found:?}");
    };
    check(
        "config: string)",
        "config: string, strict: bool)",
        "exports `configure` of bessai:edge@0.2.0, which has an extra parameter (`strict`: bool);",
    );
    check(
        "config: string)",
        "config: list<u8>)",
        "exports `configure` of bessai:edge@0.2.0, which has the parameter `config` as list<u8> instead of string;",
    );
    check(
        "config: string) -> result<_, string>;",
        "config: string);",
        "exports `configure` of bessai:edge@0.2.0, which returns nothing instead of result<_, string>;",
    );
    check(
        "config: string) -> result<_, string>;",
        "config: string) -> result<_, string>; reset: func();",
        "exports `reset` of bessai:edge@0.2.0, which this host does not have (func());",
    );
    check(
        "  configure: func(site: site, config: string) -> result<_, string>;",
        "",
        "exports `bessai:edge/transform@0.2.0` without the function `configure` (func(site: site, config: string) -> \
         result<_, string>);",
    );
    check(
        "  delete: func(key: string);",
        "  delete: func(key: string); names: func() -> list<string>;",
        "imports `names` of bessai:edge@0.2.0, which this host does not have (func() -> list<string>);",
    );
    check(
        "enum level { error,",
        "enum level { fatal, error,",
        "imports `write` of bessai:edge@0.2.0, whose `level` has an extra case (`fatal`);",
    );
}

#[test]
fn unavailable_imports_are_named_with_the_reason() {
    let check = |package: &str, name: &str, expected: &str| {
        let text = format!("package {package}; interface {name} {{ ask: func(); }}");
        let (path, version) = package.split_once('@').unwrap();
        let import = format!("import log; import {path}/{name}@{version};");
        assert_eq!(differences(&[("import log;", &import)], &[&text]), [expected]);
    };
    check(
        "wasi:http@0.2.0",
        "outgoing-handler",
        "imports `wasi:http/outgoing-handler@0.2.0`, which is not available to plugins: a plugin has no network",
    );
    check(
        "foo:bar@1.2.3",
        "baz",
        "imports `foo:bar/baz@1.2.3`, which is not available to plugins: a plugin has `log`, `secrets`, `state` and `metrics` of bessai:edge, \
         and an empty WASI",
    );
    check(
        "wasi:clocks@0.3.0",
        "wall-clock",
        "imports `wasi:clocks/wall-clock@0.3.0`, which is not in the WASI 0.3 of this host",
    );
    check(
        "wasi:cli@0.4.0",
        "stdin",
        "imports `wasi:cli/stdin@0.4.0`; this host provides the releases 0.2 and 0.3 of WASI",
    );
    check(
        "wasi:cli@0.2.0-rc-2023-11-10",
        "stdin",
        "imports `wasi:cli/stdin@0.2.0-rc-2023-11-10`; this host provides the releases 0.2 and 0.3 of WASI",
    );
    check(
        "wasi:clocks@0.2.0",
        "timezone",
        "imports `wasi:clocks/timezone@0.2.0`, which is not in the WASI 0.2 of this host",
    );
}

#[test]
fn an_import_without_an_interface_is_named() {
    assert_eq!(
        differences(&[("import log;", "import log; import ask: func();")], &[]),
        [
            "imports the function `ask`, which is not available to plugins: a plugin has `log`, `secrets`, `state` and `metrics` of bessai:edge, \
          and an empty WASI"
        ]
    );
}

#[test]
fn types_of_other_packages_need_no_provider() {
    let other = "package foo:bar; interface words { record word { text: string } }";
    let edits = [
        ("export transform;", "import foo:bar/words; export transform; export foo: func(word: foo-word);"),
        ("world transformer {", "world transformer { use foo:bar/words.{word as foo-word};"),
    ];
    assert_eq!(
        read(&component("transformer", &edits, &[other])).unwrap().check(),
        Ok(vec![PluginInterface::Transform])
    );
}

#[test]
fn the_number_of_sentences_is_limited() {
    let many: String = (0..50).map(|number| format!("more{number}: func(); ")).collect();
    let found = differences(&[("  configure: func(", &format!("{many} configure: func("))], &[]);
    assert_eq!(found.len(), 21);
    assert_eq!(found[20], "and has 30 more differences");
}
