//! Why the certificate of the other end is not trusted.

use std::time::Duration;

use rustls::CertificateError;
use rustls::pki_types::UnixTime;

use crate::certificate::{Certificate, date};
use crate::client::Context;
use crate::settings::{Peer, SettingNames};

/// One certificate of the other end that was refused.
struct Refused<'a> {
    context: &'a Context,
    names: &'a SettingNames,
    // The other end in sentences.
    peer: &'static str,
    // The name for which the certificate must be.
    expected: &'a str,
    chain: Vec<Certificate>,
}

/// What a refusal of the other end's certificate means.
pub(super) fn sentence(context: &Context, expected: &str, problem: &CertificateError) -> String {
    let chain = context.chain();
    let (names, peer) = (&context.settings.names, context.settings.peer.name());
    let refused = Refused { context, names, peer, expected, chain };
    let Some(own) = refused.chain.first() else {
        return format!("the {peer}'s certificate is malformed ({problem}); {}", refused.make_one());
    };
    if let Some(pin) = context.settings.pin.filter(|pin| *pin != own.pin) {
        return refused.another_key(own, pin);
    }
    // rustls reads nothing of such a certificate.
    if own.version < 3 {
        return format!(
            "the {peer}'s certificate {:?} is of X.509 version {}, which states no names; {}, or {}",
            own.subject,
            own.version,
            refused.make_one(),
            refused.trust_it(own)
        );
    }
    if !own.key.is_supported() {
        let key = own.key;
        return format!("the {peer}'s certificate has a key of {key}, which is not supported; {}", refused.make_one());
    }
    refused.by(own, problem)
}

