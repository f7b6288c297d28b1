//! The feed's key-value store of 1 MiB, saved together with the feed's cursor in the journal.

/// Why a value was not stored.
pub use crate::bindings::bessai::edge::state::StateError;

#[cfg(target_arch = "wasm32")]
pub use crate::bindings::bessai::edge::state::{delete, get, set};
#[cfg(not(target_arch = "wasm32"))]
pub use crate::testing::host::{delete, get, set};
