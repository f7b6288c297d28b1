//! Requests that other programs send to a device through the gateway, and why one of them fails.

use crate::plan::ReadRequest;
use crate::register::{Table, WriteFunction};
use crate::write::WriteRequest;

/// Most registers that one request may write (Modbus Application Protocol V1.1b3 §6.12).
pub const MAX_WRITE: u16 = 123;
/// Most coils that one request may write (§6.11).
pub const MAX_WRITE_BITS: u16 = 1968;

/// A Modbus exception code (Modbus Application Protocol V1.1b3 §7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exception(pub u8);

impl Exception {
    /// The function is not served.
    pub const ILLEGAL_FUNCTION: Self = Self(1);
    /// The address does not exist, or may not be written.
    pub const ILLEGAL_ADDRESS: Self = Self(2);
    /// The request's length or value is not allowed.
    pub const ILLEGAL_VALUE: Self = Self(3);
    /// The device failed to carry out the request.
    pub const DEVICE_FAILURE: Self = Self(4);
    /// Too many requests wait for the device.
    pub const BUSY: Self = Self(6);
    /// The gateway has no connection to the device, or no device with this unit id.
    pub const PATH_UNAVAILABLE: Self = Self(10);
    /// The device does not reply to the gateway.
    pub const NO_REPLY: Self = Self(11);
}

/// Where a relayed request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayFailure {
    /// The device refused it with the exception.
    Exception,
    /// It was not sent: there is no connection to the device.
    NotConnected,
    /// It was sent, and no reply came.
    NoReply,
    /// It was sent; the reply was invalid, or the connection was closed.
    Broken,
    /// It was not sent: it may not be, or too many wait.
    Refused,
}

impl RelayFailure {
    /// All of them with their names in the protocol of the local socket.
    pub const NAMES: [(&'static str, Self); 5] = [
        ("exception", Self::Exception),
        ("not-connected", Self::NotConnected),
        ("no-reply", Self::NoReply),
        ("broken", Self::Broken),
        ("refused", Self::Refused),
    ];

    /// The failure with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, failure)| *failure)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, failure)| *failure == self).map_or("refused", |(name, _)| name)
    }
}

/// Why a relayed request has no result: the exception for its client, and a reason for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct RelayError {
    /// What a Modbus client is answered with.
    pub exception: Exception,
    /// Where it failed: an exception may be the device's own or the gateway's.
    pub failure: RelayFailure,
    /// What happened.
    pub reason: String,
}

impl RelayError {
    /// A failure that is not the device's own exception.
    pub fn new(exception: Exception, reason: impl Into<String>) -> Self {
        let failure = match exception {
            Exception::PATH_UNAVAILABLE => RelayFailure::NotConnected,
            Exception::NO_REPLY => RelayFailure::NoReply,
            _ => RelayFailure::Refused,
        };
        Self { exception, failure, reason: reason.into() }
    }

    /// The device's own exception.
    pub fn of_device(exception: Exception, reason: impl Into<String>) -> Self {
        Self { exception, failure: RelayFailure::Exception, reason: reason.into() }
    }
}

/// The devices behind a Modbus server, by the unit ids that its clients use.
pub trait RelayTarget {
    /// Appends the values of the last reading and returns true, if all of them were read and are young enough. Bits are 0 or
    /// 1.
    fn append_latest(&self, request: &ReadRequest, words: &mut Vec<u16>) -> bool;

    /// Reads from the device.
    fn read(&self, request: &ReadRequest) -> impl Future<Output = Result<Vec<u16>, RelayError>>;

    /// Writes to the device; `client` is for the log.
    fn write(&self, request: WriteRequest, client: &str) -> impl Future<Output = Result<(), RelayError>>;
}

impl WriteFunction {
    /// The table that it writes to.
    pub const fn table(self) -> Table {
        match self {
            Self::Coil | Self::Coils => Table::Coil,
            Self::Register | Self::Registers => Table::Holding,
        }
    }

    /// Its code.
    pub const fn code(self) -> u8 {
        match self {
            Self::Coil => 5,
            Self::Register => 6,
            Self::Coils => 15,
            Self::Registers => 16,
        }
    }
}
