//! The walls between the crates, as `cargo metadata` shows them.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use crate::support::root;
use crate::tidy;

/// The crates of a sample's path and beside it: none of them depends on another.
const ROOMS: [&str; 9] = [
    "bessai-control",
    "bessai-modbus",
    "bessai-modbus-server",
    "bessai-pipeline",
    "bessai-journal",
    "bessai-feed",
    "bessai-plugin-runtime",
    "bessai-mqtt",
    "bessai-inference",
];
/// The crates below the rooms, which every room may use.
const FOUNDATIONS: [&str; 5] = ["bessai-domain", FILES, "bessai-network", "bessai-supervision", "bessai-tls"];
/// The only one of them that another one may use.
const FILES: &str = "bessai-files";
/// The program, which alone knows all rooms.
const PROGRAM: &str = "bessai-edge";
/// Each engine and the only crate that depends on it.
const ENGINES: [(&str, &str); 19] = [
    ("clap", PROGRAM),
    ("crc32fast", "bessai-journal"),
    ("cryptoki", "bessai-tls"),
    ("httparse", "bessai-mqtt"),
    ("hyper", PROGRAM),
    ("hyper-util", PROGRAM),
    ("ipnet", "bessai-modbus-server"),
    ("ort", "bessai-inference"),
    ("ort-tract", "bessai-inference"),
    ("pkcs8", "bessai-tls"),
    ("rumqttc", "bessai-mqtt"),
    ("rustls", "bessai-tls"),
    ("rustls-native-certs", "bessai-tls"),
    ("tokio-modbus", "bessai-modbus"),
    ("tokio-rustls", "bessai-tls"),
    ("tokio-serial", "bessai-modbus"),
    ("wasmtime", "bessai-plugin-runtime"),
    ("wasmtime-wasi", "bessai-plugin-runtime"),
    ("x509-cert", "bessai-tls"),
];
/// Runtimes and I/O that the domain must not know.
const NOT_IN_THE_DOMAIN: [&str; 5] = ["tokio", "tracing", "rustix", "libc", "anyhow"];

/// The direct dependencies of each workspace crate, those for development left out.
type Dependencies = BTreeMap<String, BTreeSet<String>>;

fn workspace() -> Dependencies {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let arguments = ["metadata", "--no-deps", "--offline", "--locked", "--format-version", "1"];
    let output = Command::new(cargo).args(arguments).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    dependencies(&serde_json::from_slice(&output.stdout).unwrap())
}

fn dependencies(metadata: &Value) -> Dependencies {
    let of_package = |package: &Value| {
        let of_build = |dependency: &&Value| dependency["kind"].as_str() != Some("dev");
        let named = |dependency: &Value| dependency["name"].as_str().unwrap().to_owned();
        let dependencies = package["dependencies"].as_array().unwrap().iter().filter(of_build).map(named).collect();
        (package["name"].as_str().unwrap().to_owned(), dependencies)
    };
    metadata["packages"].as_array().unwrap().iter().map(of_package).collect()
}

/// Everything in the workspace that breaks a rule, as sentences.
fn violations(workspace: &Dependencies) -> Vec<String> {
    let mut found = Vec::new();
    for name in ROOMS.iter().chain(&FOUNDATIONS).chain([&PROGRAM]) {
        if !workspace.contains_key(*name) {
            found.push(format!("there is no crate {name}"));
        }
    }
    for (name, dependencies) in workspace {
        let is_foundation = FOUNDATIONS.contains(&name.as_str());
        for dependency in dependencies.iter().filter(|dependency| workspace.contains_key(*dependency)) {
            let is_room = ROOMS.contains(&dependency.as_str());
            let is_foreign = match name.as_str() {
                PROGRAM => false,
                _ if is_foundation => name == "bessai-domain" || dependency != FILES,
                room if ROOMS.contains(&room) => !FOUNDATIONS.contains(&dependency.as_str()),
                _ => is_room || dependency == PROGRAM,
            };
            if is_foreign {
                found.push(format!("{name} depends on {dependency}"));
            }
        }
        for (engine, owner) in ENGINES {
            if dependencies.contains(engine) != (name == owner) {
                found.push(format!("{engine} is a dependency of {owner} alone, not as in {name}"));
            }
        }
    }
    let domain = workspace.get("bessai-domain").into_iter().flatten();
    let unwanted = domain.filter(|dependency| NOT_IN_THE_DOMAIN.contains(&dependency.as_str()));
    found.extend(unwanted.map(|dependency| format!("bessai-domain depends on {dependency}")));
    found
}

