//! Client keys in tokens, such as an HSM or a TPM: they sign, and never leave the token (PKCS#11 v2.40).

mod module;
mod uri;

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsPssParams};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectHandle};
use cryptoki::session::Session;
use ring::digest;
use rustls::sign::{Signer, SigningKey};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};
use x509_cert::der::Encode;
use x509_cert::der::asn1::UintRef;

use crate::certificate::{Certificate, PublicKey};
use crate::settings::{SettingError, SettingNames};
use crate::trust;
use module::Opened;
use uri::TokenUri;

/// What is signed to find out whether a key belongs to its certificate; no protocol signs such a text.
const TEST_MESSAGE: &[u8] = b"does this key belong to its certificate?";

/// The private key of a certificate in a token. Logs in, and signs once to find out whether it is the right one.
pub(crate) fn key(
    module: &Path,
    uri: &str,
    pin: Option<&str>,
    certificate: &Certificate,
    names: &SettingNames,
) -> Result<Arc<dyn SigningKey>, SettingError> {
    let of_key = |reason: String| SettingError { setting: names.of("key"), value: Some(uri.to_owned()), reason };
    let wanted =
        TokenUri::parse(uri).map_err(|reason| of_key(reason.replace("KEY_PASSWORD", &names.of("key_password"))))?;
    let Opened { session, key, mechanisms } = module::open(module, &wanted, pin, names, of_key)?;
    let mismatch = || {
        let (cert, subject) = (names.of("cert"), &certificate.subject);
        of_key(format!(
            "it is not the key of the certificate of {cert}, which is for {subject:?}; set the two that belong together"
        ))
    };
    // Some modules crash when a key is to sign with another one's algorithm.
    if !is_of_type(&session, key, certificate.key) {
        return Err(mismatch());
    }
    let schemes = schemes(certificate.key, &mechanisms);
    let Some(first) = schemes.first() else {
        let key = certificate.key;
        return Err(of_key(format!(
            "the token cannot sign with {key} as TLS needs it; use a key of P-256 or RSA with 2048 bits"
        )));
    };
    let key = TokenKey { session: Arc::new(Mutex::new(session)), key, kind: certificate.key, schemes: schemes.clone() };
    let signature = key.signer(*first).sign(TEST_MESSAGE);
    let signature = signature.map_err(|error| of_key(format!("the token failed to sign with it: {error}")))?;
    let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
    if !trust::verifies(&algorithms, certificate, *first, TEST_MESSAGE, &signature) {
        return Err(mismatch());
    }
    Ok(Arc::new(key))
}

/// Whether a key in a token has the type of a certificate's.
fn is_of_type(session: &Session, key: ObjectHandle, certificate: PublicKey) -> bool {
    let wanted = match certificate {
        PublicKey::Rsa(_) => KeyType::RSA,
        PublicKey::Curve("Ed25519" | "Ed448") => KeyType::EC_EDWARDS,
        PublicKey::Curve(_) => KeyType::EC,
        PublicKey::Other => return false,
    };
    let found = session.get_attributes(key, &[AttributeType::KeyType]).unwrap_or_default();
    found.iter().any(|attribute| matches!(attribute, Attribute::KeyType(found) if *found == wanted))
}

/// What a token with these mechanisms can sign with a key, best first.
fn schemes(key: PublicKey, mechanisms: &[MechanismType]) -> Vec<SignatureScheme> {
    use SignatureScheme as Scheme;
    let has = |mechanism| mechanisms.contains(&mechanism);
    match key {
        PublicKey::Curve("P-256") if has(MechanismType::ECDSA) => vec![Scheme::ECDSA_NISTP256_SHA256],
        PublicKey::Curve("P-384") if has(MechanismType::ECDSA) => vec![Scheme::ECDSA_NISTP384_SHA384],
        PublicKey::Curve("Ed25519") if has(MechanismType::EDDSA) => vec![Scheme::ED25519],
        PublicKey::Rsa(_) => {
            let pss = [Scheme::RSA_PSS_SHA256, Scheme::RSA_PSS_SHA384, Scheme::RSA_PSS_SHA512];
            let pkcs1 = [Scheme::RSA_PKCS1_SHA256, Scheme::RSA_PKCS1_SHA384, Scheme::RSA_PKCS1_SHA512];
            let pss = pss.into_iter().filter(|_| has(MechanismType::RSA_PKCS_PSS));
            pss.chain(pkcs1.into_iter().filter(|_| has(MechanismType::RSA_PKCS))).collect()
        }
        _ => Vec::new(),
    }
}

/// A private key in a token.
#[derive(Debug)]
struct TokenKey {
    session: Arc<Mutex<Session>>,
    key: ObjectHandle,
    kind: PublicKey,
    schemes: Vec<SignatureScheme>,
}

impl TokenKey {
    fn signer(&self, scheme: SignatureScheme) -> TokenSigner {
        TokenSigner { session: Arc::clone(&self.session), key: self.key, scheme }
    }
}

