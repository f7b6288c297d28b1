//! The ordered, durable list of events that every feed reads at its own pace.
//!
//! An appended event is in memory at once. The writer thread hands it to the operating system, immediately if the last
//! write is more than 5 ms ago, otherwise within 5 ms. The syncer thread brings it to disk within the sync interval.
//! Numbers rise by one and are never used twice; where they jump, or where events were deleted before a feed had read
//! them, the feed gets a gap event. A feed's cursor and its plugin's state are stored under the feed's name and stay there
//! when the feed is removed.
//!
//! Events that are lost when the gateway ends without a shutdown, while the disk works:
//!
//! | `sync` | a kill | a power loss |
//! |---|---|---|
//! | an interval | those of the last 5 ms | those of the last interval and of the time that a sync takes |
//! | every event | only some that no feed has seen | only some that no feed has seen |
//! | memory | all | all |
//!
//! Events that were delivered since the cursors were saved are delivered again. Cursors are saved with the same interval;
//! with every event it is 1 s, in memory they are saved when a feed is added, when a plugin saves its state at sign-in and
//! at a shutdown. While the disk fails, events and cursors stay in memory and are lost with the process.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::float_cmp,
        clippy::panic,
        clippy::expect_used,
        clippy::disallowed_methods
    )
)]

mod bytes;
mod cursors;
mod disk;
mod error;
mod forget;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod inspect;
mod journal;
mod last_verdict;
mod lock;
mod numbering;
mod reader;
mod record;
mod recovery;
mod reservation;
mod reserve;
mod segment;
mod segment_reader;
mod state;
mod steps;
mod store;
mod syncer;
mod timeline;
mod unfinished_writes;
mod values;
mod writer;

pub use error::OpenError;
pub use forget::{ForgetError, forget};
pub use journal::{Journal, JournalHealth, JournalSettings, Lag};
pub use lock::is_in_use;
pub use reader::{JournalCursor, JournalReader};
pub use steps::JournalSteps;
