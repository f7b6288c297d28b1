//! Stand-ins for the outside world: a Modbus server with faults on command, a battery whose day passes in minutes, an MQTT
//! broker, another that misbehaves on command, and a network that fails. For the demo and the tests; the gateway itself
//! uses none of it.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::disallowed_methods
    )
)]

pub mod battery;
pub mod broker;
pub mod dump;
#[cfg(test)]
mod mqtt_client;
pub mod packet;
pub mod plant;
pub mod proxy;
pub mod registers;
pub mod scripted;
pub mod server;
pub mod sunspec;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex that a panic may have poisoned: each value locked here is changed as a whole, and so stays valid.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