impl SigningKey for TokenKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let scheme = self.schemes.iter().find(|scheme| offered.contains(scheme))?;
        Some(Box::new(self.signer(*scheme)))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        match self.kind {
            PublicKey::Rsa(_) => SignatureAlgorithm::RSA,
            PublicKey::Curve("Ed25519") => SignatureAlgorithm::ED25519,
            _ => SignatureAlgorithm::ECDSA,
        }
    }
}

/// Signs with one scheme.
struct TokenSigner {
    session: Arc<Mutex<Session>>,
    key: ObjectHandle,
    scheme: SignatureScheme,
}

impl fmt::Debug for TokenSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenSigner({:?})", self.scheme)
    }
}

impl TokenSigner {
    fn in_token(&self, mechanism: &Mechanism<'_>, data: &[u8]) -> Result<Vec<u8>, Error> {
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        session
            .sign(mechanism, self.key, data)
            .map_err(|error| Error::General(format!("the token failed to sign: {error}")))
    }

    /// PKCS#1 of a hash: the token adds the padding (RFC 8017 §9.2).
    fn pkcs1(&self, algorithm: &'static digest::Algorithm, prefix: &[u8], message: &[u8]) -> Result<Vec<u8>, Error> {
        let hash = digest::digest(algorithm, message);
        self.in_token(&Mechanism::RsaPkcs, &[prefix, hash.as_ref()].concat())
    }

    fn pss(
        &self,
        algorithm: &'static digest::Algorithm,
        hash_alg: MechanismType,
        mgf: PkcsMgfType,
        message: &[u8],
    ) -> Result<Vec<u8>, Error> {
        let hash = digest::digest(algorithm, message);
        // RFC 8446 §4.2.3: the salt is as long as the hash.
        let length = u64::try_from(algorithm.output_len()).unwrap_or_default();
        let s_len = length.into();
        self.in_token(&Mechanism::RsaPkcsPss(PkcsPssParams { hash_alg, mgf, s_len }), hash.as_ref())
    }

    fn ecdsa(&self, algorithm: &'static digest::Algorithm, message: &[u8]) -> Result<Vec<u8>, Error> {
        let hash = digest::digest(algorithm, message);
        let signature = self.in_token(&Mechanism::Ecdsa, hash.as_ref())?;
        ecdsa_der(&signature).ok_or_else(|| Error::General("the token returned no ECDSA signature".into()))
    }
}

/// The two halves of a signature as TLS has them: PKCS#11 puts them one behind the other (§2.3.1), TLS into a SEQUENCE.
fn ecdsa_der(signature: &[u8]) -> Option<Vec<u8>> {
    let (r, s) = signature.split_at_checked(signature.len() / 2)?;
    let halves = [r, s].map(|half| UintRef::new(half).ok()?.to_der().ok());
    let [Some(r), Some(s)] = halves else { return None };
    let contents = [r, s].concat();
    let header = x509_cert::der::Header::new(x509_cert::der::Tag::Sequence, contents.len().try_into().ok()?);
    Some([header.to_der().ok()?, contents].concat())
}

impl Signer for TokenSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        use SignatureScheme as Scheme;
        use digest::{SHA256, SHA384, SHA512};
        /// DigestInfo of each hash without the hash itself (RFC 8017 §9.2, note 1).
        const INFO_256: &[u8] = &[0x30, 0x31, 0x30, 0x0d, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1, 5, 0, 4, 0x20];
        /// Likewise.
        const INFO_384: &[u8] = &[0x30, 0x41, 0x30, 0x0d, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 2, 5, 0, 4, 0x30];
        /// Likewise.
        const INFO_512: &[u8] = &[0x30, 0x51, 0x30, 0x0d, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 3, 5, 0, 4, 0x40];
        match self.scheme {
            Scheme::ECDSA_NISTP256_SHA256 => self.ecdsa(&SHA256, message),
            Scheme::ECDSA_NISTP384_SHA384 => self.ecdsa(&SHA384, message),
            Scheme::RSA_PKCS1_SHA256 => self.pkcs1(&SHA256, INFO_256, message),
            Scheme::RSA_PKCS1_SHA384 => self.pkcs1(&SHA384, INFO_384, message),
            Scheme::RSA_PKCS1_SHA512 => self.pkcs1(&SHA512, INFO_512, message),
            Scheme::RSA_PSS_SHA256 => self.pss(&SHA256, MechanismType::SHA256, PkcsMgfType::MGF1_SHA256, message),
            Scheme::RSA_PSS_SHA384 => self.pss(&SHA384, MechanismType::SHA384, PkcsMgfType::MGF1_SHA384, message),
            Scheme::RSA_PSS_SHA512 => self.pss(&SHA512, MechanismType::SHA512, PkcsMgfType::MGF1_SHA512, message),
            _ => self.in_token(&Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Ed25519)), message),
        }
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_of_a_signature_become_a_sequence() {
        let check = |signature: &[u8], expected: &[u8]| assert_eq!(ecdsa_der(signature).unwrap(), expected);
        check(&[1, 2], &[0x30, 6, 2, 1, 1, 2, 1, 2]);
        // A leading bit needs a zero in front, and leading zeros go.
        check(&[0, 0x80, 0, 0], &[0x30, 7, 2, 2, 0, 0x80, 2, 1, 0]);
    }
}
