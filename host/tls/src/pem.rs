//! Reads certificates from files as people have them: PEM with a byte order mark, Windows line ends, indentation and comments,
//! OpenSSL's trusted certificates, or DER.

use std::path::Path;

use base64::Engine;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use rustls::pki_types::CertificateDer;
use x509_cert::der::{Decode, Header, Reader, SliceReader, Tag};

/// Base64 as tools write it, with padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);
/// The byte order mark that some editors put in front of UTF-8.
const MARK: &[u8] = &[0xef, 0xbb, 0xbf];

/// What a file contains.
pub(crate) enum Content {
    /// Sections of PEM.
    Pem(Vec<Section>),
    /// Something binary that begins like DER.
    Der(Vec<u8>),
}

/// One section of PEM: `-----BEGIN LABEL-----` to `-----END LABEL-----`.
pub(crate) struct Section {
    pub(crate) label: String,
    /// The headers of old formats (RFC 1421), such as `Proc-Type`.
    pub(crate) headers: Vec<String>,
    pub(crate) der: Vec<u8>,
}

/// Splits a file into sections. The error quotes nothing of it: it may hold a key.
pub(crate) fn parse(bytes: &[u8]) -> Result<Content, &'static str> {
    let bytes = bytes.strip_prefix(MARK).unwrap_or(bytes);
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err("it is UTF-16 text; save it as UTF-8");
    }
    let has_sections = bytes.windows(BEGIN.len()).any(|window| window == BEGIN.as_bytes());
    // SEQUENCE, with which certificates and keys begin.
    if bytes.first() == Some(&0x30) && !has_sections {
        return Ok(Content::Der(bytes.to_vec()));
    }
    sections(&String::from_utf8_lossy(bytes)).map(Content::Pem)
}

/// What a section begins with.
const BEGIN: &str = "-----BEGIN ";
/// What its last line begins with.
const END: &str = "-----END ";
/// What both lines end with.
const DASHES: &str = "-----";

fn sections(text: &str) -> Result<Vec<Section>, &'static str> {
    let mut sections = Vec::new();
    let mut open: Option<(String, Vec<String>, String)> = None;
    for line in text.lines().flat_map(|line| line.split('\r')).map(str::trim) {
        if let Some(label) = line.strip_prefix(BEGIN) {
            let label = label.strip_suffix(DASHES).ok_or("a BEGIN line is incomplete; copy the file again")?;
            if open.replace((label.to_owned(), Vec::new(), String::new())).is_some() {
                return Err("it has two BEGIN lines without an END line between them; copy the file again");
            }
        } else if line.starts_with(END) {
            let (label, headers, body) = open.take().ok_or("it has an END line without BEGIN; copy the file again")?;
            let der =
                BASE64.decode(body).map_err(|_| "it is not valid PEM: the text between BEGIN and END is not base64")?;
            sections.push(Section { label, headers, der });
        } else if let Some((_, headers, body)) = &mut open {
            if line.contains(':') { headers.push(line.to_owned()) } else { body.push_str(line) }
        }
    }
    if open.is_some() {
        return Err("its END line is missing; copy the file again, as a whole");
    }
    Ok(sections)
}

/// What a file without the wanted section is, and how to convert it.
pub(crate) fn conversion(content: &Content) -> Option<&'static str> {
    /// Labels with the command that converts them.
    const LABELS: [(&str, &str); 4] = [
        ("PKCS7", "it is PKCS#7; convert it: openssl pkcs7 -print_certs -in FILE -out certificates.pem"),
        ("CERTIFICATE REQUEST", "it is a certificate request, not a certificate; let the CA sign it"),
        ("OPENSSH PRIVATE KEY", "it is an OpenSSH key; convert it: ssh-keygen -p -m PEM -f FILE"),
        ("PUBLIC KEY", "it is a public key"),
    ];
    match content {
        Content::Pem(sections) => {
            let find = |(label, hint): &(&str, &'static str)| {
                sections.iter().any(|section| section.label == *label).then_some(*hint)
            };
            LABELS.iter().find_map(find)
        }
        // PKCS#12 begins with its version, 3 (RFC 7292 §4).
        Content::Der(der) => contents(der).filter(|inner| inner.starts_with(&[2, 1, 3])).map(|_| {
            "it is PKCS#12; convert it: openssl pkcs12 -in FILE -clcerts -nokeys -out client.pem; openssl pkcs12 -in FILE \
             -nocerts -out client.key"
        }),
    }
}

/// The contents of the SEQUENCE that a file begins with.
fn contents(der: &[u8]) -> Option<&[u8]> {
    let mut reader = SliceReader::new(der).ok()?;
    let header = Header::decode(&mut reader).ok()?;
    let length = reader.remaining_len();
    reader.read_slice(length).ok().filter(|_| header.tag() == Tag::Sequence)
}

/// The certificates of a file; at least one. The error names the file.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let failed =
        |reason: &dyn std::fmt::Display| format!("failed to read certificates from {}: {reason}", path.display());
    let bytes = bessai_files::read(path, bessai_files::CERTIFICATE_BYTES).map_err(|error| failed(&error))?;
    certificates_in(&bytes).map_err(|reason| failed(&reason))
}

/// The certificates in a file's bytes; at least one.
pub(crate) fn certificates_in(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    let content = parse(bytes)?;
    let certificates: Vec<_> = match &content {
        Content::Pem(sections) => sections.iter().filter_map(certificate).collect(),
        Content::Der(der) if conversion(&content).is_none() => vec![CertificateDer::from(der.clone())],
        Content::Der(_) => Vec::new(),
    };
    if certificates.is_empty() {
        return Err(conversion(&content).unwrap_or(match &content {
            Content::Pem(sections) if sections.iter().any(|section| section.label.ends_with("PRIVATE KEY")) => {
                "it contains a private key and no certificate"
            }
            _ => "it contains no certificate, neither in PEM nor in DER format",
        }));
    }
    Ok(certificates)
}

fn certificate(section: &Section) -> Option<CertificateDer<'static>> {
    match section.label.as_str() {
        "CERTIFICATE" | "X509 CERTIFICATE" => Some(section.der.clone().into()),
        // OpenSSL writes what the certificate is trusted for behind it.
        "TRUSTED CERTIFICATE" => first_element(&section.der).map(|der| der.to_vec().into()),
        _ => None,
    }
}

/// The first DER element.
fn first_element(der: &[u8]) -> Option<&[u8]> {
    SliceReader::new(der).ok()?.tlv_bytes().ok()
}
