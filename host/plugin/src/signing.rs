//! Signs with a private key in PEM, which never leaves the host.
//!
//! Errors say what the secret holds instead of a usable key, and contain nothing of it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};

/// How to sign, and what the signature looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// ECDSA on P-256 with SHA-256, r and s of 32 bytes each.
    Es256,
    /// RSA PKCS #1 v1.5 with SHA-256.
    Rs256,
    /// Ed25519.
    Ed25519,
}

/// The label of a key in PKCS #8.
const PKCS8: &str = "PRIVATE KEY";
/// The label of an elliptic-curve key in SEC 1.
const SEC1: &str = "EC PRIVATE KEY";
/// The label of an RSA key in PKCS #1.
const PKCS1: &str = "RSA PRIVATE KEY";
/// How to write a key as PKCS #8 without a passphrase.
const HINT: &str = "write it with `openssl pkey -in key.pem -out new.pem`";
/// The AlgorithmIdentifier of a P-256 key in DER: the OIDs id-ecPublicKey and prime256v1 (RFC 5480 §2.1.1).
const P256: [u8; 21] = [
    0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03,
    0x01, 0x07,
];

/// The signature of `data` with the private key in `pem`. The error continues `the secret`.
pub(crate) fn sign(pem: &[u8], algorithm: Algorithm, data: &[u8]) -> Result<Vec<u8>, String> {
    let (label, der) = private_key(pem)?;
    match (algorithm, label) {
        (Algorithm::Es256, PKCS8) => es256(&der, data),
        (Algorithm::Es256, SEC1) => es256(&pkcs8_of_sec1(&der)?, data),
        (Algorithm::Rs256, PKCS8) => rs256(RsaKeyPair::from_pkcs8(&der), data),
        (Algorithm::Rs256, PKCS1) => rs256(RsaKeyPair::from_der(&der), data),
        (Algorithm::Ed25519, PKCS8) => {
            let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der);
            let key = key.map_err(|error| format!("holds no Ed25519 key ({error}); {HINT}"))?;
            Ok(key.sign(data).as_ref().to_vec())
        }
        (Algorithm::Es256, label) => Err(format!("holds a key `{label}`, and ES256 needs an EC key on P-256")),
        (Algorithm::Rs256, label) => Err(format!("holds a key `{label}`, and RS256 needs an RSA key")),
        (Algorithm::Ed25519, label) => Err(format!("holds a key `{label}`, and Ed25519 needs a key in PKCS #8")),
    }
}

fn es256(pkcs8: &[u8], data: &[u8]) -> Result<Vec<u8>, String> {
    let random = SystemRandom::new();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &random);
    let key = key.map_err(|error| format!("holds no EC key on P-256 ({error}); {HINT}"))?;
    let signature = key.sign(&random, data).map_err(|_| "cannot be used: there are no random numbers")?;
    Ok(signature.as_ref().to_vec())
}

fn rs256(key: Result<RsaKeyPair, ring::error::KeyRejected>, data: &[u8]) -> Result<Vec<u8>, String> {
    let key = key.map_err(|error| format!("holds no RSA key of 2,048 to 4,096 bits ({error}); {HINT}"))?;
    let mut signature = vec![0; key.public().modulus_len()];
    let signed = key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), data, &mut signature);
    signed.map_err(|_| "cannot be used: there are no random numbers")?;
    Ok(signature)
}

/// The label and the content of the first private key.
fn private_key(pem: &[u8]) -> Result<(&'static str, Vec<u8>), String> {
    let text = std::str::from_utf8(pem).map_err(|_| "is not text: a private key in PEM is needed")?;
    let mut lines = text.lines().map(str::trim);
    let label = loop {
        let Some(line) = lines.next() else {
            return Err("holds no private key in PEM, which begins with `-----BEGIN PRIVATE KEY-----`".into());
        };
        let Some(label) = line.strip_prefix("-----BEGIN ").and_then(|rest| rest.strip_suffix("-----")) else {
            continue;
        };
        match [PKCS8, SEC1, PKCS1].into_iter().find(|known| *known == label) {
            Some(known) => break known,
            None if label == "ENCRYPTED PRIVATE KEY" => return Err(format!("holds an encrypted private key; {HINT}")),
            // Certificates and EC PARAMETERS stand before keys in files that openssl writes.
            None => {}
        }
    };
    let body: Vec<&str> = lines.take_while(|line| !line.starts_with("-----END ")).collect();
    if body.iter().any(|line| line.starts_with("Proc-Type:")) {
        return Err(format!("holds an encrypted private key; {HINT}"));
    }
    let der = STANDARD.decode(body.concat()).map_err(|_| "holds a private key that is not valid base64")?;
    Ok((label, der))
}

/// ring reads EC keys in PKCS #8 only (RFC 5958 §2): version 0, the algorithm, and the SEC 1 key as an octet string.
fn pkcs8_of_sec1(sec1: &[u8]) -> Result<Vec<u8>, String> {
    let mut content = vec![0x02, 0x01, 0x00];
    content.extend_from_slice(&P256);
    content.extend(der_element(0x04, sec1)?);
    der_element(0x30, &content)
}

fn der_element(tag: u8, content: &[u8]) -> Result<Vec<u8>, String> {
    let length = u8::try_from(content.len()).map_err(|_| "holds an EC key that is too long for P-256")?;
    let mut element = vec![tag];
    match length {
        0..0x80 => element.push(length),
        _ => element.extend([0x81, length]),
    }
    element.extend_from_slice(content);
    Ok(element)
}

#[cfg(test)]
mod tests;
