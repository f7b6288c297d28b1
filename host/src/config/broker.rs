//! `[broker]` of the site and of feeds, and the `MQTT_…` variables.

use std::path::PathBuf;
use std::time::Duration;

use bessai_domain::broker_limits::BrokerLimits;
use bessai_domain::session::{Endpoint, Protocol, ProtocolChoice};
use bessai_domain::settings::{Mistake, SettingsTable};
use bessai_tls::{Identity, Pin, SettingNames, is_token_uri};

use super::broker_url::{self, BrokerUrl};
use super::environment::Variables;
use super::findings::{Findings, Sourced};
use super::public_host::is_public;
use super::secret::{self, Encoding, Secret, SecretSources, warn_if_exposed};

mod files;
mod habits;
mod kind;
mod names;
mod proxy;

pub(crate) use habits::BrokerHabits;
pub(crate) use proxy::ProxyConfig;

use names::site_names;

/// `keep_alive` if it is not set.
const DEFAULT_KEEP_ALIVE: Duration = Duration::from_mins(1);
/// The shortest `keep_alive`: MQTT counts seconds, and 0 would switch it off.
const SHORTEST_KEEP_ALIVE: Duration = Duration::from_secs(1);
/// The longest `keep_alive`: MQTT counts seconds in 16 bits (5.0 §3.1.2.10).
const LONGEST_KEEP_ALIVE: Duration = Duration::from_secs(65_535);
/// `in_flight` if it is not set.
const DEFAULT_IN_FLIGHT: u16 = 100;
/// `protocol` if it is not set.
const DEFAULT_PROTOCOL: ProtocolChoice = ProtocolChoice::Auto;
/// The port of HTTPS, which firewalls let through.
const HTTPS_PORT: u16 = 443;
/// The values of `protocol`.
const PROTOCOLS: [(&str, ProtocolChoice); 3] = [
    ("auto", ProtocolChoice::Auto),
    ("5", ProtocolChoice::Only(Protocol::V5)),
    ("3.1.1", ProtocolChoice::Only(Protocol::V311)),
];

/// The broker that receives a feed's messages, and how to sign in to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BrokerConfig {
    /// Its host name or IP address.
    pub(crate) host: String,
    /// Its port: the URL's, else 1883 for `mqtt://`, 8883 for `mqtts://`, 80 for `ws://` and 443 for `wss://`.
    pub(crate) port: u16,
    /// The path of the WebSocket, if MQTT runs over one.
    pub(crate) websocket: Option<String>,
    /// The proxy through which it is reached, if not directly.
    pub(crate) proxy: Option<ProxyConfig>,
    /// The TLS settings, if it uses TLS; the files are readable, their contents are not checked yet.
    pub(crate) tls: Option<bessai_tls::Settings>,
    /// The client id; none means one made from the names of site and feed.
    pub(crate) client_id: Option<String>,
    /// The MQTT version.
    pub(crate) protocol: ProtocolChoice,
    /// The user name.
    pub(crate) username: Option<String>,
    /// The password.
    pub(crate) password: Option<Secret>,
    /// The password of the client's private key.
    pub(crate) key_password: Option<Secret>,
    /// How errors name these settings.
    pub(crate) names: SettingNames,
    /// Longest silence on the connection before it counts as broken.
    pub(crate) keep_alive: Duration,
    /// How many publishes may wait for their acknowledgement.
    pub(crate) in_flight: u16,
    /// What is announced there, and what the broker is known not to accept.
    pub(crate) habits: BrokerHabits,
    /// What a broker of its kind accepts, if that is set.
    pub(crate) kind: Option<&'static BrokerLimits>,
}

impl BrokerConfig {
    /// Its host and port.
    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint { host: self.host.clone(), port: self.port }
    }

    /// Its URL, without user name and password.
    pub(crate) fn url(&self) -> String {
        let scheme = match (self.websocket.is_some(), self.tls.is_some()) {
            (false, false) => "mqtt",
            (false, true) => "mqtts",
            (true, false) => "ws",
            (true, true) => "wss",
        };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        format!("{scheme}://{host}:{}{}", self.port, self.websocket.as_deref().unwrap_or_default())
    }

    /// Its URL, and the proxy before it.
    pub(crate) fn route(&self) -> String {
        match &self.proxy {
            None => self.url(),
            Some(proxy) => format!("{} through the proxy {}", self.url(), proxy.name()),
        }
    }
}

/// The site's broker.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SiteBroker {
    /// None if there is none or it has mistakes.
    pub(super) broker: Option<BrokerConfig>,
    /// Whether one is configured, with or without mistakes.
    pub(super) is_configured: bool,
    /// Which files were looked for in vain, for the mistake that it is missing.
    pub(super) files_not_found: String,
}

