//! Which names a new plugin may have: it is a folder, a crate, a file and a feed.

use super::vendor;

/// Bytes; crates.io takes no more.
const LONGEST: usize = 64;

/// Words that Rust keeps for itself, and crates that are always there.
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

/// Says why a plugin cannot have that name.
pub(super) fn check(name: &str) -> Result<(), String> {
    let allowed = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_');
    if let Some(wrong) = name.chars().find(|c| !allowed(*c)) {
        return Err(format!("the name {name:?} has {wrong:?} in it: use lower-case letters, digits, - and _"));
    }
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        return Err(format!("the name {name:?} does not begin with a letter, as the name of a crate must"));
    }
    if name.len() > LONGEST {
        return Err(format!("the name {name:?} is longer than {LONGEST} characters"));
    }
    if RESERVED.contains(&name) {
        return Err(format!("the name {name:?} is a word of Rust's own: choose another"));
    }
    if vendor::has(&name.replace('_', "-")) {
        return Err(format!("the name {name:?} is that of a crate which every plugin is built with: choose another"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_that_of_a_crate() {
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
        refused("Acme", "has 'A' in it");
        refused("../acme", "has '.' in it");
        refused("größe", "has 'ö' in it");
        refused(&"a".repeat(65), "longer than 64");
        refused("match", "Rust's own");
        refused("std", "Rust's own");
        refused("wit-bindgen", "every plugin is built with");
        refused("bessai_plugin", "every plugin is built with");
    }
}
