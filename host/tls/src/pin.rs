//! The pin of a certificate: the SHA-256 of its public key (SubjectPublicKeyInfo, RFC 7469 §2.4), which a certificate that is
//! renewed with the same key keeps.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};

/// What a pin begins with.
const PREFIX: &str = "sha256:";
/// Bytes of a SHA-256.
const LENGTH: usize = 32;

/// The SHA-256 of a public key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Pin([u8; LENGTH]);

impl Pin {
    /// The pin of a public key, DER.
    pub(crate) fn of_public_key(spki: &[u8]) -> Self {
        Self::of(spki)
    }

    /// The SHA-256 of a whole certificate, which `openssl x509 -fingerprint -sha256` prints and people mistake for its pin.
    pub(crate) fn fingerprint(certificate: &[u8]) -> Self {
        Self::of(certificate)
    }

    /// The hash itself.
    pub(crate) fn into_bytes(self) -> [u8; LENGTH] {
        self.0
    }

    fn of(bytes: &[u8]) -> Self {
        let mut hash = [0; LENGTH];
        // SHA-256 always has this length.
        for (own, byte) in hash.iter_mut().zip(digest(&SHA256, bytes).as_ref()) {
            *own = *byte;
        }
        Self(hash)
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", STANDARD.encode(self.0))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Pin {
    type Err = &'static str;

    /// Base64, or hexadecimal with or without colons, as tools print it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        /// The hint for any other text.
        const HINT: &str =
            "write sha256: and the SHA-256 of the public key in base64, as `bessai-edge broker test` prints it";
        let hash = text.trim().strip_prefix(PREFIX).ok_or(HINT)?.trim();
        let digits: String = hash.chars().filter(|&c| c != ':').collect();
        let bytes = if digits.len() == 2 * LENGTH { hexadecimal(&digits) } else { STANDARD.decode(hash).ok() };
        bytes.and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or(HINT)
    }
}

fn hexadecimal(digits: &str) -> Option<Vec<u8>> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.as_bytes().chunks(2).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_read_in_base64_and_hexadecimal() {
        let pin = Pin::of(b"key");
        assert_eq!(pin.to_string().parse(), Ok(pin));
        let digits: String = pin.0.iter().map(|byte| format!("{byte:02X}")).collect();
        let pairs: Vec<_> = pin.0.iter().map(|byte| format!("{byte:02x}")).collect();
        for text in [format!("sha256:{digits}"), format!("sha256: {}", pairs.join(":"))] {
            assert_eq!(text.parse(), Ok(pin), "{text}");
        }
        for text in ["", "sha256:", "sha256:AAAA", "sha1:2jmj7l5rSw0yVb/vlWAYkK/YBwk=", &digits, "sha256:zz"] {
            assert!(text.parse::<Pin>().is_err(), "{text}");
        }
    }
}
