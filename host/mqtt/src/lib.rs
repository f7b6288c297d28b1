//! Sessions with MQTT brokers, one client per session: the feed queues the messages, this crate only sends them.
//!
//! The only crate that uses rumqttc. That client drops its queue when a session is not resumed, so it is given at most one
//! window of messages, and the feed keeps each message until it is acknowledged. The `Debug` output of its options contains
//! the password, so options are never logged.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::float_cmp, clippy::panic, clippy::expect_used)
)]

mod aliases;
mod broker;
mod client;
mod connect_options;
mod connection;
mod driver;
mod error;
mod limits;
mod negotiation;
mod packet_ids;
mod packet_log;
mod session;
mod settings;
mod subscriber;
mod v311;
mod v5;

pub use broker::MqttBroker;
pub use session::MqttSession;
pub use settings::BrokerSettings;
pub use subscriber::{ReceivedMessage, subscribe};
