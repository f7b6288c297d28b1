//! Components that fit, and those that do not, with what differs.

use super::{Kind, QUALITY, TO_0_2, complaints, component, contract, read, real};

#[test]
fn every_export_of_the_worlds_has_its_kind() {
    let own = contract().unwrap();
    assert_eq!((own.package.as_str(), own.version.as_str()), ("bessai:edge", "0.1.0"));
    let exports: Vec<&str> = own.exports.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(exports, Kind::ALL.map(Kind::name));
    for import in ["log", "secrets", "state"] {
        assert!(own.imports.iter().any(|(name, _)| name == import), "{import}");
    }
}

#[test]
fn the_four_worlds_fit() {
    let check = |world: &str, kinds: &[Kind]| {
        assert_eq!(read(&component(world, &[], &[])).unwrap().check(), Ok(kinds.to_vec()), "{world}");
    };
    check("transformer", &[Kind::Transform]);
    check("connector", &[Kind::Transform, Kind::Session]);
    check("controller", &[Kind::Transform, Kind::Session, Kind::Commands]);
    check("commander", &[Kind::Transform, Kind::Commands]);
}

#[test]
fn the_real_plugin_fits_and_is_described() {
    let wasm = real();
    let contract = read(&wasm).unwrap();
    assert_eq!(contract.check(), Ok(vec![Kind::Transform]));
    let text = contract.to_string();
    for line in [
        &*format!("a component of {} bytes", wasm.len()),
        "  bessai:edge/transform@0.1.0",
        "    configure: func(site: site, config: string) -> result<_, string>",
        "    process: func(events: list<event>) -> result<list<message>, failure>",
        "  bessai:edge/types@0.1.0 (only types)",
    ] {
        assert!(text.lines().any(|written| written == line), "{line}\n{text}");
    }
}

#[test]
fn wasi_is_given_and_marked() {
    let wasi = "package wasi:random@0.2.7; interface random { get-random-u64: func() -> u64; }";
    let wasm = component("transformer", &[("import log;", "import log; import wasi:random/random@0.2.7;")], &[wasi]);
    let contract = read(&wasm).unwrap();
    assert_eq!(contract.check(), Ok(vec![Kind::Transform]));
    let text = contract.to_string();
    assert!(text.contains("  wasi:random/random@0.2.7 (empty)\n"), "{text}");
    assert!(text.contains("    write: func(level: level, message: string)\n"), "{text}");
}

#[test]
fn a_component_for_another_world_is_told_so() {
    let edits = [("export transform;", "export http; export run: func();"), ("interface transform", "interface http")];
    let renamed = [&edits[..], &[("package bessai:edge@", "package acme:edge@")]].concat();
    assert_eq!(
        complaints(&renamed, &[]),
        ["is a component for another world: it exports `run` and `acme:edge/http@0.1.0`, but not \
          `bessai:edge/transform@0.1.0`"]
    );
    assert_eq!(
        complaints(&[("export transform;", "")], &[]),
        ["exports nothing: a plugin exports `bessai:edge/transform@0.1.0` (or the file is cut off at its end)"]
    );
}

#[test]
fn a_plugin_without_transform_is_told_so() {
    let wasm = component("connector", &[("export transform;", "")], &[]);
    assert_eq!(
        read(&wasm).unwrap().check(),
        Err(vec!["does not export `bessai:edge/transform@0.1.0`, which every plugin does".into()])
    );
}

#[test]
fn another_version_is_told_with_what_differs() {
    assert_eq!(
        complaints(&[TO_0_2, QUALITY], &[]),
        ["exports `process` of bessai:edge@0.2.0, whose `frame` has a field more (`quality`: u8); this host speaks \
          0.1.0"]
    );
}

#[test]
fn another_version_is_refused_even_when_nothing_differs() {
    let patch = [("package bessai:edge@0.1.0", "package bessai:edge@0.1.1")];
    assert_eq!(
        complaints(&patch, &[]),
        [
            "exports `bessai:edge/transform@0.1.1`; this host speaks 0.1.0, and until 1.0.0 no other version fits; build \
          it from this host's wit/"
        ]
    );
    let none = complaints(&[("package bessai:edge@0.1.0", "package bessai:edge")], &[]);
    assert!(none[0].starts_with("exports `bessai:edge/transform`; this host speaks 0.1.0"), "{none:?}");
}

