//! Signs for plugins with keys that they never see.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Mutex, PoisonError};

use crate::signing::{self, Algorithm};

/// Reads a secret's bytes; its error contains none of them.
pub type ReadSecret = Box<dyn Fn() -> Result<Vec<u8>, String> + Send + Sync>;

/// A signature, or what the secret holds instead of a usable key.
pub(crate) type Signed = Result<Vec<u8>, String>;

/// A feed's secrets by the names that its plugin uses. `Debug` shows only the names.
#[derive(Default)]
pub struct Secrets {
    by_name: BTreeMap<String, ReadSecret>,
    // Names of those whose last use failed, which was logged.
    failing: Mutex<BTreeSet<String>>,
}

impl Secrets {
    /// Secrets by name; each is read when it is used. Reading is fast: a guest calls it as often as it likes.
    pub fn new(secrets: BTreeMap<String, ReadSecret>) -> Self {
        Self { by_name: secrets, failing: Mutex::default() }
    }

    /// The secret itself, which must not reach the guest; none if there is no secret of that name.
    pub(crate) fn value(&self, name: &str) -> Option<Result<Vec<u8>, String>> {
        self.by_name.get(name).map(|read| read())
    }

    /// Logs that a secret of this feed cannot be read, or can be read again: once for each change.
    pub(crate) fn note(&self, feed: &str, secret: &str, error: Option<&str>) {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        match error {
            Some(error) if failing.insert(secret.to_owned()) => {
                tracing::error!(%feed, %secret, "failed to read a secret: {error}; the plugin gets `denied` until it can be read");
            }
            None if failing.remove(secret) => tracing::info!(%feed, %secret, "the secret can be read again"),
            _ => {}
        }
    }

    /// None if there is no secret of that name; within it, the signature or why the secret cannot be used for it.
    pub(crate) fn sign(&self, name: &str, algorithm: Algorithm, data: &[u8]) -> Option<Result<Signed, String>> {
        Some(self.value(name)?.map(|key| signing::sign(&key, algorithm, data)))
    }

    /// None if there is no secret of that name.
    pub(crate) fn hmac_sha256(&self, name: &str, data: &[u8]) -> Option<Result<Vec<u8>, String>> {
        Some(self.value(name)?.map(|key| {
            let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &key);
            ring::hmac::sign(&key, data).as_ref().to_vec()
        }))
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_name.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_with_a_named_key_and_shows_only_the_name() {
        let read: ReadSecret = Box::new(|| Ok(b"secret".to_vec()));
        let secrets = Secrets::new(BTreeMap::from([("device-key".to_owned(), read)]));
        let signature = secrets.hmac_sha256("device-key", b"test.azure-devices.net\n1546308061").unwrap().unwrap();
        let expected = [0xba, 0xec, 0x78, 0x3d, 0x20, 0x0a, 0xd6, 0xcf];
        assert_eq!(signature[..8], expected);
        assert!(secrets.hmac_sha256("other", b"").is_none());
        assert_eq!(format!("{secrets:?}"), "{\"device-key\"}");
    }
}
