//! Generates the SDK's bindings from `wit/`; run it with scripts/make-bindings after a change of the contract.
//!
//! The bindings are kept in the repository, so that building a plugin needs neither the generator nor its many crates.

#![allow(clippy::disallowed_methods, reason = "a command without asynchronous code")]

use std::path::PathBuf;

use anyhow::{Context, Result};
use wit_bindgen_core::wit_parser::{Resolve, WorldId};
use wit_bindgen_core::{Files, WorldGenerator};
use wit_bindgen_rust::{Opts, WithOption};

/// The world that every plugin implements. Its bindings define the contract's types for the other interfaces too.
const BASE_WORLD: &str = "transformer";
/// Interfaces that a plugin may also export, each with its own bindings, so that a component exports only those that
/// the plugin names.
const OPTIONAL_INTERFACES: [&str; 2] = ["session", "commands"];
/// The version of the contract.
const VERSION: &str = "0.2.0";
/// The first lines of each generated file.
const HEADER: &str = "//! Generated from `wit/` by scripts/make-bindings; do not edit.\n\n";

fn main() -> Result<()> {
    for name in targets() {
        let file = bindings_file(name);
        std::fs::write(&file, generate(name)?).with_context(|| format!("failed to write {}", file.display()))?;
    }
    Ok(())
}

/// The world and the interfaces that have a file of bindings each.
fn targets() -> impl Iterator<Item = &'static str> {
    std::iter::once(BASE_WORLD).chain(OPTIONAL_INTERFACES)
}

/// This package's folder, asked for at run time: a shared target folder may hold what was compiled in another checkout.
fn package() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into()).into()
}

fn bindings_file(name: &str) -> PathBuf {
    package().join(format!("../src/bindings/{name}.rs"))
}

fn generate(name: &str) -> Result<String> {
    let contract = package().join("../../../wit");
    let mut resolve = Resolve::default();
    let (package, _) =
        resolve.push_path(&contract).with_context(|| format!("failed to read {}", contract.display()))?;
    let world = match name {
        BASE_WORLD => resolve.select_world(&[package], Some(name))?,
        interface => world_of(&mut resolve, interface)?,
    };

    let options = Opts {
        format: true,
        pub_export_macro: true,
        export_macro_name: Some(format!("export_{name}")),
        additional_derive_attributes: vec!["PartialEq".into()],
        with: if name == BASE_WORLD { Vec::new() } else { vec![shared_types()] },
        ..Opts::default()
    };
    let mut files = Files::default();
    options.build().generate(&mut resolve, world, &mut files)?;
    let (_, bindings) = files.iter().next().context("wit-bindgen generated no file")?;
    Ok(format!("{HEADER}{}", std::str::from_utf8(bindings)?))
}

/// A world that exports only this interface.
fn world_of(resolve: &mut Resolve, interface: &str) -> Result<WorldId> {
    let text = format!("package bessai:sdk;\nworld {interface}-only {{ export bessai:edge/{interface}@{VERSION}; }}\n");
    let package = resolve.push_str("sdk.wit", &text)?;
    resolve.select_world(&[package], None)
}

/// Maps the contract's types to those of [`BASE_WORLD`]'s bindings, so that none is defined twice.
fn shared_types() -> (String, WithOption) {
    let path = "crate::bindings::transformer::bessai::edge::types";
    (format!("bessai:edge/types@{VERSION}"), WithOption::Path(path.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bindings_match_the_contract() {
        for name in targets() {
            let file = bindings_file(name);
            let committed = std::fs::read_to_string(&file).unwrap_or_default();
            let generated = generate(name).map_err(|error| format!("{error:#}"));
            let same = generated.as_ref() == Ok(&committed);
            assert!(same, "{} does not match wit/: run scripts/make-bindings", file.display());
        }
    }
}
