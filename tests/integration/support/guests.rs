//! The hostile plugin and its variants, the plugins that sign and receive, and components made from WebAssembly text.

use std::path::PathBuf;

use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{ManglingAndAbi, Resolve, WorldId};

use super::root;

/// The bytes before the build's letter in the hostile plugin.
const BUILD_MARKER: &[u8] = b"hostile-build: ";

/// The hostile plugin of `tests/guests/hostile`.
pub fn hostile() -> Vec<u8> {
    guest("guest-hostile.wasm")
}

/// The plugin of `tests/guests/signer`, which signs in with tokens.
pub fn signer() -> Vec<u8> {
    guest("guest-signer.wasm")
}

/// The plugin of `tests/guests/commander`, which receives messages.
pub fn commander() -> Vec<u8> {
    guest("guest-commander.wasm")
}

/// The plugin of `tests/guests/signer` as it was built when the contract was 0.1.0.
pub fn signer_of_0_1() -> Vec<u8> {
    std::fs::read(root().join("host/plugin/tests/components/signer-0.1.0.wasm")).unwrap()
}

fn guest(file: &str) -> Vec<u8> {
    let folder = PathBuf::from(std::env::var("EDGE_TEST_GUESTS").unwrap_or_default());
    let path = folder.join(file);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}: run scripts/test", path.display()))
}

/// A build of the hostile plugin: `!` traps on every event, `?` refuses every configuration, other letters are only
/// published.
pub fn hostile_build(letter: char) -> Vec<u8> {
    let mut wasm = hostile();
    let at: Vec<_> = (0..wasm.len()).filter(|at| wasm[*at..].starts_with(BUILD_MARKER)).collect();
    let [at] = at[..] else { panic!("the hostile plugin contains its build marker {} times", at.len()) };
    wasm[at + BUILD_MARKER.len()] = u8::try_from(letter).unwrap();
    wasm
}

/// A feed's file that runs the hostile plugin; `more`: further lines of `[config]`, then further tables.
pub fn hostile_feed(behaviour: &str, more: &str) -> String {
    format!("component = \"hostile.wasm\"\n[config]\ndo = \"{behaviour}\"\ntopic = \"{behaviour}\"\n{more}\n")
}

/// The contract of `wit/` as this version, with a change to its text.
pub fn contract(version: &str, change: impl Fn(String) -> String) -> Resolve {
    let mut resolve = Resolve::default();
    let mut texts = String::new();
    for name in ["types", "host", "plugin"] {
        let text = std::fs::read_to_string(root().join(format!("wit/{name}.wit"))).unwrap();
        let body = text.strip_prefix("package bessai:edge@0.2.0;").unwrap();
        texts.push_str(body);
    }
    resolve.push_str("edge.wit", &change(format!("package bessai:edge@{version};{texts}"))).unwrap();
    resolve
}

/// Adds a package; returns its world.
pub fn world(resolve: &mut Resolve, text: &str, name: &str) -> WorldId {
    let package = resolve.push_str("test.wit", text).unwrap();
    resolve.select_world(&[package], Some(name)).unwrap()
}

/// A component of a world whose functions all trap.
pub fn dummy(resolve: &Resolve, world: WorldId) -> Vec<u8> {
    let module = dummy_module(resolve, world, ManglingAndAbi::Standard32);
    component(resolve, world, module)
}

/// A component of a world, from the text of its core module.
pub fn component_from_text(resolve: &Resolve, world: WorldId, text: &str) -> Vec<u8> {
    component(resolve, world, wat::parse_str(text).unwrap())
}

fn component(resolve: &Resolve, world: WorldId, mut module: Vec<u8>) -> Vec<u8> {
    embed_component_metadata(&mut module, resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().module(&module).unwrap().encode().unwrap()
}

/// The text of a core module of the world `transformer`; `more`: functions before its own, `process`: the body of
/// `process`.
pub fn transformer_text(imports: &str, more: &str, process: &str) -> String {
    format!(
        r#"(module
            {imports}
            (memory (export "memory") 1)
            (global $end (mut i32) (i32.const 1024))
            ;; Nothing is ever freed: an instance lives for one call.
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                (local $block i32)
                (local.set $block (i32.and (i32.add (global.get $end) (i32.const 7)) (i32.const -8)))
                (global.set $end (i32.add (local.get $block) (local.get 3)))
                (drop (memory.grow (i32.const 1)))
                (local.get $block))
            {more}
            ;; Both results are zeroes: success without messages.
            (func (export "bessai:edge/transform@0.2.0#configure")
                (param i32 i32 i64 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) (i32.const 0))
            (func (export "bessai:edge/transform@0.2.0#process") (param i32 i32) (result i32)
                {process}
                (i32.const 0)))"#
    )
}