/// The settings of a broker before the URL and defaults complete them.
#[derive(Default)]
struct PartialBroker<'a> {
    url: Option<Sourced<'a, String>>,
    /// Whether user name and password override those in the URL: they come from variables and the URL does not.
    overrides_url: bool,
    client_id: Option<String>,
    protocol: Option<ProtocolChoice>,
    username: Option<String>,
    password: Option<Secret>,
    proxy: Option<ProxyConfig>,
    ca: Option<Sourced<'a, PathBuf>>,
    pin: Option<Pin>,
    server_name: Option<String>,
    cert: Option<Sourced<'a, PathBuf>>,
    key: Option<Sourced<'a, PathBuf>>,
    key_password: Option<Secret>,
    pkcs11_module: Option<Sourced<'a, PathBuf>>,
    alpn: Option<String>,
    names: SettingNames,
    keep_alive: Option<Duration>,
    in_flight: Option<u16>,
    habits: BrokerHabits,
    kind: Option<&'static BrokerLimits>,
}

/// Reads the site's broker: `[broker]`, overridden by the variables.
pub(super) fn of_site(
    table: &SettingsTable<'_>,
    sources: SecretSources<'_>,
    variables: &Variables<'_>,
    findings: &Findings,
) -> SiteBroker {
    let section = table.table("broker");
    let has_section = section.is_some();
    let mut broker = section.map(|table| PartialBroker::from_table(&table, sources, findings)).unwrap_or_default();
    broker.names = site_names(has_section, table, variables);
    broker.override_with(variables, findings);
    let is_configured = broker.url.is_some() || table.value("broker").is_some_and(|broker| broker.get("url").is_some());
    SiteBroker { broker: broker.finish(findings), is_configured, files_not_found: String::new() }
}

/// Reads a feed's own broker, which inherits nothing from the site's.
pub(super) fn of_feed(
    table: &SettingsTable<'_>,
    sources: SecretSources<'_>,
    findings: &Findings,
) -> Option<BrokerConfig> {
    let broker = PartialBroker::from_table(table, sources, findings);
    if table.value("url").is_none() {
        table.mistakes().add(Mistake::without_value(table.key("url"), "is missing; write \"mqtts://host:8883\""));
    }
    broker.finish(findings)
}

impl<'a> PartialBroker<'a> {
    fn from_table(table: &SettingsTable<'a>, sources: SecretSources<'_>, findings: &Findings) -> Self {
        let sourced = |key: &str| Sourced { key: table.key(key), value: (), mistakes: table.mistakes() };
        let path = |key: &'static str| table.text(key).map(|text| sourced(key).map(|()| sources.folder.join(text)));
        let password = |key: &str, value| read_password(table, key, value, sources, findings);
        let kind = kind::read(table);
        let broker = Self {
            // Read as a secret, because it may contain a password.
            url: table.secret("url").map(|url| sourced("url").map(|()| url.to_owned())),
            overrides_url: false,
            client_id: table.text("client_id").map(str::to_owned),
            protocol: table.choice("protocol", &PROTOCOLS),
            username: table.text("username").map(str::to_owned),
            password: table.value("password").and_then(|value| password("password", value)),
            proxy: proxy::of_table(table, sources, findings),
            ca: path("ca"),
            pin: table.text("pin").and_then(|text| parse_pin(text, |hint| table.add_mistake("pin", hint))),
            server_name: table.text("server_name").map(str::to_owned),
            cert: path("cert"),
            key: match table.text("key").filter(|key| is_token_uri(key)) {
                Some(uri) => Some(sourced("key").map(|()| PathBuf::from(uri))),
                None => path("key"),
            },
            pkcs11_module: path("pkcs11_module"),
            key_password: table.value("key_password").and_then(|value| password("key_password", value)),
            alpn: table.text("alpn").map(str::to_owned),
            names: SettingNames::new(table.key("")),
            keep_alive: table.duration("keep_alive", SHORTEST_KEEP_ALIVE..=LONGEST_KEEP_ALIVE),
            in_flight: table.integer("in_flight", 1..=u16::MAX),
            habits: BrokerHabits::read(table, kind),
            kind,
        };
        table.report_unknown_keys();
        broker
    }

    fn override_with(&mut self, variables: &Variables<'a>, findings: &Findings) {
        let secret = |name| variables.get(name).map(|variable| Secret::Text(without_newline(variable, findings)));
        let text = |name| variables.get(name).map(|variable| variable.value.trim().to_owned());
        let url = variables.get("MQTT_BROKER_URL");
        let username = variables.get("MQTT_USERNAME").map(|variable| without_newline(variable, findings));
        let password = secret("MQTT_PASSWORD");
        self.overrides_url = url.is_none() && (username.is_some() || password.is_some());
        self.url = url.or(self.url.take());
        self.username = username.or(self.username.take());
        self.password = password.or(self.password.take());
        let client_id = variables.get("MQTT_CLIENT_ID").map(|variable| without_newline(variable, findings));
        self.client_id = client_id.or(self.client_id.take());
        self.proxy = proxy::of_variables(variables, findings).or(self.proxy.take());
        self.ca = variables.path("MQTT_TLS_CA_CERT_PATH").or(self.ca.take());
        let pin = variables.get("MQTT_TLS_PIN");
        let pin = pin.and_then(|pin| parse_pin(&pin.value, |hint| pin.reject(&pin.value, hint)));
        self.pin = pin.or(self.pin.take());
        self.server_name = text("MQTT_TLS_SERVER_NAME").or(self.server_name.take());
        self.key_password = secret("MQTT_TLS_KEY_PASSWORD").or(self.key_password.take());
        self.cert = variables.path("MQTT_TLS_CERTFILE").or(self.cert.take());
        let uri = variables.get("MQTT_TLS_KEYFILE").filter(|key| is_token_uri(key.value.trim()));
        let key = match uri {
            Some(uri) => Some(uri.map(|uri| PathBuf::from(uri.trim()))),
            None => variables.path("MQTT_TLS_KEYFILE"),
        };
        self.key = key.or(self.key.take());
        self.pkcs11_module = variables.path("MQTT_TLS_PKCS11_MODULE").or(self.pkcs11_module.take());
    }

