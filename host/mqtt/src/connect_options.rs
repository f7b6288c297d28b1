//! What one CONNECT is made of: the plugin's login where it decides, else the feed's settings.

use std::cell::RefCell;
use std::time::Duration;

use bessai_domain::message::{Message, Qos};
use bessai_domain::session::{Endpoint, Login, Password};
use bessai_tls::SettingNames;

use crate::proxy::Proxy;
use crate::settings::{BrokerHabits, BrokerSettings};
use crate::trace::Trace;

/// Bytes of a text or of binary data in a packet, and so of every part of a CONNECT (5.0 §1.5.4, §1.5.6).
const LONGEST_FIELD: usize = 65_535;
/// Replaces a keep-alive of 0, which would let a dead connection stay open for ever; the longest that MQTT's 16 bits of
/// seconds can express.
const LONGEST_KEEP_ALIVE: Duration = Duration::from_secs(65_535);

/// One sign-in. No `Debug`: it holds a password.
pub(crate) struct ConnectOptions {
    pub(crate) endpoint: Endpoint,
    /// The URL of the WebSocket, if MQTT is sent through one.
    pub(crate) websocket: Option<String>,
    /// The proxy through which the broker is reached.
    pub(crate) proxy: Option<Proxy>,
    pub(crate) tls: Option<bessai_tls::Client>,
    pub(crate) names: SettingNames,
    /// What the attempts have seen, for their errors.
    pub(crate) trace: RefCell<Trace>,
    pub(crate) client_id: String,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) clean_start: bool,
    pub(crate) session_expiry_s: Option<u32>,
    pub(crate) keep_alive: Duration,
    pub(crate) in_flight: u16,
    /// The highest quality of service that the feed publishes with.
    pub(crate) qos: Qos,
    pub(crate) will: Option<Message>,
    pub(crate) habits: BrokerHabits,
    pub(crate) properties: Vec<(String, String)>,
    /// The client subscribes.
    pub(crate) receives: bool,
}

impl ConnectOptions {
    /// Reads certificates and password as they are now.
    pub(crate) fn new(settings: &BrokerSettings, login: Login) -> Result<Self, String> {
        let endpoint = login.endpoint.unwrap_or_else(|| settings.endpoint());
        // The configured credentials are sent to no other broker: there only those of the plugin's login apply.
        let is_configured = is_of(settings, &endpoint);
        let tls = tls(settings)?;
        let scheme = if tls.is_some() { "wss" } else { "ws" };
        let websocket = settings.websocket.as_ref().map(|path| url(scheme, &endpoint, path));
        let password = match login.password {
            Some(Password(bytes)) => Some(text(bytes)?),
            None => settings.password.as_ref().filter(|_| is_configured).map(|read| read()).transpose()?,
        };
        let keep_alive = login.keep_alive_s.map_or(settings.keep_alive, |seconds| match seconds {
            0 => LONGEST_KEEP_ALIVE,
            seconds => Duration::from_secs(seconds.into()),
        });
        let options = Self {
            endpoint,
            websocket,
            proxy: settings.proxy.as_ref().map(Proxy::read).transpose()?,
            tls,
            names: settings.names.clone(),
            trace: RefCell::default(),
            client_id: login.client_id.unwrap_or_else(|| settings.client_id.clone()),
            username: login.username.or_else(|| settings.username.clone().filter(|_| is_configured)),
            password,
            clean_start: login.clean_start.unwrap_or(settings.habits.clean_start),
            session_expiry_s: login.session_expiry_s.or(settings.habits.session_expiry_s),
            keep_alive: keep_alive.min(settings.habits.keep_alive.unwrap_or(LONGEST_KEEP_ALIVE)),
            in_flight: settings.in_flight,
            qos: settings.qos,
            will: login
                .will
                .or_else(|| settings.will.clone())
                .map(|will| Message { retain: will.retain && settings.habits.retain, ..will }),
            habits: settings.habits,
            properties: login.properties,
            receives: login.receives,
        };
        options.check()?;
        Ok(options)
    }

    /// Refuses what rumqttc would truncate.
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
            return Err(format!("the {what} has {length} bytes; MQTT allows {LONGEST_FIELD}"));
        }
        if self.client_id.is_empty() && !self.clean_start {
            return Err("a stored session needs a client id; set one, or use a clean start".into());
        }
        Ok(())
    }

    /// The keep-alive as CONNECT has it.
    pub(crate) fn keep_alive_s(&self) -> u16 {
        u16::try_from(self.keep_alive.as_secs()).unwrap_or(u16::MAX)
    }

    /// User name and password as rumqttc wants them; it sends no empty ones.
    pub(crate) fn credentials(&self) -> Option<(String, String)> {
        match (&self.username, &self.password) {
            (None, None) => None,
            (username, password) => Some((username.clone().unwrap_or_default(), password.clone().unwrap_or_default())),
        }
    }

    /// The broker's address as logs show it.
    pub(crate) fn address(&self) -> String {
        match &self.websocket {
            // A query may hold a token.
            Some(url) => url.split('?').next().unwrap_or_default().to_owned(),
            None => format!("{}:{}", self.endpoint.host, self.endpoint.port),
        }
    }
}

fn is_of(settings: &BrokerSettings, endpoint: &Endpoint) -> bool {
    endpoint.port == settings.port && endpoint.host.eq_ignore_ascii_case(&settings.host)
}

/// Reads certificates and keys.
fn tls(settings: &BrokerSettings) -> Result<Option<bessai_tls::Client>, String> {
    let Some(tls) = &settings.tls else { return Ok(None) };
    let password = settings.key_password.as_ref().map(|read| read()).transpose()?;
    let client = bessai_tls::Client::new(tls, password.as_deref());
    client.map(Some).map_err(|error| error.to_string())
}

