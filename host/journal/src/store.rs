//! The journal's folder while the gateway runs: which segment file is being written and when the next one begins.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bessai_domain::event::{EventBody, RecordedEvent};
use bessai_domain::site::Site;

use crate::disk::{Disk, OpenFile};
use crate::segment::{EXTENSION, Segment, SegmentWriter};
use crate::timeline::Boot;

/// A segment is sealed when its events have this size: damage costs at most that much, and that much is deleted at once.
const MAX_SEGMENT_BYTES: u64 = 8 << 20;
/// Even a small journal has at least this many segments, so that it is trimmed in small steps.
const MIN_SEGMENTS: u64 = 8;
/// Extension of quarantined segment files.
pub(crate) const QUARANTINED_EXTENSION: &str = "damaged";

/// Appends events to the folder's segments.
pub(crate) struct Store {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    boot: Boot,
    current: Option<SegmentWriter>,
    segment_bytes: u64,
}

/// What one append changed.
pub(crate) struct AppendedSegment {
    /// The segment that was written, as it is now.
    pub(crate) segment: Segment,
    /// Files to be synced.
    pub(crate) files: Vec<OpenFile>,
    /// The file was created: the folder is to be synced too.
    pub(crate) is_new: bool,
}

impl Store {
    /// Continues a folder with a new segment.
    pub(crate) fn new(disk: Arc<dyn Disk>, folder: &Path, max_bytes: u64, boot: Boot) -> Self {
        let segment_bytes = MAX_SEGMENT_BYTES.min(max_bytes / MIN_SEGMENTS);
        Self { disk, folder: folder.to_owned(), boot, current: None, segment_bytes }
    }

    /// Deletes a file of the folder.
    pub(crate) fn delete(&self, path: &Path) -> io::Result<()> {
        match self.disk.remove(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            outcome => outcome,
        }
    }

    /// Brings the folder's entries to disk.
    pub(crate) fn sync_folder(&self) -> io::Result<()> {
        self.disk.sync_folder(&self.folder)
    }

    /// Appends events with consecutive numbers, of which only the first may be a site description; `site` is the one in
    /// force before them. After an error the same events may be appended again.
    pub(crate) fn append(
        &mut self,
        events: &[RecordedEvent],
        site: Option<&Arc<Site>>,
    ) -> io::Result<Option<AppendedSegment>> {
        let (Some(first), Some(last)) = (events.first(), events.last()) else { return Ok(None) };
        let mut files = Vec::new();
        let is_description = matches!(first.event.body, EventBody::Site(_));
        let continues = |writer: &SegmentWriter| writer.segment().end == first.event.sequence;
        // The header does not count: otherwise each write would begin a segment if the site's description alone is as large.
        let event_bytes = |segment: &Segment| segment.end_offset - segment.start_offset;
        let has_room = |writer: &SegmentWriter| {
            let segment = writer.segment();
            event_bytes(segment) < self.segment_bytes.max(segment.start_offset)
        };
        if !self.current.as_ref().is_some_and(|writer| continues(writer) && has_room(writer) && !is_description) {
            files.extend(self.seal());
        }
        let is_new = self.current.is_none();
        let writer = match &mut self.current {
            Some(writer) => writer,
            None => {
                let created = SegmentWriter::create(&*self.disk, &self.folder, first, site, &self.boot)?;
                self.current.insert(created)
            }
        };
        if let Err(error) = writer.append(events) {
            // Its earlier events need no further sync: their file was handed out when they were appended.
            drop(self.seal());
            return Err(error);
        }
        debug_assert_eq!(writer.segment().end, last.event.sequence.next());
        files.push(Arc::clone(writer.file()));
        let segment = writer.segment().clone();
        Ok(Some(AppendedSegment { segment, files, is_new }))
    }

    /// Leaves the current segment as it is.
    pub(crate) fn abandon(&mut self) {
        self.current = None;
    }

    /// Ends the current segment, so that the next event begins a new one; returns its file, to be synced.
    pub(crate) fn seal(&mut self) -> Option<OpenFile> {
        let writer = self.current.take()?;
        let (file, path) = (Arc::clone(writer.file()), writer.segment().path.clone());
        if let Err(error) = writer.seal(&*self.disk) {
            tracing::debug!(
                "failed to write the footer of {}: {error}; the next start reads the file through",
                path.display()
            );
        }
        Some(file)
    }
}

/// Segment files, oldest first.
pub(crate) fn segment_files(disk: &dyn Disk, folder: &Path) -> io::Result<Vec<PathBuf>> {
    files_with(disk, folder, EXTENSION)
}

/// Quarantined segment files, in the order of their first events.
pub(crate) fn quarantined_files(disk: &dyn Disk, folder: &Path) -> io::Result<Vec<PathBuf>> {
    files_with(disk, folder, QUARANTINED_EXTENSION)
}

fn files_with(disk: &dyn Disk, folder: &Path, extension: &str) -> io::Result<Vec<PathBuf>> {
    let mut paths = disk.list(folder)?;
    paths.retain(|path| path.extension().is_some_and(|found| found == extension));
    paths.sort();
    Ok(paths)
}
