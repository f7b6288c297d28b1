//! Guest bindings of the world `transformer` and the optional interfaces of `wit/`; made by scripts/make-bindings.
#![allow(missing_docs, unsafe_code, unreachable_pub, clippy::all, clippy::pedantic, clippy::restriction)]

#[rustfmt::skip]
pub mod commands;
#[rustfmt::skip]
pub mod session;
#[rustfmt::skip]
mod transformer;

pub use transformer::*;
