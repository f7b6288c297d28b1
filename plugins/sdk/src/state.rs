//! A small store of the feed's own, saved together with its place in the journal; 1 MiB in all.

/// Why a value was not stored.
pub use crate::bindings::bessai::edge::state::StateError;

#[cfg(target_arch = "wasm32")]
pub use crate::bindings::bessai::edge::state::{delete, get, set};
#[cfg(not(target_arch = "wasm32"))]
pub use crate::testing::host::{delete, get, set};
