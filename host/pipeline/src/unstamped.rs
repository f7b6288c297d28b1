//! Events that wait while the wall clock was never set.

use std::collections::VecDeque;

use bessai_domain::event::EventBody;
use bessai_domain::time::{Moment, MonotonicTime};

use crate::Pipeline;

/// Values that are kept while the wall clock was never set; with their events some 10 MB.
const UNSTAMPED_VALUES: usize = 1 << 20;
/// Events that are kept while the wall clock was never set.
pub(crate) const UNSTAMPED_EVENTS: usize = 1 << 14;

/// Events that wait until the wall clock is set: a time that was never right would be wrong for ever.
#[derive(Default)]
pub(crate) struct UnstampedEvents {
    events: VecDeque<(MonotonicTime, EventBody)>,
    values: usize,
    dropped: u64,
}

impl Pipeline {
    /// Appends an event, after those that waited for the clock; or lets it wait, too.
    pub(crate) fn append(&mut self, at: Moment, body: EventBody) {
        if !at.wall.is_plausible() {
            self.unstamped.push(at.monotonic, body);
            return;
        }
        if !self.unstamped.events.is_empty() {
            for (monotonic, body) in self.unstamped.take() {
                let wall = at.wall.minus(at.monotonic.since(monotonic));
                (self.sinks.append)(Moment { monotonic, wall }, body);
            }
        }
        (self.sinks.append)(at, body);
    }
}

impl UnstampedEvents {
    fn push(&mut self, at: MonotonicTime, body: EventBody) {
        if self.events.is_empty() {
            tracing::error!(
                "the system clock shows a time before 2025; readings are kept, nothing is published until it is set"
            );
        }
        self.values += body.value_count();
        self.events.push_back((at, body));
        while self.values > UNSTAMPED_VALUES || self.events.len() > UNSTAMPED_EVENTS {
            // The site's description stays: it comes first, and the readings refer to it.
            let oldest = self.events.iter().position(|(_, body)| !matches!(body, EventBody::Site(_)));
            let Some((_, body)) = oldest.and_then(|oldest| self.events.remove(oldest)) else { break };
            self.values -= body.value_count();
            if self.dropped == 0 {
                tracing::error!("the clock has not been set for so long that the oldest readings are dropped");
            }
            self.dropped += 1;
        }
    }

    /// The clock is set: everything that waited.
    fn take(&mut self) -> VecDeque<(MonotonicTime, EventBody)> {
        let (kept, dropped) = (self.events.len(), self.dropped);
        tracing::info!(kept, dropped, "the system clock is set; publishing {kept} events, {dropped} were dropped");
        std::mem::take(self).events
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        let kept = self.unstamped.events.len();
        if kept > 0 {
            tracing::error!("the system clock was never set: {kept} events have no time and are lost");
        }
    }
}
