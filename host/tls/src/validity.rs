//! From when until when certificates are valid, for people: rustls itself judges only those of the other end.

use std::path::Path;
use std::time::Duration;

use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, RootCertStore};

/// When a certificate is valid, as times since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// From this time on.
    pub not_before: Duration,
    /// Until this time.
    pub not_after: Duration,
}

/// Reads the validity of each certificate of a PEM file; certificates that rustls cannot read are left out. The error names
/// the file.
pub fn validities(path: &Path) -> Result<Vec<Validity>, String> {
    Ok(super::certificates(path)?.iter().filter_map(validity).collect())
}

/// rustls has no function that returns the dates, but the error with which it refuses a certificate at the wrong time states
/// them. It compares the dates before it looks at anything else.
fn validity(certificate: &CertificateDer<'_>) -> Option<Validity> {
    let certificate = ParsedCertificate::try_from(certificate).ok()?;
    let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms.all;
    let refusal_at = |now| {
        let now = UnixTime::since_unix_epoch(now);
        match verify_server_cert_signed_by_trust_anchor(&certificate, &RootCertStore::empty(), &[], now, algorithms) {
            Err(Error::InvalidCertificate(refusal)) => Some(refusal),
            _ => None,
        }
    };
    let not_before = match refusal_at(Duration::ZERO)? {
        CertificateError::NotValidYetContext { not_before, .. } => Duration::from_secs(not_before.as_secs()),
        // It was valid in 1970 already.
        _ => Duration::ZERO,
    };
    match refusal_at(Duration::from_secs(u64::MAX))? {
        CertificateError::ExpiredContext { not_after, .. } => {
            Some(Validity { not_before, not_after: Duration::from_secs(not_after.as_secs()) })
        }
        _ => None,
    }
}
