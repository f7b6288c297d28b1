//! Writes the SDK's bindings, made from `wit/`; scripts/make-bindings starts it after a change of the contract.
//!
//! The bindings are kept in the repository, so that who builds a plugin needs neither the generator nor its many crates.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use wit_bindgen_core::wit_parser::Resolve;
use wit_bindgen_core::{Files, WorldGenerator};
use wit_bindgen_rust::Opts;

/// The world that every plugin has.
const WORLD: &str = "transformer";
const HEADER: &str = "//! Made from `wit/` by scripts/make-bindings; not to be edited.\n\n";

fn main() -> Result<()> {
    let file = bindings_file();
    std::fs::write(&file, generate()?).with_context(|| format!("failed to write {}", file.display()))
}

fn bindings_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../src/bindings/transformer.rs")
}

fn generate() -> Result<String> {
    let contract = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../wit");
    let mut resolve = Resolve::default();
    let (package, _) =
        resolve.push_path(&contract).with_context(|| format!("failed to read {}", contract.display()))?;
    let world = resolve.select_world(&[package], Some(WORLD))?;

    let options = Opts {
        format: true,
        pub_export_macro: true,
        export_macro_name: Some("export_transformer".into()),
        additional_derive_attributes: vec!["PartialEq".into()],
        ..Opts::default()
    };
    let mut files = Files::default();
    options.build().generate(&mut resolve, world, &mut files)?;
    let (_, bindings) = files.iter().next().context("the generator made no file")?;
    Ok(format!("{HEADER}{}", std::str::from_utf8(bindings)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bindings_are_those_of_the_contract() {
        let kept = std::fs::read_to_string(bindings_file()).unwrap_or_default();
        let made = generate().map_err(|error| format!("{error:#}"));
        let same = made.as_ref() == Ok(&kept);
        assert!(same, "{} is not what wit/ gives: run scripts/make-bindings", bindings_file().display());
    }
}
