//! Which certificates of the other end are trusted: one with the pinned key, one that is given itself, or one that a CA has
//! signed for its name.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use x509_cert::der::Encode;

use crate::certificate::Certificate;
use crate::pem;
use crate::pin::Pin;
use crate::settings::{SettingError, Settings};

/// What the other end presented.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) trusted_by: Option<TrustedBy>,
}

/// Why the other end's certificate is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrustedBy {
    /// It has the pinned key.
    Pin,
    /// It is one of the configured certificates.
    Itself,
    /// A trusted CA has signed it for this name.
    Authority,
}

/// Judges the certificate of the other end, and keeps it for an explanation.
#[derive(Debug)]
pub(crate) struct Trust {
    pin: Option<Pin>,
    // Without a file the system's CA certificates are trusted, and none of them as the other end's own.
    given: Vec<CertificateDer<'static>>,
    has_file: bool,
    roots: RootCertStore,
    algorithms: WebPkiSupportedAlgorithms,
    seen: Arc<Mutex<Seen>>,
}

impl Trust {
    /// Reads the trusted certificates.
    pub(crate) fn new(settings: &Settings, seen: Arc<Mutex<Seen>>) -> Result<Self, SettingError> {
        let mut roots = RootCertStore::empty();
        let given = match &settings.ca {
            Some(path) => {
                let failed = |reason: String| SettingError {
                    setting: settings.names.of("ca"),
                    value: Some(path.display().to_string()),
                    reason,
                };
                let bytes = bessai_files::read(path, bessai_files::CERTIFICATE_BYTES);
                let bytes = bytes.map_err(|error| failed(format!("cannot be read: {error}")))?;
                let given = pem::certificates_in(&bytes).map_err(|reason| failed(reason.to_owned()))?;
                add(&mut roots, &given).map_err(failed)?;
                given
            }
            None if settings.pin.is_some() => Vec::new(),
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                if roots.is_empty() {
                    let reason = "is not set, and this system has no trusted certificates; install the package \
                                  ca-certificates, or set it to the file with the CA certificate";
                    let setting = settings.names.of("ca");
                    return Err(SettingError { setting, value: None, reason: reason.to_owned() });
                }
                Vec::new()
            }
        };
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        Ok(Self { pin: settings.pin, has_file: settings.ca.is_some(), given, roots, algorithms, seen })
    }

    /// The names of the trusted certificates of the file.
    pub(crate) fn given(&self) -> Vec<Certificate> {
        self.given.iter().filter_map(Certificate::read).collect()
    }

    /// Whether the certificate itself is trusted, regardless of its signature.
    fn trusted_itself(&self, certificate: &CertificateDer<'_>) -> Result<Option<TrustedBy>, Error> {
        if let Some(pin) = self.pin {
            if Certificate::read(certificate).is_none_or(|certificate| certificate.pin != pin) {
                return Err(CertificateError::ApplicationVerificationFailure.into());
            }
            if !self.has_file {
                return Ok(Some(TrustedBy::Pin));
            }
        }
        Ok(self.given.iter().any(|given| given == certificate).then_some(TrustedBy::Itself))
    }

    fn judge(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<TrustedBy, Error> {
        if let Some(by) = self.trusted_itself(certificate)? {
            return Ok(by);
        }
        let parsed = ParsedCertificate::try_from(certificate)?;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, now, self.algorithms.all)?;
        verify_server_name(&parsed, name)?;
        Ok(TrustedBy::Authority)
    }

    /// Verifies a signature of TLS 1.2 by the key of a certificate that rustls cannot read, such as one of X.509 version 1,
    /// which is trusted itself.
    fn verify_with_key(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let certificate = Certificate::read(certificate);
        let is_valid =
            certificate.is_some_and(|own| verifies(&self.algorithms, &own, signed.scheme, message, signed.signature()));
        let bad = Error::InvalidCertificate(CertificateError::BadSignature);
        is_valid.then(HandshakeSignatureValid::assertion).ok_or(bad)
    }
}

/// Whether the key of a certificate has made a signature.
pub(crate) fn verifies(
    algorithms: &WebPkiSupportedAlgorithms,
    certificate: &Certificate,
    scheme: SignatureScheme,
    message: &[u8],
    signature: &[u8],
) -> bool {
    let spki = &certificate.spki;
    let Ok(algorithm) = spki.algorithm.to_der() else { return false };
    let key = spki.subject_public_key.raw_bytes();
    let known = algorithms.mapping.iter().find(|(known, _)| *known == scheme);
    // What a certificate holds is a whole element, and its identifier here the contents of one.
    let fits = |id: &[u8]| algorithm.len() < 0x80 && algorithm.get(2..) == Some(id);
    let mut fitting = known.into_iter().flat_map(|(_, all)| all.iter()).filter(|one| fits(&one.public_key_alg_id()));
    fitting.any(|one| one.verify_signature(key, message, signature).is_ok())
}

/// Adds CA certificates. What cannot sign others may still be the other end's own certificate.
fn add(roots: &mut RootCertStore, given: &[CertificateDer<'static>]) -> Result<(), String> {
    for (number, certificate) in (1..).zip(given) {
        if roots.add(certificate.clone()).is_err() && Certificate::read(certificate).is_none() {
            return Err(format!("certificate {number} of {} in it is damaged; copy the file again", given.len()));
        }
    }
    Ok(())
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let judged = self.judge(certificate, intermediates, name, now);
        let chain = std::iter::once(certificate).chain(intermediates);
        let chain = chain.map(|certificate| certificate.clone().into_owned()).collect();
        let seen = Seen { chain, trusted_by: judged.as_ref().ok().copied() };
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
        judged.map(|_| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match ParsedCertificate::try_from(certificate) {
            Ok(_) => verify_tls12_signature(message, certificate, signed, &self.algorithms),
            Err(_) => self.verify_with_key(message, certificate, signed),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if ParsedCertificate::try_from(certificate).is_ok() {
            return verify_tls13_signature(message, certificate, signed, &self.algorithms);
        }
        let key = Certificate::read(certificate).and_then(|certificate| certificate.spki.to_der().ok());
        let key = SubjectPublicKeyInfoDer::from(key.unwrap_or_default());
        verify_tls13_signature_with_raw_key(message, &key, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
