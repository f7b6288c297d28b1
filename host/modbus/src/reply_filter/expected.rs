//! The outstanding request, and how received content relates to it.

use std::fmt;

/// The bit of a function code that marks an exception.
const EXCEPTION_BIT: u8 = 0x80;
/// The bytes of an exception: function and code.
const EXCEPTION: usize = 2;
/// The bytes of a confirmed write: function, address and value or count.
const CONFIRMATION: usize = 5;

/// The outstanding request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) unit: u8,
    pub(super) function: u8,
    address: [u8; 2],
    /// The count of a read, the value or count of a write.
    value: [u8; 2],
}

/// How a PDU relates to the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// It is too short to tell.
    Incomplete,
    /// It is the reply and has that many bytes.
    Reply(usize),
    /// It is not.
    Other(Contradiction),
}

/// Why a frame cannot be the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contradiction {
    Unit {
        expected: u8,
        received: u8,
    },
    Function {
        expected: u8,
        received: u8,
    },
    /// Bytes of values.
    Length {
        expected: usize,
        received: u8,
    },
    Write,
}

impl fmt::Display for Contradiction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unit { expected, received } => {
                write!(formatter, "expected a reply of unit {expected}, received one of unit {received}")
            }
            Self::Function { expected, received } => {
                write!(formatter, "expected function {expected}, received function {received}")
            }
            Self::Length { expected, received } => {
                write!(formatter, "expected {expected} bytes of values, received {received}")
            }
            Self::Write => formatter.write_str("expected the confirmation of this write, received that of another one"),
        }
    }
}

impl std::error::Error for Contradiction {}

impl Expected {
    /// The request with this unit and PDU.
    pub(super) fn of(request: &[u8]) -> Option<Self> {
        let [unit, function, a1, a0, v1, v0, ..] = *request else { return None };
        Some(Self { unit, function, address: [a1, a0], value: [v1, v0] })
    }

    /// The bytes of the values that a read asks for.
    fn data_bytes(&self) -> usize {
        let count = usize::from(u16::from_be_bytes(self.value));
        if self.function <= 2 { count.div_ceil(8) } else { count * 2 }
    }

    fn is_read(&self) -> bool {
        matches!(self.function, 1..=4)
    }

    /// Whether the values of another read's reply look like those of this one's.
    pub(super) fn has_alike_values(&self, other: &Self) -> bool {
        self.has_same_exceptions(other) && self.data_bytes() == other.data_bytes()
    }

    /// Whether an exception may belong to either request.
    pub(super) fn has_same_exceptions(&self, other: &Self) -> bool {
        (self.unit, self.function) == (other.unit, other.function)
    }

    /// Whether the confirmation of the request equals the request.
    pub(super) fn is_confirmed_by_itself(&self) -> bool {
        matches!(self.function, 5 | 6)
    }

    /// Whether a request of another master has replies that cannot be distinguished from those to this one.
    pub(super) fn has_equal_replies(&self, other: &Self) -> bool {
        let equals = if self.is_read() { self.data_bytes() == other.data_bytes() } else { self == other };
        (self.unit, self.function) == (other.unit, other.function) && equals
    }

    /// Compares a PDU with the request; whatever follows it is ignored.
    pub(super) fn compare(&self, pdu: &[u8]) -> Content {
        let (Some(&function), Some(&second)) = (pdu.first(), pdu.get(1)) else { return Content::Incomplete };
        if function == self.function | EXCEPTION_BIT {
            return Content::Reply(EXCEPTION);
        }
        if function != self.function {
            return Content::Other(Contradiction::Function { expected: self.function, received: function });
        }
        if self.is_read() {
            let expected = self.data_bytes();
            if usize::from(second) == expected {
                return Content::Reply(2 + expected);
            }
            return Content::Other(Contradiction::Length { expected, received: second });
        }
        let Some(&[a1, a0, v1, v0]) = pdu.get(1..CONFIRMATION) else { return Content::Incomplete };
        if ([a1, a0], [v1, v0]) == (self.address, self.value) {
            return Content::Reply(CONFIRMATION);
        }
        Content::Other(Contradiction::Write)
    }
}
