//! `kind`: what the broker is known to accept; a setting that it refuses is a mistake or a warning.

use std::time::Duration;

use bessai_domain::broker_limits::BrokerLimits;
use bessai_domain::session::{Protocol, ProtocolChoice};
use bessai_domain::settings::{Mistake, Mistakes, SettingsTable};

use super::super::broker_url::BrokerUrl;
use super::super::findings::Findings;
use super::habits::OwnTopic;
use super::{HTTPS_PORT, PartialBroker};

/// Reads the key.
pub(super) fn read(table: &SettingsTable<'_>) -> Option<&'static BrokerLimits> {
    let words = BrokerLimits::all().map(|limits| (limits.kind, limits));
    table.choice("kind", &words)
}

impl PartialBroker<'_> {
    /// Sets what the kind defines and nothing else sets, and finds settings that contradict it.
    pub(super) fn apply_kind(&mut self, url: &BrokerUrl, mistakes: &Mistakes, findings: &Findings) {
        let Some(limits) = self.kind else { return };
        let check = KindCheck { limits, broker: self, mistakes, findings };
        check.numbers();
        check.topics();
        check.connection(url);
        if limits.only_v311 {
            self.protocol = Some(ProtocolChoice::Only(Protocol::V311));
        }
        let in_flight = limits.in_flight.map(|(usual, _)| usual);
        self.in_flight = self.in_flight.or(in_flight);
        let with_certificate = usize::from(self.cert.is_none());
        let is_web = url.tls && url.port == HTTPS_PORT && url.websocket.is_none();
        let alpn = limits.alpn_443.filter(|_| is_web).and_then(|names| names.get(with_certificate).copied());
        self.alpn = self.alpn.take().or(alpn.map(str::to_owned));
    }
}

/// Compares a broker's settings with its kind.
struct KindCheck<'a, 'b> {
    limits: &'static BrokerLimits,
    broker: &'a PartialBroker<'b>,
    mistakes: &'a Mistakes,
    findings: &'a Findings,
}

impl KindCheck<'_, '_> {
    fn reject(&self, key: &str, value: impl std::fmt::Display, hint: String) {
        self.mistakes.add(Mistake::new(self.broker.names.of(key), value, hint));
    }

    fn warn(&self, key: &str, text: &str) {
        self.findings.warn(format!("{}: {text}", self.broker.names.of(key)));
    }

    /// Settings that have a largest value.
    fn numbers(&self) {
        let Self { limits, broker, .. } = *self;
        let name = limits.name;
        let at_most = |limit: &str| format!("{name} allows at most {limit}; write that or less");
        if let Some(value) = broker.keep_alive.filter(|value| *value > limits.keep_alive) {
            self.reject("keep_alive", quoted(value), at_most(&quoted(limits.keep_alive)));
        }
        if let (Some(value), Some(limit)) = (broker.habits.session_expiry, limits.session_expiry)
            && value > limit
        {
            self.reject("session_expiry", quoted(value), at_most(&quoted(limit)));
        }
        if let (Some(value), Some((_, limit))) = (broker.in_flight, limits.in_flight)
            && value > limit
        {
            self.reject("in_flight", value, at_most(&limit.to_string()));
        }
        if let (Some(value), Some((_, limit))) = (broker.habits.max_packet, limits.max_packet)
            && value > limit
        {
            self.reject("max_packet", value, at_most(&format!("{limit} bytes")));
        }
        if let (Some(id), Some(limit)) = (&broker.client_id, limits.client_id)
            && id.len() > limit
        {
            let (shown, bytes) = (format!("{id:?}"), id.len());
            self.reject(
                "client_id",
                shown,
                format!("has {bytes} bytes, and {name} allows {limit}; write a shorter one"),
            );
        }
    }

    /// Topics that the gateway publishes to by itself, and whether they are retained.
    fn topics(&self) {
        let habits = &self.broker.habits;
        for (key, topic) in [("status_topic", &habits.status_topic), ("will", &habits.will)] {
            if let OwnTopic::Named(topic) = topic
                && let Err(error) = self.limits.admit_topic(topic)
            {
                self.reject(key, format!("{topic:?}"), format!("{error}; write another topic, or false"));
            }
        }
        if habits.retain && !self.limits.can_retain {
            let name = self.limits.name;
            self.warn("retain", &format!("{name} retains no message; remove it"));
        }
    }

    /// How the broker is reached.
    fn connection(&self, url: &BrokerUrl) {
        let Self { limits, broker, .. } = *self;
        let name = limits.name;
        if limits.only_v311 && matches!(broker.protocol, Some(ProtocolChoice::Only(Protocol::V5))) {
            self.reject("protocol", "\"5\"", format!("{name} speaks MQTT 3.1.1 only; remove it"));
        }
        if limits.wants_tls && !url.tls && !broker.has_tls_settings() {
            self.warn("url", &format!("{name} accepts TLS only; write mqtts:// or wss://"));
        }
        if limits.wants_server_name && broker.server_name.is_none() && url.host.parse::<std::net::IpAddr>().is_ok() {
            self.warn(
                "url",
                &format!("{name} needs its host name in the TLS handshake; write the name, not the address, or set server_name"),
            );
        }
        let has_username = broker.username.is_some() || url.username.is_some();
        if limits.wants_login && !(has_username && (broker.password.is_some() || url.password.is_some())) {
            self.warn("username", &format!("{name} accepts no anonymous clients; set user name and password"));
        }
        // Without a user name the feed's plugin decides how to sign in.
        if limits.client_id_is_device && has_username && broker.client_id.is_none() {
            self.warn("client_id", &format!("for {name} it is the name of the device there; set it"));
        }
        if let (Some(path), Some(wanted)) = (&url.websocket, limits.websocket)
            && path != wanted
        {
            self.warn("url", &format!("the path of {name}'s WebSocket is {wanted}"));
        }
        if limits.websocket.is_some() && url.websocket.is_none() && url.port == HTTPS_PORT {
            let path = limits.websocket.unwrap_or_default();
            let port = url.port;
            self.warn("url", &format!("{name}'s port {port} is for WebSockets; write wss://{}:{port}{path}", url.host));
        }
        if let (Some(alpn), Some(known)) = (&broker.alpn, limits.alpn_443)
            && !known.contains(&alpn.as_str())
        {
            let known = known.map(|name| format!("{name:?}")).join(" or ");
            self.reject("alpn", format!("{alpn:?}"), format!("{name} knows {known} only; write one of them"));
        }
    }
}

/// A time as settings have it.
fn quoted(time: Duration) -> String {
    format!("\"{}s\"", time.as_secs())
}
