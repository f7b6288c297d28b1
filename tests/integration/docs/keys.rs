//! Every key and variable that the program asks for is documented, and every documented one is asked for.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::docs::page::{Page, page, spans};
use crate::support::gateway::Setup;
use crate::support::root;

/// What reads settings key by key; its functions that take a key are looked for in the sources.
const ACCESSORS: &str = "host/domain/src/settings/table.rs";
/// The pages that list every key.
const PAGES: [&str; 2] = ["docs/configuration.md", "docs/es/configuration.md"];
/// The first cell of the header of a table that lists keys.
const HEADERS: [&str; 4] = ["key", "clave", "option", "opción"];

/// Keys of a serial port's options, which are not in a TOML table.
const OPTIONS: [&str; 5] = ["baud", "parity", "stop_bits", "data_bits", "turnaround"];

/// Rust files of a folder and those below it, but for tests.
fn files(folder: &str) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![root().join(folder)]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.unwrap().path();
            let is_test = path.file_stem().is_some_and(|stem| stem == "tests");
            if path.is_dir() && !is_test {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") && !is_test {
                found.push(path);
            }
        }
    }
    found
}

/// A file's code without its tests and comments.
fn code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Names of the functions that take a key.
fn accessors() -> Vec<String> {
    let code = code(&root().join(ACCESSORS));
    let functions = code.split("pub fn ").skip(1).filter(|function| {
        let signature = function.split('{').next().unwrap_or_default();
        signature.contains("key: &'static str")
    });
    let names: Vec<_> = functions.map(|function| word(function).to_owned()).collect();
    assert!(names.len() > 5, "{ACCESSORS} has other functions now: {names:?}");
    names
}

/// The identifier that a text begins with.
fn word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

/// The text literals that follow `call(`, perhaps after another argument.
fn literals<'a>(code: &'a str, call: &str) -> Vec<&'a str> {
    let opening = format!("{call}(");
    let is_call = |at: usize| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
    let calls = code.match_indices(&opening).filter(|(at, _)| is_call(*at));
    let arguments = calls.map(|(at, _)| code[at + opening.len()..].trim_start());
    let keys = arguments.filter_map(|arguments| {
        let after_table = arguments.split_once("table, ").filter(|(before, _)| matches!(*before, "" | "&"));
        after_table.map_or(arguments, |(_, rest)| rest).strip_prefix('"')
    });
    keys.map(word).filter(|key| !key.is_empty()).collect()
}

/// Every key that some files ask for; `more` are functions of their own that pass a key on.
fn asked(files: &[PathBuf], more: &[&str]) -> BTreeSet<String> {
    let code: Vec<_> = files.iter().map(|path| code(path)).collect();
    let accessors = accessors().into_iter().chain(more.iter().map(|name| (*name).to_owned()));
    let of = |accessor: String| {
        code.iter().flat_map(|code| literals(code, &accessor)).map(str::to_owned).collect::<Vec<_>>()
    };
    accessors.flat_map(of).collect()
}

/// The keys in the tables of a page that list keys; of all its sections, or of one.
fn documented(page: &Page, anchor: Option<&str>) -> BTreeSet<String> {
    let tables = anchor.map_or_else(|| page.tables(), |anchor| page.tables_under(anchor));
    let of_keys = tables.iter().filter(|table| HEADERS.iter().any(|header| table[0][0].starts_with(header)));
    of_keys.flat_map(|table| &table[1..]).flat_map(|row| spans(&row[0])).map(|(_, key)| key).collect()
}

#[test]
fn every_key_is_documented_and_no_other() {
    let folders = ["host/src/config", "host/inference/src", "plugins/bessai-json/src"];
    let files: Vec<_> = folders.into_iter().flat_map(files).collect();
    let own = ["path", "has", "read", "get", "parsed", "positive", "power", "share"];
    let asked = asked(&files, &own);
    let (variables, mut keys): (BTreeSet<_>, BTreeSet<_>) =
        asked.into_iter().partition(|key| !key.chars().any(|c| c.is_ascii_lowercase()));
    // Read by functions that profiles have in common with devices.
    keys.extend(
        ["request_gap", "connect_pause", "reconnect_after", "max_registers", "max_bits", "bridged_gap"]
            .map(str::to_owned),
    );
    keys.extend(["deadband", "max_silence"].map(str::to_owned));
    keys.extend(OPTIONS.map(str::to_owned));
    assert!(keys.len() > 50, "{keys:?}");
    for name in PAGES {
        let page = page(name);
        assert_eq!(keys, documented(&page, None), "{name}");
        let shown: BTreeSet<_> = page.spans().into_iter().map(|(_, span)| span).collect();
        let missing: Vec<_> = variables.iter().filter(|variable| !shown.contains(*variable)).collect();
        assert!(missing.is_empty(), "{name} lacks {missing:?}");
    }
}