#[test]
fn each_difference_of_a_type_is_named() {
    let check = |from: &str, to: &str, clause: &str| {
        let end = "; it is built from another text of the contract than this host's wit/";
        assert_eq!(complaints(&[(from, to)], &[]), [format!("exports {clause}{end}")]);
    };
    let process = "`process` of bessai:edge@0.1.0";
    let field = "texts: list<text>,";
    check(field, "", &format!("{process}, whose `frame` has a field less (`texts`: list<text>)"));
    check(
        field,
        "words: list<text>,",
        &format!(
            "{process}, whose `frame` has a field more (`words`: list<text>) and has a field less (`texts`: list<text>)"
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
        "type timestamp = u64;",
        "type timestamp = s64;",
        &format!("{process}, whose `event` has the field `at` as s64 instead of u64"),
    );
    check(
        "record text { channel: u32, value: string }",
        "record text { value: string, channel: u32 }",
        &format!(
            "{process}, whose `text` has its fields in another order (`value`, `channel` instead of `channel`, `value`)"
        ),
    );
    check(
        "    out-of-range,",
        "    out-of-range, guessed,",
        &format!("{process}, whose `fault-kind` has a case more (`guessed`)"),
    );
    check(
        "    heartbeat,\n",
        "    heartbeat(u32),\n",
        &format!("{process}, whose `event-body` has the case `heartbeat` with u32 instead of nothing"),
    );
    check(
        "    gap(gap),\n",
        "    gap,\n",
        &format!("{process}, whose `event-body` has the case `gap` without its gap"),
    );
    check("    other(other),\n", "", &format!("{process}, whose `event-body` has a case less (`other`: other)"));
    check("enum qos {", "flags qos {", &format!("{process}, whose `qos` is flags instead of an enum"));
}

#[test]
fn a_type_of_both_functions_is_told_once() {
    let found = complaints(&[("revision: u64,", "revision: u64, zone: string, owner: string,")], &[]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with(
        "exports `configure` of bessai:edge@0.1.0, whose `site` has 2 fields more (`zone`: string, `owner`: string);"
    ));
}

#[test]
fn each_difference_of_a_function_is_named() {
    let check = |from: &str, to: &str, expected: &str| {
        let found = complaints(&[(from, to)], &[]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(expected), "{found:?}");
    };
    check(
        "config: string)",
        "config: string, strict: bool)",
        "exports `configure` of bessai:edge@0.1.0, which has a parameter more (`strict`: bool);",
    );
    check(
        "config: string)",
        "config: list<u8>)",
        "exports `configure` of bessai:edge@0.1.0, which has the parameter `config` as list<u8> instead of string;",
    );
    check(
        "config: string) -> result<_, string>;",
        "config: string);",
        "exports `configure` of bessai:edge@0.1.0, which returns nothing instead of result<_, string>;",
    );
    check(
        "config: string) -> result<_, string>;",
        "config: string) -> result<_, string>; reset: func();",
        "exports `reset` of bessai:edge@0.1.0, which this host does not have (func());",
    );
    check(
        "  configure: func(site: site, config: string) -> result<_, string>;",
        "",
        "exports `bessai:edge/transform@0.1.0` without the function `configure` (func(site: site, config: string) -> \
         result<_, string>);",
    );
    check(
        "  delete: func(key: string);",
        "  delete: func(key: string); names: func() -> list<string>;",
        "imports `names` of bessai:edge@0.1.0, which this host does not have (func() -> list<string>);",
    );
    check(
        "enum level { error,",
        "enum level { fatal, error,",
        "imports `write` of bessai:edge@0.1.0, whose `level` has a case more (`fatal`);",
    );
}

#[test]
fn imports_that_nobody_gives_are_named_with_the_reason() {
    let check = |package: &str, name: &str, expected: &str| {
        let text = format!("package {package}; interface {name} {{ ask: func(); }}");
        let (path, version) = package.split_once('@').unwrap();
        let import = format!("import log; import {path}/{name}@{version};");
        assert_eq!(complaints(&[("import log;", &import)], &[&text]), [expected]);
    };
    check(
        "wasi:http@0.2.0",
        "outgoing-handler",
        "imports `wasi:http/outgoing-handler@0.2.0`, which no plugin gets: a plugin has no network",
    );
    check(
        "foo:bar@1.2.3",
        "baz",
        "imports `foo:bar/baz@1.2.3`, which no plugin gets: a plugin has `log`, `secrets` and `state` of bessai:edge, \
         and an empty WASI 0.2",
    );
    check("wasi:cli@0.3.0", "stdin", "imports `wasi:cli/stdin@0.3.0`; a plugin gets WASI 0.2 only");
    check(
        "wasi:cli@0.2.0-rc-2023-11-10",
        "stdin",
        "imports `wasi:cli/stdin@0.2.0-rc-2023-11-10`; a plugin gets WASI 0.2 only",
    );
    check(
        "wasi:clocks@0.2.0",
        "timezone",
        "imports `wasi:clocks/timezone@0.2.0`, which the host's WASI 0.2 does not have",
    );
}

#[test]
fn an_import_without_an_interface_is_named() {
    assert_eq!(
        complaints(&[("import log;", "import log; import ask: func();")], &[]),
        [
            "imports the function `ask`, which no plugin gets: a plugin has `log`, `secrets` and `state` of bessai:edge, \
          and an empty WASI 0.2"
        ]
    );
}

#[test]
fn types_of_others_need_nobody() {
    let other = "package foo:bar; interface words { record word { text: string } }";
    let edits = [
        ("export transform;", "import foo:bar/words; export transform; export foo: func(word: foo-word);"),
        ("world transformer {", "world transformer { use foo:bar/words.{word as foo-word};"),
    ];
    assert_eq!(read(&component("transformer", &edits, &[other])).unwrap().check(), Ok(vec![Kind::Transform]));
}

#[test]
fn sentences_are_limited() {
    let many: String = (0..50).map(|number| format!("more{number}: func(); ")).collect();
    let found = complaints(&[("  configure: func(", &format!("{many} configure: func("))], &[]);
    assert_eq!(found.len(), 21);
    assert_eq!(found[20], "and 30 things more do not fit");
}
