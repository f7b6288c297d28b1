//! Components are built here from the host's own WIT, changed where the case needs it.

use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{ManglingAndAbi, Resolve, SourceMap};

use super::own::{TEXTS, contract};
use super::{Kind, read};

/// A component for a world of the host's package, whose text is edited first. `others` are packages that it refers to.
fn component(world: &str, edits: &[(&str, &str)], others: &[&str]) -> Vec<u8> {
    let mut resolve = Resolve::default();
    for (at, text) in others.iter().enumerate() {
        resolve.push_source(&format!("other-{at}.wit"), text).unwrap();
    }
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
    let package = resolve.push_group(sources.parse().map_err(|(_, error)| error).unwrap()).unwrap();
    let world = resolve.select_world(&[package], Some(world)).unwrap();
    let mut module = dummy_module(&resolve, world, ManglingAndAbi::Standard32);
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().module(&module).unwrap().validate(true).encode().unwrap()
}

/// What is wrong with a component of the edited text.
fn complaints(edits: &[(&str, &str)], others: &[&str]) -> Vec<String> {
    read(&component("transformer", edits, others)).unwrap().check().unwrap_err()
}

fn real() -> Vec<u8> {
    std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../dist/plugins/bessai-json.wasm")).unwrap()
}

const TO_0_2: (&str, &str) = ("package bessai:edge@0.1.0", "package bessai:edge@0.2.0");
const QUALITY: (&str, &str) = ("texts: list<text>,", "texts: list<text>, quality: u8,");

mod bytes;
mod fit;
mod hostile;