#[test]
fn every_key_of_a_profile_is_documented_and_no_other() {
    let mut files = files("host/domain/src/profile/toml");
    files.push(root().join("host/domain/src/profile/toml.rs"));
    let mut keys = asked(&files, &["point", "power", "writes"]);
    // Of `set_point`, which one row describes.
    ["power", "charge", "discharge", "mode", "mode_values"].iter().for_each(|key| {
        keys.remove(*key);
    });
    assert_eq!(keys, documented(&page("docs/devices.md"), None));
}

#[test]
fn every_key_of_a_case_is_documented() {
    let block = page("docs/write-a-plugin.md").blocks.into_iter().find(|block| block.info == "toml case.toml").unwrap();
    let shown: toml::Table = block.body.parse().unwrap();
    let asked = asked(&[root().join("host/src/testing/case.rs")], &["bytes"]);
    let missing: Vec<_> = asked.iter().filter(|key| !shown.contains_key(key.as_str())).collect();
    assert!(missing.is_empty(), "the sample of case.toml lacks {missing:?}");
}

#[test]
fn every_known_variable_is_documented() {
    let code = code(&root().join("host/src/config/names.rs"));
    let is_name =
        |text: &&str| text.len() > 2 && text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    let names: Vec<_> = code.split('"').skip(1).step_by(2).filter(is_name).collect();
    assert!(names.len() > 60, "{names:?}");
    for name in PAGES {
        let shown: BTreeSet<_> = page(name).spans().into_iter().map(|(_, span)| span).collect();
        // What is recognised by its beginning or its end is part of a sentence.
        let missing: Vec<_> = names.iter().filter(|name| !shown.contains(**name) && !is_of_kubernetes(name)).collect();
        assert!(missing.is_empty(), "{name} lacks {missing:?}");
    }
}

fn is_of_kubernetes(name: &str) -> bool {
    ["_SERVICE_HOST", "_SERVICE_PORT", "_PORT", "TCP", "UDP", "SCTP", "PROTO", "PORT", "ADDR"].contains(&name)
}

/// A documented key is known where it is documented: whatever is wrong with its value, it is not unknown.
#[test]
fn documented_keys_are_known_in_their_tables() {
    let page = page(PAGES[0]);
    let sections = [
        ("bessaitoml", "", ""),
        ("device", "[[device]]\n", ""),
        ("modbus_server", "[[modbus_server]]\n", ""),
        ("profiles", "[profiles]\n", ""),
        ("broker", "[broker]\n", ""),
        ("journal", "[journal]\n", ""),
        ("plugins", "[plugins]\n", ""),
        ("feed-files", "", "x.toml"),
        ("secrets", "[secrets.x]\n", "x.toml"),
        ("rights", "[rights]\n", "x.toml"),
        ("limits", "[limits]\n", "x.toml"),
    ];
    for (anchor, header, feed) in sections {
        let keys = documented(&page, Some(anchor));
        assert!(!keys.is_empty(), "no keys are documented under #{anchor}");
        // No key takes a time of day alone.
        let lines: Vec<_> = keys.iter().map(|key| format!("{key} = 07:32:00\n")).collect();
        let text = format!("{header}{}no_such_key = 1\n", lines.concat());
        let setup = Setup::new().device(502).broker("mqtt://localhost");
        let setup = match feed {
            "" => setup.file("bessai.toml", text),
            feed => setup.file(&format!("plugins/{feed}"), text),
        };
        let output = setup.output(&["check"]);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "#{anchor}: {errors}");
        let unknown: Vec<_> = errors.lines().filter(|line| line.contains("is unknown")).collect();
        assert!(unknown.len() == 1 && unknown[0].contains("no_such_key"), "#{anchor}: {unknown:?}");
    }
}

#[test]
fn literals_of_calls() {
    let code = "table.text(\"a\"); size::read(&table, \"b\", 1); context(\"c\"); table.value(\n  \"d\",\n)";
    assert_eq!(literals(code, "text"), ["a"]);
    assert_eq!(literals(code, "read"), ["b"]);
    assert_eq!(literals(code, "value"), ["d"]);
}
