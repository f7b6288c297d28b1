//! What an error of TLS means: a sentence that follows from what was seen on the connection, and says what to change.

mod alert;
mod certificate;

use std::error::Error;
use std::fmt;
use std::io;
use std::net::IpAddr;

use rustls::{Error as TlsError, PeerIncompatible};

use crate::client::Context;
use crate::stream::FirstBytes;

/// When an error occurred, and what had been received until then.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Phase {
    /// Before the handshake was complete.
    Handshake {
        /// Bytes received.
        received: u64,
        /// The first of them.
        first: FirstBytes,
    },
    /// Afterwards.
    Session,
}

/// An error of a TLS stream as a sentence.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Failure {}

/// What an error of a [`TlsStream`](crate::TlsStream) means, if it is an error of TLS.
pub fn explain(error: &(dyn Error + 'static)) -> Option<String> {
    let inner = error.downcast_ref::<io::Error>()?.get_ref()?;
    inner.downcast_ref::<Failure>().map(|failure| failure.0.clone())
}

/// Whether rustls has made this error.
pub(crate) fn is_tls(error: &io::Error) -> bool {
    of_rustls(error).is_some()
}

fn of_rustls(error: &io::Error) -> Option<&TlsError> {
    error.get_ref()?.downcast_ref()
}

/// What an error means; `expected`: the name for which the certificate must be.
pub(crate) fn sentence(context: &Context, expected: &str, error: &io::Error, phase: Phase) -> String {
    let peer = context.settings.peer.name();
    let Some(error) = of_rustls(error) else { return closed(context, expected, error, phase) };
    match error {
        TlsError::InvalidCertificate(problem) => certificate::sentence(context, expected, problem),
        TlsError::AlertReceived(alert) => alert::sentence(context, expected, *alert, phase),
        TlsError::InvalidMessage(_) | TlsError::InappropriateMessage { .. }
            if let Some(what) = other_protocol(phase) =>
        {
            format!("the {peer} answered with {what}, not with TLS; {}", scheme_hint(context))
        }
        TlsError::InvalidMessage(problem) => format!("the {peer} sent a malformed TLS message ({problem:?})"),
        TlsError::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13 | PeerIncompatible::Tls12NotOffered,
        ) => {
            format!("the {peer} speaks only versions of TLS before 1.2, which are broken; enable TLS 1.2 or 1.3 there")
        }
        TlsError::PeerIncompatible(problem) => {
            format!("the {peer} and this gateway have nothing in common for {problem:?}; {}", alert::supported(context))
        }
        TlsError::NoCertificatesPresented => format!("the {peer} presented no certificate; configure one there"),
        other => format!("the {peer} broke the rules of TLS ({other})"),
    }
}

/// Why the stream below TLS ended or failed.
fn closed(context: &Context, expected: &str, error: &io::Error, phase: Phase) -> String {
    let peer = context.settings.peer.name();
    let names = &context.settings.names;
    let Phase::Handshake { received, .. } = phase else { return error.to_string() };
    let is_close = matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
    );
    if !is_close {
        return format!("the connection failed during the handshake: {error}");
    }
    if received == 0 {
        return format!(
            "the {peer} closed the connection without answering the TLS handshake; {}",
            unanswered_hint(context, expected)
        );
    }
    let cert = names.of("cert");
    match &context.presented {
        None if context.was_asked() => format!(
            "the {peer} asked for a client certificate and closed the connection when there was none; set {cert} and {}",
            names.of("key")
        ),
        // A reset may overtake the alert with which it refuses the certificate.
        Some(own) if context.was_asked() => format!(
            "the {peer} asked for a client certificate, got {:?} of {cert}, and closed the connection; set {cert} to one from a \
             CA that it trusts, or see in its log why it does so",
            own.subject
        ),
        _ => format!(
            "the {peer} closed the connection in the middle of the TLS handshake, after {received} bytes; its log says why"
        ),
    }
}

/// What to change when the other end does not answer: it does not speak TLS, or serves by the name in the handshake.
fn unanswered_hint(context: &Context, expected: &str) -> String {
    let (scheme, name) = (scheme_hint(context), context.settings.names.of("server_name"));
    if matches!(context.settings.peer, crate::Peer::Device) {
        return scheme;
    }
    if expected.parse::<IpAddr>().is_ok() {
        // RFC 6066 §3 allows host names only.
        return format!(
            "{scheme}; if it wants a name in the handshake, where an address such as {expected} is not sent, set {name} to its host name"
        );
    }
    format!("{scheme}; if it serves several names, {expected:?} may be none of them: set {name} to the right one")
}

/// What to change when the other end does not speak TLS.
fn scheme_hint(context: &Context) -> String {
    let url = context.settings.names.of("url");
    match context.settings.peer {
        crate::Peer::Broker => format!(
            "if that port is without TLS, write mqtt:// (or ws://) in {url}, or the broker's TLS port, usually 8883"
        ),
        crate::Peer::Device => format!(
            "if that port is without TLS, write tcp:// in {}, or the device's TLS port, usually 802",
            context.settings.names.of("address")
        ),
    }
}

/// The protocol that an answer belongs to, if it is not TLS.
fn other_protocol(phase: Phase) -> Option<String> {
    /// First bytes with the protocols that they belong to.
    const KNOWN: [(&[u8], &str); 6] = [
        (b"HTTP/", "HTTP"),
        (b"SSH-", "SSH"),
        (b"220", "SMTP or FTP"),
        (&[0x20, 0x02], "MQTT"),
        (&[0x20, 0x03], "MQTT"),
        (&[0xe0], "MQTT"),
    ];
    /// The types of TLS records: change_cipher_spec to heartbeat (RFC 8446 §5.1), each followed by version 3.
    const RECORDS: std::ops::RangeInclusive<u8> = 20..=24;
    let Phase::Handshake { received, first } = phase else { return None };
    let [kind, version, ..] = first;
    if received == 0 || (RECORDS.contains(&kind) && version == 3) {
        return None;
    }
    let known = KNOWN.iter().find(|(bytes, _)| first.starts_with(bytes)).map(|(_, name)| (*name).to_owned());
    let shown = usize::try_from(received).unwrap_or(first.len()).min(first.len());
    let bytes: Vec<_> = first.iter().take(shown).map(|byte| format!("{byte:02x}")).collect();
    Some(known.unwrap_or_else(|| format!("something else (bytes {})", bytes.join(" "))))
}
