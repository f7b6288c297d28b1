//! The real program against real peers: Modbus over sockets, mosquitto, files, signals.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::float_cmp,
    clippy::new_without_default
)]

mod author;
mod broker;
mod commissioning;
mod configuration;
mod delivery;
mod device;
mod disk;
mod drop_in;
mod feeds;
mod hostile;
mod journal;
mod modbus;
mod path;
mod program;
mod pymodbus;
mod sessions;
mod sign_in;
mod support;
mod tidy;
