//! A request to a unit of a bus, and why it has no reply.

use std::fmt;
use std::time::Duration;

use bessai_domain::plan::ReadRequest;
use bessai_domain::register::UnitId;
use bessai_domain::write::WriteRequest;

use crate::reply::Reply;

/// A request to a unit.
#[derive(Clone, Copy)]
pub enum BusRequest<'a> {
    /// Reads registers or bits.
    Read(&'a ReadRequest),
    /// Writes registers or coils.
    Write(&'a WriteRequest),
}

/// What carries requests to a unit and returns its replies.
pub(crate) trait Requests {
    /// Sends a request and waits for the reply.
    async fn request(&mut self, request: BusRequest<'_>, limit: Duration) -> Result<Reply, BusError>;
}

impl BusRequest<'_> {
    /// The unit that it is sent to.
    pub(crate) fn unit(self) -> UnitId {
        match self {
            Self::Read(request) => request.unit,
            Self::Write(write) => write.unit,
        }
    }

    /// The request without its unit in errors.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Read(read) => {
                let what = if read.table.is_bits() { "bits" } else { "registers" };
                format!("read of {what} {}+{}", read.start, read.count)
            }
            Self::Write(write) => format!("write to {}", write.address),
        }
    }
}

impl fmt::Display for BusRequest<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let preposition = if let Self::Read(_) = self { "from" } else { "of" };
        write!(formatter, "the {} {preposition} unit {}", self.name(), self.unit().0)
    }
}

/// That a unit has not replied to a request in time.
pub(crate) fn no_reply(request: BusRequest<'_>, limit: Duration) -> String {
    let limit = in_milliseconds(limit);
    format!("no reply from unit {} within {limit:?} to the {}", request.unit().0, request.name())
}

/// A time limit as it is shown: without the fractions of a millisecond that limits have which follow from how fast a device
/// replies. One below a millisecond was set.
fn in_milliseconds(limit: Duration) -> Duration {
    /// Nanoseconds of a millisecond.
    const MILLISECOND: u32 = 1_000_000;
    if limit < Duration::from_millis(1) {
        return limit;
    }
    Duration::new(limit.as_secs(), limit.subsec_millis() * MILLISECOND)
}

/// Why a request has no reply.
#[derive(Debug)]
pub(crate) enum BusError {
    /// Connecting failed.
    NotConnected(String),
    /// Nothing was sent: the delay after an earlier error is not over.
    Postponed(String),
    /// The unit does not reply.
    NoReply(String),
    /// The reply is invalid, or the connection is closed.
    Broken(String),
    /// A reply came, but it may be the late one to an earlier request.
    Uncertain(String),
}

impl BusError {
    /// The error as text.
    pub(crate) fn reason(&self) -> &str {
        match self {
            Self::NotConnected(reason)
            | Self::Postponed(reason)
            | Self::NoReply(reason)
            | Self::Broken(reason)
            | Self::Uncertain(reason) => reason,
        }
    }

    /// The error as text.
    pub(crate) fn into_reason(self) -> String {
        match self {
            Self::NotConnected(reason)
            | Self::Postponed(reason)
            | Self::NoReply(reason)
            | Self::Broken(reason)
            | Self::Uncertain(reason) => reason,
        }
    }
}
