//! One sign-in to a broker: what is asked of a plugin that decides about it, and what it answers.

use std::fmt;

use crate::message::{Message, Qos};
use crate::time::Timestamp;

/// A version of MQTT that is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// 3.1.1.
    V311,
    /// 5.0.
    V5,
}

/// Where a broker listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Host name or IP address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// The sign-in that is coming, as the feed's settings would have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The broker of the feed's settings.
    pub endpoint: Endpoint,
    /// The version of MQTT that will be spoken.
    pub protocol: Protocol,
    /// Now.
    pub at: Timestamp,
    /// Failed sign-ins since the last session; 0 for the first try.
    pub attempt: u32,
}

/// What the broker granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// When it did.
    pub at: Timestamp,
    /// The version of MQTT that is spoken.
    pub protocol: Protocol,
    /// The broker knows the session from before.
    pub session_present: bool,
    /// The largest packet that it takes, in bytes.
    pub max_packet: u32,
    /// The highest quality of service that it takes.
    pub max_qos: Qos,
    /// It keeps retained messages.
    pub retain: bool,
}

/// Sent to the broker, and shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(pub Vec<u8>);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// How a plugin wants its feed to sign in. What is none, the feed's settings decide.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Login {
    /// Another broker than the settings name; the feed needs the right to its host.
    pub endpoint: Option<Endpoint>,
    /// The version of MQTT to speak.
    pub protocol: Option<Protocol>,
    /// Who signs in.
    pub client_id: Option<String>,
    /// As whom.
    pub username: Option<String>,
    /// With what: a token of the plugin's own, or a secret that the host has put in.
    pub password: Option<Password>,
    /// Forget what the broker kept of an earlier session.
    pub clean_start: Option<bool>,
    /// Time that the broker keeps the session, in seconds; MQTT 5.
    pub session_expiry_s: Option<u32>,
    /// Longest silence on the line, in seconds.
    pub keep_alive_s: Option<u16>,
    /// Published by the broker when we vanish.
    pub will: Option<Message>,
    /// User properties of the CONNECT; MQTT 5.
    pub properties: Vec<(String, String)>,
    /// When to sign in again, with a fresh login.
    pub renew_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        let login = Login { password: Some(Password(b"hunter2".to_vec())), ..Login::default() };
        assert!(!format!("{login:?}").contains("hunter2"), "{login:?}");
        assert!(!format!("{login:?}").contains("104"), "{login:?}");
    }
}
