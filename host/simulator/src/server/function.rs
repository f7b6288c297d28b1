//! The function codes that the server knows (Modbus Application Protocol V1.1b3, 5.1).

/// Function code of reading coils.
pub(super) const READ_COILS: u8 = 1;
/// Function code of reading discrete inputs.
pub(super) const READ_DISCRETE: u8 = 2;
/// Function code of reading holding registers.
pub(super) const READ_HOLDING: u8 = 3;
/// Function code of reading input registers.
pub(super) const READ_INPUT: u8 = 4;
/// Function code of writing one coil.
pub(super) const WRITE_COIL: u8 = 5;
/// Function code of writing one register.
pub(super) const WRITE_REGISTER: u8 = 6;
/// Function code of writing several coils.
pub(super) const WRITE_COILS: u8 = 15;
/// Function code of writing several registers.
pub(super) const WRITE_REGISTERS: u8 = 16;
