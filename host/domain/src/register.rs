//! The four tables of Modbus, and how values lie in them (Modbus Application Protocol V1.1b3 §4.2 to §4.4; longer values by
//! the device's manual).

mod layout;
mod scaling;
mod text;

pub use layout::{BitRange, Format, Layout, Order};
pub use scaling::Scaling;
pub use text::TextLayout;

/// Registers that one request may read, from the 253 bytes of a PDU (functions 3 and 4).
pub const MAX_READ: u16 = 125;
/// Bits that one request may read (functions 1 and 2).
pub const MAX_READ_BITS: u16 = 2000;
/// Registers that one request may write (function 16).
pub const MAX_WRITE: u16 = 123;

/// A Modbus unit id: 1 to 247 on a serial line, 0 and 248 to 255 too on TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitId(pub u8);

/// Where values are kept, and so the functions that read and write them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Bits that may be written: functions 1, 5 and 15.
    Coil,
    /// Bits that are only read: function 2.
    Discrete,
    /// Registers that may be written: functions 3, 6 and 16.
    Holding,
    /// Registers that are only read: function 4.
    Input,
}

impl Table {
    /// Every table with the name that profiles and commands use.
    pub const NAMES: [(&'static str, Self); 4] =
        [("coil", Self::Coil), ("discrete", Self::Discrete), ("holding", Self::Holding), ("input", Self::Input)];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Coil => "coil",
            Self::Discrete => "discrete",
            Self::Holding => "holding",
            Self::Input => "input",
        }
    }

    /// Whether it holds bits rather than registers of 16.
    pub const fn is_bits(self) -> bool {
        matches!(self, Self::Coil | Self::Discrete)
    }

    /// The function that reads it.
    pub const fn read_function(self) -> u8 {
        match self {
            Self::Coil => 1,
            Self::Discrete => 2,
            Self::Holding => 3,
            Self::Input => 4,
        }
    }

    /// What one request may read of it: bits or registers.
    pub const fn max_read(self) -> u16 {
        if self.is_bits() { MAX_READ_BITS } else { MAX_READ }
    }
}
