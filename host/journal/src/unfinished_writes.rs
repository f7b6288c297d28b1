//! Finds register writes in the segments that were announced and have no outcome.

use std::collections::VecDeque;

use bessai_domain::event::{EventBody, Sequence};
use bessai_domain::proposal::WriteStep;

use crate::disk::Disk;
use crate::last_verdict::for_each_event;
use crate::segment::Segment;

/// Bytes of the newest segments that are searched at least, if there are as many: minutes of events. A write takes seconds, and
/// each start records the outcomes that the run before has left out.
const SEARCHED_BYTES: u64 = 8 << 20;

/// The announced writes without outcome in the newest segments, each with the number of its announcement.
pub(crate) fn unfinished_writes(disk: &dyn Disk, segments: &VecDeque<Segment>) -> Vec<(Sequence, WriteStep)> {
    let mut searched = 0_u64;
    let newest = segments.iter().rev().take_while(|segment| {
        let goes_on = searched < SEARCHED_BYTES;
        searched = searched.saturating_add(segment.end_offset);
        goes_on
    });
    let mut unfinished: Vec<(Sequence, WriteStep)> = Vec::new();
    for segment in newest.collect::<Vec<_>>().into_iter().rev() {
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
