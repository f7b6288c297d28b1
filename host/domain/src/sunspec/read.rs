//! Reads that a discovery requests, and how they and the discovery fail.

/// Holding registers to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegisterRange {
    /// The first register.
    pub start: u16,
    /// Number of registers, 1 to 125.
    pub count: u16,
}

/// Why a read failed. After a broken connection the caller reconnects and repeats the read instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The device responded with this exception code.
    #[error("refused with exception {0}")]
    Exception(u8),
    /// The response has another number of registers than requested.
    #[error("answered with a wrong number of registers")]
    WrongLength,
    /// There was no response within the timeout.
    #[error("not answered")]
    Timeout,
}

impl ReadError {
    /// Whether the device may have the registers, but cannot return them now: acknowledge (5), busy (6), no response behind a
    /// gateway (11).
    pub(super) fn is_busy(self) -> bool {
        matches!(self, Self::Exception(5 | 6 | 11))
    }

    /// Whether the same read may succeed a moment later.
    pub(super) fn is_temporary(self) -> bool {
        self == Self::Timeout || self.is_busy()
    }
}

/// Why a discovery failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say it")]
pub enum DiscoveryError {
    #[error(
        "no SunSpec device: \"SunS\" is not at register 40000, 0 or 50000; write its register as sunspec_base, or give it a \
         profile of its own"
    )]
    NotSunSpec,
    #[error(
        "no SunSpec device: \"SunS\" is not at register {0}; correct sunspec_base, or remove it to look at 40000, 0 and 50000"
    )]
    NotAtBase(u16),
    #[error("no response to {0} consecutive reads: check that the device is on and has this unit id")]
    Timeout(usize),
    #[error("the chain of SunSpec models is broken at register {address}, after {after}: {reason}")]
    BrokenChain { address: u32, after: String, reason: String },
    #[error("the chain of SunSpec models does not end: {0} models without an end marker (65535)")]
    TooLong(usize),
    #[error("the SunSpec discovery is not complete after {0} reads: the device returns too few registers at a time")]
    TooManyReads(usize),
    #[error("the SunSpec discovery is not complete: there are registers left to read")]
    Unfinished,
}
