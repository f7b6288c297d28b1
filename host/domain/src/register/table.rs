//! Unit ids, the four tables and the sizes of their requests.

/// Registers that one request may read, from the 253 bytes of a PDU (functions 3 and 4).
pub(crate) const MAX_READ: u16 = 125;
/// Bits that one request may read (functions 1 and 2).
pub(crate) const MAX_READ_BITS: u16 = 2000;

/// A Modbus unit id: 1 to 247 on a serial bus, 0 and 248 to 255 too over TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitId(pub u8);

/// One of Modbus's four tables, which decides the functions that read and write a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Writable bits: functions 1, 5 and 15.
    Coil,
    /// Read-only bits: function 2.
    Discrete,
    /// Writable registers: functions 3, 6 and 16.
    Holding,
    /// Read-only registers: function 4.
    Input,
}

impl Table {
    /// Every table with its name in profiles and commands.
    pub const NAMES: [(&'static str, Self); 4] =
        [("coil", Self::Coil), ("discrete", Self::Discrete), ("holding", Self::Holding), ("input", Self::Input)];

    /// Its name in profiles and commands.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Coil => "coil",
            Self::Discrete => "discrete",
            Self::Holding => "holding",
            Self::Input => "input",
        }
    }

    /// Whether it holds single bits instead of 16-bit registers.
    pub const fn is_bits(self) -> bool {
        matches!(self, Self::Coil | Self::Discrete)
    }

    /// The code of the function that reads it.
    pub const fn read_function_code(self) -> u8 {
        match self {
            Self::Coil => 1,
            Self::Discrete => 2,
            Self::Holding => 3,
            Self::Input => 4,
        }
    }

    /// The most bits or registers that one request may read.
    pub const fn max_read(self) -> u16 {
        if self.is_bits() { MAX_READ_BITS } else { MAX_READ }
    }
}
