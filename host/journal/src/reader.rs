//! A feed's reader and cursor. The reader gets events from memory while the feed keeps up, and from the segments while it
//! lags.
//!
//! Segments are read in pieces on another thread, so that a feed that catches up delays nobody.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bessai_domain::event::{Event, EventBody, RecordedEvent, Sequence};
use bessai_domain::journal::StartAt;
use bessai_domain::ports::{BatchLimit, CALL_LIMIT, Cursor, Events};
use bessai_domain::site::Site;
use bessai_domain::state::PluginState;
use bessai_domain::time::{MonotonicTime, Timestamp};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep_until};

use crate::segment_reader::PieceReader;
use crate::state::{EventLocation, JournalPhase, SharedState, limit_batch};

/// Reads events for one feed.
pub struct JournalReader {
    shared: Arc<SharedState>,
    feed: String,
    /// The last event that was handed out.
    read: Sequence,
    /// The site description in force before the events handed out last.
    site: Option<Arc<Site>>,
    /// The newest site description that the feed has got.
    known_site: Option<Arc<Site>>,
    /// Older events are skipped.
    not_before: Option<Timestamp>,
    pieces: PieceReader,
    /// The time of the next try after a failed read.
    retry_at: Option<Instant>,
    fetching: Option<JoinHandle<(PieceReader, Vec<RecordedEvent>)>>,
    /// Events of the piece read last that are not handed out yet.
    fetched: VecDeque<RecordedEvent>,
    /// The site description in force before the first of the fetched events.
    fetched_site: Option<Arc<Site>>,
}

/// Moves a feed's cursor.
pub struct JournalCursor {
    shared: Arc<SharedState>,
    feed: String,
}

impl JournalReader {
    /// `feed`: the name of a feed, or the key of a backlog.
    pub(crate) fn new(shared: &Arc<SharedState>, feed: &str, start: StartAt) -> (Self, PluginState) {
        let mut locked = shared.lock();
        let (read, not_before, state) = locked.add_reader(feed, start);
        let site = locked.site_after(read);
        drop(locked);
        shared.to_sync.notify_one();
        let reader = Self {
            shared: Arc::clone(shared),
            feed: feed.to_owned(),
            read,
            site: site.clone(),
            known_site: site,
            not_before,
            pieces: PieceReader::default(),
            retry_at: None,
            fetching: None,
            fetched: VecDeque::new(),
            fetched_site: None,
        };
        (reader, state)
    }

    /// Waits for the next batch, at most `limit`. Cancelling the future loses no event.
    pub(crate) async fn next_batch(&mut self, limit: BatchLimit) -> Vec<RecordedEvent> {
        loop {
            let events = self.take(limit).await;
            if events.is_empty() {
                return events;
            }
            let Some(not_before) = self.not_before else { return events };
            let first = events.iter().position(|recorded| recorded.event.at >= not_before);
            let (skipped, events) = events.split_at(first.unwrap_or(events.len()));
            self.site = last_site(skipped).or(self.site.take());
            if first.is_some() {
                self.not_before = None;
                return events.to_vec();
            }
        }
    }

    /// Empty after the end of a backlog.
    async fn take(&mut self, limit: BatchLimit) -> Vec<RecordedEvent> {
        loop {
            self.finish_fetch().await;
            if !self.fetched.is_empty() {
                let events = limit_batch(self.fetched.iter().cloned(), limit);
                let batch = self.hand_out(events, self.fetched_site.clone(), limit);
                let taken = self.fetched.partition_point(|recorded| recorded.event.sequence <= self.read);
                self.fetched.drain(..taken);
                return batch;
            }
            let shared = Arc::clone(&self.shared);
            let events_added = shared.events_added.notified();
            let (end, location) = {
                let locked = shared.lock();
                let end = locked.end_of(&self.feed);
                (end, locked.locate(self.read, end, limit))
            };
            match location {
                EventLocation::Memory(events, site) => {
                    self.pieces = PieceReader::default();
                    return self.hand_out(events, site, limit);
                }
                EventLocation::Segments { until } => self.fetch(until).await,
                // All events of a backlog are in the past.
                EventLocation::Future if end.is_some() => return Vec::new(),
                EventLocation::Future => events_added.await,
            }
        }
    }

    /// Begins to read the next piece, after the pause that a failed read requires.
    async fn fetch(&mut self, until: Sequence) {
        if let Some(retry_at) = self.retry_at {
            sleep_until(retry_at).await;
        }
        let (shared, mut pieces, read) = (Arc::clone(&self.shared), std::mem::take(&mut self.pieces), self.read);
        if self.shared.runs_in_steps() {
            let events = pieces.read(&shared, read, until);
            self.take_piece(pieces, events);
            return;
        }
        self.fetching = Some(spawn_blocking(move || {
            let events = pieces.read(&shared, read, until);
            (pieces, events)
        }));
    }

    async fn finish_fetch(&mut self) {
        let Some(fetching) = &mut self.fetching else { return };
        let fetched = fetching.await;
        self.fetching = None;
        // The runtime reports a panic of the read itself; the next read starts over.
        let (pieces, events) = fetched.unwrap_or_default();
        self.take_piece(pieces, events);
    }

