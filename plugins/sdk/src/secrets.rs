//! Signs with keys that never leave the gateway: a plugin names a key and gets the result.

/// Why the data was not signed, and how to sign.
pub use crate::bindings::bessai::edge::secrets::{Algorithm, SecretError};

#[cfg(target_arch = "wasm32")]
pub use crate::bindings::bessai::edge::secrets::{hmac_sha256, hmac_sha256_derived, sign};
#[cfg(not(target_arch = "wasm32"))]
pub use crate::testing::host::{hmac_sha256, hmac_sha256_derived, sign};
