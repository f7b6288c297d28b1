//! What a client presents: its certificate with the key that belongs to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::CertificateDer;
use rustls::sign::{CertifiedKey, SigningKey};
use x509_cert::der::Encode;

use crate::certificate::Certificate;
use crate::key::KeyPassword;
use crate::settings::{Identity, KeySource, Peer, SettingError, SettingNames};
use crate::{key, pem, token};

/// The certificate with its key, and what it says.
pub(crate) struct Presented {
    pub(crate) certified: Arc<CertifiedKey>,
    pub(crate) certificate: Option<Certificate>,
}

/// Reads certificate and key, which must belong together.
pub(crate) fn read(
    identity: &Identity,
    password: Option<&str>,
    peer: Peer,
    names: &SettingNames,
) -> Result<Presented, SettingError> {
    let path = &identity.certificate;
    let of_certificate =
        |reason: String| SettingError { setting: names.of("cert"), value: Some(path.display().to_string()), reason };
    let bytes = bessai_files::read(path, bessai_files::CERTIFICATE_BYTES);
    let bytes = bytes.map_err(|error| of_certificate(format!("cannot be read: {error}")))?;
    let mut chain = pem::certificates_in(&bytes).map_err(|reason| of_certificate(reason.to_owned()))?;
    let file = match &identity.key {
        KeySource::File(file) => file,
        KeySource::Token { module, uri } => {
            let own = chain.first().and_then(Certificate::read);
            let own =
                own.ok_or_else(|| of_certificate("its first certificate is damaged; copy the file again".into()))?;
            let key = token::key(module, uri, password, &own, names)?;
            return Ok(Presented { certified: Arc::new(CertifiedKey::new(chain, key)), certificate: Some(own) });
        }
    };
    let of_key =
        |reason: String| SettingError { setting: names.of("key"), value: Some(file.display().to_string()), reason };
    let setting = (peer == Peer::Broker).then(|| names.of("key_password"));
    let password = KeyPassword { value: password, setting: setting.as_deref() };
    let key = key::read(file, password).map_err(of_key)?;
    let first = chain.first().and_then(Certificate::read);
    let Ok(key) = rustls::crypto::ring::sign::any_supported_type(&key) else {
        let algorithm = first.map_or_else(|| "another algorithm".to_owned(), |first| first.key.to_string());
        return Err(of_key(format!(
            "keys of {algorithm} are not supported; make one: openssl ecparam -genkey -name prime256v1 -out client.key, and let \
             the CA sign a certificate for it"
        )));
    };
    if !move_own_to_front(&mut chain, &*key) {
        let subject = first.map_or_else(String::new, |first| format!(", which is for {:?}", first.subject));
        return Err(of_key(format!(
            "it is not the key of the certificate {}{subject}; set the two files that were made together",
            path.display()
        )));
    }
    let certificate = chain.first().and_then(Certificate::read);
    Ok(Presented { certified: Arc::new(CertifiedKey::new(chain, key)), certificate })
}

/// Whether one of the certificates has this key. It becomes the first one, as TLS wants it (RFC 8446 §4.4.2).
fn move_own_to_front(chain: &mut [CertificateDer<'static>], key: &dyn SigningKey) -> bool {
    let Some(public) = key.public_key() else { return true };
    let is_own = |certificate: &CertificateDer<'_>| {
        let spki = Certificate::read(certificate).and_then(|certificate| certificate.spki.to_der().ok());
        spki.is_some_and(|spki| spki == public.as_ref())
    };
    let Some(own) = chain.iter().position(is_own) else { return false };
    if let Some(upto) = chain.get_mut(..=own) {
        upto.rotate_right(1);
    }
    true
}

/// Presents the certificate when the other end asks for one, and notes that it did.
#[derive(Debug)]
pub(crate) struct Resolver {
    pub(crate) identity: Option<Arc<CertifiedKey>>,
    pub(crate) was_asked: AtomicBool,
}

impl ResolvesClientCert for Resolver {
    fn resolve(&self, _issuers: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.was_asked.store(true, Ordering::Relaxed);
        self.identity.clone()
    }

    fn has_certs(&self) -> bool {
        self.identity.is_some()
    }
}
