//! The world `transformer` of `wit/`, and what a plugin may export beside it, as a guest sees them; made by scripts/make-bindings.
#![allow(missing_docs, unsafe_code, unreachable_pub, clippy::all, clippy::pedantic, clippy::restriction)]

#[rustfmt::skip]
pub mod session;
#[rustfmt::skip]
mod transformer;

pub use transformer::*;
