//! `[broker]` and the `MQTT_…` variables.

use std::path::PathBuf;
use std::time::Duration;

use bessai_domain::settings::{Mistake, Table};

use super::broker_url::{self, Url};
use super::environment::Variables;
use super::findings::{Findings, Sourced};
use super::secret::{self, Encoding, Place, Secret};

const DEFAULT_KEEP_ALIVE: Duration = Duration::from_mins(1);
/// MQTT counts it in seconds, in 16 bits (5.0 §3.1.2.10).
const LONGEST_KEEP_ALIVE: Duration = Duration::from_secs(65_535);
/// Publishes that wait for their acknowledgement.
const DEFAULT_IN_FLIGHT: u16 = 100;
const PROTOCOLS: [(&str, Protocol); 3] = [("auto", Protocol::Auto), ("5", Protocol::V5), ("3.1.1", Protocol::V311)];

/// Where a feed's messages go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Name or address.
    pub host: String,
    /// The URL's, else 1883 for `mqtt://`, 8883 for `mqtts://`, 80 for `ws://` and 443 for `wss://`.
    pub port: u16,
    /// The path to ask for where MQTT goes through a WebSocket.
    pub websocket: Option<String>,
    /// How the connection is protected, if it is.
    pub tls: Option<Tls>,
    /// None: made of the site's and the feed's name.
    pub client_id: Option<String>,
    /// The version of MQTT to speak.
    pub protocol: Protocol,
    /// Who signs in.
    pub username: Option<String>,
    /// With what.
    pub password: Option<Secret>,
    /// A connection silent for longer is taken for dead.
    pub keep_alive: Duration,
    /// Publishes that may wait for their acknowledgement.
    pub in_flight: u16,
}

impl Broker {
    /// Where it is, without who signs in.
    pub fn url(&self) -> String {
        let scheme = match (self.websocket.is_some(), self.tls.is_some()) {
            (false, false) => "mqtt",
            (false, true) => "mqtts",
            (true, false) => "ws",
            (true, true) => "wss",
        };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        format!("{scheme}://{host}:{}{}", self.port, self.websocket.as_deref().unwrap_or_default())
    }
}

/// A version of MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// 5.0, and 3.1.1 where the broker does not speak it.
    Auto,
    /// 3.1.1.
    V311,
    /// 5.0.
    V5,
}

/// How a connection is protected; the files could be read, their content was not looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Certificates to trust; None: the system's.
    pub ca: Option<PathBuf>,
    /// Our certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The protocol to ask for by ALPN.
    pub alpn: Option<String>,
}

/// The site's broker.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SiteBroker {
    /// None where there is none or it is wrong.
    pub(super) broker: Option<Broker>,
    /// One was written, right or wrong.
    pub(super) is_written: bool,
}

/// A broker as it was written.
#[derive(Default)]
struct Raw<'a> {
    url: Option<Sourced<'a, String>>,
    /// Name and password come from variables but the URL does not, so they win over those in it.
    outranks_url: bool,
    client_id: Option<String>,
    protocol: Option<Protocol>,
    username: Option<String>,
    password: Option<Secret>,
    ca: Option<Sourced<'a, PathBuf>>,
    cert: Option<Sourced<'a, PathBuf>>,
    key: Option<Sourced<'a, PathBuf>>,
    alpn: Option<String>,
    keep_alive: Option<Duration>,
    in_flight: Option<u16>,
}

/// The site's broker: of the file, with what the variables say.
pub(super) fn of_site(
    table: &Table<'_>,
    place: Place<'_>,
    variables: &Variables<'_>,
    findings: &Findings,
) -> SiteBroker {
    let mut raw = table.table("broker").map(|table| Raw::from_table(&table, place)).unwrap_or_default();
    raw.override_with(variables);
    let is_written = raw.url.is_some() || table.value("broker").is_some_and(|broker| broker.get("url").is_some());
    SiteBroker { broker: raw.finish(findings), is_written }
}

/// A feed's own broker, which takes nothing from the site's.
pub(super) fn of_feed(table: &Table<'_>, place: Place<'_>, findings: &Findings) -> Option<Broker> {
    let raw = Raw::from_table(table, place);
    if table.value("url").is_none() {
        table.mistakes().add(Mistake::bare(table.key("url"), "is missing; write \"mqtts://host:8883\""));
    }
    raw.finish(findings)
}