#[test]
fn no_room_depends_on_another_and_each_engine_has_one_owner() {
    assert_eq!(violations(&workspace()), Vec::<String>::new());
}

#[test]
fn every_broken_wall_is_found() {
    let check = |name: &str, dependency: &str, expected: &str| {
        let mut workspace = workspace();
        workspace.get_mut(name).unwrap().insert(dependency.to_owned());
        assert_eq!(violations(&workspace), [expected]);
    };
    check("bessai-feed", "bessai-journal", "bessai-feed depends on bessai-journal");
    check("bessai-domain", "bessai-tls", "bessai-domain depends on bessai-tls");
    check("bessai-domain", "bessai-files", "bessai-domain depends on bessai-files");
    check("bessai-files", "bessai-tls", "bessai-files depends on bessai-tls");
    check("bessai-simulator", "bessai-modbus", "bessai-simulator depends on bessai-modbus");
    check("bessai-json", "bessai-edge", "bessai-json depends on bessai-edge");
    check("bessai-feed", "rumqttc", "rumqttc is a dependency of bessai-mqtt alone, not as in bessai-feed");
    check("bessai-domain", "tokio", "bessai-domain depends on tokio");
    let mut workspace = workspace();
    workspace.get_mut("bessai-journal").unwrap().remove("crc32fast");
    let expected = "crc32fast is a dependency of bessai-journal alone, not as in bessai-journal";
    assert_eq!(violations(&workspace), [expected]);
}

/// Sources by crate: those of `host` by their folder in it, the others by their top folder.
fn sources() -> BTreeMap<String, String> {
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    for (path, text) in ["host", "plugins", "tests", "fuzz", "docs"].into_iter().flat_map(tidy::sources) {
        let mut parts = path.strip_prefix(root()).unwrap().iter().map(|part| part.to_str().unwrap());
        let (top, below) = (parts.next().unwrap(), parts.next().unwrap());
        let owner = if top == "host" && below != "src" { format!("host/{below}") } else { top.to_owned() };
        // A crate's examples and tests use it from outside.
        let owner = if parts.next() == Some("src") || owner == top { owner } else { format!("{owner} outside") };
        found.entry(owner).or_default().push_str(&text);
    }
    found
}

/// The names of a crate's public functions and constants.
fn public_functions(source: &str) -> impl Iterator<Item = &str> {
    source.lines().filter_map(|line| {
        let mut words = line.trim_start().strip_prefix("pub ")?.split([' ', '(', '<', ':']);
        loop {
            match words.next()? {
                "async" | "unsafe" => {}
                "fn" => return words.next(),
                "const" => return words.next().and_then(|word| if word == "fn" { words.next() } else { Some(word) }),
                _ => return None,
            }
        }
    })
}

#[test]
fn every_public_function_is_used_by_another_crate() {
    let sources = sources();
    let words = |source: &str| -> BTreeSet<String> {
        source.split(|character: char| !character.is_alphanumeric() && character != '_').map(str::to_owned).collect()
    };
    let by_crate: BTreeMap<_, _> = sources.iter().map(|(name, source)| (name, words(source))).collect();
    // The simulator is a toolbox, whose tools need not all be in use.
    let is_checked = |name: &str| name.starts_with("host/") && !name.ends_with("outside") && name != "host/simulator";
    for (name, source) in sources.iter().filter(|(name, _)| is_checked(name)) {
        let others = || by_crate.iter().filter(|(other, _)| **other != name);
        let unused: Vec<_> =
            public_functions(source).filter(|function| !others().any(|(_, words)| words.contains(*function))).collect();
        assert_eq!(unused, Vec::<&str>::new(), "public in {name}, and no other crate uses them");
    }
    let found: Vec<_> = public_functions(
        "pub const A: u8 = 1;\n    pub async fn b<T>() {}\npub clock: fn() -> u8,\npub(crate) fn c() {}",
    )
    .collect();
    assert_eq!(found, ["A", "b"]);
}
