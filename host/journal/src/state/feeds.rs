//! The feeds' cursors and readers: where a feed starts, what it has read and delivered, and which gaps are reported to it.

use std::collections::VecDeque;
use std::sync::Arc;

use bessai_domain::event::{Event, EventBody, Gap, RecordedEvent, Sequence};
use bessai_domain::journal::StartAt;
use bessai_domain::state::PluginState;
use bessai_domain::time::{MonotonicTime, Timestamp};

use super::{JournalState, open_backlogs};
use crate::Lag;
use crate::cursors::{CursorFileCondition, FeedCursor};

/// Reason of a gap in the numbers without a known loss.
const UNCLEAN_END: &str = "the gateway ended without a shutdown: events that were not on disk are lost";

/// A feed with at least one reader.
#[derive(Default)]
pub(super) struct ActiveFeed {
    readers: usize,
    /// The last event that was handed to the feed.
    pub(super) read: Sequence,
    /// Older events are skipped until the feed has delivered something.
    not_before: Option<Timestamp>,
    /// Gap events that were handed over but not delivered: their numbers, and the feed's losses that they and earlier
    /// ones report.
    pending_gaps: VecDeque<(Sequence, u64)>,
    /// Why the feed lost events last.
    pub(super) loss_reason: &'static str,
}

impl ActiveFeed {
    /// The feed continues after this event, whatever it was handed before.
    pub(super) fn continue_after(&mut self, last: Sequence) {
        self.read = last;
        self.not_before = None;
        self.pending_gaps.clear();
    }
}

impl JournalState {
    /// Where a feed without cursor starts, and from which time on it gets events.
    fn start_position(&self, start: StartAt) -> (Sequence, Option<Timestamp>) {
        let before = |sequence: Sequence| Sequence(sequence.0.saturating_sub(1));
        match start {
            StartAt::Now => (before(self.next), None),
            StartAt::Oldest => (before(self.oldest()), None),
            StartAt::At(at) => {
                let in_segments = self.segments.iter().find(|segment| segment.latest >= at);
                let in_memory = || {
                    let recorded = self.recent.iter().find(|recorded| recorded.event.at >= at);
                    recorded.map(|recorded| recorded.event.sequence)
                };
                let first = in_segments.map(|segment| segment.first).or_else(in_memory).unwrap_or(self.next);
                (before(first), Some(at))
            }
        }
    }

    /// Adds a reader for a feed, which continues at its cursor or gets one.
    pub(crate) fn add_reader(&mut self, feed: &str, start: StartAt) -> (Sequence, Option<Timestamp>, PluginState) {
        // A feed whose cursor may have been lost starts with the oldest event: better deliver twice than never.
        let start = if self.cursor_file == CursorFileCondition::Intact { start } else { StartAt::Oldest };
        let (position, not_before) = self.start_position(start);
        let is_new = !self.cursors.contains_key(feed);
        let new = || FeedCursor { delivered: position, ..FeedCursor::default() };
        let cursor = self.cursors.entry(feed.to_owned()).or_insert_with(new);
        let active = self.active_feeds.entry(feed.to_owned()).or_default();
        active.readers += 1;
        active.read = cursor.delivered;
        // A reader that starts at the cursor gets the undelivered gaps again.
        active.pending_gaps.clear();
        if is_new {
            active.not_before = not_before;
            // Saved at once: without its cursor the feed would start at the newest event after a kill.
            self.saves.request();
        }
        self.changed_cursors.insert(feed.to_owned());
        (cursor.delivered, active.not_before, cursor.state.clone())
    }

    pub(crate) fn remove_reader(&mut self, feed: &str) {
        if let Some(active) = self.active_feeds.get_mut(feed) {
            active.readers -= 1;
            if active.readers == 0 {
                self.active_feeds.remove(feed);
            }
        }
    }

    /// How far a feed is behind.
    pub(crate) fn lag(&self, feed: &str, now: MonotonicTime) -> Lag {
        let Some(cursor) = self.cursors.get(feed) else { return Lag::default() };
        let mut lag = self.lag_of(cursor, now);
        for backlog in open_backlogs(&self.cursors, feed).iter().filter_map(|key| self.cursors.get(key)) {
            lag.add_backlog(self.lag_of(backlog, now));
        }
        lag
    }

