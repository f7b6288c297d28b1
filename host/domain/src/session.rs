//! One sign-in to a broker: what is asked of a plugin that decides about it, and what it answers.

use std::fmt;

use crate::message::{Message, Qos};
use crate::time::Timestamp;
use crate::topic::is_sendable;

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

/// Bytes of one text or of binary data in a packet (MQTT 5.0 §1.5.4, §1.5.6).
const LONGEST_FIELD: usize = 65_535;
/// Bytes of a host's name (RFC 1035 §2.3.4).
const LONGEST_HOST: usize = 253;
/// User properties of a CONNECT, and their bytes together: brokers that take any take a few.
const PROPERTIES: usize = 64;
const PROPERTY_BYTES: usize = 8192;

impl Login {
    /// Whether this can be sent; the error says what cannot, without a subject.
    pub fn check(&self) -> Result<(), String> {
        if let Some(endpoint) = &self.endpoint {
            endpoint.check()?;
        }
        check_text("client id", self.client_id.as_deref().unwrap_or_default())?;
        check_text("user name", self.username.as_deref().unwrap_or_default())?;
        let password_bytes = self.password.as_ref().map_or(0, |password| password.0.len());
        if password_bytes > LONGEST_FIELD {
            return Err(format!("a password of {password_bytes} bytes; {LONGEST_FIELD} are possible"));
        }
        if let Some(will) = &self.will {
            check_will(will)?;
        }
        let bytes: usize = self.properties.iter().map(|(name, value)| name.len() + value.len()).sum();
        if self.properties.len() > PROPERTIES || bytes > PROPERTY_BYTES {
            let count = self.properties.len();
            let limits = format!("{PROPERTIES} of {PROPERTY_BYTES} bytes in all");
            return Err(format!("{count} user properties of {bytes} bytes; a sign-in may have {limits}"));
        }
        let mut texts = self.properties.iter().flat_map(|(name, value)| [name, value]);
        texts.try_for_each(|text| check_text("user property", text))
    }
}

impl Endpoint {
    fn check(&self) -> Result<(), String> {
        let is_host = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        if self.host.is_empty() || self.host.len() > LONGEST_HOST || !self.host.chars().all(is_host) {
            let shown: String = self.host.chars().take(LONGEST_HOST).collect();
            return Err(format!("the endpoint {shown:?}, which is no host's name or address"));
        }
        if self.port == 0 {
            return Err("an endpoint with the port 0".into());
        }
        Ok(())
    }
}

fn check_text(what: &str, text: &str) -> Result<(), String> {
    if text.len() > LONGEST_FIELD {
        return Err(format!("a {what} of {} bytes; {LONGEST_FIELD} are possible", text.len()));
    }
    match text.chars().find(|character| !is_sendable(*character)) {
        Some(character) => Err(format!("a {what} with {character:?} in it, which a broker may refuse")),
        None => Ok(()),
    }
}

/// A will's payload has two bytes for its length, unlike a message's (MQTT 5.0 §3.1.3.4).
fn check_will(will: &Message) -> Result<(), String> {
    crate::topic::check(&will.topic).map_err(|error| format!("a will that cannot be published: {error}"))?;
    will.check_properties().map_err(|error| format!("a will that {error}"))?;
    if will.payload.len() > LONGEST_FIELD {
        return Err(format!("a will of {} bytes; {LONGEST_FIELD} are possible", will.payload.len()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_sent_is_named() {
        let check = |change: fn(&mut Login), expected: &str| {
            let mut login = Login::default();
            change(&mut login);
            match login.check() {
                Ok(()) => assert_eq!(expected, "", "{login:?}"),
                Err(error) => assert!(!expected.is_empty() && error.contains(expected), "{error}"),
            }
        };
        let endpoint = |host: &str, port| Some(Endpoint { host: host.into(), port });
        assert_eq!(endpoint("hub.example.com", 8883).unwrap().check(), Ok(()));
        assert_eq!(endpoint("fe80::1", 8883).unwrap().check(), Ok(()));
        assert!(endpoint("a b", 1).unwrap().check().unwrap_err().contains("\"a b\""));
        assert!(endpoint("", 1).unwrap().check().is_err());
        assert!(endpoint(&"x".repeat(254), 1).unwrap().check().is_err());
        assert!(endpoint("h", 0).unwrap().check().unwrap_err().contains("port 0"));
        check(|_| {}, "");
        check(|login| login.client_id = Some("a\0b".into()), "a client id with '\\0'");
        check(|login| login.client_id = Some("x".repeat(65_536)), "a client id of 65536 bytes");
        check(|login| login.username = Some("a\n".into()), "a user name with '\\n'");
        check(|login| login.username = Some("hub/dev/?api-version=2021-04-12".into()), "");
        check(|login| login.password = Some(Password(vec![0; 65_535])), "");
        check(|login| login.password = Some(Password(vec![0; 65_536])), "a password of 65536 bytes");
        check(|login| login.properties = vec![(String::new(), String::new()); 65], "65 user properties");
        check(|login| login.properties = vec![("n".into(), "x".repeat(8192))], "1 user properties of 8193 bytes");
        check(|login| login.properties = vec![("n".into(), "\0".into())], "a user property with");
        let will = |topic: &str, bytes| {
            let (topic, payload) = (topic.into(), vec![0; bytes]);
            let will = Message { topic, payload, qos: Qos::AtMostOnce, retain: true, properties: None };
            Login { will: Some(will), ..Login::default() }.check()
        };
        assert_eq!(will("a/b", 65_535), Ok(()));
        assert!(will("a/#", 1).unwrap_err().contains("a will that cannot be published"));
        assert!(will("a", 65_536).unwrap_err().contains("a will of 65536 bytes"));
    }

    #[test]
    fn a_password_is_never_shown() {
        let login = Login { password: Some(Password(b"hunter2".to_vec())), ..Login::default() };
        assert!(!format!("{login:?}").contains("hunter2"), "{login:?}");
        assert!(!format!("{login:?}").contains("104"), "{login:?}");
    }
}
