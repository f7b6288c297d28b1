//! What one sign-in is made from: the plugin's wishes over the feed's settings.

use std::time::Duration;

use bessai_domain::message::{Message, Qos};
use bessai_domain::session::{self, Endpoint};
use rumqttc::{TlsConfiguration, Transport};

use super::{Settings, TlsExplanation};

/// Bytes of a text or of binary data in a packet, and with that of all that CONNECT is made of (5.0 §1.5.4, §1.5.6).
const LONGEST_FIELD: usize = 65_535;
/// MQTT counts it in seconds, in 16 bits; its 0, no limit at all, would let a dead link stand for ever.
const LONGEST_KEEP_ALIVE: Duration = Duration::from_secs(65_535);

/// One sign-in. No `Debug`: it holds a password.
pub(super) struct Login {
    pub(super) endpoint: Endpoint,
    /// What the library is to connect to: a host, or the URL of a WebSocket.
    pub(super) target: String,
    pub(super) transport: Transport,
    pub(super) explain: TlsExplanation,
    pub(super) client_id: String,
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
    pub(super) clean_start: bool,
    pub(super) session_expiry_s: Option<u32>,
    pub(super) keep_alive: Duration,
    pub(super) in_flight: u16,
    /// The highest quality of service that the feed publishes with.
    pub(super) qos: Qos,
    pub(super) will: Option<Message>,
    pub(super) properties: Vec<(String, String)>,
}

impl Login {
    /// Reads certificates and password as they are now.
    pub(super) fn new(settings: &Settings, wish: session::Login) -> Result<Self, String> {
        let settings_endpoint = || Endpoint { host: settings.host.clone(), port: settings.port };
        let endpoint = wish.endpoint.unwrap_or_else(settings_endpoint);
        // What opens the configured broker is nobody else's: elsewhere the plugin's own words count, or none.
        let is_configured = is_of(settings, &endpoint);
        let tls = settings.tls.as_ref().map(|tls| tls()).transpose()?.map(TlsConfiguration::Rustls);
        let target = match &settings.websocket {
            None => endpoint.host.clone(),
            Some(path) => url(&endpoint, tls.is_some(), path),
        };
        let transport = match (tls, settings.websocket.is_some()) {
            (None, false) => Transport::Tcp,
            (Some(tls), false) => Transport::Tls(tls),
            (None, true) => Transport::Ws,
            (Some(tls), true) => Transport::Wss(tls),
        };
        let password = match wish.password {
            Some(session::Password(bytes)) => Some(text(bytes)?),
            None => settings.password.as_ref().filter(|_| is_configured).map(|read| read()).transpose()?,
        };
        let keep_alive = wish.keep_alive_s.map(|seconds| Duration::from_secs(seconds.into()));
        let login = Self {
            endpoint,
            target,
            transport,
            explain: settings.explain,
            client_id: wish.client_id.unwrap_or_else(|| settings.client_id.clone()),
            username: wish.username.or_else(|| settings.username.clone().filter(|_| is_configured)),
            password,
            clean_start: wish.clean_start.unwrap_or(true),
            session_expiry_s: wish.session_expiry_s,
            keep_alive: keep_alive
                .map_or(settings.keep_alive, |asked| if asked.is_zero() { LONGEST_KEEP_ALIVE } else { asked }),
            in_flight: settings.in_flight,
            qos: settings.qos,
            will: wish.will.or_else(|| settings.will.clone()),
            properties: wish.properties,
        };
        login.check()?;
        Ok(login)
    }

    /// What the library would cut off or panic about.
    fn check(&self) -> Result<(), String> {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let will = |length: fn(&Message) -> usize| self.will.as_ref().map_or(0, length);
        let lengths = [
            ("client id", self.client_id.len()),
            ("user name", text(&self.username)),
            ("password", text(&self.password)),
            ("last will's topic", will(|will| will.topic.len())),
            ("last will's payload", will(|will| will.payload.len())),
        ];
        let properties = self.properties.iter().flat_map(|(name, value)| [name.len(), value.len()]);
        let mut all = lengths.into_iter().chain(properties.map(|length| ("user property", length)));
        if let Some((what, length)) = all.find(|(_, length)| *length > LONGEST_FIELD) {
            return Err(format!("the {what} has {length} bytes; {LONGEST_FIELD} are possible in MQTT"));
        }
        if self.client_id.is_empty() && !self.clean_start {
            return Err("a broker keeps a session under a client id; set one, or let the session start clean".into());
        }
        Ok(())
    }

    /// User name and password as the library wants them; what is empty it does not send.
    pub(super) fn credentials(&self) -> Option<(String, String)> {
        match (&self.username, &self.password) {
            (None, None) => None,
            (username, password) => Some((username.clone().unwrap_or_default(), password.clone().unwrap_or_default())),
        }
    }

