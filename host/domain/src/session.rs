//! Signing in to a broker: what a plugin that controls it is given and what it returns.

use std::fmt;
use std::net::IpAddr;

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
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Host name or IP address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// A broker that a feed may sign in at: a host, and its port or any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointRight {
    /// Host name or IP address.
    pub host: String,
    /// The only port, if not every one is allowed.
    pub port: Option<u16>,
}

impl EndpointRight {
    /// Whether it includes this endpoint.
    pub fn includes(&self, endpoint: &Endpoint) -> bool {
        normalized(&self.host) == normalized(&endpoint.host) && self.port.is_none_or(|port| port == endpoint.port)
    }
}

impl fmt::Display for EndpointRight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_ipv6 = self.host.contains(':');
        match self.port {
            None => f.write_str(&self.host),
            Some(port) if is_ipv6 => write!(f, "[{}]:{port}", self.host),
            Some(port) => write!(f, "{}:{port}", self.host),
        }
    }
}

/// A host as two that are the same are written alike: names in lower case and without the dot at the end, addresses in
/// their shortest form.
fn normalized(host: &str) -> String {
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    match name.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().to_string(),
        Err(_) => name,
    }
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
    /// The session serves to find out where and how to sign in: no events are handed over in it.
    pub provisioning: bool,
    /// The feed receives messages; decided by the host, as it calls the plugin with them.
    pub receives: bool,
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
    /// Whether both are the same broker, as far as their names tell: those of this machine itself are all the same.
    pub fn is_same_broker(&self, other: &Self) -> bool {
        let is_same_host = match (self.is_this_machine(), other.is_this_machine()) {
            (true, true) => true,
            _ => normalized(&self.host) == normalized(&other.host),
        };
        is_same_host && self.port == other.port
    }

    /// Whether the host is a loopback or unspecified address, or `localhost` (RFC 6761 §6.3).
    fn is_this_machine(&self) -> bool {
        let host = normalized(&self.host);
        let is_local = |address: IpAddr| address.is_loopback() || address.is_unspecified();
        host == "localhost" || host.ends_with(".localhost") || host.parse().is_ok_and(is_local)
    }

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
    fn brokers_that_are_the_same_by_another_name() {
        let endpoint = |host: &str, port| Endpoint { host: host.into(), port };
        for (a, b, expected) in [
            ("broker.example", "Broker.Example.", true),
            ("localhost", "127.0.0.1", true),
            ("::1", "127.0.0.2", true),
            ("::ffff:192.0.2.1", "192.0.2.1", true),
            ("0:0::1", "LOCALHOST.", true),
            ("broker.example", "other.example", false),
            ("192.0.2.1", "127.0.0.1", false),
        ] {
            assert_eq!(endpoint(a, 1883).is_same_broker(&endpoint(b, 1883)), expected, "{a} {b}");
            assert!(!endpoint(a, 1883).is_same_broker(&endpoint(b, 8883)), "{a} {b}");
        }
    }

    #[test]
    fn a_right_is_to_a_host_and_to_one_port_or_all() {
        let endpoint = |host: &str, port| Endpoint { host: host.into(), port };
        let right = |host: &str, port| EndpointRight { host: host.into(), port };
        assert!(right("hub.example", None).includes(&endpoint("HUB.example.", 443)));
        assert!(right("hub.example", Some(8883)).includes(&endpoint("hub.example", 8883)));
        assert!(!right("hub.example", Some(8883)).includes(&endpoint("hub.example", 1883)));
        assert!(!right("hub.example", None).includes(&endpoint("a.hub.example", 443)));
        assert!(right("::1", None).includes(&endpoint("0:0::1", 1)));
        assert_eq!(
            (right("::1", Some(1)).to_string(), right("::1", None).to_string()),
            ("[::1]:1".into(), "::1".into())
        );
        assert_eq!(right("a", Some(2)).to_string(), "a:2");
    }

    #[test]
    fn a_password_is_never_shown() {
        let login = Login { password: Some(Password(b"hunter2".to_vec())), ..Login::default() };
        assert!(!format!("{login:?}").contains("hunter2"), "{login:?}");
        assert!(!format!("{login:?}").contains("104"), "{login:?}");
    }
}
