//! The number of the first event after a start: above all that earlier runs may have used.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::path::Path;

use bessai_domain::event::Sequence;
use bessai_domain::time::Timestamp;

use crate::disk::Disk;
use crate::reservation::{RESERVED_NUMBERS, Reservation};
use crate::segment::Segment;

/// A lost reservation reached at most so many blocks further than what is left of the events: one for the run that used it,
/// and one for each of the runs before that were killed before an event of theirs was on disk.
const LOST_RESERVATIONS: u64 = 4;
/// No clock that was set shows an earlier time, in seconds since 1970: 2025-01-01.
const EARLIEST_SECONDS: u64 = 1_735_689_600;

/// The first number above all that were used: known exactly after a clean shutdown, else the end of the reservation.
pub(crate) fn first_number(
    disk: &dyn Disk,
    folder: &Path,
    last: Option<&Segment>,
    after_cursors: Sequence,
    reservation: Option<Reservation>,
) -> Sequence {
    let after_last = last.map_or(Sequence(1), |segment| segment.end).max(after_cursors);
    if let Some(reservation) = reservation {
        // Numbers after the reservation were used because no more could be reserved, and not all of them may have left a trace.
        let beyond = Reservation::ahead_of(after_last).end;
        return if after_last > reservation.end { beyond } else { reservation.end };
    }
    // Files that cannot be read are named after their first event.
    let files = disk.list(folder).unwrap_or_default();
    let named = files.iter().filter_map(|path| path.file_stem()?.to_str()?.parse().ok()).max().unwrap_or_default();
    let known = after_last.max(Sequence(named));
    if known <= Sequence(1) {
        return Sequence(1);
    }
    let next = Sequence(known.0.saturating_add(LOST_RESERVATIONS.saturating_mul(RESERVED_NUMBERS)));
    tracing::warn!(
        "the number reservation in {} is missing or damaged; numbering continues at {}",
        folder.display(),
        next.0
    );
    next
}

/// A number for where none can be reserved: as if 2²⁰ events had happened in every second until `now`, so that it is above
/// those of earlier runs as long as the clock is right. A clock that starts with the same time after every boot must not give
/// the same numbers: those within a second, and below the present while the clock was not set, are random.
pub(crate) fn number_from_clock(now: Timestamp) -> Sequence {
    let random = RandomState::new().hash_one(now.nanos());
    let of_second = |seconds: u64| seconds.saturating_mul(RESERVED_NUMBERS);
    if now.is_plausible() {
        Sequence(of_second(now.seconds()) + random % RESERVED_NUMBERS)
    } else {
        Sequence(1 + random % of_second(EARLIEST_SECONDS))
    }
}
