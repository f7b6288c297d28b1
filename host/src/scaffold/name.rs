//! Valid names of a new plugin: they name a folder, a crate, a file and a feed.

use super::vendor;

/// Longest name in characters, the limit of crates.io.
const LENGTH_MAX: usize = 64;

/// Keywords of Rust, and crates that are part of its toolchain.
const RESERVED: [&str; 57] = [
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc-macro",
    "proc_macro",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
];

/// The error says why the name is not valid.
pub(super) fn check(name: &str) -> Result<(), String> {
    let allowed = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_');
    if let Some(character) = name.chars().find(|c| !allowed(*c)) {
        return Err(format!("the name {name:?} contains {character:?}: use lower-case letters, digits, - and _"));
    }
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        return Err(format!("the name {name:?} does not begin with a letter, as a crate's name must"));
    }
    if name.len() > LENGTH_MAX {
        return Err(format!("the name {name:?} is longer than {LENGTH_MAX} characters"));
    }
    if RESERVED.contains(&name) {
        return Err(format!("the name {name:?} is reserved by Rust: choose another"));
    }
    if vendor::has(&name.replace('_', "-")) {
        return Err(format!("the name {name:?} is that of a crate that every plugin depends on: choose another"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_valid_for_a_crate() {
        for name in ["acme", "azure-iot-hub", "a1_b", &"a".repeat(64)] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
        let refused = |name: &str, part: &str| {
            let error = check(name).unwrap_err();
            assert!(error.contains(part), "{name}: {error}");
        };
        refused("", "does not begin with a letter");
        refused("1acme", "does not begin with a letter");
        refused("-acme", "does not begin with a letter");
        refused("Acme", "contains 'A'");
        refused("../acme", "contains '.'");
        refused("größe", "contains 'ö'");
        refused(&"a".repeat(65), "longer than 64");
        refused("match", "reserved by Rust");
        refused("std", "reserved by Rust");
        refused("wit-bindgen", "every plugin depends on");
        refused("bessai_plugin", "every plugin depends on");
    }
}
