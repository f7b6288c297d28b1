//! Reads private keys: PKCS#1, SEC1 and PKCS#8, PEM or DER, PKCS#8 encrypted too.

use std::path::Path;

use pkcs8::EncryptedPrivateKeyInfoRef;
use pkcs8::pkcs5::EncryptionScheme;
use pkcs8::pkcs5::pbes2::Kdf;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::pem::{self, Content, Section};

/// The password of an encrypted key.
#[derive(Clone, Copy, Default)]
pub(crate) struct KeyPassword<'a> {
    pub(crate) value: Option<&'a str>,
    // Where it is set; none where it cannot be.
    pub(crate) setting: Option<&'a str>,
}

/// Rounds of PBKDF2 that take seconds on a small machine; openssl makes 2,048 by default.
const MOST_ITERATIONS: u32 = 2_000_000;
/// Bytes that scrypt fills; openssl makes it 16 MiB by default.
const MOST_SCRYPT_BYTES: u64 = 64 << 20;

/// Reads the private key of a file. The error says what is wrong with it and contains nothing of the key.
pub(crate) fn read(path: &Path, password: KeyPassword<'_>) -> Result<PrivateKeyDer<'static>, String> {
    let bytes = bessai_files::read(path, bessai_files::SECRET_BYTES);
    let bytes = bytes.map_err(|error| format!("cannot be read: {error}"))?;
    let content = pem::parse(&bytes).map_err(str::to_owned)?;
    let encrypted = |der: &[u8]| decrypt(der, path, password);
    match &content {
        Content::Pem(sections) => {
            let Some(section) = sections.iter().find(|section| section.label.ends_with("PRIVATE KEY")) else {
                return Err(none_in(&content));
            };
            match section.label.as_str() {
                _ if is_encrypted_by_openssl(section) => Err(old_encryption(path, password)),
                "ENCRYPTED PRIVATE KEY" => encrypted(&section.der),
                "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY" => {
                    PrivateKeyDer::try_from(section.der.clone()).map_err(|_| DAMAGED.to_owned())
                }
                _ => Err(none_in(&content)),
            }
        }
        Content::Der(der) if pem::conversion(&content).is_none() => {
            let plain = PrivateKeyDer::try_from(der.clone());
            plain.or_else(|_| match EncryptedPrivateKeyInfoRef::try_from(der.as_slice()) {
                Ok(_) => encrypted(der),
                Err(_) => Err(none_in(&content)),
            })
        }
        Content::Der(_) => Err(none_in(&content)),
    }
}

/// Whether making the key from the password takes more than this gateway has for it.
fn is_expensive(algorithm: &EncryptionScheme) -> bool {
    match algorithm.pbes2().map(|parameters| &parameters.kdf) {
        Some(Kdf::Pbkdf2(parameters)) => parameters.iteration_count > MOST_ITERATIONS,
        Some(Kdf::Scrypt(parameters)) => {
            let bytes = 128_u64.saturating_mul(parameters.cost_parameter).saturating_mul(parameters.block_size.into());
            bytes.saturating_mul(parameters.parallelization.into()) > MOST_SCRYPT_BYTES
        }
        _ => false,
    }
}

/// A key whose bytes are no key.
const DAMAGED: &str = "its private key is damaged; copy the file again";

fn none_in(content: &Content) -> String {
    let hint = match content {
        Content::Pem(sections) if sections.iter().any(|section| section.label.ends_with("CERTIFICATE")) => {
            "it contains a certificate and no private key"
        }
        _ => "it contains no private key, neither in PEM nor in DER format",
    };
    pem::conversion(content).unwrap_or(hint).to_owned()
}

/// `Proc-Type: 4,ENCRYPTED` (RFC 1421), with a key made by one round of MD5 from the password.
fn is_encrypted_by_openssl(section: &Section) -> bool {
    section.headers.iter().any(|header| header.contains("ENCRYPTED"))
}

fn old_encryption(path: &Path, password: KeyPassword<'_>) -> String {
    let path = path.display();
    let Some(password) = password.setting else {
        return format!("it is encrypted; decrypt it: openssl pkey -in {path} -out client.key");
    };
    format!(
        "it is encrypted in an old format (Proc-Type: 4,ENCRYPTED), which protects little; convert it: openssl pkcs8 -topk8 -in \
         {path} -out client.key; then set {password} to the new password"
    )
}

fn decrypt(der: &[u8], path: &Path, password: KeyPassword<'_>) -> Result<PrivateKeyDer<'static>, String> {
    let file = path.display();
    let Some(setting) = password.setting else {
        return Err(format!("it is encrypted; decrypt it: openssl pkcs8 -in {file} -out client.key"));
    };
    let Some(password) = password.value else {
        return Err(format!(
            "it is encrypted, and {setting} is not set; set it, or decrypt the key: openssl pkcs8 -in {file} -out client.key"
        ));
    };
    let unsupported = || {
        format!(
            "it is encrypted with an old algorithm; convert it: openssl pkcs8 -topk8 -v2 aes-256-cbc -in {file} -out client.key"
        )
    };
    let encrypted = EncryptedPrivateKeyInfoRef::try_from(der).map_err(|_| unsupported())?;
    if is_expensive(&encrypted.encryption_algorithm) {
        return Err(format!(
            "decrypting it takes too much time or memory; convert it: openssl pkcs8 -topk8 -v2 aes-256-cbc -in {file} -out client.key"
        ));
    }
    match encrypted.decrypt(password) {
        Ok(key) => Ok(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()).into()),
        Err(pkcs8::Error::EncryptedPrivateKey(
            pkcs8::pkcs5::Error::UnsupportedAlgorithm { .. } | pkcs8::pkcs5::Error::NoPbes1CryptSupport,
        )) => Err(unsupported()),
        Err(_) => Err(format!("{setting} is not its password")),
    }
}
