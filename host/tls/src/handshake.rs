//! What a completed handshake has agreed on.

use rustls::{ClientConnection, ProtocolVersion};

use crate::certificate::Certificate;
use crate::client::Context;
use crate::trust::TrustedBy;

/// A completed handshake.
#[derive(Clone, Debug)]
pub struct Handshake {
    /// The version of TLS, such as `TLS 1.3`.
    pub version: String,
    /// The cipher suite.
    pub cipher: String,
    /// The application protocol that the other end has chosen by ALPN.
    pub alpn: Option<String>,
    /// The other end's certificate and those that it sent with it; malformed ones are left out.
    pub chain: Vec<Certificate>,
    /// Why its certificate is trusted.
    pub trusted_by: Option<TrustedBy>,
    /// Whether it has asked for a client certificate.
    pub wants_certificate: bool,
    /// The client certificate that is set.
    pub presented: Option<Certificate>,
}

impl Handshake {
    pub(crate) fn of(connection: &ClientConnection, context: &Context) -> Self {
        let seen = context.take_seen();
        let version = match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "TLS 1.2".to_owned(),
            Some(ProtocolVersion::TLSv1_3) => "TLS 1.3".to_owned(),
            other => format!("{other:?}"),
        };
        let suite = connection.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite()));
        Self {
            version,
            cipher: suite.unwrap_or_default().replace("TLS13_", "TLS_"),
            alpn: connection.alpn_protocol().map(|protocol| String::from_utf8_lossy(protocol).into_owned()),
            chain: seen.chain.iter().filter_map(Certificate::read).collect(),
            trusted_by: seen.trusted_by,
            wants_certificate: context.was_asked(),
            presented: context.presented.clone(),
        }
    }
}
