//! Read plans: which requests read the points of a source, and where each value is in the responses.
//!
//! Points of one unit and table are packed into as few requests as possible: adjacent points share one, small gaps are
//! bridged, no value is split over two. What a device refuses is learned while it is read ([`Cycle`]): how much it
//! returns at once, which gaps cannot be bridged and which points it does not have.

mod cycle;
mod packing;
mod reading;
mod silence;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

pub use cycle::Cycle;
pub use packing::{Plan, ReadRequest};
pub use reading::PartialReading;
