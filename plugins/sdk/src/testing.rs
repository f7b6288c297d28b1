//! Runs a plugin natively, in its own `cargo test`: the same trait and calls, without WebAssembly, broker or gateway.
//!
//! The harness stands in for the host: it describes a site, numbers the events, and keeps the plugin's state, log and
//! signatures. It has no limits on time and memory; `bessai-edge plugin test` runs the built component under those.

use crate::guest::{Slot, configure, process};
use crate::{
    Action, Channel, ChannelKind, Commands, Device, Event, EventBody, Failure, Fault, FaultKind, Frame, Inbound, Login,
    Message, Outcome, Plugin, Protocol, Qos, Request, SignsIn, Site, Source, Subscription, Welcome, commands, session,
};

pub use host::{derived_secret, logged, metric, secret, stored};

pub(crate) mod host;

/// The time of the first event: 2025-02-21T15:20:00Z, in nanoseconds since 1970.
pub const START: u64 = 1_740_151_200_000_000_000;

/// A site without devices; [`SiteBuilder::device`] adds them.
pub fn site(id: &str) -> SiteBuilder {
    SiteBuilder(Site { id: id.into(), revision: 1, devices: Vec::new(), sources: Vec::new(), attributes: Vec::new() })
}

/// Builds a site's description for a test.
pub struct SiteBuilder(Site);

impl SiteBuilder {
    /// Adds a device with one source, whose channels are gauges given as (name, UCUM unit).
    #[must_use]
    pub fn device(mut self, name: &str, channels: &[(&str, &str)]) -> Self {
        let channels = channels.iter().map(|&(name, unit)| gauge(name, unit)).collect();
        self.0.devices.push(Device { name: name.into(), attributes: Vec::new() });
        self.0.sources.push(Source { device: name.into(), period_ms: 5000, channels, attributes: Vec::new() });
        self
    }

    /// The description that a plugin gets.
    pub fn build(self) -> Site {
        self.0
    }
}

fn gauge(name: &str, unit: &str) -> Channel {
    let (name, unit) = (name.into(), unit.into());
    Channel { name, unit, kind: ChannelKind::Gauge, writable: false, attributes: Vec::new() }
}

/// A plugin under test. Events are one second apart unless [`Harness::at`] is set.
pub struct Harness<P: Plugin> {
    slot: Option<Slot<P>>,
    site: Site,
    config: String,
    sequence: u64,
    at: u64,
    historical: bool,
}

impl<P: Plugin> Harness<P> {
    /// A fresh instance with empty state, configured as by the gateway; the error is the plugin's.
    pub fn new(site: SiteBuilder, config: &str) -> Result<Self, String> {
        host::reset();
        let (site, config) = (site.build(), config.to_owned());
        let slot = configure::<P>(&site, config.clone())?;
        Ok(Self { slot: Some(slot), site, config, sequence: 0, at: START, historical: false })
    }

    /// Replaces the instance by a fresh one, as the gateway does after a restart or whenever it sees fit: variables are lost,
    /// the state stays.
    pub fn restart(&mut self) -> Result<&mut Self, String> {
        self.slot = Some(configure::<P>(&self.site, self.config.clone())?);
        Ok(self)
    }

    /// Sets the time of the next event, in nanoseconds since 1970.
    pub fn at(&mut self, at: u64) -> &mut Self {
        self.at = at;
        self
    }

    /// Sets whether the next events are `historical`.
    pub fn historical(&mut self, historical: bool) -> &mut Self {
        self.historical = historical;
        self
    }

    /// Processes a reading of the first source; NaN values are marked as missing.
    pub fn frame(&mut self, values: &[f64]) -> Result<Vec<Message>, Failure> {
        self.frame_of(0, values)
    }

    /// Processes a reading of a source, given by its index; NaN values are marked as missing.
    pub fn frame_of(&mut self, source: u32, values: &[f64]) -> Result<Vec<Message>, Failure> {
        let missing = (0_u32..).zip(values).filter(|(_, value)| value.is_nan());
        let faults = missing.map(|(channel, _)| Fault { channel, kind: FaultKind::Missing }).collect();
        self.event(EventBody::Frame(Frame { source, values: values.to_vec(), faults, texts: Vec::new() }))
    }

