//! Polls the simulator through streams in memory, in virtual time, so that an hour takes a moment.

mod field;
mod fixture;
mod hour;
mod intermittent;
mod late;
mod learning;
mod losses;
mod malformed;
mod outage;
mod pacing;
mod reading;
mod relay;
mod sharing;
mod time;
mod values;
mod writing;
