//! Signing in to a broker: what a plugin that controls it is given and what it returns.

use std::fmt;

use crate::message::{MAX_FIELD_BYTES, Message, Qos};
use crate::time::Timestamp;
use crate::topic::is_sendable;

/// A supported version of MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// 3.1.1.
    V311,
    /// 5.0.
    V5,
}

/// Which version of MQTT to speak to a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolChoice {
    /// 5, and 3.1.1 where the broker does not know 5.
    Auto,
    /// This version only.
    Only(Protocol),
}

/// The address of a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Host name or IP address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// The next sign-in as the feed's settings define it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignInRequest {
    /// The broker of the feed's settings.
    pub endpoint: Endpoint,
    /// The version of MQTT to use.
    pub protocol: Protocol,
    /// The current time.
    pub at: Timestamp,
    /// Number of failed sign-ins since the last session; 0 for the first attempt.
    pub attempt: u32,
}

/// What the broker granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The time of the CONNACK.
    pub at: Timestamp,
    /// The version of MQTT in use.
    pub protocol: Protocol,
    /// The broker has kept an earlier session.
    pub session_present: bool,
    /// The largest packet that it accepts, in bytes.
    pub max_packet: u32,
    /// The highest quality of service that it accepts.
    pub max_qos: Qos,
    /// It supports retained messages.
    pub retain: bool,
}

/// A password, which is sent to the broker and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(pub Vec<u8>);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// How a plugin wants its feed to sign in; the feed's settings apply to what is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Login {
    /// A broker other than that of the settings; the feed needs the right to its host.
    pub endpoint: Option<Endpoint>,
    /// The version of MQTT to use.
    pub protocol: Option<Protocol>,
    /// Client id.
    pub client_id: Option<String>,
    /// User name.
    pub username: Option<String>,
    /// Password: a token made by the plugin, or a secret that the host has inserted.
    pub password: Option<Password>,
    /// Discard an earlier session.
    pub clean_start: Option<bool>,
    /// How long the broker keeps the session, in seconds; MQTT 5.
    pub session_expiry_s: Option<u32>,
    /// Keep-alive interval in seconds.
    pub keep_alive_s: Option<u16>,
    /// Published by the broker when the connection is lost.
    pub will: Option<Message>,
    /// User properties of the CONNECT; MQTT 5.
    pub properties: Vec<(String, String)>,
    /// When to sign in again with a new login.
    pub renew_at: Option<Timestamp>,
}

/// The most bytes of a host name (RFC 1035 §2.3.4).
const MAX_HOST_BYTES: usize = 253;
/// The most user properties of a CONNECT; brokers that accept any expect a few.
const MAX_PROPERTIES: usize = 64;
/// The most bytes of all user properties of a CONNECT together.
const MAX_PROPERTY_BYTES: usize = 8192;

impl Login {
    /// Checks that it can be sent; the error is the part that cannot, to be used as an object: `asks for {error}`.
    pub fn check(&self) -> Result<(), String> {
        if let Some(endpoint) = &self.endpoint {
            endpoint.check()?;
        }
        check_text("client id", self.client_id.as_deref().unwrap_or_default())?;
        check_text("user name", self.username.as_deref().unwrap_or_default())?;
        let password_bytes = self.password.as_ref().map_or(0, |password| password.0.len());
        if password_bytes > MAX_FIELD_BYTES {
            return Err(format!("a password of {password_bytes} bytes; at most {MAX_FIELD_BYTES} are possible"));
        }
        if let Some(will) = &self.will {
            check_will(will)?;
        }
        let bytes: usize = self.properties.iter().map(|(name, value)| name.len() + value.len()).sum();
        if self.properties.len() > MAX_PROPERTIES || bytes > MAX_PROPERTY_BYTES {
            let count = self.properties.len();
            let limits = format!("at most {MAX_PROPERTIES} of {MAX_PROPERTY_BYTES} bytes in total are allowed");
            return Err(format!("{count} user properties of {bytes} bytes; {limits}"));
        }
        let mut texts = self.properties.iter().flat_map(|(name, value)| [name, value]);
        texts.try_for_each(|text| check_text("user property", text))
    }
}

impl Endpoint {
    fn check(&self) -> Result<(), String> {
        let is_host = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        if self.host.is_empty() || self.host.len() > MAX_HOST_BYTES || !self.host.chars().all(is_host) {
            let shown: String = self.host.chars().take(MAX_HOST_BYTES).collect();
            return Err(format!("the endpoint {shown:?}, which is not a host name or address"));
        }
        if self.port == 0 {
            return Err("an endpoint with port 0".into());
        }
        Ok(())
    }
}

fn check_text(what: &str, text: &str) -> Result<(), String> {
    if text.len() > MAX_FIELD_BYTES {
        return Err(format!("a {what} of {} bytes; at most {MAX_FIELD_BYTES} are possible", text.len()));
    }
    match text.chars().find(|character| !is_sendable(*character)) {
        Some(character) => Err(format!("a {what} that contains {character:?}, which a broker may refuse")),
        None => Ok(()),
    }
}

/// The length of a will's payload has two bytes, unlike that of a message (MQTT 5.0 §3.1.3.4).
fn check_will(will: &Message) -> Result<(), String> {
    crate::topic::check(&will.topic).map_err(|error| format!("a will that cannot be published: {error}"))?;
    will.check_properties().map_err(|error| format!("a will that {error}"))?;
    if will.payload.len() > MAX_FIELD_BYTES {
        return Err(format!("a will of {} bytes; at most {MAX_FIELD_BYTES} are possible", will.payload.len()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_that_cannot_be_sent_are_refused() {
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
        check(|login| login.client_id = Some("a\0b".into()), "a client id that contains '\\0'");
        check(|login| login.client_id = Some("x".repeat(65_536)), "a client id of 65536 bytes");
        check(|login| login.username = Some("a\n".into()), "a user name that contains '\\n'");
        check(|login| login.username = Some("hub/dev/?api-version=2021-04-12".into()), "");
        check(|login| login.password = Some(Password(vec![0; 65_535])), "");
        check(|login| login.password = Some(Password(vec![0; 65_536])), "a password of 65536 bytes");
        check(|login| login.properties = vec![(String::new(), String::new()); 65], "65 user properties");
        check(|login| login.properties = vec![("n".into(), "x".repeat(8192))], "1 user properties of 8193 bytes");
        check(|login| login.properties = vec![("n".into(), "\0".into())], "a user property that contains");
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
