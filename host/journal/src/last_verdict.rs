//! Finds the last safety verdict in the segments.

use bessai_domain::event::{EventBody, Safety};

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
    let path = segment.path.display();
    let failed = |error| tracing::error!("failed to read {path}: {error}; a trip that it records is not restored");
    let mut reader = SegmentReader::open(disk, segment).map_err(failed).ok()?;
    let mut last = None;
    loop {
        match reader.next(segment) {
            Ok(Ok(recorded)) => {
                if matches!(recorded.event.body, EventBody::Safety(_)) {
                    last = Some(recorded.event);
                }
            }
            Ok(Err(_)) => break,
            Err(error) => {
                failed(error);
                break;
            }
        }
    }
    match &last?.body {
        EventBody::Safety(safety) => Some(safety.clone()),
        _ => None,
    }
}
