//! The hostile plugin, other builds of it, and components that no compiler would make.

use std::path::PathBuf;

use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{ManglingAndAbi, Resolve, WorldId};

use super::root;

/// What every build of the hostile plugin carries, before its letter.
const BUILD: &[u8] = b"hostile-build: ";

/// The hostile plugin, see `tests/guests/hostile`.
pub fn hostile() -> Vec<u8> {
    guest("guest-hostile.wasm")
}

/// The plugin that signs in with tokens, see `tests/guests/signer`.
pub fn signer() -> Vec<u8> {
    guest("guest-signer.wasm")
}

fn guest(file: &str) -> Vec<u8> {
    let folder = PathBuf::from(std::env::var("EDGE_TEST_GUESTS").unwrap_or_default());
    let path = folder.join(file);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}: run scripts/test", path.display()))
}

/// Another build of it: `!` traps on every event, `?` refuses every configuration, another letter is only shown.
pub fn build(letter: char) -> Vec<u8> {
    let mut wasm = hostile();
    let at: Vec<_> = (0..wasm.len()).filter(|at| wasm[*at..].starts_with(BUILD)).collect();
    let [at] = at[..] else { panic!("the build's name is there {} times", at.len()) };
    wasm[at + BUILD.len()] = u8::try_from(letter).unwrap();
    wasm
}

/// A feed's file with the hostile plugin doing `deed`; `more` are further lines of `[config]`, and tables after it.
pub fn doing(deed: &str, more: &str) -> String {
    format!("component = \"hostile.wasm\"\n[config]\ndo = \"{deed}\"\ntopic = \"{deed}\"\n{more}\n")
}

/// The contract with every `@0.1.0` replaced, and a change to its text.
pub fn contract(version: &str, change: impl Fn(String) -> String) -> Resolve {
    let mut resolve = Resolve::default();
    let mut texts = String::new();
    for name in ["types", "host", "plugin"] {
        let text = std::fs::read_to_string(root().join(format!("wit/{name}.wit"))).unwrap();
        let body = text.strip_prefix("package bessai:edge@0.1.0;").unwrap();
        texts.push_str(body);
    }
    resolve.push_str("edge.wit", &change(format!("package bessai:edge@{version};{texts}"))).unwrap();
    resolve
}

/// Adds a package and gives its world.
pub fn world(resolve: &mut Resolve, text: &str, name: &str) -> WorldId {
    let package = resolve.push_str("test.wit", text).unwrap();
    resolve.select_world(&[package], Some(name)).unwrap()
}

/// A component of a world that does nothing but trap.
pub fn dummy(resolve: &Resolve, world: WorldId) -> Vec<u8> {
    let module = dummy_module(resolve, world, ManglingAndAbi::Standard32);
    component(resolve, world, module)
}

/// A component of a world from the text of its core module.
pub fn from_text(resolve: &Resolve, world: WorldId, text: &str) -> Vec<u8> {
    component(resolve, world, wat::parse_str(text).unwrap())
}

fn component(resolve: &Resolve, world: WorldId, mut module: Vec<u8>) -> Vec<u8> {
    embed_component_metadata(&mut module, resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().module(&module).unwrap().encode().unwrap()
}

/// The text of a core module that fits the world `transformer`; `more` is put before its functions, `process` into the
/// one of that name.
pub fn transformer_text(imports: &str, more: &str, process: &str) -> String {
    format!(
        r#"(module
            {imports}
            (memory (export "memory") 1)
            (global $end (mut i32) (i32.const 1024))
            ;; Nothing is ever freed: an instance lives for one call.
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                (local $given i32)
                (local.set $given (i32.and (i32.add (global.get $end) (i32.const 7)) (i32.const -8)))
                (global.set $end (i32.add (local.get $given) (local.get 3)))
                (drop (memory.grow (i32.const 1)))
                (local.get $given))
            {more}
            ;; The result: zeroes, which say that all is well and that there are no messages.
            (func (export "bessai:edge/transform@0.1.0#configure")
                (param i32 i32 i64 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) (i32.const 0))
            (func (export "bessai:edge/transform@0.1.0#process") (param i32 i32) (result i32)
                {process}
                (i32.const 0)))"#
    )
}
