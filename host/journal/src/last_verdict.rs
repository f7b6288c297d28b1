//! Finds the last safety verdict in the segments.

use std::io;
use std::sync::Arc;

use bessai_domain::event::{Event, EventBody, Safety};

use crate::disk::Disk;
use crate::segment::Segment;
use crate::segment_reader::SegmentReader;

/// Bytes of segments after which the search ends, newest first: half a second of reading. The verdict is repeated every 5 s,
/// so that the newest segment nearly always has one; those of starts that ended at once are small.
const SEARCHED_BYTES: u64 = 64 << 20;

/// The last verdict in the newest segments; none if they hold none or cannot be read.
pub(crate) fn last_verdict<'a>(
    disk: &dyn Disk,
    segments: impl DoubleEndedIterator<Item = &'a Segment>,
) -> Option<Safety> {
    let mut searched = 0_u64;
    let mut newest = segments.rev().take_while(|segment| {
        let goes_on = searched < SEARCHED_BYTES;
        searched = searched.saturating_add(segment.end_offset);
        goes_on
    });
    newest.find_map(|segment| last_of(disk, segment))
}

fn last_of(disk: &dyn Disk, segment: &Segment) -> Option<Safety> {
    let mut last = None;
    let read = for_each_event(disk, segment, |event| {
        if matches!(event.body, EventBody::Safety(_)) {
            last = Some(Arc::clone(event));
        }
    });
    if let Err(error) = read {
        let path = segment.path.display();
        tracing::error!("failed to read {path}: {error}; a trip that it records is not restored");
    }
    match &last?.body {
        EventBody::Safety(safety) => Some(safety.clone()),
        _ => None,
    }
}

/// Reads the events of a segment up to where it is damaged.
pub(crate) fn for_each_event(disk: &dyn Disk, segment: &Segment, mut visit: impl FnMut(&Arc<Event>)) -> io::Result<()> {
    let mut reader = SegmentReader::open(disk, segment)?;
    while let Ok(recorded) = reader.next(segment)? {
        visit(&recorded.event);
    }
    Ok(())
}
