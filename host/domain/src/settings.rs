//! Reads settings and collects all mistakes in them, so that they are reported at once.

mod mistake;
mod names;
mod table;

pub(crate) use mistake::shortened;
pub use mistake::{Mistake, Mistakes};
pub use names::{most_similar, unknown_name_hint};
pub use table::SettingsTable;
