//! The requests that a server has received.

use std::collections::VecDeque;

use tokio::time::Instant;

/// Requests that are kept; the oldest is dropped first.
pub(super) const REQUEST_LOG_MAX: usize = 4096;

/// A request as received; what its function does not carry is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceivedRequest {
    /// Unit id of the frame's header.
    pub unit: u8,
    /// Function code.
    pub function: u8,
    /// First register or bit, from 0 as on the wire.
    pub address: u16,
    /// Number of registers or bits.
    pub count: u16,
}

/// The requests since the start.
#[derive(Debug, Default)]
pub(super) struct RequestLog {
    total: u64,
    last: VecDeque<(Instant, ReceivedRequest)>,
}

impl RequestLog {
    pub(super) fn add(&mut self, request: ReceivedRequest) {
        self.total = self.total.saturating_add(1);
        if self.last.len() == REQUEST_LOG_MAX {
            self.last.pop_front();
        }
        self.last.push_back((Instant::now(), request));
    }

    /// The number of requests since the start.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// The last requests, oldest first, each with the time at which it was received.
    pub(super) fn last(&self) -> impl Iterator<Item = &(Instant, ReceivedRequest)> {
        self.last.iter()
    }
}