    /// Processes any event.
    pub fn event(&mut self, body: EventBody) -> Result<Vec<Message>, Failure> {
        const SECOND: u64 = 1_000_000_000;
        self.sequence += 1;
        let event = Event { sequence: self.sequence, at: self.at, historical: self.historical, body };
        self.at += SECOND;
        if let EventBody::Site(site) = &event.body {
            self.site = site.clone();
        }
        process(&mut self.slot, &[event])
    }
}

/// Sign-ins happen at the time of the next event.
impl<P: SignsIn> Harness<P> {
    /// Calls `connect` for a broker as the feed's settings would name it.
    pub fn connect(&mut self, attempt: u32) -> Result<Login, String> {
        let host = "broker.example.com".into();
        let request = Request { host, port: 8883, protocol: Protocol::V311, at: self.at, attempt };
        session::connect(&mut self.slot, &request)
    }

    /// Calls `connected`, whose messages are the first of a session.
    pub fn connected(&mut self) -> Result<Vec<Message>, Failure> {
        let welcome = Welcome {
            at: self.at,
            protocol: Protocol::V311,
            session_present: false,
            max_packet: 1 << 20,
            max_qos: Qos::AtLeastOnce,
            retain: true,
        };
        session::connected(&mut self.slot, &welcome)
    }

    /// Calls `closing`, whose messages are the last of a session.
    pub fn closing(&mut self) -> Vec<Message> {
        session::closing(&mut self.slot, self.at)
    }
}

/// Messages arrive at the time of the next event.
impl<P: Commands> Harness<P> {
    /// Calls `subscriptions`.
    pub fn subscriptions(&mut self) -> Vec<Subscription> {
        commands::subscriptions(&mut self.slot)
    }

    /// Calls `receive` with a message that was just published.
    pub fn receive(&mut self, topic: &str, payload: impl Into<Vec<u8>>) -> Result<Vec<Action>, Failure> {
        let (at, topic, payload, historical) = (self.at, topic.into(), payload.into(), self.historical);
        let (qos, retained, properties) = (Qos::AtLeastOnce, false, None);
        self.receive_message(&Inbound { at, topic, payload, qos, retained, historical, properties })
    }

    /// Calls `receive` with any message.
    pub fn receive_message(&mut self, message: &Inbound) -> Result<Vec<Action>, Failure> {
        commands::receive(&mut self.slot, message)
    }

