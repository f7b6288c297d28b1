//! Opens the journal's folder at a start: locks it, repairs or quarantines what is damaged, and reserves event numbers.

#![allow(clippy::disallowed_methods, reason = "it runs once, at the start")]

use std::collections::VecDeque;
use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use bessai_domain::event::Sequence;
use bessai_domain::site::Site;
use bessai_domain::time::Timestamp;
use rustix::fs::{FlockOperation, flock};

use crate::cursors::{self, CursorFile, CursorFileCondition, FeedCursors};
use crate::error::OpenError;
use crate::reservation::{RESERVED_NUMBERS, Reservation, ReservationFile};
use crate::segment::{self, ScannedSegment, Segment, SegmentError};
use crate::store::{self, QUARANTINED_EXTENSION};

/// Quarantined files that are kept; beyond this the oldest are deleted.
const MAX_QUARANTINED_FILES: usize = 8;
/// Name of the file that is locked while a gateway uses the folder.
const LOCK_NAME: &str = "lock";

/// What the folder holds.
pub(crate) struct OpenedFolder {
    /// Locks the folder; held until nothing more is written to it.
    pub(crate) lock: File,
    /// The folder itself, to be synced when files are created.
    pub(crate) folder: File,
    pub(crate) segments: RecoveredSegments,
    pub(crate) reservation_file: ReservationFile,
    /// The first number that is not reserved.
    pub(crate) reserved_end: Sequence,
    pub(crate) cursor_file: CursorFile,
    pub(crate) cursor_file_condition: CursorFileCondition,
    pub(crate) cursors: FeedCursors,
    /// The number of the next event.
    pub(crate) next: Sequence,
}

/// The segments of the folder.
#[derive(Default)]
pub(crate) struct RecoveredSegments {
    /// Oldest first, none of them empty.
    pub(crate) segments: VecDeque<Segment>,
    /// The site description in force at the end.
    pub(crate) site: Option<Arc<Site>>,
    /// Bytes that were truncated from the ends of files.
    pub(crate) truncated_bytes: u64,
    /// Files that were quarantined.
    pub(crate) quarantined_files: u64,
}

/// Opens the folder or creates it. `now` numbers the next event if no number can be reserved.
pub(crate) fn open(folder: &Path, now: Timestamp) -> Result<OpenedFolder, OpenError> {
    let io = OpenError::io(folder);
    fs::create_dir_all(folder).map_err(&io)?;
    let lock = File::create(folder.join(LOCK_NAME)).map_err(&io)?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Err(OpenError::InUse(folder.to_owned()));
    }
    let loaded = cursors::load(folder)?;
    handle_damage(folder, loaded.condition)?;
    let mut segments = RecoveredSegments::default();
    for path in store::segment_files(folder).map_err(&io)? {
        segments.take(&path)?;
    }
    delete_old_quarantined(folder);
    let (mut reservation_file, reservation) = ReservationFile::open(folder).map_err(&io)?;
    // A feed skips events numbered below its cursor.
    let after_cursors = loaded.cursors.values().map(|cursor| cursor.delivered.next()).max().unwrap_or_default();
    let mut next = first_number(folder, &segments.segments, reservation).max(after_cursors);
    if let Err(error) = reservation_file.write(Reservation::ahead_of(next)) {
        tracing::error!(
            "failed to reserve event numbers in {}: {error}; numbering continues from the clock",
            folder.display()
        );
        next = next.max(number_from_clock(now));
    }
    Ok(OpenedFolder {
        lock,
        folder: File::open(folder).map_err(&io)?,
        segments,
        reservation_file,
        reserved_end: Reservation::ahead_of(next).end,
        cursor_file: CursorFile::open(folder, &loaded),
        cursor_file_condition: loaded.condition,
        cursors: loaded.cursors,
        next,
    })
}

/// A number above those of earlier runs as long as the clock is right: as if 2²⁰ events had happened in every second.
pub(crate) fn number_from_clock(now: Timestamp) -> Sequence {
    Sequence(now.seconds().saturating_mul(RESERVED_NUMBERS))
}

