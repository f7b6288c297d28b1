//! Shared access signatures, and the keys that sign them.

use bessai_plugin::secrets::{self, SecretError};

use bessai_plugin::encoding::{base64, percent_encode};

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
    /// A key that the host derives from the secret `group-key` and this registration id signs.
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
        match secrets::hmac_sha256(GROUP_KEY, b"") {
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
            Self::DeviceKey => secrets::hmac_sha256(DEVICE_KEY, data).map_err(|error| unusable(DEVICE_KEY, &error)),
            Self::GroupKey(registration) => {
                let derivation = [registration.as_bytes().to_vec()];
                let signed = secrets::hmac_sha256_derived(GROUP_KEY, &derivation, data);
                signed.map_err(|error| unusable(GROUP_KEY, &error))
            }
            Self::Certificate => Err("there is no key".into()),
        }
    }
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
    use bessai_plugin::testing::{Harness, derived_secret, secret, site};

    fn decoded(base64: &str) -> Vec<u8> {
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

    /// The token for a resource whose text to be signed has this signature. The gateway's own tests show that the published
    /// keys give these signatures.
    fn token_of(resource: &str, expiry_s: u64, policy: Option<&str>, to_sign: &str, signature: &str) -> String {
        let sign = |data: &[u8]| {
            assert_eq!(String::from_utf8_lossy(data), to_sign);
            Ok(decoded(signature))
        };
        token(resource, expiry_s, policy, sign).unwrap()
    }

    #[test]
    fn published_tokens() {
        let check = |token: String, expected: &str| assert_eq!(token, format!("SharedAccessSignature {expected}"));
        let hub = "test.azure-devices.net";
        let signature = "uux4PSAK1s9efNcBHin0pm7O5oENedTWkhqGp8JAyFY=";
        check(
            token_of(hub, 1_546_308_061, Some("owner"), "test.azure-devices.net\n1546308061", signature),
            "sr=test.azure-devices.net&sig=uux4PSAK1s9efNcBHin0pm7O5oENedTWkhqGp8JAyFY%3D&se=1546308061&skn=owner",
        );
        let signature = "wM3XiP6gD960IxP7J5WHqnxQHEcWC6YaQCtoMT+kKHc=";
        check(
            token_of("host/devices/device", 12345, None, "host%2Fdevices%2Fdevice\n12345", signature),
            "sr=host%2Fdevices%2Fdevice&sig=wM3XiP6gD960IxP7J5WHqnxQHEcWC6YaQCtoMT%2BkKHc%3D&se=12345",
        );
        let (resource, signature) =
            ("fake.host.name/devices/fakeDeviceId", "bYz5R2IFTaejB6pgYOxns2mw6lcuA4VSy8kJbYQp0Sc=");
        check(
            token_of(resource, 10, None, "fake.host.name%2Fdevices%2FfakeDeviceId\n10", signature),
            "sr=fake.host.name%2Fdevices%2FfakeDeviceId&sig=bYz5R2IFTaejB6pgYOxns2mw6lcuA4VSy8kJbYQp0Sc%3D&se=10",
        );
        let signature = "kcWxXAK2OAaAoq2oCkaGzX2NMqDB8nCyNuq2fPYCDhk=";
        check(
            token_of("uri", 12345, Some("('Me')"), "uri\n12345", signature),
            "sr=uri&sig=kcWxXAK2OAaAoq2oCkaGzX2NMqDB8nCyNuq2fPYCDhk%3D&se=12345&skn=%28%27Me%27%29",
        );
    }

    #[test]
    fn published_texts_of_devices_and_modules() {
        const EXPIRY_S: u64 = 1_578_941_692;
        const SIGNATURE: &str = "cS1eHM/lDjsRsrZV9508wOFrgmZk4g8FNg8NwHVSiSQ=";
        let check = |resource: &str, policy: Option<&str>, encoded: &str, end: &str| {
            let to_sign = format!("{encoded}\n{EXPIRY_S}");
            let token = token_of(resource, EXPIRY_S, policy, &to_sign, SIGNATURE);
            let signature = "cS1eHM%2FlDjsRsrZV9508wOFrgmZk4g8FNg8NwHVSiSQ%3D";
            assert_eq!(token, format!("SharedAccessSignature sr={encoded}&sig={signature}&se={EXPIRY_S}{end}"));
        };
        let (hub, encoded) = ("myiothub.azure-devices.net/devices", "myiothub.azure-devices.net%2Fdevices");
        check(&format!("{hub}/my_device"), None, &format!("{encoded}%2Fmy_device"), "");
        check(&format!("{hub}/my_device"), Some("iothubowner"), &format!("{encoded}%2Fmy_device"), "&skn=iothubowner");
        let module = format!("{encoded}%2Fmy_device%2Fmodules%2Fmy_module");
        check(&format!("{hub}/my_device/modules/my_module"), None, &module, "");
        check(&format!("{hub}/dev:1+a b"), None, &format!("{encoded}%2Fdev%3A1%2Ba%20b"), "");
        let registration = "0neFEEDC0DE%2Fregistrations%2FmyRegistrationId";
        check("0neFEEDC0DE/registrations/myRegistrationId", Some("registration"), registration, "&skn=registration");
    }

    #[test]
    fn the_device_key_is_preferred_and_a_certificate_needs_none() {
        let _harness = Harness::<crate::AzureIotHub>::new(site("S"), r#"{"device_id":"d"}"#).unwrap();
        assert_eq!(Identity::find(Some("r")), Ok(Identity::Certificate));
        secret(GROUP_KEY, b"", &[0; 32]);
        assert_eq!(Identity::find(Some("r")), Ok(Identity::GroupKey("r")));
        derived_secret(GROUP_KEY, &[b"r"], b"hub%2Fdevices%2Fd\n10", &[7; 32]);
        let token = Identity::GroupKey("r").token("hub/devices/d", 10, None).unwrap().unwrap();
        assert!(token.contains(&percent_encode(&base64(&[7; 32]))), "{token}");
        secret(DEVICE_KEY, b"", &[1; 32]);
        assert_eq!(Identity::find(Some("r")), Ok(Identity::DeviceKey));
    }
}
