//! The feed's key-value store of 1 MiB, saved together with the feed's cursor in the journal.

/// Why a value was not stored.
pub use crate::bindings::bessai::edge::state::StateError;

use crate::Failure;

/// So that a plugin can write `state::set(key, value)?`: the events are quarantined, because repeating the call would not help.
impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        match error {
            StateError::Full => Self::Reject("the plugin's state is full: it may have 1 MiB".into()),
        }
    }
}

#[cfg(target_arch = "wasm32")]
pub use crate::bindings::bessai::edge::state::{delete, get, set};
#[cfg(not(target_arch = "wasm32"))]
pub use crate::testing::host::{delete, get, set};
