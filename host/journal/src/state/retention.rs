//! What is kept in memory and in segments, what is deleted, and which feeds lose events thereby.

use std::path::{Path, PathBuf};

use bessai_domain::event::Sequence;

use super::{JournalState, NextWrite, memory_bytes};
use crate::cursors::{FeedCursor, feed_of};
use crate::segment::Segment;

/// Memory for events that are written: feeds that keep up read from it.
const WRITTEN_BYTES: usize = 4 << 20;
/// Memory for events that cannot be written: a day of one device that is read every 5 s and has 30 channels.
const UNWRITTEN_BYTES: usize = 16 << 20;
/// `max_age` is spread over at least this many segments, so that old events are deleted in time at a low rate too.
const MIN_SEGMENTS_PER_AGE: u32 = 8;

/// Reason of a loss: the journal reached its `max_bytes`, or the disk is full.
const FULL: &str = "the journal was full";
/// Reason of a loss: the events reached the journal's `max_age`.
const AGED: &str = "the journal keeps no events older than its max_age";
/// Reason of a loss: a segment could not be read to its end.
const DAMAGED: &str = "a journal file is damaged";

impl JournalState {
    /// Drops the oldest events from memory: beyond one limit those that are written, beyond another also the others.
    pub(crate) fn trim_memory(&mut self) {
        while let Some(recorded) = self.recent.front() {
            let event = &recorded.event;
            let is_written = event.sequence < self.written;
            let is_in_segment =
                is_written && self.segments.front().is_some_and(|oldest| oldest.first <= event.sequence);
            let limit = if is_written { WRITTEN_BYTES } else { UNWRITTEN_BYTES };
            if self.recent_bytes <= limit || self.recent.len() == 1 {
                return;
            }
            let (sequence, bytes) = (event.sequence, memory_bytes(event));
            self.recent_bytes -= bytes;
            self.recent.pop_front();
            self.written = self.written.max(sequence.next());
            if !is_in_segment {
                self.record_loss(sequence, sequence.next(), FULL);
            }
        }
    }

    /// Counts events that exist nowhere any more as lost for the feeds that have not read them.
    fn record_loss(&mut self, first: Sequence, end: Sequence, reason: &'static str) {
        let mut most = 0;
        for (key, cursor) in &mut self.cursors {
            let feed = feed_of(key);
            // A backlog that nobody reads yet belongs to a feed that has a reader.
            let read = self.active_feeds.get(key).map_or(cursor.delivered, |active| active.read);
            let end = cursor.end.map_or(end, |last| last.min(end));
            let Some(active) = self.active_feeds.get_mut(feed) else { continue };
            let lost = end.0.saturating_sub(first.0.max(read.0.saturating_add(1)));
            if lost > 0 {
                if cursor.lost == cursor.reported {
                    tracing::error!(
                        %feed,
                        "feed {feed} lost undelivered events: {reason}; its next gap event reports how many"
                    );
                }
                active.loss_reason = reason;
                cursor.lost += lost;
                self.changed_cursors.insert(key.clone());
                most = most.max(lost);
            }
        }
        self.losses.events += most;
    }

    /// Takes over the new extent of the segment that was written.
    pub(crate) fn record_written(&mut self, segment: Segment) {
        self.written = segment.end;
        if segment.newest_occurred().since(segment.oldest_occurred()) > self.max_age / MIN_SEGMENTS_PER_AGE {
            self.next_write.begin_segment();
        }
        match self.segments.back_mut() {
            Some(last) if last.path == segment.path => *last = segment,
            _ => self.segments.push_back(segment),
        }
        self.trim_memory();
    }

    /// Returns to what is known to be on disk, as far as memory reaches, so that later events are written again. Returns
    /// the files to be deleted, which hold only such events.
    pub(crate) fn rewind_to_synced(&mut self) -> Vec<PathBuf> {
        let from = self.synced.max(self.first_in_memory()).min(self.written);
        self.next_write = NextWrite::NewSegment;
        (self.written, self.unsynced.end) = (from, from);
        self.unsynced.files.clear();
        let mut obsolete = Vec::new();
        while let Some(segment) = self.segments.pop_back_if(|segment| segment.first >= from) {
            obsolete.push(segment.path);
        }
        if let Some(last) = self.segments.back_mut() {
            last.end_before(from);
        }
        obsolete
    }

    /// Removes the segments beyond `max_bytes` and `max_age` from the journal; returns their files, to be deleted.
    pub(crate) fn trim_segments(&mut self) -> Vec<PathBuf> {
        let mut bytes: u64 = self.segments.iter().map(Segment::bytes).sum();
        let mut removed = Vec::new();
        // The last segment is being written.
        while self.segments.len() > 1 {
            let Some(oldest) = self.segments.front() else { break };
            let is_aged = self.newest_occurred.since(oldest.newest_occurred()) > self.max_age;
            let is_full = bytes > self.max_bytes;
            if !is_full && !is_aged {
                break;
            }
            bytes -= oldest.bytes();
            removed.extend(self.remove_oldest(if is_full { FULL } else { AGED }));
        }
        removed
    }

    /// Frees space on a full disk: removes the oldest segment if every feed has delivered it or memory runs out; returns
    /// its file, to be deleted.
    pub(crate) fn free_space(&mut self) -> Option<PathBuf> {
        let is_read = |key: &str, cursor: &FeedCursor| {
            self.active_feeds.contains_key(feed_of(key)) && (cursor.end.is_none() || cursor.is_open_backlog())
        };
        let active = self.cursors.iter().filter(|(key, cursor)| is_read(key, cursor));
        let slowest = active.map(|(_, cursor)| cursor.delivered).min().unwrap_or(self.next);
        let oldest = self.segments.front()?;
        let is_delivered = oldest.end <= slowest.next();
        (self.segments.len() > 1 && (is_delivered || self.recent_bytes > UNWRITTEN_BYTES / 2))
            .then(|| self.remove_oldest(FULL))
            .flatten()
    }

    fn remove_oldest(&mut self, reason: &'static str) -> Option<PathBuf> {
        let oldest = self.segments.pop_front()?;
        // Events that are still in memory can be read there.
        let in_memory = self.recent.front().map_or(oldest.end, |recorded| recorded.event.sequence);
        self.record_loss(oldest.first, oldest.end.min(in_memory), reason);
        self.drop_stale_cursors();
        Some(oldest.path)
    }

    /// A removed feed whose next event no longer exists starts like a new one when it returns.
    fn drop_stale_cursors(&mut self) {
        let oldest = self.oldest();
        let active = &self.active_feeds;
        let is_read = |key: &str, cursor: &FeedCursor| {
            active.contains_key(key) || (active.contains_key(feed_of(key)) && cursor.is_open_backlog())
        };
        self.cursors.retain(|key, cursor| is_read(key, cursor) || cursor.delivered.next() >= oldest);
    }

    /// Ends a segment at `valid_end`, because its later events cannot be read.
    pub(crate) fn record_damage(&mut self, path: &Path, valid_end: Sequence) {
        let is_it = |segment: &&mut Segment| segment.path == path && segment.end > valid_end;
        let Some(segment) = self.segments.iter_mut().find(is_it) else { return };
        let (lost, end) = (segment.end.0 - valid_end.0, segment.end);
        segment.end = valid_end;
        self.losses.damaged_events += lost;
        tracing::error!(
            lost,
            "{} is damaged after event {}; skipping {lost} events up to {}",
            path.display(),
            valid_end.0.saturating_sub(1),
            end.0.saturating_sub(1)
        );
        self.next_write.begin_segment();
        self.record_loss(valid_end, end, DAMAGED);
    }
}
