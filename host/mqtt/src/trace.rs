//! What a sign-in has seen so far: an error's hint follows from it, and `broker test` prints it.

use std::net::SocketAddr;

use bessai_tls::Handshake;

/// Bytes of an answer by which another protocol is recognised.
const HEAD_BYTES: usize = 8;

/// What a sign-in has seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trace {
    /// The address with which TCP is connected: the broker's, or the proxy's.
    pub(crate) peer: Option<SocketAddr>,
    /// The proxy has connected to the broker.
    pub(crate) is_tunnelled: bool,
    /// The completed handshake.
    pub(crate) handshake: Option<Handshake>,
    /// The first bytes of an answer that is not MQTT.
    pub(crate) answer: Vec<u8>,
    /// What the CONNACK grants, by name.
    pub(crate) granted: Vec<(&'static str, String)>,
}

impl Trace {
    /// A new connection begins.
    pub(crate) fn connected(&mut self, peer: Option<SocketAddr>) {
        *self = Self { peer, ..Self::default() };
    }

    /// Something that is not MQTT has come.
    pub(crate) fn answered(&mut self, bytes: &[u8]) {
        self.answer = bytes.iter().take(HEAD_BYTES).copied().collect();
    }

    /// Whether the answer is a CONNACK of 3.1.1, which has no properties: brokers that know nothing newer send it.
    pub(crate) fn is_old_connack(&self) -> bool {
        /// Its beginning: the packet's type, and two bytes that follow.
        const OLD_CONNACK: [u8; 2] = [0x20, 2];
        self.answer.starts_with(&OLD_CONNACK)
    }

    /// The protocol of an answer, if it is a well-known one.
    pub(crate) fn protocol(&self) -> Option<&'static str> {
        /// First bytes with the protocols that they belong to: an alert of TLS (RFC 8446 §6), a response of HTTP, a banner of SSH.
        const KNOWN: [(&[u8], &str); 3] = [(&[21, 3], "TLS"), (b"HTTP/", "HTTP"), (b"SSH-", "SSH")];
        KNOWN.iter().find(|(bytes, _)| self.answer.starts_with(bytes)).map(|(_, name)| *name)
    }
}
