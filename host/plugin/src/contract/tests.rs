//! Components are built here from the host's own WIT, changed where the case needs it.

use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{ManglingAndAbi, Resolve, SourceMap, UnresolvedPackageGroup};

use super::host_contract::{TEXTS, contracts};
use super::{PluginInterface, read};

/// A component for a world of the host's package, whose text is edited first. `others` are packages that it refers to.
fn component(world: &str, edits: &[(&str, &str)], others: &[&str]) -> Vec<u8> {
    let mut resolve = Resolve::default();
    for (index, text) in others.iter().enumerate() {
        resolve.push_source(&format!("other-{index}.wit"), text).unwrap();
    }
    let package = resolve.push_group(host_texts(edits)).unwrap();
    let world = resolve.select_world(&[package], Some(world)).unwrap();
    let mut module = dummy_module(&resolve, world, ManglingAndAbi::Standard32);
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().module(&module).unwrap().validate(true).encode().unwrap()
}

/// The texts of `wit/`, edited.
fn host_texts(edits: &[(&str, &str)]) -> UnresolvedPackageGroup {
    let mut texts: Vec<(&str, String)> = TEXTS.iter().map(|(name, text)| (*name, (*text).to_owned())).collect();
    for (from, to) in edits {
        assert!(texts.iter().any(|(_, text)| text.contains(from)), "nothing to edit: {from}");
        for (_, text) in &mut texts {
            *text = text.replace(from, to);
        }
    }
    let mut sources = SourceMap::default();
    for (name, text) in texts {
        sources.push_str(name, text);
    }
    sources.parse().map_err(|(_, error)| error).unwrap()
}

/// How a component of the edited texts differs from the host's contract.
fn differences(edits: &[(&str, &str)], others: &[&str]) -> Vec<String> {
    read(&component("transformer", edits, others)).unwrap().check().unwrap_err()
}

/// The shipped plugin.
fn real() -> Vec<u8> {
    std::fs::read("../../dist/plugins/bessai-json.wasm").unwrap()
}

/// A version of the contract that this host does not implement.
const TO_0_3: (&str, &str) = ("package bessai:edge@0.2.0", "package bessai:edge@0.3.0");
/// Adds a field to `frame`.
const QUALITY: (&str, &str) = ("texts: list<text>,", "texts: list<text>, quality: u8,");

mod decoding;
mod fit;
mod header;
mod hostile;
