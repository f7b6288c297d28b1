//! Signs for plugins with keys that they never see.

use std::collections::BTreeMap;
use std::fmt;

/// Reads a secret's bytes; its error contains none of them.
pub type ReadSecret = Box<dyn Fn() -> Result<Vec<u8>, String> + Send + Sync>;

/// A feed's secrets by the names that its plugin uses. `Debug` shows only the names.
#[derive(Default)]
pub struct Secrets(BTreeMap<String, ReadSecret>);

impl Secrets {
    /// Secrets by name; each is read when it is used, so that a changed file takes effect at once.
    pub fn new(secrets: BTreeMap<String, ReadSecret>) -> Self {
        Self(secrets)
    }

    /// The secret itself, which must not reach the guest; none if there is no secret of that name.
    pub(crate) fn value(&self, name: &str) -> Option<Result<Vec<u8>, String>> {
        self.0.get(name).map(|read| read())
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
        f.debug_set().entries(self.0.keys()).finish()
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
