//! A request to a unit of a bus, and why it has no reply.

use bessai_domain::plan::ReadRequest;
use bessai_domain::register::UnitId;
use bessai_domain::write::WriteRequest;

/// A request to a unit.
#[derive(Clone, Copy)]
pub(crate) enum BusRequest<'a> {
    Read(&'a ReadRequest),
    Write(&'a WriteRequest),
}

impl BusRequest<'_> {
    /// The unit that it is sent to.
    pub(crate) fn unit(self) -> UnitId {
        match self {
            Self::Read(request) => request.unit,
            Self::Write(write) => write.unit,
        }
    }
}

/// Why a request has no reply.
#[derive(Debug)]
pub(crate) enum BusError {
    /// Connecting failed, or the delay before the next attempt is not over.
    NotConnected(String),
    /// The unit does not reply.
    NoReply(String),
    /// The reply is invalid, or the connection is closed.
    Broken(String),
}

impl BusError {
    /// The error as text.
    pub(crate) fn reason(&self) -> &str {
        match self {
            Self::NotConnected(reason) | Self::NoReply(reason) | Self::Broken(reason) => reason,
        }
    }

    /// The error as text.
    pub(crate) fn into_reason(self) -> String {
        match self {
            Self::NotConnected(reason) | Self::NoReply(reason) | Self::Broken(reason) => reason,
        }
    }
}
