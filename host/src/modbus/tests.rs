//! The room against the simulator, in virtual time: streams in memory, so that an hour takes a moment.

mod bench;
mod hour;
mod nonsense;
mod pacing;
mod reading;
mod sharing;
mod time;
mod writing;