fn url(scheme: &str, endpoint: &Endpoint, path: &str) -> String {
    let Endpoint { host, port } = endpoint;
    if host.contains(':') {
        format!("{scheme}://[{host}]:{port}{path}")
    } else {
        format!("{scheme}://{host}:{port}{path}")
    }
}

/// rumqttc accepts passwords as text only.
fn text(password: Vec<u8>) -> Result<String, String> {
    let error = "the plugin's password is not UTF-8 text; encode it, in base64 for example";
    String::from_utf8(password).map_err(|_| error.to_owned())
}

#[cfg(test)]
mod tests {
    use bessai_domain::session::ProtocolChoice;

    use super::*;

    fn settings() -> BrokerSettings {
        BrokerSettings {
            host: "a.example".into(),
            port: 8080,
            websocket: None,
            proxy: None,
            tls: None,
            key_password: None,
            names: SettingNames::default(),
            client_id: "gateway".into(),
            username: Some("site".into()),
            password: Some(Box::new(|| Ok("secret".into()))),
            protocol: ProtocolChoice::Auto,
            keep_alive: Duration::from_secs(60),
            in_flight: 100,
            qos: Qos::AtLeastOnce,
            will: None,
            habits: BrokerHabits::default(),
        }
    }

    #[test]
    fn the_settings_apply_where_the_plugin_decides_nothing() {
        let options = ConnectOptions::new(&settings(), Login::default()).unwrap();
        assert_eq!(
            (options.endpoint.host.as_str(), options.endpoint.port, options.client_id.as_str()),
            ("a.example", 8080, "gateway")
        );
        assert_eq!(options.credentials(), Some(("site".into(), "secret".into())));
        assert!(options.clean_start && options.keep_alive == Duration::from_secs(60));
        let will =
            Message { topic: "w".into(), payload: vec![], qos: Qos::AtLeastOnce, retain: true, properties: None };
        let habits =
            BrokerHabits { retain: false, clean_start: false, session_expiry_s: Some(60), ..BrokerHabits::default() };
        let settings = BrokerSettings { habits, will: Some(will.clone()), ..settings() };
        let options = ConnectOptions::new(&settings, Login::default()).unwrap();
        assert_eq!((options.clean_start, options.session_expiry_s), (false, Some(60)));
        assert_eq!(options.will, Some(Message { retain: false, ..will }));
        let login = Login { clean_start: Some(true), session_expiry_s: Some(5), ..Login::default() };
        let options = ConnectOptions::new(&settings, login).unwrap();
        assert_eq!((options.clean_start, options.session_expiry_s), (true, Some(5)));
    }

    #[test]
    fn the_plugin_overrides_the_settings() {
        let endpoint = Some(Endpoint { host: "::1".into(), port: 443 });
        let login = Login {
            endpoint,
            client_id: Some("device".into()),
            username: Some("hub/device".into()),
            password: Some(Password(b"token".to_vec())),
            clean_start: Some(false),
            keep_alive_s: Some(0),
            ..Login::default()
        };
        let settings = BrokerSettings { websocket: Some("/mqtt".into()), ..settings() };
        let options = ConnectOptions::new(&settings, login).unwrap();
        assert_eq!(options.websocket.as_deref(), Some("ws://[::1]:443/mqtt"));
        assert_eq!((options.client_id.as_str(), options.clean_start), ("device", false));
        assert_eq!(options.credentials(), Some(("hub/device".into(), "token".into())));
        assert_eq!(options.keep_alive, LONGEST_KEEP_ALIVE);
        let longest = Some(Duration::from_secs(1177));
        let settings = BrokerSettings { habits: BrokerHabits { keep_alive: longest, ..settings.habits }, ..settings };
        let login = Login { keep_alive_s: Some(1740), ..Login::default() };
        assert_eq!(ConnectOptions::new(&settings, login).unwrap().keep_alive_s(), 1177);
    }

    #[test]
    fn another_broker_gets_no_user_name_and_password_of_the_configured_one() {
        let check = |host: &str, port, username: Option<&str>, expected: Option<(&str, &str)>| {
            let endpoint = Some(Endpoint { host: host.into(), port });
            let login = Login { endpoint, username: username.map(str::to_owned), ..Login::default() };
            let options = ConnectOptions::new(&settings(), login).unwrap();
            let expected = expected.map(|(name, password)| (name.to_owned(), password.to_owned()));
            assert_eq!(options.credentials(), expected, "{host}:{port}");
        };
        check("a.example", 8080, None, Some(("site", "secret")));
        check("A.Example", 8080, Some("own"), Some(("own", "secret")));
        check("b.example", 8080, None, None);
        check("a.example", 1883, None, None);
        check("b.example", 8080, Some("own"), Some(("own", "")));
    }

    #[test]
    fn errors_about_a_login_contain_no_secret() {
        let error = |login: Login| ConnectOptions::new(&settings(), login).err().unwrap();
        let binary = Login { password: Some(Password(vec![0xff, b's'])), ..Login::default() };
        assert!(error(binary).contains("not UTF-8"));
        let long = Login { password: Some(Password(vec![b's'; 65_536])), ..Login::default() };
        assert_eq!(error(long), "the password has 65536 bytes; MQTT allows 65535");
        let (client_id, clean_start) = (Some(String::new()), Some(false));
        let nameless = Login { client_id, clean_start, ..Login::default() };
        assert!(error(nameless).contains("client id"));
    }
}
