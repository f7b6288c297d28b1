//! The project's own rules, held against its files.

use std::path::{Path, PathBuf};

use crate::support::root;

/// Lines that a source file may have; those above 250 are one thing each.
const FILE_LINES: usize = 500;
/// Lines that a function may have.
const FUNCTION_LINES: usize = 70;
/// Made by scripts/make-bindings, and as long as the contract makes it.
const GENERATED: &str = "plugins/sdk/src/bindings";

fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    assert!(!found.is_empty(), "{folder} has no sources");
    found
}

/// Lines of code, without comments.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim_start().starts_with("//"))
}

/// The room of a file of the host: `mqtt` for both `mqtt.rs` and `mqtt/v5.rs`.
fn room(path: &Path) -> String {
    let inside = path.strip_prefix(root().join("host/src")).unwrap();
    inside.components().next().unwrap().as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned()
}

fn names(line: &str, library: &str) -> bool {
    line.match_indices(&format!("{library}::"))
        .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
}

#[test]
fn one_room_names_each_engine() {
    let engines = [
        ("tokio_modbus", "modbus"),
        ("ort", "inference"),
        ("ort_tract", "inference"),
        ("wasmtime", "plugin"),
        ("wasmtime_wasi", "plugin"),
        ("rumqttc", "mqtt"),
        ("rustls", "tls"),
        ("crc32fast", "journal"),
        ("hyper", "health"),
        ("clap", "cli"),
    ];
    for (path, text) in sources("host/src") {
        for (engine, owner) in engines {
            let found = code(&text).find(|line| names(&line.replace("tokio_rustls::rustls::", ""), engine));
            assert!(found.is_none() || room(&path) == owner, "{} names {engine}: {found:?}", path.display());
        }
    }
}

#[test]
fn rooms_of_the_path_do_not_name_each_other() {
    let rooms =
        ["modbus", "pipeline", "journal", "feed", "mqtt", "plugin", "inference", "tls", "health", "config", "app"];
    for (path, text) in sources("host/src") {
        let own = room(&path);
        if !rooms.contains(&own.as_str()) || own == "app" {
            continue;
        }
        for other in rooms.iter().filter(|other| **other != own) {
            let named = code(&text).find(|line| line.contains(&format!("crate::{other}")));
            assert!(named.is_none(), "{} names its sibling {other}: {named:?}", path.display());
        }
    }
}

#[test]
fn the_domain_knows_no_clock_file_or_engine() {
    for (path, text) in sources("host/domain/src") {
        for banned in ["tokio", "wasmtime", "rumqttc", "std::fs", "std::net", "SystemTime", "Instant", "std::env"] {
            let named = code(&text).find(|line| line.contains(banned));
            assert!(named.is_none(), "{} names {banned}: {named:?}", path.display());
        }
    }
}

#[test]
fn files_and_functions_fit() {
    for folder in ["host", "plugins", "tests"] {
        for (path, text) in sources(folder).into_iter().filter(|(path, _)| !path.parent().unwrap().ends_with(GENERATED))
        {
            let lines = text.lines().count();
            assert!(lines <= FILE_LINES, "{} has {lines} lines", path.display());
            for (name, length) in functions(&text) {
                assert!(length <= FUNCTION_LINES, "{}: fn {name} has {length} lines", path.display());
            }
        }
    }
}

/// Functions by the indentation of their `fn` and of the brace that ends them, as rustfmt leaves it.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<_> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let Some((before, after)) = line.split_once("fn ") else { continue };
        if !before
            .trim()
            .split(' ')
            .all(|word| matches!(word, "" | "pub" | "async" | "const" | "unsafe" | "pub(super)" | "pub(crate)"))
        {
            continue;
        }
        if line.ends_with(';') {
            continue;
        }
        let indent = &line[..line.len() - line.trim_start().len()];
        let end = lines.iter().skip(start).position(|line| *line == format!("{indent}}}"));
        let name = after.split(['(', '<']).next().unwrap_or_default().to_owned();
        found.extend(end.map(|length| (name, length + 1)));
    }
    found
}

#[test]
fn every_source_file_says_what_it_is() {
    for folder in ["host", "plugins", "tests"] {
        for (path, text) in sources(folder) {
            assert!(text.starts_with("//!"), "{} does not open with its purpose", path.display());
        }
    }
}

#[test]
fn every_guest_program_is_used() {
    let tests = sources("tests/integration");
    for entry in std::fs::read_dir(root().join("tests/guests")).unwrap() {
        let component = format!("guest-{}.wasm", entry.unwrap().file_name().to_string_lossy());
        assert!(tests.iter().any(|(_, text)| text.contains(&component)), "no test uses {component}");
    }
}

#[test]
fn the_rules_of_this_test_find_what_they_look_for() {
    assert!(names("use wasmtime::Store;", "wasmtime"));
    assert!(!names("use wasmtime_wasi::WasiCtx;", "wasmtime"));
    assert!(!names("sort::by", "ort"));
    let text = "impl A {\n    pub fn long(&self) {\n        1;\n        2;\n    }\n}\n";
    assert_eq!(functions(text), [("long".to_owned(), 4)]);
}
