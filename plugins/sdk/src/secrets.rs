//! Signing with keys that stay in the gateway: a plugin names one and gets the result.

/// Why nothing was signed.
pub use crate::bindings::bessai::edge::secrets::SecretError;

#[cfg(target_arch = "wasm32")]
pub use crate::bindings::bessai::edge::secrets::hmac_sha256;
#[cfg(not(target_arch = "wasm32"))]
pub use crate::testing::host::hmac_sha256;
