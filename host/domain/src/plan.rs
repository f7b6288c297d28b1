//! Read plans: which requests read the points of a source, and where each value is in the responses.
//!
//! Points of one unit and table are packed into as few requests as possible: adjacent points share one, small gaps are
//! bridged, no value is split over two, and values stay with their scale factors. What a device gives no values for is
//! learned while it is read ([`Cycle`]): how much it returns at once, which gaps cannot be bridged and which points it does
//! not have, or does not answer.

mod cycle;
mod factors;
mod latest;
mod learned;
mod packing;
mod reading;
mod search;
mod suspects;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

pub use cycle::Cycle;
pub use learned::BlockFault;
pub use packing::{Plan, ReadRequest};
pub use reading::PartialReading;
