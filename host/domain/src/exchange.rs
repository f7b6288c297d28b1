//! What the requests of a reading met: their reply time, and what should not happen on a bus.

/// The requests of one reading of a source.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Exchange {
    /// Read requests that were sent.
    pub requests: u32,
    /// Those without a valid reply: exceptions, timeouts, broken connections.
    pub failed: u32,
    /// The shortest time from a request to its reply, ms; none if nothing was answered on an open connection. The shortest,
    /// because a busy machine delays single replies and somebody in between delays each.
    pub reply_ms: Option<f64>,
    /// Turns in which the gateway wrote to devices of the bus since the reading before.
    pub writes: u32,
    /// Received bytes that belong to no request of the gateway, since the reading before: frames of another master, late or
    /// contradictory replies, noise.
    pub irregular: u32,
}

impl Exchange {
    /// Adds a reply that took so many milliseconds.
    pub fn replied(&mut self, took_ms: f64) {
        self.reply_ms = Some(self.reply_ms.map_or(took_ms, |shortest| shortest.min(took_ms)));
    }

    /// What should not happen: failed requests and irregular bytes.
    pub fn disturbances(&self) -> u32 {
        self.failed.saturating_add(self.irregular)
    }
}
