//! Generated from `wit/`: the contract as the host sees it.
#![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, clippy::restriction)]

wasmtime::component::bindgen!({
    path: "../wit",
    world: "connector",
    exports: { default: async },
});

pub(super) use bessai::edge::types::*;
pub(super) use exports::bessai::edge::{session, transform};
