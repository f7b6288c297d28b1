//! Shared access signatures, and the keys that sign them.

use bessai_plugin::secrets::{self, SecretError};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::encoding::{base64, percent_encode};

/// The secret with the device's own key.
const DEVICE_KEY: &str = "device-key";
/// The secret with the key of an enrolment group, from which the device's key is derived.
const GROUP_KEY: &str = "group-key";

/// A token for `resource`, valid until `expiry_s`, in seconds since 1970. `policy`: the name of a shared access policy.
pub(crate) fn token(
    resource: &str,
    expiry_s: u64,
    policy: Option<&str>,
    sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, String>,
) -> Result<String, String> {
    // The service signs the text of `sr` as it was sent, so both must be the same bytes.
    let resource = percent_encode(resource);
    let signature = percent_encode(&base64(&sign(format!("{resource}\n{expiry_s}").as_bytes())?));
    let policy = policy.map(|name| format!("&skn={}", percent_encode(name))).unwrap_or_default();
    Ok(format!("SharedAccessSignature sr={resource}&sig={signature}&se={expiry_s}{policy}"))
}

/// Who the feed's settings let the device be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Identity<'a> {
    /// The secret `device-key` signs.
    DeviceKey,
    /// A key derived from the secret `group-key` and this registration id signs.
    GroupKey(&'a str),
    /// No key: the client certificate of `[broker]` says who it is.
    Certificate,
}

impl<'a> Identity<'a> {
    /// The first of these that the feed has. A secret that cannot be read is an error: another identity would be refused.
    pub(crate) fn find(registration: Option<&'a str>) -> Result<Self, String> {
        match secrets::hmac_sha256(DEVICE_KEY, b"") {
            Ok(_) => return Ok(Self::DeviceKey),
            Err(SecretError::Unknown) => {}
            Err(error) => return Err(unusable(DEVICE_KEY, &error)),
        }
        let Some(registration) = registration else { return Ok(Self::Certificate) };
        match secrets::hmac_sha256(GROUP_KEY, registration.as_bytes()) {
            Ok(_) => Ok(Self::GroupKey(registration)),
            Err(SecretError::Unknown) => Ok(Self::Certificate),
            Err(error) => Err(unusable(GROUP_KEY, &error)),
        }
    }

    /// A token, or none if a certificate is used.
    pub(crate) fn token(self, resource: &str, expiry_s: u64, policy: Option<&str>) -> Result<Option<String>, String> {
        match self {
            Self::Certificate => Ok(None),
            identity => token(resource, expiry_s, policy, |data| identity.sign(data)).map(Some),
        }
    }

    fn sign(self, data: &[u8]) -> Result<Vec<u8>, String> {
        match self {
            Self::DeviceKey => hmac_of(DEVICE_KEY, data),
            Self::GroupKey(registration) => sign_with(&hmac_of(GROUP_KEY, registration.as_bytes())?, data),
            Self::Certificate => Err("there is no key".into()),
        }
    }
}

fn hmac_of(secret: &str, data: &[u8]) -> Result<Vec<u8>, String> {
    secrets::hmac_sha256(secret, data).map_err(|error| unusable(secret, &error))
}

/// The host has no function that signs with a derived key, so the device's own key, which is derived, is used here.
fn sign_with(key: &[u8], data: &[u8]) -> Result<Vec<u8>, String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(|_| "the derived key is invalid")?;
    mac.update(data);
    Ok(mac.finalize().into_bytes().to_vec())
}

