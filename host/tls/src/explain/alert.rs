//! Alerts, with which the other end refuses a handshake.

use rustls::AlertDescription as Alert;

use super::Phase;
use crate::certificate::date;
use crate::client::Context;

/// What an alert means.
pub(super) fn sentence(context: &Context, expected: &str, alert: Alert, phase: Phase) -> String {
    let peer = context.settings.peer.name();
    let names = &context.settings.names;
    let number = u8::from(alert);
    match alert {
        Alert::CertificateRequired => wanted(context, alert),
        Alert::BadCertificate
        | Alert::UnsupportedCertificate
        | Alert::CertificateRevoked
        | Alert::CertificateExpired
        | Alert::CertificateUnknown
        | Alert::UnknownCA
        | Alert::AccessDenied
        | Alert::DecryptError => of_identity(context, alert),
        // Before TLS 1.3 a missing client certificate has no alert of its own (RFC 5246 §7.4.6).
        Alert::HandshakeFailure if context.was_asked() => of_identity(context, alert),
        Alert::HandshakeFailure | Alert::InsufficientSecurity => format!(
            "the {peer} and this gateway have no cipher suite or signature algorithm in common (alert {number}, {alert:?}); {}",
            supported(context)
        ),
        Alert::ProtocolVersion => format!(
            "the {peer} speaks no version of TLS that this gateway speaks, 1.2 and 1.3 (alert {number}, {alert:?}); enable one there"
        ),
        Alert::NoApplicationProtocol => {
            let alpn = names.of("alpn");
            format!("the {peer} does not support the protocol requested by ALPN; check {alpn} and the port")
        }
        Alert::UnrecognisedName => {
            let name = names.of("server_name");
            format!(
                "the {peer} does not know the name {expected:?} (alert {number}, {alert:?}); set {name} to the one it expects"
            )
        }
        _ => {
            let when = match phase {
                Phase::Handshake { .. } => "refused the handshake",
                Phase::Session => "ended TLS",
            };
            format!("the {peer} {when} (alert {number}, {alert:?}); its log says why")
        }
    }
}

/// What this gateway supports, for a peer with which it has nothing in common.
pub(super) fn supported(context: &Context) -> String {
    let peer = context.settings.peer.name();
    format!(
        "this gateway speaks TLS 1.2 with ECDHE and 1.3, AES-GCM or ChaCha20, with certificates of RSA from 2048 bits, ECDSA P-256 \
         or P-384, or Ed25519, but not P-521; change the {peer}'s ciphers or its certificate (openssl ecparam -genkey -name \
         prime256v1 makes a key)"
    )
}

/// The other end has refused the client certificate, or the lack of one.
fn of_identity(context: &Context, alert: Alert) -> String {
    let Some(own) = &context.presented else { return wanted(context, alert) };
    let peer = context.settings.peer.name();
    let cert = context.settings.names.of("cert");
    let reason = match alert {
        Alert::UnknownCA => {
            format!(
                "it does not trust {:?}, which signed it; add that CA to those it trusts, or set {cert} to a certificate \
                     from a CA that it trusts",
                own.issuer
            )
        }
        Alert::CertificateExpired => format!("it has expired, on {}; renew it", date(own.not_after)),
        Alert::CertificateRevoked => "it was revoked; get a new one".to_owned(),
        Alert::AccessDenied => "its policy does not allow this client; check the permissions there".to_owned(),
        Alert::DecryptError => {
            "the signature with its key is wrong; check that file and key belong together".to_owned()
        }
        _ => format!("valid from {} to {}; its log says why", date(own.not_before), date(own.not_after)),
    };
    let (number, subject, issuer) = (u8::from(alert), &own.subject, &own.issuer);
    format!(
        "the {peer} refused the client certificate of {cert}, {subject:?} signed by {issuer:?} (alert {number}, {alert:?}): {reason}"
    )
}

/// The other end wants a client certificate and got none.
fn wanted(context: &Context, alert: Alert) -> String {
    let (peer, names) = (context.settings.peer.name(), &context.settings.names);
    let (cert, key, number) = (names.of("cert"), names.of("key"), u8::from(alert));
    match &context.presented {
        None => format!(
            "the {peer} wants a client certificate (alert {number}, {alert:?}); set {cert} and {key} to one from a CA that it trusts"
        ),
        Some(own) => format!(
            "the {peer} wants a client certificate with another algorithm than {}, that of {cert} (alert {number}, {alert:?})",
            own.key
        ),
    }
}
