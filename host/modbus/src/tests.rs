//! Polls the simulator through streams in memory, in virtual time, so that an hour takes a moment.

mod field;
mod fixture;
mod hour;
mod late;
mod learning;
mod malformed;
mod outage;
mod pacing;
mod reading;
mod relay;
mod sharing;
mod time;
mod values;
mod writing;
