//! Opens the journal's folder at a start: locks it, repairs or quarantines what is damaged, and reserves event numbers.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use bessai_domain::event::Sequence;
use bessai_domain::site::Site;
use bessai_domain::time::Moment;

use crate::cursors::{self, CursorFile, CursorFileCondition, FeedCursors};
use crate::disk::{Access, Disk, FolderLock};
use crate::error::OpenError;
use crate::lock;
use crate::numbering::{first_number, number_from_clock};
use crate::reservation::{Reservation, ReservationFile};
use crate::reserve;
use crate::segment::{self, ScannedSegment, Segment, SegmentError};
use crate::state::is_full;
use crate::store::{self, QUARANTINED_EXTENSION};
use crate::timeline::{self, Boot};

/// Quarantined files that are kept; beyond this the oldest are deleted.
const MAX_QUARANTINED_FILES: usize = 8;
/// Tries to read a file.
const MAX_READS: u32 = 3;

/// What the folder holds.
pub(crate) struct OpenedFolder {
    /// Locks the folder; held until nothing more is written to it.
    pub(crate) lock: FolderLock,
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
    /// Files that were quarantined, or cannot be read.
    pub(crate) quarantined_files: u64,
}

/// Opens the folder or creates it. `now`, on the clock of `boot`, is when ages begin to be measured, and numbers the next event
/// if no number can be reserved.
pub(crate) fn open(disk: &dyn Disk, folder: &Path, boot: &Boot, now: Moment) -> Result<OpenedFolder, OpenError> {
    let io = OpenError::io(folder);
    disk.create_folder(folder).map_err(&io)?;
    let lock = lock::acquire(disk, folder)?;
    if disk.is_open_to_others(folder) {
        tracing::warn!(
            "{} can be entered by every user of this machine; run chmod 700 on it, unless they may read the site's events",
            folder.display()
        );
    }
    let mut loaded = cursors::load(disk, folder)?;
    cursors::settle_backlogs(&mut loaded.cursors);
    handle_damage(disk, folder, loaded.condition)?;
    let mut segments = RecoveredSegments::default();
    for path in store::segment_files(disk, folder).map_err(&io)? {
        segments.take(disk, &path)?;
    }
    timeline::place(segments.segments.make_contiguous(), boot, now.monotonic);
    delete_old_quarantined(disk, folder);
    let (mut reservation_file, reservation) = ReservationFile::open(disk, folder).map_err(&io)?;
    // A feed skips events numbered below its cursor.
    let after_cursors = loaded.cursors.values().map(|cursor| cursor.delivered.next()).max().unwrap_or_default();
    let mut next = first_number(disk, folder, segments.segments.back(), after_cursors, reservation);
    // The entry of a new file is on disk too before a number is used.
    let mut reserve = || reservation_file.write(Reservation::ahead_of(next)).and_then(|()| disk.sync_folder(folder));
    let reserved = match reserve() {
        Err(error) if is_full(&error) && reserve::give_up(disk, folder) => reserve(),
        outcome => outcome,
    };
    // Where none are reserved the syncer tries again at once.
    let mut reserved_end = Reservation::ahead_of(next).end;
    if let Err(error) = reserved {
        next = next.max(number_from_clock(now.wall));
        tracing::error!(
            "failed to reserve event numbers in {}: {error}; numbering continues from the clock at {}",
            folder.display(),
            next.0
        );
        reserved_end = next;
    }
    Ok(OpenedFolder {
        lock,
        segments,
        reservation_file,
        reserved_end,
        cursor_file: CursorFile::open(disk, folder, &loaded),
        cursor_file_condition: loaded.condition,
        cursors: loaded.cursors,
        next,
    })
}

fn handle_damage(disk: &dyn Disk, folder: &Path, condition: CursorFileCondition) -> Result<(), OpenError> {
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
            cursors::quarantine(disk, folder).map_err(OpenError::io(folder))?;
            tracing::error!(
                "{} is damaged and was quarantined; every feed starts with the oldest event",
                path.display()
            );
        }
    }
    Ok(())
}

impl RecoveredSegments {
    fn take(&mut self, disk: &dyn Disk, path: &Path) -> Result<(), OpenError> {
        let scanned = match scan(disk, path) {
            Ok(scanned) => scanned,
            Err(SegmentError::NewerFormat(format)) => return Err(OpenError::newer_segment(path, format)),
            Err(SegmentError::Blank) => {
                tracing::warn!("{} has no valid event: {}; deleting the file", path.display(), SegmentError::Blank);
                // It is tried again at the next start.
                let _ = disk.remove(path);
                return Ok(());
            }
            Err(SegmentError::Io(error)) => {
                self.quarantined_files += 1;
                tracing::error!(
                    "failed to read {}: {error}; its events are skipped in this run, the next start tries again",
                    path.display()
                );
                return Ok(());
            }
            Err(error) => {
                self.quarantine(disk, path, &error);
                return Ok(());
            }
        };
        let first = scanned.segment.first;
        if self.segments.back().is_some_and(|last| first <= last.first) {
            self.quarantine(disk, path, &SegmentError::Damaged);
            return Ok(());
        }
        if scanned.is_sealed {
            sync_again(disk, path);
        } else {
            self.repair(disk, &scanned);
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

    fn repair(&mut self, disk: &dyn Disk, scanned: &ScannedSegment) {
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
        if let Err(error) = segment::repair(disk, scanned) {
            tracing::warn!("failed to repair {path}: {error}; it is read up to its last valid event");
        }
    }

    fn quarantine(&mut self, disk: &dyn Disk, path: &Path, error: &SegmentError) {
        self.quarantined_files += 1;
        let target = path.with_extension(QUARANTINED_EXTENSION);
        let renamed = disk.rename(path, &target);
        let path = path.display();
        match renamed {
            Ok(()) => tracing::error!("{path} is unusable: {error}; it was quarantined as {}", target.display()),
            Err(failure) => {
                tracing::error!("{path} is unusable: {error}; ignoring it, since renaming failed: {failure}")
            }
        }
    }
}

/// Brings a sealed file to disk: the last run may have been killed before it did.
fn sync_again(disk: &dyn Disk, path: &Path) {
    if let Err(error) = disk.open(path, Access::Write).and_then(|file| file.sync()) {
        tracing::warn!("failed to sync {}: {error}; a power failure may damage it", path.display());
    }
}

/// Scans a file; a read that fails is tried again, because what cannot be read is skipped.
fn scan(disk: &dyn Disk, path: &Path) -> Result<ScannedSegment, SegmentError> {
    let mut tries = 1;
    loop {
        match segment::scan(disk, path) {
            Err(SegmentError::Io(_)) if tries < MAX_READS => tries += 1,
            outcome => return outcome,
        }
    }
}

fn delete_old_quarantined(disk: &dyn Disk, folder: &Path) {
    let Ok(files) = store::quarantined_files(disk, folder) else { return };
    for path in files.iter().take(files.len().saturating_sub(MAX_QUARANTINED_FILES)) {
        // A file that cannot be deleted only uses disk space.
        let _ = disk.remove(path);
    }
}
