//! Sessions with MQTT brokers, one client per session: the feed queues the messages, this crate only sends them.
//!
//! The only crate that uses rumqttc: its packets and its state of a session. The connection is this crate's own, so that what
//! a broker sends is checked and bounded before rumqttc reads it. The feed keeps each message until it is acknowledged.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::float_cmp, clippy::panic, clippy::expect_used)
)]

mod aliases;
mod arrivals;
mod broker;
mod client;
mod connect_options;
mod connection;
mod error;
mod hints;
mod inbound;
mod limits;
mod negotiation;
mod packet_ids;
mod packet_log;
mod probe;
mod proxy;
mod session;
mod settings;
mod socket;
mod subscriber;
mod subscriptions;
mod trace;
mod v311;
mod v5;
mod wire;

pub use broker::MqttBroker;
pub use probe::{Probe, probe};
pub use session::MqttSession;
pub use settings::{BrokerHabits, BrokerSettings, ProxySettings, ReadPassword};
pub use subscriber::{ReceivedMessage, subscribe};
