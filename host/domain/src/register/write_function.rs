//! The functions that write, and which points each of them can write.

use super::table::Table;

/// A function that writes (Modbus Application Protocol V1.1b3 §6.5, 6.6, 6.11, 6.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteFunction {
    /// 5: one coil.
    Coil,
    /// 6: one register.
    Register,
    /// 15: coils.
    Coils,
    /// 16: registers.
    Registers,
}

impl WriteFunction {
    /// The function with this code.
    pub(crate) const fn from_code(number: u8) -> Option<Self> {
        match number {
            5 => Some(Self::Coil),
            6 => Some(Self::Register),
            15 => Some(Self::Coils),
            16 => Some(Self::Registers),
            _ => None,
        }
    }

    /// Why it cannot write a point of this table and width; none if it can.
    pub fn incompatibility(self, table: Table, width: u16) -> Option<&'static str> {
        match (self, table) {
            (_, Table::Discrete | Table::Input) => Some("discrete inputs and input registers cannot be written"),
            (Self::Coil | Self::Coils, Table::Holding) => Some("registers are written with function 6 or 16"),
            (Self::Register | Self::Registers, Table::Coil) => Some("coils are written with function 5 or 15"),
            (Self::Register, Table::Holding) if width != 1 => Some("function 6 writes one register; write 16"),
            _ => None,
        }
    }
}
