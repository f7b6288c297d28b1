//! Stand-ins for the outside world: a Modbus server with faults on command, a battery whose day passes in minutes, an
//! MQTT broker and one that misbehaves on command, a bad network. For the demo and the tests; no plant is ever served from
//! here.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

pub mod battery;
#[cfg(feature = "broker")]
pub mod broker;
pub mod packet;
pub mod plant;
pub mod proxy;
pub mod registers;
pub mod scripted;
pub mod server;
pub mod sunspec;
