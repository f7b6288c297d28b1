//! Times of both clocks and durations, as numbers and text; callers pass in the current time.

mod duration;
mod monotonic;
mod timestamp;
mod utc;

pub(crate) use duration::duration_text;
pub use duration::parse_duration;
pub use monotonic::{Clock, Moment, MonotonicTime};
pub use timestamp::Timestamp;
pub use utc::parse_utc;