fn handle_damage(folder: &Path, condition: CursorFileCondition) -> Result<(), OpenError> {
    let path = folder.join(cursors::FILE_NAME);
    match condition {
        CursorFileCondition::Intact => {}
        CursorFileCondition::InvalidEnd(bytes) => tracing::warn!(
            bytes,
            "{} ends with {bytes} invalid bytes; keeping the cursors before them, a feed without one starts with the \
             oldest event",
            path.display()
        ),
        CursorFileCondition::Damaged => {
            cursors::quarantine(folder).map_err(OpenError::io(folder))?;
            tracing::error!(
                "{} is damaged and was quarantined; every feed starts with the oldest event",
                path.display()
            );
        }
    }
    Ok(())
}

/// The first number above all that were used: known exactly after a clean shutdown, else the end of the reservation.
fn first_number(folder: &Path, segments: &VecDeque<Segment>, reservation: Option<Reservation>) -> Sequence {
    let after_last = segments.back().map_or(Sequence(1), |segment| segment.end);
    match reservation {
        Some(reservation) => after_last.max(reservation.end),
        // The lost reservation reached at most this far.
        None if !segments.is_empty() => {
            let next = Reservation::ahead_of(after_last).end;
            tracing::warn!(
                "the number reservation in {} is missing or damaged; numbering continues at {}",
                folder.display(),
                next.0
            );
            next
        }
        None => after_last,
    }
}

impl RecoveredSegments {
    fn take(&mut self, path: &Path) -> Result<(), OpenError> {
        let scanned = match segment::scan(path) {
            Ok(scanned) => scanned,
            Err(SegmentError::NewerFormat(format)) => return Err(OpenError::newer_segment(path, format)),
            Err(error) => {
                self.quarantine(path, &error);
                return Ok(());
            }
        };
        let first = scanned.segment.first;
        if self.segments.back().is_some_and(|last| first <= last.first) {
            self.quarantine(path, &SegmentError::Damaged);
            return Ok(());
        }
        if !scanned.is_sealed {
            self.repair(&scanned);
        }
        if !scanned.segment.is_empty() {
            if let Some(last) = self.segments.back_mut() {
                last.end_before(first);
            }
            self.segments.push_back(scanned.segment);
        }
        self.site = scanned.site.or(self.site.take());
        Ok(())
    }

    fn repair(&mut self, scanned: &ScannedSegment) {
        let (path, bytes) = (scanned.segment.path.display(), scanned.invalid_bytes);
        if bytes > 0 {
            self.truncated_bytes += bytes;
            if scanned.segment.is_empty() {
                tracing::warn!(bytes, "{path} has no valid event in {bytes} bytes; deleting the file");
            } else {
                let last = scanned.segment.end.0.saturating_sub(1);
                tracing::warn!(
                    bytes,
                    "{path} ends with {bytes} invalid bytes; truncating it after its last valid event, {last}"
                );
            }
        }
        if let Err(error) = segment::repair(scanned) {
            tracing::warn!("failed to repair {path}: {error}; it is read up to its last valid event");
        }
    }

    fn quarantine(&mut self, path: &Path, error: &SegmentError) {
        self.quarantined_files += 1;
        let target = path.with_extension(QUARANTINED_EXTENSION);
        let renamed = fs::rename(path, &target);
        let path = path.display();
        match renamed {
            Ok(()) => tracing::error!("{path} is unusable: {error}; it was quarantined as {}", target.display()),
            Err(failure) => {
                tracing::error!("{path} is unusable: {error}; ignoring it, since renaming failed: {failure}")
            }
        }
    }
}

fn delete_old_quarantined(folder: &Path) {
    let Ok(files) = store::quarantined_files(folder) else { return };
    for path in files.iter().take(files.len().saturating_sub(MAX_QUARANTINED_FILES)) {
        // A file that cannot be deleted only uses disk space.
        let _ = fs::remove_file(path);
    }
}
