//! Modbus/TCP server: other programs on the network read and write the gateway's devices as if they were connected to them.
//!
//! Frames are decoded here and not by tokio-modbus: its server starts a task per client that must be `Send`, ends when a
//! connection cannot be accepted, knows no limits for clients that keep silent or do not read, and closes the connection
//! where the standard wants exception 3. What the requests are answered with is the caller's, a
//! [`RelayTarget`](bessai_domain::relay::RelayTarget).

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::expect_used,
        clippy::disallowed_methods
    )
)]

mod clients;
mod connection;
mod counters;
mod frame;
mod listener;
mod pdu;
mod service;
#[cfg(test)]
mod tests;

pub use counters::ServerCounters;
pub use ipnet::IpNet;
pub use listener::{ServerSettings, serve};