    /// Calls `wrote` with the outcome of a proposal.
    pub fn wrote(&mut self, reference: &str, outcome: &Outcome) -> Result<Vec<Message>, Failure> {
        commands::wrote(&mut self.slot, self.at, reference, outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Actions, Messages, Safety, Watchdog, log, metrics, state};

    struct Counter;

    impl Plugin for Counter {
        fn configure(site: &Site, config: &str) -> Result<Self, String> {
            log::info(&format!("{} with {config}", site.id));
            if config == "{}" { Ok(Self) } else { Err(format!("config {config} is not empty")) }
        }

        fn frame(&mut self, event: &Event, frame: &Frame, out: &mut Messages) -> Result<(), Failure> {
            let seen = state::get("seen").map_or(0, |bytes| bytes.len()) + 1;
            state::set("seen", &vec![0; seen])?;
            out.push(Message::new(format!("{}/{seen}", event.sequence), format!("{:?}", frame.values)).retained());
            Ok(())
        }
    }

    #[test]
    fn a_plugin_runs_natively() {
        let channels = [("soc_pct", "%"), ("power_kw", "kW")];
        let mut harness = Harness::<Counter>::new(site("S").device("battery", &channels), "{}").unwrap();
        let first = harness.frame(&[1.0, f64::NAN]).unwrap();
        let second = harness.frame(&[2.0, 3.0]).unwrap();
        assert_eq!((first[0].topic.as_str(), second[0].topic.as_str()), ("1/1", "2/2"));
        assert!(first[0].retain);
        assert_eq!(stored("seen"), Some(vec![0, 0]));
        assert_eq!(logged()[0].1, "S with {}");
    }

    struct Batch(Vec<f64>);

    impl Plugin for Batch {
        fn configure(_: &Site, _: &str) -> Result<Self, String> {
            Ok(Self(Vec::new()))
        }

        fn frame(&mut self, _: &Event, frame: &Frame, _: &mut Messages) -> Result<(), Failure> {
            self.0.extend(&frame.values);
            Ok(())
        }

        fn call_ended(&mut self, out: &mut Messages) -> Result<(), Failure> {
            out.push(Message::new("sum", self.0.iter().sum::<f64>().to_string()));
            Ok(())
        }
    }

    #[test]
    fn a_restart_keeps_the_state_alone_and_a_call_ends_after_its_events() {
        let mut harness = Harness::<Batch>::new(site("S").device("battery", &[("soc_pct", "%")]), "{}").unwrap();
        let sum = |messages: Vec<Message>| String::from_utf8(messages[0].payload.clone()).unwrap();
        assert_eq!(sum(harness.frame(&[1.0]).unwrap()), "1");
        assert_eq!(sum(harness.frame(&[2.0]).unwrap()), "3");
        state::set("kept", b"1").unwrap();
        assert_eq!(sum(harness.restart().unwrap().frame(&[4.0]).unwrap()), "4");
        assert_eq!(stored("kept"), Some(b"1".to_vec()));
    }

    #[test]
    fn events_without_a_method_are_ignored() {
        let mut harness = Harness::<Counter>::new(site("S"), "{}").unwrap();
        let safety = Safety { is_safe: true, watchdog: Watchdog::Ok, power_limit_kw: None, violations: Vec::new() };
        assert_eq!(harness.event(EventBody::Safety(safety)), Ok(Vec::new()));
        assert_eq!(harness.event(EventBody::Heartbeat), Ok(Vec::new()));
        assert_eq!(stored("seen"), None);
    }

    #[test]
    fn a_refused_configuration_returns_the_plugins_error() {
        let error = Harness::<Counter>::new(site("S"), "{\"a\":1}").err();
        assert_eq!(error.as_deref(), Some("config {\"a\":1} is not empty"));
    }

    impl SignsIn for Counter {
        fn connect(&mut self, request: &Request) -> Result<Login, String> {
            let client_id = Some(format!("{}-{}", request.host, request.attempt));
            Ok(Login { client_id, renew_at: Some(request.at + 1), ..Login::default() })
        }

        fn closing(&mut self, at: u64, out: &mut Messages) {
            out.push(Message::new("gone", at.to_string()));
        }
    }

    #[test]
    fn a_plugin_signs_in_natively() {
        let mut harness = Harness::<Counter>::new(site("S"), "{}").unwrap();
        let login = harness.connect(2).unwrap();
        assert_eq!(login.client_id.as_deref(), Some("broker.example.com-2"));
        assert_eq!((login.renew_at, login.password), (Some(START + 1), None));
        assert_eq!(harness.connected(), Ok(Vec::new()));
        assert_eq!(harness.closing()[0].topic, "gone");
    }

    impl Commands for Counter {
        fn subscriptions(&mut self) -> Vec<Subscription> {
            vec![Subscription::new("S/cmd/#")]
        }

        fn receive(&mut self, message: &Inbound, out: &mut Actions) -> Result<(), Failure> {
            metrics::counter("received_total", &[("kind", "cmd")], 1.0);
            out.publish(Message::new("S/answer", message.payload.clone()));
            out.sign_in_again();
            Ok(())
        }
    }

    #[test]
    fn a_plugin_receives_natively() {
        let mut harness = Harness::<Counter>::new(site("S"), "{}").unwrap();
        assert_eq!(harness.subscriptions(), [Subscription::new("S/cmd/#")]);
        let actions = harness.receive("S/cmd/a", "hello").unwrap();
        let answer = Message::new("S/answer", "hello");
        assert_eq!(actions, [Action::Publish(answer), Action::SignInAgain]);
        assert_eq!(harness.wrote("a1", &Outcome::Expired), Ok(Vec::new()));
        assert_eq!((metric("received_total", &[("kind", "cmd")]), metric("other", &[])), (Some(1.0), None));
    }

    #[test]
    fn state_is_bounded() {
        host::reset();
        assert!(state::set("big", &vec![0; 1 << 20]).is_err());
        assert!(state::set("big", &vec![0; (1 << 20) - 3]).is_ok());
        assert!(state::set("more", b"").is_err());
        state::delete("big");
        assert!(state::set("more", b"").is_ok());
    }
}