impl Refused<'_> {
    fn by(&self, own: &Certificate, problem: &CertificateError) -> String {
        let peer = self.peer;
        match problem {
            CertificateError::ExpiredContext { time, not_after } => self.expired(*time, *not_after),
            CertificateError::NotValidYetContext { time, not_before } => self.not_valid_yet(*time, *not_before),
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => self.other_name(own),
            _ if own.is_self_signed => format!(
                "the {peer}'s certificate {:?} is self-signed, and nothing vouches for it; {}",
                own.subject,
                self.trust_it(own)
            ),
            CertificateError::UnknownIssuer | CertificateError::BadSignature => self.unknown_issuer(own),
            CertificateError::Revoked => format!("the {peer}'s certificate was revoked; replace it there"),
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => format!(
                "the {peer}'s certificate {:?} is not for servers (extended key usage); make one with \
                 extendedKeyUsage=serverAuth, or {}",
                own.subject,
                self.trust_it(own)
            ),
            _ if own.is_ca => format!(
                "the {peer} presents the certificate of a CA, {:?}, as its own; {}, or {}",
                own.subject,
                self.make_one(),
                self.trust_it(own)
            ),
            other => format!(
                "the {peer}'s certificate {:?} cannot be verified ({other}); {}, or {}",
                own.subject,
                self.make_one(),
                self.trust_it(own)
            ),
        }
    }

    fn another_key(&self, own: &Certificate, pin: crate::Pin) -> String {
        let (peer, setting) = (self.peer, self.names.of("pin"));
        if own.fingerprint == pin {
            return format!(
                "{setting} is the fingerprint of the {peer}'s certificate; write the pin of its public key: {setting} = \"{}\"",
                own.pin
            );
        }
        format!(
            "the {peer}'s certificate {:?} has the pin {}, and {setting} is {pin}; if that certificate is the right one, \
             set {setting} = \"{}\"",
            own.subject, own.pin, own.pin
        )
    }

    fn expired(&self, now: UnixTime, end: UnixTime) -> String {
        let end = Duration::from_secs(end.as_secs());
        format!(
            "{} expired on {}; renew it (this machine's clock says {})",
            self.which(|certificate| certificate.not_after == end),
            date(end),
            date(Duration::from_secs(now.as_secs()))
        )
    }

    fn not_valid_yet(&self, now: UnixTime, begin: UnixTime) -> String {
        let begin = Duration::from_secs(begin.as_secs());
        format!(
            "{} is valid from {} on, and this machine's clock says {}; the clock may be wrong: set it",
            self.which(|certificate| certificate.not_before == begin),
            date(begin),
            date(Duration::from_secs(now.as_secs()))
        )
    }

    /// The certificate of the chain that is meant.
    fn which(&self, is_it: impl Fn(&Certificate) -> bool) -> String {
        match self.chain.iter().position(is_it) {
            Some(above @ 1..) => {
                let subject = self.chain.get(above).map(|certificate| certificate.subject.as_str());
                format!("the CA certificate {:?}, which the {} sends,", subject.unwrap_or_default(), self.peer)
            }
            _ => format!("the {}'s certificate", self.peer),
        }
    }

    fn other_name(&self, own: &Certificate) -> String {
        let (peer, expected) = (self.peer, self.expected);
        let name = self.names.of("server_name");
        let Some(first) = own.names.first() else {
            return format!(
                "the {peer}'s certificate states its name only in its subject, {:?}, where clients no longer look for it; {}, or {}",
                own.subject,
                self.make_one(),
                self.trust_it(own)
            );
        };
        let usable = first.replace("*.", "any.");
        let place = match self.context.settings.peer {
            Peer::Broker => self.names.of("url"),
            Peer::Device => self.names.of("address"),
        };
        format!(
            "the {peer}'s certificate is for {}, and not for {expected:?}; write one of these names in {place}, or set {name} = \
             \"{usable}\"",
            own.listed_names()
        )
    }

    fn unknown_issuer(&self, own: &Certificate) -> String {
        let (peer, ca, top) = (self.peer, self.names.of("ca"), self.chain.last().unwrap_or(own));
        let issuer = &top.issuer;
        let Some(file) = &self.context.settings.ca else {
            return format!(
                "the {peer}'s certificate is from {issuer:?}, a CA that this system does not trust; set {ca} to the file with \
                 that CA's certificate, or {}",
                self.trust_it(own)
            );
        };
        let (file, given) = (file.display(), self.context.given());
        if let Some(namesake) = given.iter().find(|given| given.subject == *issuer) {
            let why = if namesake.is_ca || namesake.version < 3 {
                "has the same name, but another key; get its current certificate"
            } else {
                "has this name, but is no CA certificate; make one with basicConstraints=CA:TRUE"
            };
            return format!("the {peer}'s certificate is from {issuer:?}, and the certificate in {ca} = {file} {why}");
        }
        let given: Vec<_> = given.iter().take(3).map(|given| format!("{:?}", given.subject)).collect();
        format!(
            "the {peer}'s certificate is from {issuer:?}, a CA that is not in {ca} = {file}, which has {}; set it to that CA's \
             certificate{}",
            given.join(", "),
            if self.chain.len() < 2 { ", or let the other end send its intermediate certificates too" } else { "" }
        )
    }

    /// How to trust this very certificate.
    fn trust_it(&self, own: &Certificate) -> String {
        let (ca, pin, peer) = (self.names.of("ca"), self.names.of("pin"), self.peer);
        match self.context.settings.peer {
            Peer::Broker => format!("trust this certificate itself: its file as {ca}, or {pin} = \"{}\"", own.pin),
            Peer::Device => format!("trust this certificate of the {peer} itself: its file as {ca}"),
        }
    }

    /// The command that makes a certificate that every client accepts.
    fn make_one(&self) -> String {
        let kind = if self.expected.parse::<std::net::IpAddr>().is_ok() { "IP" } else { "DNS" };
        format!(
            "make a new one: openssl req -new -newkey rsa:2048 -nodes -keyout server.key -subj /CN={0} -out server.csr; echo \
             subjectAltName={kind}:{0} > san; openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 825 \
             -sha256 -extfile san -out server.crt",
            self.expected
        )
    }
}
