//! Generates the bindings of the SDK and of projects in C from `wit/`; run it with scripts/make-bindings after a change of the contract.
//!
//! The bindings are kept in the repository, so that building a plugin needs neither the generator nor its many crates.

#![allow(clippy::disallowed_methods, reason = "a command without asynchronous code")]

use std::path::{Path, PathBuf};

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
/// What the source in C ends with to link the object file.
const LINKS_OBJECT: &str = "// Ensure that the *_component_type.o object is linked in";
/// The first lines of each generated file.
const HEADER: &str = "//! Generated from `wit/` by scripts/make-bindings; do not edit.\n\n";

fn main() -> Result<()> {
    for name in targets() {
        write(&bindings_file(name), &generate(name)?)?;
    }
    for (name, content) in generate_c()? {
        write(&c_file(&name), &content)?;
    }
    Ok(())
}

fn write(file: &Path, content: &str) -> Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(file, content).with_context(|| format!("failed to write {}", file.display()))
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

/// A file of the bindings that a new project in C gets.
fn c_file(name: &str) -> PathBuf {
    package().join("../../../host/src/scaffold/template/c/bindings").join(name)
}

/// The bindings of [`BASE_WORLD`] in C: header and source by name.
fn generate_c() -> Result<Vec<(String, String)>> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(package().join("../../../wit"))?;
    let world = resolve.select_world(&[package], Some(BASE_WORLD))?;
    let mut files = Files::default();
    // The build of a project embeds the contract, so it needs no object file and nothing that links one.
    let options = wit_bindgen_c::Opts { no_object_file: true, ..Default::default() };
    options.build().generate(&mut resolve, world, &mut files)?;
    let file = |(name, content): (&str, &[u8])| {
        let content = std::str::from_utf8(content)?;
        let content = content.split(LINKS_OBJECT).next().unwrap_or(content);
        Ok((name.to_owned(), format!("{}\n", content.trim_end())))
    };
    files.iter().map(file).collect()
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

    #[test]
    fn the_c_header_matches_the_contract() -> Result<()> {
        for (name, generated) in generate_c()? {
            let committed = std::fs::read_to_string(c_file(&name)).unwrap_or_default();
            assert!(generated == committed, "{name} does not match wit/: run scripts/make-bindings");
        }
        Ok(())
    }
}
