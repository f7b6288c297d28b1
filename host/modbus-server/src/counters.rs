//! What a server has done, for `/health`.

use std::cell::Cell;

/// Counters of one server.
#[derive(Debug, Default)]
pub struct ServerCounters {
    /// Clients that are connected.
    pub clients: Cell<usize>,
    /// Requests answered from the last readings.
    pub from_latest: Cell<u64>,
    /// Requests that were passed on to a device.
    pub relayed: Cell<u64>,
    /// Requests that were answered with an exception.
    pub exceptions: Cell<u64>,
    /// Clients that were disconnected: not allowed, too many, or with something else than Modbus/TCP.
    pub refused_clients: Cell<u64>,
    /// Whether it listens.
    pub is_listening: Cell<bool>,
}

/// Counts one more.
pub(crate) fn count(counter: &Cell<u64>) {
    counter.set(counter.get().saturating_add(1));
}
