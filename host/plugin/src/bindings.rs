//! The contract's types and calls, generated from `wit/`.
#![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, clippy::restriction)]

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "controller",
    exports: { default: async },
});

pub(crate) use bessai::edge::types::*;
pub(crate) use exports::bessai::edge::{commands, session, transform};