    fn lag_of(&self, cursor: &FeedCursor, now: MonotonicTime) -> Lag {
        let end = cursor.end.unwrap_or(self.next);
        let until = self.first_in_memory().min(end);
        let in_segments =
            self.segments.iter().map(|segment| segment.count_between(cursor.delivered, until)).sum::<u64>();
        let before_end = Sequence(end.0.saturating_sub(1)).max(cursor.delivered);
        let in_memory = self.recent_after(before_end) - self.recent_after(cursor.delivered);
        let seconds = self.occurred_after(cursor).map_or(0.0, |occurred| now.since(occurred).as_secs_f64());
        Lag { events: in_segments + in_memory as u64, seconds, lost: cursor.lost, backlog: 0 }
    }

    /// Index of the first event in memory after a number.
    fn recent_after(&self, sequence: Sequence) -> usize {
        self.recent.partition_point(|recorded| recorded.event.sequence <= sequence)
    }

    /// When the oldest event that a feed has not delivered occurred; none if it has delivered all.
    pub(super) fn occurred_after(&self, cursor: &FeedCursor) -> Option<MonotonicTime> {
        let end = cursor.end.unwrap_or(self.next);
        let until = self.first_in_memory().min(end);
        let mut segments = self.segments.iter();
        let in_segment = segments.find(|segment| segment.count_between(cursor.delivered, until) > 0);
        let in_memory = || {
            let first = self.recent.get(self.recent_after(cursor.delivered));
            first.filter(|recorded| recorded.event.sequence < end).map(|recorded| recorded.occurred)
        };
        in_segment.map(|segment| segment.occurred_after(cursor)).or_else(in_memory)
    }

    /// Records that a feed was handed the events up to `last`.
    pub(crate) fn record_read(&mut self, feed: &str, last: Sequence) {
        if let Some(active) = self.active_feeds.get_mut(feed) {
            active.read = last;
        }
    }

    /// The gap event that a feed gets in front of `event` if numbers are missing after `read`. Its number is the one
    /// before `event`.
    pub(crate) fn gap(&mut self, feed: &str, read: Sequence, next: &RecordedEvent) -> Option<RecordedEvent> {
        let event = &next.event;
        if event.sequence <= read.next() {
            return None;
        }
        let sequence = Sequence(event.sequence.0.saturating_sub(1));
        let (cursor, active) = (self.cursors.get(feed)?, self.active_feeds.get_mut(feed)?);
        let reported = active.pending_gaps.back().map_or(cursor.reported, |(_, reported)| *reported);
        let gap = match cursor.lost.saturating_sub(reported) {
            0 => Gap { lost: None, reason: UNCLEAN_END.into() },
            lost => {
                active.pending_gaps.push_back((sequence, cursor.lost));
                Gap { lost: Some(lost), reason: active.loss_reason.into() }
            }
        };
        let event = Arc::new(Event { sequence, at: event.at, body: EventBody::Gap(gap) });
        Some(RecordedEvent { event, occurred: next.occurred })
    }

    /// Moves a feed's cursor: everything up to `sequence` is delivered.
    pub(crate) fn advance_cursor(&mut self, feed: &str, sequence: Sequence, at: Timestamp, state: &PluginState) {
        let Some(cursor) = self.cursors.get_mut(feed) else { return };
        (cursor.delivered, cursor.at, cursor.state) = (sequence, at, state.clone());
        if let Some(active) = self.active_feeds.get_mut(feed) {
            active.not_before = None;
            while let Some((_, reported)) = active.pending_gaps.pop_front_if(|(gap, _)| *gap <= sequence) {
                cursor.reported = reported;
            }
        }
        self.changed_cursors.insert(feed.to_owned());
    }

    /// Replaces the state of a feed's plugin and requests that it is saved now; returns the request's number.
    pub(crate) fn replace_state(&mut self, feed: &str, state: &PluginState) -> u64 {
        if let Some(cursor) = self.cursors.get_mut(feed) {
            cursor.state = state.clone();
        }
        self.changed_cursors.insert(feed.to_owned());
        self.saves.request()
    }
}
