//! The world `transformer` of `wit/`, as a guest sees it; made by scripts/make-bindings.
#![allow(missing_docs, unsafe_code, unreachable_pub, clippy::all, clippy::pedantic, clippy::restriction)]

#[rustfmt::skip]
mod transformer;

pub use transformer::*;