impl<'a> Raw<'a> {
    fn from_table(table: &Table<'a>, place: Place<'_>) -> Self {
        let sourced = |key: &str| Sourced { key: table.key(key), value: (), mistakes: table.mistakes() };
        let path = |key: &'static str| table.text(key).map(|text| sourced(key).map(|()| place.folder.join(text)));
        let raw = Self {
            // Asked for as a secret, because a password may stand in it.
            url: table.secret("url").map(|url| sourced("url").map(|()| url.to_owned())),
            outranks_url: false,
            client_id: table.text("client_id").map(str::to_owned),
            protocol: table.word("protocol", &PROTOCOLS),
            username: table.text("username").map(str::to_owned),
            password: read_password(table, place),
            ca: path("ca"),
            cert: path("cert"),
            key: path("key"),
            alpn: table.text("alpn").map(str::to_owned),
            keep_alive: table.duration("keep_alive", Duration::from_secs(1)..=LONGEST_KEEP_ALIVE),
            in_flight: table.integer("in_flight", 1..=u16::MAX),
        };
        table.finish();
        raw
    }

    fn override_with(&mut self, variables: &Variables<'a>) {
        let url = variables.get("MQTT_BROKER_URL");
        let username = variables.get("MQTT_USERNAME").map(|variable| variable.value);
        let password = variables.get("MQTT_PASSWORD").map(|variable| Secret::Text(variable.value));
        self.outranks_url = url.is_none() && (username.is_some() || password.is_some());
        self.url = url.or(self.url.take());
        self.username = username.or(self.username.take());
        self.password = password.or(self.password.take());
        self.client_id = variables.get("MQTT_CLIENT_ID").map(|variable| variable.value).or(self.client_id.take());
        self.ca = variables.path("MQTT_TLS_CA_CERT_PATH").or(self.ca.take());
        self.cert = variables.path("MQTT_TLS_CERTFILE").or(self.cert.take());
        self.key = variables.path("MQTT_TLS_KEYFILE").or(self.key.take());
    }

    fn finish(self, findings: &Findings) -> Option<Broker> {
        let files_are_good = self.files_are_good();
        let written = self.url.as_ref()?;
        let url = match broker_url::parse(&written.value) {
            Ok(url) if files_are_good => url,
            Ok(_) => return None,
            Err(mend) => {
                written.wrong(broker_url::shown(&written.value), mend);
                return None;
            }
        };
        let wants_tls = self.ca.is_some() || self.cert.is_some() || self.alpn.is_some();
        if wants_tls && !url.tls {
            let scheme = if url.websocket.is_some() { "ws" } else { "mqtt" };
            findings.note(format!("{}: TLS is used despite {scheme}://, because certificates are set", written.key));
        }
        Some(self.with_url(url, wants_tls))
    }

    /// Every file can be read, and a certificate has its key.
    fn files_are_good(&self) -> bool {
        let files = [&self.ca, &self.cert, &self.key].into_iter().flatten();
        let unreadable = files.filter(|file| !is_readable(file)).count();
        let identity_is_whole = identity_is_whole(self.cert.as_ref(), self.key.as_ref());
        unreadable == 0 && identity_is_whole
    }

    fn with_url(self, url: Url, wants_tls: bool) -> Broker {
        let path = |sourced: Option<Sourced<'_, PathBuf>>| sourced.map(|sourced| sourced.value);
        let identity = path(self.cert).zip(path(self.key));
        let tls = (url.tls || wants_tls).then_some(Tls { ca: path(self.ca), identity, alpn: self.alpn });
        let password = url.password.map(Secret::Text);
        let (username, password) = if self.outranks_url {
            (self.username.or(url.username), self.password.or(password))
        } else {
            (url.username.or(self.username), password.or(self.password))
        };
        Broker {
            host: url.host,
            port: url.port,
            websocket: url.websocket,
            tls,
            client_id: self.client_id,
            protocol: self.protocol.unwrap_or(Protocol::Auto),
            username,
            password,
            keep_alive: self.keep_alive.unwrap_or(DEFAULT_KEEP_ALIVE),
            in_flight: self.in_flight.unwrap_or(DEFAULT_IN_FLIGHT),
        }
    }
}

fn read_password(table: &Table<'_>, place: Place<'_>) -> Option<Secret> {
    let key = table.key("password");
    let (password, encoding) = secret::from_value(&key, table.value("password")?, place, table.mistakes())?;
    if encoding != Encoding::Text {
        table.mistakes().add(Mistake::bare(key, "a password is sent as it is; leave `encoding` out"));
    }
    Some(password)
}

fn is_readable(file: &Sourced<'_, PathBuf>) -> bool {
    let read = std::fs::read(&file.value);
    if let Err(error) = &read {
        file.wrong(file.value.display(), format!("cannot be read: {error}"));
    }
    read.is_ok()
}

/// A certificate and its key go together.
fn identity_is_whole(cert: Option<&Sourced<'_, PathBuf>>, key: Option<&Sourced<'_, PathBuf>>) -> bool {
    let (alone, missing) = match (cert, key) {
        (Some(cert), None) => (cert, "the certificate's key is missing; set it too"),
        (None, Some(key)) => (key, "the key's certificate is missing; set it too"),
        _ => return true,
    };
    alone.wrong(alone.value.display(), missing);
    false
}