    fn take_piece(&mut self, pieces: PieceReader, events: Vec<RecordedEvent>) {
        self.fetched_site = pieces.site();
        self.retry_at = pieces.has_failed().then(|| Instant::now() + self.shared.retry_pause);
        self.pieces = pieces;
        self.fetched.extend(events);
    }

    /// Hands a batch out. If numbers are missing in front of it, it gets a gap event and the site description that the
    /// feed has missed. `site` is the description in force before the events.
    fn hand_out(
        &mut self,
        mut events: Vec<RecordedEvent>,
        site: Option<Arc<Site>>,
        limit: BatchLimit,
    ) -> Vec<RecordedEvent> {
        let Some(first) = events.first().cloned() else { return events };
        let gap = self.shared.lock().gap(&self.feed, self.read, &first);
        let mut batch = Vec::new();
        if let Some(gap) = gap {
            let missed = site.as_ref().filter(|site| self.is_other_site(site) && !is_site(&first));
            let missed = missed.map(|site| inserted(&gap, EventBody::Site(Arc::clone(site))));
            batch.push(gap);
            batch.extend(missed);
        }
        // The added events count towards the limit.
        events.truncate(limit.events.saturating_sub(batch.len()).max(1));
        // If the batch contains the missed description, the feed's known one is in force before the batch.
        let site_before = if batch.len() > 1 { self.known_site.clone() } else { site };
        self.known_site = last_site(&events).or(last_site(&batch)).or_else(|| site_before.clone());
        self.site = site_before;
        self.fetched_site.clone_from(&self.known_site);
        self.read = events.last().map_or(self.read, |last| last.event.sequence);
        self.shared.lock().record_read(&self.feed, self.read);
        batch.append(&mut events);
        batch
    }

    /// Whether the feed knows another description than `site`.
    fn is_other_site(&self, site: &Arc<Site>) -> bool {
        self.known_site.as_ref().is_some_and(|known| known != site)
    }
}

impl Events for JournalReader {
    type Cursor = JournalCursor;

    /// The site description in force before the events handed out last, or before the first ones; none if it is known
    /// only from the segments, which are not read yet.
    fn site(&self) -> Option<Arc<Site>> {
        self.site.clone()
    }

    async fn next(&mut self) -> Vec<RecordedEvent> {
        self.next_batch(CALL_LIMIT).await
    }

    fn cursor(&self) -> JournalCursor {
        JournalCursor { shared: Arc::clone(&self.shared), feed: self.feed.clone() }
    }

    fn leave_backlog(&mut self, age: Duration, now: MonotonicTime) -> bool {
        let mut locked = self.shared.lock();
        if !locked.leave_backlog(&self.feed, age, now) {
            return false;
        }
        self.read = locked.cursors.get(&self.feed).map_or(self.read, |cursor| cursor.delivered);
        self.site = locked.site_after(self.read);
        drop(locked);
        self.shared.to_sync.notify_one();
        self.known_site.clone_from(&self.site);
        self.not_before = None;
        (self.pieces, self.fetching) = (PieceReader::default(), None);
        self.fetched.clear();
        true
    }

    fn backlog(&self) -> Option<(Self, PluginState)> {
        let key = self.shared.lock().oldest_backlog(&self.feed)?;
        Some(Self::new(&self.shared, &key, StartAt::Now))
    }
}

impl Drop for JournalReader {
    fn drop(&mut self) {
        self.shared.lock().remove_reader(&self.feed);
    }
}

impl Cursor for JournalCursor {
    fn advance(&mut self, sequence: Sequence, at: Timestamp, state: &PluginState) {
        let mut locked = self.shared.lock();
        locked.advance_cursor(&self.feed, sequence, at, state);
        let wakes_syncer = locked.syncer.needs_wakeup();
        drop(locked);
        if wakes_syncer {
            self.shared.to_sync.notify_one();
        }
    }

    fn finish_backlog(&mut self) {
        self.shared.lock().finish_backlog(&self.feed);
        self.shared.to_sync.notify_one();
    }

    async fn save_state(&mut self, state: &PluginState) {
        let shared = &self.shared;
        let request = shared.lock().replace_state(&self.feed, state);
        shared.to_sync.notify_one();
        loop {
            let sync_done = shared.sync_done.notified();
            let is_done = {
                let locked = shared.lock();
                locked.saves.is_done(request) || locked.phase == JournalPhase::Ended
            };
            if is_done {
                return;
            }
            sync_done.await;
        }
    }
}

/// The last site description among these events.
fn last_site(events: &[RecordedEvent]) -> Option<Arc<Site>> {
    events.iter().rev().find_map(|recorded| match &recorded.event.body {
        EventBody::Site(site) => Some(Arc::clone(site)),
        _ => None,
    })
}

fn is_site(recorded: &RecordedEvent) -> bool {
    matches!(recorded.event.body, EventBody::Site(_))
}

/// An event that is in no journal, at the number and time of another one.
fn inserted(place: &RecordedEvent, body: EventBody) -> RecordedEvent {
    let (sequence, at) = (place.event.sequence, place.event.at);
    RecordedEvent { event: Arc::new(Event { sequence, at, body }), occurred: place.occurred }
}
