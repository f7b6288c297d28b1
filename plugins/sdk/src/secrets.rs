//! Signs with keys that never leave the gateway: a plugin names a key and gets the result.

/// Why the data was not signed.
pub use crate::bindings::bessai::edge::secrets::SecretError;

#[cfg(target_arch = "wasm32")]
pub use crate::bindings::bessai::edge::secrets::hmac_sha256;
#[cfg(not(target_arch = "wasm32"))]
pub use crate::testing::host::hmac_sha256;
