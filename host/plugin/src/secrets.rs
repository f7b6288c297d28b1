//! Signs for plugins with keys that they never see.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Mutex, PoisonError};

use crate::signing::{self, Algorithm};

/// Most steps of a key's derivation, so that a call's time is bounded; AWS's request signing, the longest in use, has 4.
const MOST_DERIVATION_STEPS: usize = 8;

/// Reads a secret's bytes; its error contains none of them.
pub type ReadSecret = Box<dyn Fn() -> Result<Vec<u8>, String> + Send + Sync>;

/// A signature, or why the secret cannot be used for it.
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

    /// The HMAC of `data` with the key that these steps derive from the secret. None if there is no secret of that name.
    pub(crate) fn hmac_sha256(&self, name: &str, steps: &[Vec<u8>], data: &[u8]) -> Option<Result<Signed, String>> {
        Some(self.value(name)?.map(|secret| {
            if steps.len() > MOST_DERIVATION_STEPS {
                let count = steps.len();
                return Err(format!("derives no key in {count} steps: there are at most {MOST_DERIVATION_STEPS}"));
            }
            let hmac = |key: Vec<u8>, data: &[u8]| {
                ring::hmac::sign(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &key), data).as_ref().to_vec()
            };
            Ok(hmac(steps.iter().fold(secret, |key, step| hmac(key, step)), data))
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
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn secrets(keys: &[(&str, &str)]) -> Secrets {
        let read = |(name, key): &(&str, &str)| -> (String, ReadSecret) {
            let key = STANDARD.decode(key).unwrap();
            ((*name).to_owned(), Box::new(move || Ok(key.clone())))
        };
        Secrets::new(keys.iter().map(read).collect())
    }

    fn signed(secrets: &Secrets, name: &str, derivation: &[&str], data: &str) -> String {
        let derivation: Vec<_> = derivation.iter().map(|step| step.as_bytes().to_vec()).collect();
        STANDARD.encode(secrets.hmac_sha256(name, &derivation, data.as_bytes()).unwrap().unwrap().unwrap())
    }

    /// The published keys, texts and signatures of shared access signatures of Azure IoT Hub, from the tests of its SDKs.
    #[test]
    fn published_signatures() {
        const SDK_KEY: &str = "NMgJDvdKTxjLi+xBxxkDDEwDJxEvOE5u8BiT0mVgPeg=";
        let device = |rest: &str| format!("myiothub.azure-devices.net%2Fdevices%2F{rest}\n1578941692");
        for (key, data, signature) in [
            ("c2VjcmV0", "test.azure-devices.net\n1546308061", "uux4PSAK1s9efNcBHin0pm7O5oENedTWkhqGp8JAyFY="),
            ("kew=", "host%2Fdevices%2Fdevice\n12345", "wM3XiP6gD960IxP7J5WHqnxQHEcWC6YaQCtoMT+kKHc="),
            ("fakeKew=", "fake.host.name%2Fdevices%2FfakeDeviceId\n10", "bYz5R2IFTaejB6pgYOxns2mw6lcuA4VSy8kJbYQp0Sc="),
            ("cGFzc3dvcmQ=", "uri\n12345", "kcWxXAK2OAaAoq2oCkaGzX2NMqDB8nCyNuq2fPYCDhk="),
            (SDK_KEY, "sign this message", "8NJRMT83CcplGrAGaUVIUM/md5914KpWVNngSVoF9/M="),
            (SDK_KEY, &device("my_device"), "dIMMdDDBGFR8eqAfYkiMxoOphaFMPtMgj7Wg/YB1AvU="),
            (SDK_KEY, &device("my_device%2Fmodules%2Fmy_module"), "iAQRxkGTvQpFKsLRYZsj0xf8UcgKBbNZhWDb5pCSK9o="),
            (SDK_KEY, &device("dev%3A1%2Ba%20b"), "krTMe2IMePUL8s0R0aW15zCpgePP/YXd/k/X0HvANQA="),
            (
                SDK_KEY,
                "0neFEEDC0DE%2Fregistrations%2FmyRegistrationId\n1578941692",
                "/t1VzEUrQ62f+J+7chJSaFx3rh6pGwFWik1rI4kqc7E=",
            ),
        ] {
            assert_eq!(signed(&secrets(&[("key", key)]), "key", &[], data), signature, "{data}");
        }
    }

    #[test]
    fn secrets_are_known_by_name_and_show_nothing_else() {
        let secrets = secrets(&[("device-key", "c2VjcmV0")]);
        assert!(secrets.hmac_sha256("other", &[], b"").is_none());
        assert_eq!(format!("{secrets:?}"), "{\"device-key\"}");
    }

    /// The sample of the Device Provisioning Service: a group's key, a registration, and the device's key.
    #[test]
    fn each_step_of_a_derivation_makes_the_next_key() {
        const GROUP_KEY: &str =
            "8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw==";
        const REGISTRATION: &str = "sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6";
        const DEVICE_KEY: &str = "Jsm0lyGpjaVYVP2g3FnmnmG9dI/9qU24wNoykUmermc=";
        let secrets = secrets(&[("group", GROUP_KEY), ("device", DEVICE_KEY)]);
        assert_eq!(signed(&secrets, "group", &[], REGISTRATION), DEVICE_KEY);
        assert_eq!(signed(&secrets, "group", &[REGISTRATION], "data"), signed(&secrets, "device", &[], "data"));
        let of_group = signed(&secrets, "group", &[REGISTRATION, "step"], "data");
        assert_eq!(of_group, signed(&secrets, "device", &["step"], "data"));
        let refused = secrets.hmac_sha256("group", &vec![Vec::new(); 9], b"data").unwrap().unwrap();
        assert_eq!(refused, Err("derives no key in 9 steps: there are at most 8".into()));
    }
}