    /// Whether MQTT goes through a WebSocket.
    pub(super) fn is_websocket(&self) -> bool {
        matches!(self.transport, Transport::Ws | Transport::Wss(_))
    }

    /// Whether the connection is protected.
    pub(super) fn is_tls(&self) -> bool {
        matches!(self.transport, Transport::Tls(_) | Transport::Wss(_))
    }
}

fn is_of(settings: &Settings, endpoint: &Endpoint) -> bool {
    endpoint.port == settings.port && endpoint.host.eq_ignore_ascii_case(&settings.host)
}

/// The library takes texts alone; a token that is none would need one that takes bytes.
fn text(password: Vec<u8>) -> Result<String, String> {
    let mend = "the plugin's password is not UTF-8 text; let it be encoded, in base64 for example";
    String::from_utf8(password).map_err(|_| mend.to_owned())
}

fn url(endpoint: &Endpoint, is_tls: bool, path: &str) -> String {
    let Endpoint { host, port } = endpoint;
    let scheme = if is_tls { "wss" } else { "ws" };
    if host.contains(':') {
        format!("{scheme}://[{host}]:{port}{path}")
    } else {
        format!("{scheme}://{host}:{port}{path}")
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::mqtt::Protocol;
    use bessai_domain::session::Password;

    pub(in crate::mqtt) fn settings() -> Settings {
        Settings {
            host: "a.example".into(),
            port: 8080,
            websocket: None,
            tls: None,
            explain: |_| None,
            client_id: "gateway".into(),
            username: Some("site".into()),
            password: Some(Box::new(|| Ok("secret".into()))),
            protocol: Protocol::Auto,
            keep_alive: Duration::from_secs(60),
            in_flight: 100,
            qos: Qos::AtLeastOnce,
            will: None,
        }
    }

    #[test]
    fn settings_stand_where_the_plugin_wishes_nothing() {
        let login = Login::new(&settings(), session::Login::default()).unwrap();
        assert_eq!(
            (login.target.as_str(), login.endpoint.port, login.client_id.as_str()),
            ("a.example", 8080, "gateway")
        );
        assert_eq!(login.credentials(), Some(("site".into(), "secret".into())));
        assert!(login.clean_start && login.keep_alive == Duration::from_secs(60));
    }

    #[test]
    fn the_plugin_wins() {
        let endpoint = Some(Endpoint { host: "::1".into(), port: 443 });
        let wish = session::Login {
            endpoint,
            client_id: Some("device".into()),
            username: Some("hub/device".into()),
            password: Some(Password(b"token".to_vec())),
            clean_start: Some(false),
            keep_alive_s: Some(0),
            ..session::Login::default()
        };
        let login = Login::new(&Settings { websocket: Some("/mqtt".into()), ..settings() }, wish).unwrap();
        assert_eq!(login.target, "ws://[::1]:443/mqtt");
        assert_eq!((login.client_id.as_str(), login.clean_start), ("device", false));
        assert_eq!(login.credentials(), Some(("hub/device".into(), "token".into())));
        assert_eq!(login.keep_alive, LONGEST_KEEP_ALIVE);
    }

    #[test]
    fn another_broker_gets_no_user_name_and_password_of_the_configured_one() {
        let check = |host: &str, port, username: Option<&str>, expected: Option<(&str, &str)>| {
            let endpoint = Some(Endpoint { host: host.into(), port });
            let wish = session::Login { endpoint, username: username.map(str::to_owned), ..session::Login::default() };
            let login = Login::new(&settings(), wish).unwrap();
            let expected = expected.map(|(name, password)| (name.to_owned(), password.to_owned()));
            assert_eq!(login.credentials(), expected, "{host}:{port}");
        };
        check("a.example", 8080, None, Some(("site", "secret")));
        check("A.Example", 8080, Some("own"), Some(("own", "secret")));
        check("b.example", 8080, None, None);
        check("a.example", 1883, None, None);
        check("b.example", 8080, Some("own"), Some(("own", "")));
    }

    #[test]
    fn what_cannot_be_sent_is_told_without_a_secret() {
        let error = |wish: session::Login| Login::new(&settings(), wish).err().unwrap();
        let binary = session::Login { password: Some(Password(vec![0xff, b's'])), ..session::Login::default() };
        assert!(error(binary).contains("not UTF-8"));
        let long = session::Login { password: Some(Password(vec![b's'; 65_536])), ..session::Login::default() };
        assert_eq!(error(long), "the password has 65536 bytes; 65535 are possible in MQTT");
        let (client_id, clean_start) = (Some(String::new()), Some(false));
        let nameless = session::Login { client_id, clean_start, ..session::Login::default() };
        assert!(error(nameless).contains("client id"));
    }
}
