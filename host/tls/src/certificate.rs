//! What a certificate says, for people: rustls itself only judges those of the other end.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use x509_cert::certificate::Version;
use x509_cert::der::asn1::{ObjectIdentifier, UintRef};
use x509_cert::der::{DateTime, Decode, Encode, Reader, SliceReader};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, SubjectAltName};
use x509_cert::name::Name;
use x509_cert::spki::SubjectPublicKeyInfoOwned;

use crate::pin::Pin;

/// Characters of a name that are shown; the other end chooses them.
const SHOWN_CHARACTERS: usize = 120;
/// Names of a certificate that are shown.
const SHOWN_NAMES: usize = 8;
/// Bits of the shortest RSA key that ring verifies.
const SHORTEST_RSA_BITS: usize = 2048;

/// A certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Whom it is for.
    pub subject: String,
    /// Who has signed it.
    pub issuer: String,
    /// The host names and addresses in it, as a client may ask for them.
    pub names: Vec<String>,
    /// Valid from this time on, since 1970.
    pub not_before: Duration,
    /// Valid until this time, since 1970.
    pub not_after: Duration,
    /// Its version of X.509, 1 to 3.
    pub version: u8,
    /// Whether it may sign others.
    pub is_ca: bool,
    /// Whether subject and issuer are the same.
    pub is_self_signed: bool,
    /// Its public key.
    pub key: PublicKey,
    /// Its pin.
    pub pin: Pin,
    /// The SHA-256 of the whole certificate.
    pub fingerprint: Pin,
    pub(crate) spki: SubjectPublicKeyInfoOwned,
}

/// The algorithm of a public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicKey {
    /// RSA with so many bits.
    Rsa(usize),
    /// An elliptic curve.
    Curve(&'static str),
    /// Another algorithm.
    Other,
}

impl PublicKey {
    fn of(spki: &SubjectPublicKeyInfoOwned) -> Self {
        /// Object identifiers of curves with their names; those of Edwards curves are the algorithm's own.
        const CURVES: [(&str, &str); 6] = [
            ("1.2.840.10045.3.1.7", "P-256"),
            ("1.3.132.0.34", "P-384"),
            ("1.3.132.0.35", "P-521"),
            ("1.3.132.0.10", "secp256k1"),
            ("1.3.101.112", "Ed25519"),
            ("1.3.101.113", "Ed448"),
        ];
        /// RSA (RFC 8017 A.1).
        const RSA: &str = "1.2.840.113549.1.1.1";
        let algorithm = spki.algorithm.oid.to_string();
        if algorithm == RSA {
            return rsa_bits(spki.subject_public_key.raw_bytes()).map_or(Self::Other, Self::Rsa);
        }
        let parameters = spki.algorithm.parameters.as_ref();
        let curve = parameters.and_then(|parameters| parameters.decode_as::<ObjectIdentifier>().ok());
        let curve = curve.map_or(algorithm, |curve| curve.to_string());
        CURVES.iter().find(|(id, _)| *id == curve).map_or(Self::Other, |(_, name)| Self::Curve(name))
    }

    /// Whether ring verifies and makes signatures with it.
    pub(crate) fn is_supported(self) -> bool {
        match self {
            Self::Rsa(bits) => bits >= SHORTEST_RSA_BITS,
            Self::Curve(name) => ["P-256", "P-384", "Ed25519"].contains(&name),
            Self::Other => false,
        }
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa(bits) => write!(f, "RSA with {bits} bits"),
            Self::Curve(name) => f.write_str(name),
            Self::Other => f.write_str("an unknown algorithm"),
        }
    }
}

fn rsa_bits(key: &[u8]) -> Option<usize> {
    let modulus = |reader: &mut SliceReader<'_>| {
        let modulus = UintRef::decode(reader)?.as_bytes().len();
        UintRef::decode(reader)?;
        Ok(modulus)
    };
    let mut reader = SliceReader::new(key).ok()?;
    let bytes = reader.sequence(modulus).map_err(|_: x509_cert::der::Error| ()).ok()?;
    Some(bytes * 8)
}

impl Certificate {
    /// Reads a certificate, DER; none if it is malformed.
    pub(crate) fn read(der: &CertificateDer<'_>) -> Option<Self> {
        let parsed = x509_cert::Certificate::from_der(der).ok()?;
        let parsed = parsed.tbs_certificate();
        let spki = parsed.subject_public_key_info();
        let basic = parsed.get_extension::<BasicConstraints>().ok().flatten();
        Some(Self {
            subject: name(parsed.subject()),
            issuer: name(parsed.issuer()),
            names: parsed.get_extension().ok().flatten().map(|(_, names)| host_names(&names)).unwrap_or_default(),
            not_before: parsed.validity().not_before.to_unix_duration(),
            not_after: parsed.validity().not_after.to_unix_duration(),
            version: match parsed.version() {
                Version::V1 => 1,
                Version::V2 => 2,
                Version::V3 => 3,
            },
            is_ca: basic.is_some_and(|(_, basic)| basic.ca),
            is_self_signed: parsed.subject() == parsed.issuer(),
            key: PublicKey::of(spki),
            pin: Pin::of_public_key(&spki.to_der().ok()?),
            fingerprint: Pin::fingerprint(der),
            spki: spki.clone(),
        })
    }

    /// The names in it as a sentence shows them.
    pub(crate) fn listed_names(&self) -> String {
        let shown: Vec<_> = self.names.iter().take(SHOWN_NAMES).map(String::as_str).collect();
        let more = self.names.len().saturating_sub(shown.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{}{more}", shown.join(", "))
    }
}

/// Reads each certificate of a file; those that are malformed are left out. The error names the file.
pub fn certificates(path: &Path) -> Result<Vec<Certificate>, String> {
    Ok(crate::pem::certificates(path)?.iter().filter_map(Certificate::read).collect())
}

/// A time since 1970 as people write it.
pub fn date(since_1970: Duration) -> String {
    let date = DateTime::from_unix_duration(since_1970);
    date.map_or_else(|_| "a time after the year 9999".to_owned(), |date| date.to_string())
}

fn name(name: &Name) -> String {
    shown(&name.to_string())
}

/// A text of the other end without control characters, and not longer than helps.
pub(crate) fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN_CHARACTERS).filter(|c| !c.is_control()).collect();
    if text.chars().count() > SHOWN_CHARACTERS {
        shown.push('…');
    }
    shown
}

fn host_names(names: &SubjectAltName) -> Vec<String> {
    let address = |bytes: &[u8]| {
        let v4 = <[u8; 4]>::try_from(bytes).map(|bytes| std::net::IpAddr::from(bytes).to_string());
        v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(|bytes| std::net::IpAddr::from(bytes).to_string())).ok()
    };
    let host_name = |name: &GeneralName| match name {
        GeneralName::DnsName(name) => Some(shown(name.as_str())),
        GeneralName::IpAddress(bytes) => address(bytes.as_bytes()),
        _ => None,
    };
    names.0.iter().filter_map(host_name).collect()
}
