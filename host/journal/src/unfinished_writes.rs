//! Finds register writes in the segments that were announced and have no outcome.

use std::collections::VecDeque;

use bessai_domain::event::{EventBody, Sequence};
use bessai_domain::proposal::WriteStep;
use bessai_domain::time::Timestamp;

use crate::disk::Disk;
use crate::last_verdict::for_each_event;
use crate::segment::Segment;

/// Bytes of the newest segments that are searched at least, if there are as many: minutes of events. A write takes seconds, and
/// each start records the outcomes that the previous run has left out.
const SEARCHED_BYTES: u64 = 8 << 20;

/// Bytes of the newest segments in which set-points are searched that a gateway has left behind: half a second of reading, and
/// a day or more of events.
const SEARCHED_FOR_SET_POINTS: u64 = 64 << 20;

/// Shows the writes in the newest segments, oldest first.
pub(crate) fn for_each_write(
    disk: &dyn Disk,
    segments: &VecDeque<Segment>,
    mut visit: impl FnMut(Timestamp, &WriteStep),
) {
    for segment in newest(segments, SEARCHED_FOR_SET_POINTS) {
        let read = for_each_event(disk, segment, |event| {
            if let EventBody::Write(step) = &event.body {
                visit(event.at, step);
            }
        });
        if let Err(error) = read {
            let path = segment.path.display();
            tracing::error!("failed to read {path}: {error}; set-points that it records may not be released");
        }
    }
}

/// So many bytes of the newest segments at least, if there are as many; oldest first.
fn newest(segments: &VecDeque<Segment>, bytes: u64) -> impl Iterator<Item = &Segment> {
    let mut searched = 0_u64;
    let newest = segments.iter().rev().take_while(|segment| {
        let goes_on = searched < bytes;
        searched = searched.saturating_add(segment.end_offset);
        goes_on
    });
    newest.collect::<Vec<_>>().into_iter().rev()
}

/// The announced writes without outcome in the newest segments, each with the number of its announcement.
pub(crate) fn unfinished_writes(disk: &dyn Disk, segments: &VecDeque<Segment>) -> Vec<(Sequence, WriteStep)> {
    let mut unfinished: Vec<(Sequence, WriteStep)> = Vec::new();
    for segment in newest(segments, SEARCHED_BYTES) {
        let read = for_each_event(disk, segment, |event| match &event.body {
            EventBody::Write(step) if step.announces_register_write() => {
                unfinished.push((event.sequence, WriteStep::clone(step)));
            }
            EventBody::Write(step) => unfinished.retain(|(_, announced)| !step.ends(announced)),
            _ => {}
        });
        if let Err(error) = read {
            let path = segment.path.display();
            tracing::error!(
                "failed to read {path}: {error}; register writes that it announces may stay without outcome"
            );
        }
    }
    unfinished
}
