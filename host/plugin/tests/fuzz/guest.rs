//! A component that returns any bytes as the results of its calls, and shows the bytes that it gets as events.

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The address of what the calls return. Also in the module's text.
pub const RESULT_AT: u32 = 0x1_0000;
/// The most bytes there: the memory for arguments begins behind them.
pub const RESULT_BYTES: usize = 0x8_0000;
/// The source of a frame whose values are not a reading but the bytes to return. Also in the module's text.
pub const RESULT_SOURCE: u32 = 0xfeed_face;
/// Bytes of an event in the guest's memory.
pub const EVENT_BYTES: usize = 152;

/// One event of the source `RESULT_SOURCE` stores its values at `RESULT_AT` and returns them as the result of `process`; with
/// a second event behind it, it only stores them. Any other events are returned as the payload of one message, as they lie
/// in memory. The functions of `session` return what was stored.
const MODULE: &str = r#"(module
    (memory (export "memory") 64)
    (global $end (mut i32) (i32.const 0x100000))
    (func $reset (global.set $end (i32.const 0x100000)))
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
        (local $block i32)
        (local.set $block (i32.and (i32.add (global.get $end) (i32.const 7)) (i32.const -8)))
        (global.set $end (i32.add (local.get $block) (local.get 3)))
        (if (i32.gt_u (global.get $end) (i32.const 0x400000)) (then (unreachable)))
        (local.get $block))
    (func (export "bessai:edge/transform@0.2.0#configure")
        (param i32 i32 i64 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
        (call $reset) (i32.const 0))
    (func (export "bessai:edge/transform@0.2.0#process") (param $events i32) (param $count i32) (result i32)
        (call $reset)
        (if (i32.and
                (i32.eq (i32.load8_u offset=24 (local.get $events)) (i32.const 2))
                (i32.eq (i32.load offset=32 (local.get $events)) (i32.const 0xfeedface)))
            (then
                (memory.copy (i32.const 0x10000) (i32.load offset=36 (local.get $events))
                    (i32.mul (i32.load offset=40 (local.get $events)) (i32.const 8)))
                (if (i32.eq (local.get $count) (i32.const 1)) (then (return (i32.const 0x10000))))
                (return (i32.const 0))))
        ;; A result at 512, its one message at 1024.
        (i32.store offset=4 (i32.const 512) (i32.const 1024))
        (i32.store offset=8 (i32.const 512) (i32.const 1))
        (i32.store offset=8 (i32.const 1024) (local.get $events))
        (i32.store offset=12 (i32.const 1024) (i32.mul (local.get $count) (i32.const 152)))
        (i32.const 512))
    (func (export "bessai:edge/session@0.2.0#connect") (param i32 i32 i32 i32 i64 i32) (result i32)
        (call $reset) (i32.const 0x10000))
    (func (export "bessai:edge/session@0.2.0#connected") (param i64 i32 i32 i32 i32 i32) (result i32)
        (call $reset) (i32.const 0x10000))
    (func (export "bessai:edge/session@0.2.0#closing") (param i64) (result i32)
        (call $reset) (i32.const 0x10000)))"#;

/// The files of the contract.
const CONTRACT: [(&str, &str); 3] = [
    ("types", include_str!("../../../../wit/types.wit")),
    ("host", include_str!("../../../../wit/host.wit")),
    ("plugin", include_str!("../../../../wit/plugin.wit")),
];

/// The component's bytes.
pub fn component() -> Vec<u8> {
    const PACKAGE: &str = "package bessai:edge@0.2.0;";
    let bodies = CONTRACT.map(|(_, text)| text.strip_prefix(PACKAGE).unwrap());
    let mut resolve = Resolve::default();
    let package = resolve.push_str("edge.wit", &format!("{PACKAGE}{}", bodies.concat())).unwrap();
    let world = resolve.select_world(&[package], Some("connector")).unwrap();
    let mut module = wat::parse_str(MODULE).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().module(&module).unwrap().encode().unwrap()
}
