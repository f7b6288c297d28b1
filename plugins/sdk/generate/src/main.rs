//! Writes the SDK's bindings, made from `wit/`; scripts/make-bindings starts it after a change of the contract.
//!
//! The bindings are kept in the repository, so that who builds a plugin needs neither the generator nor its many crates.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use wit_bindgen_core::wit_parser::{Resolve, WorldId};
use wit_bindgen_core::{Files, WorldGenerator};
use wit_bindgen_rust::{Opts, WithOption};

/// The world that every plugin has. Its bindings have the contract's types, for the other interfaces too.
const EVERY: &str = "transformer";
/// Interfaces that a plugin may export beside it, each with bindings of its own: a component's exports are joined when it
/// is linked, and so no plugin has more of them than it names.
const MORE: [&str; 1] = ["session"];
const HEADER: &str = "//! Made from `wit/` by scripts/make-bindings; not to be edited.\n\n";

fn main() -> Result<()> {
    for name in all() {
        let file = bindings_file(name);
        std::fs::write(&file, generate(name)?).with_context(|| format!("failed to write {}", file.display()))?;
    }
    Ok(())
}

fn all() -> impl Iterator<Item = &'static str> {
    std::iter::once(EVERY).chain(MORE)
}

fn bindings_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../src/bindings/{name}.rs"))
}

fn generate(name: &str) -> Result<String> {
    let contract = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../wit");
    let mut resolve = Resolve::default();
    let (package, _) =
        resolve.push_path(&contract).with_context(|| format!("failed to read {}", contract.display()))?;
    let world = match name {
        EVERY => resolve.select_world(&[package], Some(name))?,
        interface => world_of(&mut resolve, interface)?,
    };

    let options = Opts {
        format: true,
        pub_export_macro: true,
        export_macro_name: Some(format!("export_{name}")),
        additional_derive_attributes: vec!["PartialEq".into()],
        with: if name == EVERY { Vec::new() } else { vec![shared_types()] },
        ..Opts::default()
    };
    let mut files = Files::default();
    options.build().generate(&mut resolve, world, &mut files)?;
    let (_, bindings) = files.iter().next().context("the generator made no file")?;
    Ok(format!("{HEADER}{}", std::str::from_utf8(bindings)?))
}

/// A world that exports this interface alone.
fn world_of(resolve: &mut Resolve, interface: &str) -> Result<WorldId> {
    let text = format!("package bessai:sdk;\nworld {interface}-only {{ export bessai:edge/{interface}@0.1.0; }}\n");
    let package = resolve.push_str("sdk.wit", &text)?;
    resolve.select_world(&[package], None)
}

/// The contract's types, which the bindings of [`EVERY`] have and nobody has twice.
fn shared_types() -> (String, WithOption) {
    let path = "crate::bindings::transformer::bessai::edge::types";
    ("bessai:edge/types@0.1.0".into(), WithOption::Path(path.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bindings_are_those_of_the_contract() {
        for name in all() {
            let file = bindings_file(name);
            let kept = std::fs::read_to_string(&file).unwrap_or_default();
            let made = generate(name).map_err(|error| format!("{error:#}"));
            let same = made.as_ref() == Ok(&kept);
            assert!(same, "{} is not what wit/ gives: run scripts/make-bindings", file.display());
        }
    }
}
