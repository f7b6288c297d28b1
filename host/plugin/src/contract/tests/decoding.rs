//! Components are read as wit-parser's decoder reads them, and those that it cannot read are read too.

use wit_parser::decoding::{DecodedWasm, decode};
use wit_parser::{WorldItem, WorldKey};

use super::{QUALITY, TO_0_3, component, read, real};
use crate::contract::Contract;
use crate::contract::shape::{Extern, ExternItem};
use crate::contract::wit::WitReader;

/// What wit-parser's decoder finds in the component.
fn decoded(wasm: &[u8]) -> Contract {
    let DecodedWasm::Component(resolve, world) = decode(wasm).unwrap() else { panic!("a WIT package") };
    let mut reader = WitReader::new(&resolve);
    let world = &resolve.worlds[world];
    let mut externs = |items: &mut dyn Iterator<Item = (&WorldKey, &WorldItem)>| -> Vec<Extern> {
        items
            .map(|(key, item)| Extern { name: resolve.name_world_key(key), item: extern_item(&mut reader, item) })
            .collect()
    };
    let exports = externs(&mut world.exports.iter());
    let imports = externs(&mut world.imports.iter());
    Contract { bytes: wasm.len(), exports, imports }
}

fn extern_item(reader: &mut WitReader<'_>, item: &WorldItem) -> ExternItem {
    match item {
        WorldItem::Interface { id, .. } => ExternItem::Interface(reader.named_interface(*id).unwrap().1),
        WorldItem::Function(function) => ExternItem::Function(reader.function(function).unwrap()),
        WorldItem::Type { .. } => ExternItem::Type,
    }
}

#[track_caller]
fn check_same(wasm: &[u8]) {
    let (read, decoded) = (read(wasm).unwrap(), decoded(wasm));
    assert_eq!(read.to_string(), decoded.to_string());
    assert_eq!(read.check(), decoded.check());
}

#[test]
fn components_are_read_as_the_decoder_reads_them() {
    for world in ["transformer", "connector", "controller", "commander"] {
        check_same(&component(world, &[], &[]));
    }
    check_same(&component("transformer", &[TO_0_3, QUALITY], &[]));
    let resources = "package acme:data; interface rows { resource row { get: func(at: u32) -> list<u8>; } \
                     open: func() -> row; }";
    let edit = ("import log;", "import log; import acme:data/rows; import ask: async func(name: string);");
    check_same(&component("transformer", &[edit], &[resources]));
    check_same(&real());
}

/// A valid component as text, whose contract is `lines`.
#[track_caller]
fn check_read(text: &str, lines: &str) {
    let contract = read(&wat::parse_str(text).unwrap()).unwrap().to_string();
    assert_eq!(contract.split_once('\n').unwrap().1, lines);
}

#[test]
fn packages_that_use_each_other_are_read() {
    check_read(
        "(component
          (import \"p:a/one\" (instance $one (export \"t\" (type (sub resource)))))
          (alias export $one \"t\" (type $t))
          (import \"p:b/two\" (instance $two (export \"t\" (type (eq $t)))))
          (alias export $two \"t\" (type $u))
          (import \"p:a/three\" (instance (export \"t\" (type (eq $u))))))",
        "exports nothing\nimports\n  p:a/one\n  p:b/two\n  p:a/three\n",
    );
}

#[test]
fn what_wit_cannot_express_is_read() {
    check_read("(component (import \"p:a/one\" (func)))", "exports nothing\nimports\n  p:a/one: func()\n");
    check_read("(component (import \"m\" (core module)))", "exports nothing\nimports\n  m (a core module)\n");
    check_read(
        "(component (import \"p:a/one\" (instance (type $c (component)) (export \"t\" (type (eq $c))))))",
        "exports nothing\nimports\n  p:a/one\n",
    );
    check_read(
        "(component (type $r (record (field \"x\" u8))) (export \"t\" (type $r)))",
        "exports\n  t (a type)\nimports nothing\n",
    );
}

#[test]
fn an_interface_that_is_imported_and_exported_again_is_read() {
    let import =
        "(import \"p:a/one\" (instance $one (type $r (record (field \"x\" u8))) (export \"t\" (type (eq $r)))))";
    for name in ["p:a/one", "p:b/one"] {
        check_read(
            &format!("(component {import} (export \"{name}\" (instance $one)))"),
            &format!("exports\n  {name} (only types)\nimports\n  p:a/one (only types)\n"),
        );
    }
}

#[test]
fn a_method_of_a_renamed_resource_is_read() {
    check_read(
        "(component
          (import \"p:a/one\" (instance $one (export \"t\" (type (sub resource)))))
          (alias export $one \"t\" (type $t))
          (import \"p:a/two\" (instance
            (export \"t\" (type $u (eq $t)))
            (export \"[method]t.go\" (func (param \"self\" (borrow $u)))))))",
        "exports nothing\nimports\n  p:a/one\n  p:a/two\n    [method]t.go: func(self: borrow<t>)\n",
    );
}