fn unusable(secret: &str, error: &SecretError) -> String {
    let why = match error {
        SecretError::Unknown => "add it to [secrets], with encoding = \"base64\"".to_owned(),
        SecretError::Denied => {
            "the line before this one in the log says why; write it with encoding = \"base64\", as the portal shows it"
                .into()
        }
        SecretError::Unsuitable(what) => what.clone(),
    };
    format!("the secret {secret} cannot sign: {why}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use bessai_plugin::testing::{Harness, secret, site};

    fn key(base64: &str) -> Vec<u8> {
        let position = |digit: u8| {
            let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
            alphabet.iter().position(|other| *other == digit).and_then(|at| u32::try_from(at).ok())
        };
        let mut bytes = Vec::new();
        for chunk in base64.as_bytes().chunks(4) {
            let digits: Vec<u32> = chunk.iter().filter_map(|digit| position(*digit)).collect();
            let group = (0..4).fold(0, |group, at| group << 6 | digits.get(at).copied().unwrap_or(0));
            bytes.extend(group.to_be_bytes().into_iter().skip(1).take(digits.len() - 1));
        }
        bytes
    }

    fn signed(key_text: &str, resource: &str, expiry_s: u64, policy: Option<&str>) -> String {
        token(resource, expiry_s, policy, |data| sign_with(&key(key_text), data)).unwrap()
    }

    /// A key that the vendor's tests use.
    const KEY: &str = "NMgJDvdKTxjLi+xBxxkDDEwDJxEvOE5u8BiT0mVgPeg=";

    #[test]
    fn published_tokens() {
        let check = |token: String, expected: &str| assert_eq!(token, format!("SharedAccessSignature {expected}"));
        check(
            signed("c2VjcmV0", "test.azure-devices.net", 1_546_308_061, Some("owner")),
            "sr=test.azure-devices.net&sig=uux4PSAK1s9efNcBHin0pm7O5oENedTWkhqGp8JAyFY%3D&se=1546308061&skn=owner",
        );
        check(
            signed("kew=", "host/devices/device", 12345, None),
            "sr=host%2Fdevices%2Fdevice&sig=wM3XiP6gD960IxP7J5WHqnxQHEcWC6YaQCtoMT%2BkKHc%3D&se=12345",
        );
        check(
            signed("fakeKew=", "fake.host.name/devices/fakeDeviceId", 10, None),
            "sr=fake.host.name%2Fdevices%2FfakeDeviceId&sig=bYz5R2IFTaejB6pgYOxns2mw6lcuA4VSy8kJbYQp0Sc%3D&se=10",
        );
        check(
            signed("cGFzc3dvcmQ=", "uri", 12345, Some("('Me')")),
            "sr=uri&sig=kcWxXAK2OAaAoq2oCkaGzX2NMqDB8nCyNuq2fPYCDhk%3D&se=12345&skn=%28%27Me%27%29",
        );
        let signature = [
            0x71, 0x2d, 0x5e, 0x1c, 0xcf, 0xe5, 0x0e, 0x3b, 0x11, 0xb2, 0xb6, 0x55, 0xf7, 0x9d, 0x3c, 0xc0, 0xe1, 0x6b,
            0x82, 0x66, 0x64, 0xe2, 0x0f, 0x05, 0x36, 0x0f, 0x0d, 0xc0, 0x75, 0x52, 0x89, 0x24,
        ];
        let given = |resource: &str| {
            token(resource, 1_578_941_692, None, |data| {
                let text = String::from_utf8_lossy(data).into_owned();
                assert_eq!(text, format!("{}\n1578941692", percent_encode(resource)));
                Ok(signature.to_vec())
            })
        };
        check(
            given("myiothub.azure-devices.net/devices/my_device").unwrap(),
            "sr=myiothub.azure-devices.net%2Fdevices%2Fmy_device&sig=cS1eHM%2FlDjsRsrZV9508wOFrgmZk4g8FNg8NwHVSiSQ%3D&se=1578941692",
        );
        let module = given("myiothub.azure-devices.net/devices/my_device/modules/my_module").unwrap();
        assert!(
            module.contains("sr=myiothub.azure-devices.net%2Fdevices%2Fmy_device%2Fmodules%2Fmy_module&"),
            "{module}"
        );
    }

    #[test]
    fn signatures_of_devices_modules_and_provisioning() {
        let hub = "myiothub.azure-devices.net/devices";
        let check = |resource: &str, policy, signature: &str| {
            let token = signed(KEY, resource, 1_578_941_692, policy);
            assert!(token.contains(&format!("&sig={}&", percent_encode(signature))), "{token}");
        };
        check(&format!("{hub}/my_device"), None, "dIMMdDDBGFR8eqAfYkiMxoOphaFMPtMgj7Wg/YB1AvU=");
        check(&format!("{hub}/my_device/modules/my_module"), None, "iAQRxkGTvQpFKsLRYZsj0xf8UcgKBbNZhWDb5pCSK9o=");
        let registration = "0neFEEDC0DE/registrations/myRegistrationId";
        check(registration, Some("registration"), "/t1VzEUrQ62f+J+7chJSaFx3rh6pGwFWik1rI4kqc7E=");
        check(&format!("{hub}/dev:1+a b"), None, "krTMe2IMePUL8s0R0aW15zCpgePP/YXd/k/X0HvANQA=");
    }

    #[test]
    fn messages_and_derived_keys() {
        let mac = |key_text: &str, data: &[u8]| base64(&sign_with(&key(key_text), data).unwrap());
        assert_eq!(mac(KEY, b"sign this message"), "8NJRMT83CcplGrAGaUVIUM/md5914KpWVNngSVoF9/M=");
        let group = "8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw==";
        let derived = mac(group, b"sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6");
        assert_eq!(derived, "Jsm0lyGpjaVYVP2g3FnmnmG9dI/9qU24wNoykUmermc=");
    }

    #[test]
    fn the_device_key_is_preferred_and_a_certificate_needs_none() {
        let _harness = Harness::<crate::AzureIotHub>::new(site("S"), r#"{"device_id":"d"}"#).unwrap();
        assert_eq!(Identity::find(Some("r")), Ok(Identity::Certificate));
        secret(GROUP_KEY, b"r", &[7; 32]);
        assert_eq!(Identity::find(Some("r")), Ok(Identity::GroupKey("r")));
        let token = Identity::GroupKey("r").token("hub/devices/d", 10, None).unwrap().unwrap();
        let expected = percent_encode(&base64(&sign_with(&[7; 32], b"hub%2Fdevices%2Fd\n10").unwrap()));
        assert!(token.contains(&expected), "{token}");
        secret(DEVICE_KEY, b"", &[1; 32]);
        assert_eq!(Identity::find(Some("r")), Ok(Identity::DeviceKey));
    }
}
