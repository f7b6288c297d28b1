//! Backlogs: events that a feed left behind when it continued with the newest ones. Each has a cursor of its own, in the same
//! file as the feed's.

use std::time::Duration;

use bessai_domain::event::Sequence;
use bessai_domain::state::PluginState;
use bessai_domain::time::MonotonicTime;

use super::JournalState;
use crate::cursors::{FeedCursor, FeedCursors, backlog_key, feed_of};

/// Backlogs that a feed may have; with more outages than that it stays with its oldest events.
const MAX_BACKLOGS: usize = 16;

impl JournalState {
    /// Leaves what a feed has not delivered to a backlog, if its oldest event is older than `age`. True if it did.
    pub(crate) fn leave_backlog(&mut self, feed: &str, age: Duration, now: MonotonicTime) -> bool {
        // Not what waits for a sync: a backlog ends before an event that a feed may see.
        let end = self.visible_end();
        let Some(cursor) = self.cursors.get(feed).filter(|cursor| cursor.delivered.next() < end) else { return false };
        let is_old = self.occurred_after(cursor).is_some_and(|occurred| now.since(occurred) > age);
        if !is_old || !self.extend_backlogs(feed, cursor.clone(), end) {
            return false;
        }
        let last = Sequence(end.0.saturating_sub(1));
        let newest = self.recent.iter().rev().find(|recorded| recorded.event.sequence == last);
        let at = newest.map(|recorded| recorded.event.at);
        if let Some(cursor) = self.cursors.get_mut(feed) {
            cursor.delivered = last;
            cursor.at = at.unwrap_or(cursor.at);
        }
        if let Some(active) = self.active_feeds.get_mut(feed) {
            active.continue_after(last);
        }
        self.changed_cursors.insert(feed.to_owned());
        self.saves.request();
        true
    }

    /// Adds the events from the cursor to `end` to the newest backlog if they follow it, else as another one.
    fn extend_backlogs(&mut self, feed: &str, cursor: FeedCursor, end: Sequence) -> bool {
        let open = open_backlogs(&self.cursors, feed);
        let following = open
            .iter()
            .find(|key| self.cursors.get(*key).is_some_and(|backlog| backlog.end == Some(cursor.delivered.next())));
        if let Some(key) = following {
            if let Some(backlog) = self.cursors.get_mut(key) {
                backlog.end = Some(end);
            }
            self.changed_cursors.insert(key.clone());
            return true;
        }
        let Some(key) = (1..=MAX_BACKLOGS).map(|number| backlog_key(feed, number)).find(|key| !open.contains(key))
        else {
            return false;
        };
        self.changed_cursors.insert(key.clone());
        let backlog = FeedCursor { end: Some(end), lost: 0, reported: 0, ..cursor };
        self.cursors.insert(key, backlog);
        true
    }

    /// The key of a feed's oldest backlog.
    pub(crate) fn oldest_backlog(&self, feed: &str) -> Option<String> {
        open_backlogs(&self.cursors, feed).into_iter().next()
    }

    /// The number at which a reader's events end; none for those of a feed itself.
    pub(crate) fn end_of(&self, key: &str) -> Option<Sequence> {
        self.cursors.get(key).and_then(|cursor| cursor.end)
    }

    /// A backlog is delivered. What was lost of it and not reported is reported by the feed's next gap event.
    pub(crate) fn finish_backlog(&mut self, key: &str) {
        let Some(backlog) = self.cursors.get_mut(key) else { return };
        let Some(end) = backlog.end else { return };
        // The record stays until the file is rewritten: without it the previous one would be in force after a start.
        (backlog.delivered, backlog.state) = (Sequence(end.0.saturating_sub(1)), PluginState::default());
        let (lost, reported) = (std::mem::take(&mut backlog.lost), std::mem::take(&mut backlog.reported));
        self.changed_cursors.insert(key.to_owned());
        let feed = feed_of(key);
        if let Some(cursor) = self.cursors.get_mut(feed).filter(|_| lost > 0) {
            (cursor.lost, cursor.reported) = (cursor.lost + lost, cursor.reported + reported);
            self.changed_cursors.insert(feed.to_owned());
        }
    }
}

/// The keys of a feed's backlogs that are not delivered, oldest first.
pub(crate) fn open_backlogs(cursors: &FeedCursors, feed: &str) -> Vec<String> {
    let of_feed = cursors.iter().filter(|(key, cursor)| feed_of(key) == feed && cursor.is_open_backlog());
    let mut open: Vec<_> = of_feed.map(|(key, cursor)| (cursor.delivered, key.clone())).collect();
    open.sort();
    open.into_iter().map(|(_, key)| key).collect()
}
