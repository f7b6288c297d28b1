//! The four tables of Modbus and how values are encoded in them (Modbus Application Protocol V1.1b3 §4.2 to §4.4;
//! values wider than one register as the device's manual says).

mod decimal;
mod format;
mod layout;
mod scaling;
mod table;
mod text;
mod write_function;

pub use format::Format;
pub use layout::{BitRange, Layout, Order};
pub use scaling::Scaling;
pub(crate) use table::{MAX_READ, MAX_READ_BITS};
pub use table::{Table, UnitId};
pub use text::TextLayout;
pub use write_function::WriteFunction;