    fn finish(mut self, findings: &Findings) -> Option<BrokerConfig> {
        let are_files_valid = self.check_files();
        let configured = self.url.take()?;
        let url = match broker_url::parse(&configured.value) {
            Ok(url) if are_files_valid => url,
            Ok(_) => return None,
            Err(hint) => {
                configured.reject(broker_url::redact(&configured.value), hint);
                return None;
            }
        };
        let has_tls_settings = self.has_tls_settings();
        self.apply_kind(&url, configured.mistakes, findings);
        if has_tls_settings && !url.tls {
            let scheme = if url.websocket.is_some() { "ws" } else { "mqtt" };
            let key = &configured.key;
            findings.note(format!("{key}: using TLS despite {scheme}://, because certificates or alpn are set"));
        }
        if let Some(key) = self.key.as_ref().filter(|_| !self.has_token()) {
            warn_if_exposed(&key.key, &key.value, findings);
        }
        let key = configured.key.clone();
        let broker = self.with_url(url, has_tls_settings);
        if broker.password.is_some() && broker.tls.is_none() && is_public(&broker.host) {
            let url = broker.url();
            findings.warn(format!(
                "{key}: the password is sent unencrypted to {url}, which is not in a private network; use mqtts://"
            ));
        }
        Some(broker)
    }

    fn has_tls_settings(&self) -> bool {
        let has_certificate = self.ca.is_some() || self.cert.is_some() || self.pin.is_some();
        has_certificate || self.server_name.is_some() || self.alpn.is_some()
    }

    fn with_url(self, url: BrokerUrl, has_tls_settings: bool) -> BrokerConfig {
        let path = |sourced: Option<Sourced<'_, PathBuf>>| sourced.map(|sourced| sourced.value);
        let module = path(self.pkcs11_module);
        let identity = path(self.cert).zip(path(self.key)).map(|(cert, key)| Identity::new(cert, key, module));
        let settings = bessai_tls::Settings {
            peer: bessai_tls::Peer::Broker,
            ca: path(self.ca),
            pin: self.pin,
            server_name: self.server_name,
            identity,
            alpn: self.alpn,
            names: self.names.clone(),
        };
        let tls = (url.tls || has_tls_settings).then_some(settings);
        let password = url.password.map(Secret::Text);
        let (username, password) = if self.overrides_url {
            (self.username.or(url.username), self.password.or(password))
        } else {
            (url.username.or(self.username), password.or(self.password))
        };
        BrokerConfig {
            host: url.host,
            port: url.port,
            websocket: url.websocket,
            proxy: self.proxy,
            tls,
            client_id: self.client_id,
            protocol: self.protocol.unwrap_or(DEFAULT_PROTOCOL),
            username,
            password,
            key_password: self.key_password,
            names: self.names,
            keep_alive: self.keep_alive.unwrap_or(DEFAULT_KEEP_ALIVE),
            in_flight: self.in_flight.unwrap_or(DEFAULT_IN_FLIGHT),
            habits: self.habits,
            kind: self.kind,
        }
    }
}

fn parse_pin(text: &str, reject: impl FnOnce(&'static str)) -> Option<Pin> {
    text.parse().map_err(reject).ok()
}

/// The value of a variable without the newline that `$(cat file)` and mounted files leave at its end.
fn without_newline(variable: Sourced<'_, String>, findings: &Findings) -> String {
    let value = variable.value.trim_end_matches(['\r', '\n']);
    if value.len() < variable.value.len() {
        let key = &variable.key;
        findings.warn(format!("{key}: the newline at its end is ignored; remove it"));
    }
    value.to_owned()
}

fn read_password(
    table: &SettingsTable<'_>,
    name: &str,
    value: &toml::Value,
    sources: SecretSources<'_>,
    findings: &Findings,
) -> Option<Secret> {
    let key = table.key(name);
    let (password, encoding) = secret::from_value(&key, value, sources, table.mistakes(), findings)?;
    if encoding != Encoding::Text {
        table.mistakes().add(Mistake::without_value(key, "a password is sent as written; remove `encoding`"));
    }
    Some(password)
}
