//! Which interfaces from other packages a plugin gets: an empty WASI 0.2 and 0.3, and for the rest the reason why not.

use super::shape::ExternName;

/// The interfaces of WASI 0.2 that the engine links. They give access to no files, addresses, arguments or names.
const WASI: [(&str, &[&str]); 6] = [
    (
        "wasi:cli",
        &[
            "environment",
            "exit",
            "stdin",
            "stdout",
            "stderr",
            "terminal-input",
            "terminal-output",
            "terminal-stdin",
            "terminal-stdout",
            "terminal-stderr",
        ],
    ),
    ("wasi:clocks", &["monotonic-clock", "wall-clock"]),
    ("wasi:filesystem", &["preopens", "types"]),
    ("wasi:io", &["error", "poll", "streams"]),
    ("wasi:random", &["insecure", "insecure-seed", "random"]),
    (
        "wasi:sockets",
        &["instance-network", "ip-name-lookup", "network", "tcp", "tcp-create-socket", "udp", "udp-create-socket"],
    ),
];

/// The interfaces of WASI 0.3, some functions of which fail when they are called (`wasi.rs`).
const WASI_0_3: [(&str, &[&str]); 5] = [
    (
        "wasi:cli",
        &[
            "environment",
            "exit",
            "stdin",
            "stdout",
            "stderr",
            "terminal-input",
            "terminal-output",
            "terminal-stdin",
            "terminal-stdout",
            "terminal-stderr",
        ],
    ),
    ("wasi:clocks", &["monotonic-clock", "system-clock"]),
    ("wasi:filesystem", &["preopens", "types"]),
    ("wasi:random", &["insecure", "insecure-seed", "random"]),
    ("wasi:sockets", &["ip-name-lookup", "types"]),
];

/// Well-known packages that the host does not provide, with the reason or the alternative.
const REASONS: [(&str, &str); 9] = [
    ("wasi:http", "a plugin has no network"),
    ("wasi:tls", "a plugin has no network; the host encrypts its connections"),
    ("wasi:messaging", "a plugin has no network; what `process` returns is published"),
    ("wasi:keyvalue", "a plugin stores data in `bessai:edge/state`"),
    ("wasi:blobstore", "a plugin stores data in `bessai:edge/state`"),
    ("wasi:config", "a plugin receives its settings in `configure`"),
    ("wasi:logging", "a plugin writes to `bessai:edge/log`"),
    ("wasi:nn", "models run in the host"),
    ("wasi:threads", "a plugin has one thread"),
];

/// Whether the host provides an interface of WASI.
#[derive(Debug, PartialEq)]
pub(super) enum Wasi {
    Provided,
    /// The host provides the package in another version.
    OtherVersion,
    /// The host provides other interfaces of the package.
    OtherInterface,
    NotProvided,
}

pub(super) fn wasi(name: ExternName<'_>) -> Wasi {
    let provides = |list: &[(&str, &[&str])]| {
        list.iter().any(|(package, interfaces)| *package == name.package && interfaces.contains(&name.interface))
    };
    if is_release(name, "0.3.") && provides(&WASI_0_3) {
        return Wasi::Provided;
    }
    let Some((_, interfaces)) = WASI.iter().find(|(package, _)| *package == name.package) else {
        return Wasi::NotProvided;
    };
    if is_release(name, "0.3.") {
        return Wasi::OtherInterface;
    }
    if !is_release(name, "0.2.") {
        return Wasi::OtherVersion;
    }
    if interfaces.contains(&name.interface) { Wasi::Provided } else { Wasi::OtherInterface }
}

/// All releases of a minor version are compatible with each other, release candidates are not.
fn is_release(name: ExternName<'_>, minor: &str) -> bool {
    let patch = name.version.and_then(|version| version.strip_prefix(minor));
    patch.is_some_and(|patch| !patch.is_empty() && patch.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Why the host does not provide a package.
pub(super) fn reason(package: &str) -> &'static str {
    let known = REASONS.iter().find(|(known, _)| *known == package);
    known
        .map_or("a plugin has `log`, `secrets`, `state` and `metrics` of bessai:edge, and an empty WASI", |(_, why)| {
            why
        })
}
