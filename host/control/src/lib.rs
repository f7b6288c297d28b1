//! The control room: set-points that feeds, models and the operator propose, as writes to devices and back to their safe values.
//!
//! A state machine without I/O and without a clock. [`ControlRoom::handle`] takes an [`Input`] at a monotonic time and returns
//! [`Output`]s: register writes, one per device at a time, and outcomes of proposals. Equal inputs give equal outputs, as long
//! as safety gives equal answers. Rights are checked before a proposal gets here, and the caller that
//! performs the outputs sends the writes and reads them back.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::float_cmp, clippy::panic, clippy::expect_used)
)]

mod actuator;
mod budget;
mod device;
mod holder;
mod interface;
mod job;
mod leases;
mod limits;
mod proposals;
mod reserved;
mod room;
mod settings;
mod target;
#[cfg(test)]
mod tests;
mod watchdog;

pub use holder::Holder;
pub use interface::{
    Input, LimitStatus, Memory, NewProposal, OrderId, Output, ProposalId, Purpose, SafetyCheck, TargetStatus,
    WriteOrder,
};
pub use limits::{CHARGE_LIMIT, DISCHARGE_LIMIT, SET_POINT};
pub use reserved::reserved_by_profile;
pub use room::ControlRoom;
pub use settings::{Contact, ControlSettings, ControlledDevice};
