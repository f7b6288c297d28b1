//! What of the world outside a plugin gets: an empty WASI 0.2, and the reason why not, for the rest.

use super::shape::Name;

/// The interfaces of WASI 0.2 that the engine links; there are no files, addresses, arguments or names behind them.
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

/// Why a package that others know is not here, and what to do instead.
const REASONS: [(&str, &str); 9] = [
    ("wasi:http", "a plugin has no network"),
    ("wasi:tls", "a plugin has no network; the host encrypts its connections"),
    ("wasi:messaging", "a plugin has no network; what `process` returns is published"),
    ("wasi:keyvalue", "a plugin keeps things in `bessai:edge/state`"),
    ("wasi:blobstore", "a plugin keeps things in `bessai:edge/state`"),
    ("wasi:config", "a plugin's settings come with `configure`"),
    ("wasi:logging", "a plugin writes to `bessai:edge/log`"),
    ("wasi:nn", "models run in the host"),
    ("wasi:threads", "a plugin has one thread"),
];

/// Whether an interface of WASI is there.
#[derive(Debug, PartialEq)]
pub(super) enum Wasi {
    Given,
    /// The package is there, but not in this version.
    OtherVersion,
    /// The package is there, but not this part of it.
    OtherInterface,
    No,
}

pub(super) fn wasi(name: Name<'_>) -> Wasi {
    let Some((_, interfaces)) = WASI.iter().find(|(package, _)| *package == name.package) else {
        return Wasi::No;
    };
    // All 0.2.x are compatible with each other, candidates for a release are not.
    let is_release = name.version.and_then(|version| version.strip_prefix("0.2."));
    if !is_release.is_some_and(|patch| !patch.is_empty() && patch.bytes().all(|byte| byte.is_ascii_digit())) {
        return Wasi::OtherVersion;
    }
    if interfaces.contains(&name.interface) { Wasi::Given } else { Wasi::OtherInterface }
}

/// Why a package is not given.
pub(super) fn reason(package: &str) -> &'static str {
    let known = REASONS.iter().find(|(known, _)| *known == package);
    known.map_or("a plugin has `log`, `secrets` and `state` of bessai:edge, and an empty WASI 0.2", |(_, why)| why)
}
