//! The ordered list of events that every feed reads at its own pace.
//!
//! Kept in memory: what grows beyond [`MEMORY_BYTES`] falls off the old end, and a feed that had not read it is told so by
//! a gap. Numbers rise by one and are never used twice within a run. A feed's place, and what its plugin kept there,
//! stay known under its name when the feed goes.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use bessai_domain::event::{Event, EventBody, Gap, Sequence};
use bessai_domain::site::Site;
use bessai_domain::state::State;
use bessai_domain::time::Timestamp;
use tokio::sync::Notify;

/// Memory that events may take: a day of one device at 5 s, with 30 channels.
pub const MEMORY_BYTES: usize = 16 << 20;

/// The end that appends.
#[derive(Clone)]
pub struct Journal(Rc<Shared>);

struct Shared {
    kept: RefCell<Kept>,
    appended: Notify,
}

struct Kept {
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    next: Sequence,
    // The newest description older than the oldest event: what that event's positions mean.
    site: Option<Arc<Site>>,
    places: BTreeMap<String, Place>,
    lost: u64,
}

/// Where a feed is.
struct Place {
    passed: Sequence,
    state: State,
    is_read: bool,
}

/// Where a feed begins that was never seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the next event.
    Now,
    /// With the oldest event that is kept.
    Oldest,
    /// With the first event at or after this.
    At(Timestamp),
}

/// One feed reading.
pub struct Reader {
    shared: Rc<Shared>,
    feed: String,
    read: Sequence,
}

/// What moves a feed's place.
pub struct Cursor {
    shared: Rc<Shared>,
    feed: String,
}

/// How many events a call may get, and how many values in all.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// Events.
    pub events: usize,
    /// Values of all frames together.
    pub values: usize,
}

/// What one call of a plugin gets at most: 64 KiB of values, and a fair share of time.
pub const CALL: Limit = Limit { events: 64, values: 8192 };

impl Journal {
    /// An empty journal whose first event has the number 1.
    pub fn in_memory() -> Self {
        let kept =
            Kept { events: VecDeque::new(), bytes: 0, next: Sequence(1), site: None, places: BTreeMap::new(), lost: 0 };
        Self(Rc::new(Shared { kept: RefCell::new(kept), appended: Notify::new() }))
    }

    /// Numbers an event and keeps it.
    pub fn append(&self, at: Timestamp, body: EventBody) -> Sequence {
        let sequence = self.0.kept.borrow_mut().append(at, body);
        self.0.appended.notify_waiters();
        sequence
    }

    /// The feed of that name reads from its place on, or begins, and what its plugin kept there.
    pub fn reader(&self, feed: &str, start: Start) -> (Reader, State) {
        let mut kept = self.0.kept.borrow_mut();
        let begin = kept.begin(start);
        let place = kept.places.entry(feed.to_owned());
        let place = place.or_insert_with(|| Place { passed: begin, state: State::default(), is_read: true });
        place.is_read = true;
        let (read, state) = (place.passed, place.state.clone());
        (Reader { shared: Rc::clone(&self.0), feed: feed.to_owned(), read }, state)
    }

    /// Events that are kept and that the feed of that name has not passed.
    pub fn lag(&self, feed: &str) -> usize {
        let kept = self.0.kept.borrow();
        kept.places.get(feed).map_or(0, |place| kept.after(place.passed).count())
    }

    /// Events that fell off the old end before every feed had passed them.
    pub fn lost(&self) -> u64 {
        self.0.kept.borrow().lost
    }
}

impl Kept {
    fn first(&self) -> Sequence {
        self.events.front().map_or(self.next, |event| event.sequence)
    }

    /// The number before the one to begin with.
    fn begin(&self, start: Start) -> Sequence {
        let first = match start {
            Start::Now => self.next,
            Start::Oldest => self.first(),
            Start::At(at) => self.events.iter().find(|event| event.at >= at).map_or(self.next, |event| event.sequence),
        };
        Sequence(first.0.saturating_sub(1))
    }

    fn append(&mut self, at: Timestamp, body: EventBody) -> Sequence {
        let sequence = self.next;
        self.next = sequence.next();
        let event = Arc::new(Event { sequence, at, body });
        self.bytes += size(&event);
        self.events.push_back(event);
        while self.bytes > MEMORY_BYTES && self.events.len() > 1 {
            self.forget_oldest();
        }
        sequence
    }

    fn forget_oldest(&mut self) {
        let Some(event) = self.events.pop_front() else { return };
        self.bytes = self.bytes.saturating_sub(size(&event));
        let is_missed = self.places.values().any(|place| place.is_read && place.passed < event.sequence);
        self.lost += u64::from(is_missed);
        if let EventBody::Site(site) = &event.body {
            self.site = Some(Arc::clone(site));
        }
    }

    fn after(&self, sequence: Sequence) -> impl Iterator<Item = &Arc<Event>> {
        let skipped = self.events.partition_point(|event| event.sequence <= sequence);
        self.events.iter().skip(skipped)
    }
}

/// Bytes of an event in memory, roughly.
fn size(event: &Event) -> usize {
    const FIXED: usize = 160;
    FIXED + event.body.values() * size_of::<f64>()
}

impl Reader {
    /// The description that the next event refers to.
    pub fn site(&self) -> Option<Arc<Site>> {
        let kept = self.shared.kept.borrow();
        let earlier = kept.events.iter().take_while(|event| event.sequence <= self.read);
        let newest = earlier.filter_map(|event| match &event.body {
            EventBody::Site(site) => Some(Arc::clone(site)),
            _ => None,
        });
        newest.last().or_else(|| kept.site.clone())
    }

    /// Waits for events after the last one read, and takes them in order.
    pub async fn next(&mut self, limit: Limit) -> Vec<Arc<Event>> {
        loop {
            let shared = Rc::clone(&self.shared);
            let appended = shared.appended.notified();
            let events = self.take(limit);
            if !events.is_empty() {
                return events;
            }
            appended.await;
        }
    }

    fn take(&mut self, limit: Limit) -> Vec<Arc<Event>> {
        let kept = self.shared.kept.borrow();
        let mut events: Vec<Arc<Event>> = Vec::new();
        let mut values = 0;
        for event in kept.after(self.read) {
            values += event.body.values();
            if events.len() == limit.events || (values > limit.values && !events.is_empty()) {
                break;
            }
            if events.is_empty() {
                events.extend(gap(self.read, event));
            }
            events.push(Arc::clone(event));
        }
        drop(kept);
        if let Some(last) = events.last() {
            self.read = last.sequence;
        }
        events
    }

    /// What moves this feed's place.
    pub fn cursor(&self) -> Cursor {
        Cursor { shared: Rc::clone(&self.shared), feed: self.feed.clone() }
    }
}

impl Cursor {
    /// Everything up to this number was delivered, and this is what the plugin kept then.
    pub fn passed(&self, sequence: Sequence, _at: Timestamp, state: &State) {
        if let Some(place) = self.shared.kept.borrow_mut().places.get_mut(&self.feed) {
            (place.passed, place.state) = (sequence, state.clone());
        }
    }
}

impl Cursor {
    /// This is what the plugin keeps from now on, wherever the feed is.
    #[allow(clippy::unused_async, reason = "a journal on disk waits for it")]
    pub async fn keep(&self, state: &State) {
        if let Some(place) = self.shared.kept.borrow_mut().places.get_mut(&self.feed) {
            place.state = state.clone();
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(place) = self.shared.kept.borrow_mut().places.get_mut(&self.feed) {
            place.is_read = false;
        }
    }
}

/// The event that tells of a jump before `event`, with the number just before it.
fn gap(read: Sequence, event: &Arc<Event>) -> Option<Arc<Event>> {
    let lost = event.sequence.0.saturating_sub(read.next().0);
    let gap = Gap { lost: Some(lost), reason: "the journal was full".into() };
    let sequence = Sequence(event.sequence.0.saturating_sub(1));
    (lost > 0).then(|| Arc::new(Event { sequence, at: event.at, body: EventBody::Gap(gap) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bessai_domain::event::Frame;

    fn frame(values: usize) -> EventBody {
        EventBody::Frame(Frame { source: 0, values: vec![0.0; values], faults: Vec::new(), texts: Vec::new() })
    }

    fn numbers(events: &[Arc<Event>]) -> Vec<u64> {
        events.iter().map(|event| event.sequence.0).collect()
    }

    fn reader(journal: &Journal, feed: &str) -> Reader {
        journal.reader(feed, Start::Oldest).0
    }

    #[tokio::test]
    async fn every_reader_gets_every_event_in_order() {
        let journal = Journal::in_memory();
        let (mut quick, mut slow) = (reader(&journal, "quick"), reader(&journal, "slow"));
        for _ in 0..70 {
            journal.append(Timestamp::default(), frame(1));
        }
        assert_eq!(numbers(&quick.next(CALL).await), (1..=64).collect::<Vec<_>>());
        assert_eq!(numbers(&quick.next(CALL).await), (65..=70).collect::<Vec<_>>());
        assert_eq!(slow.next(CALL).await.len(), 64);
        quick.cursor().passed(Sequence(64), Timestamp::default(), &State::default());
        assert_eq!((journal.lag("slow"), journal.lag("quick"), journal.lag("unknown")), (70, 6, 0));
        assert_eq!(journal.append(Timestamp::default(), EventBody::Heartbeat), Sequence(71));
    }

    #[tokio::test]
    async fn a_feed_that_comes_back_goes_on_where_it_was() {
        let journal = Journal::in_memory();
        for at in 1..=10 {
            journal.append(Timestamp::from_nanos(at), EventBody::Heartbeat);
        }
        let mut first = reader(&journal, "acme");
        first.next(CALL).await;
        let mut state = State::default();
        state.set("k".into(), b"v".to_vec()).unwrap();
        first.cursor().passed(Sequence(4), Timestamp::default(), &state);
        drop(first);
        let (mut again, kept) = journal.reader("acme", Start::Now);
        assert_eq!(numbers(&again.next(CALL).await), [5, 6, 7, 8, 9, 10]);
        assert_eq!(kept, state);
        let begin = |start| journal.reader(&format!("{start:?}"), start).0.read;
        assert_eq!(begin(Start::Now), Sequence(10));
        assert_eq!(begin(Start::Oldest), Sequence(0));
        assert_eq!(begin(Start::At(Timestamp::from_nanos(7))), Sequence(6));
        assert_eq!(begin(Start::At(Timestamp::from_nanos(11))), Sequence(10));
    }

    #[tokio::test]
    async fn a_call_is_bounded_by_values_but_never_empty() {
        let journal = Journal::in_memory();
        let mut reader = reader(&journal, "acme");
        for values in [5000, 3192, 1, 9000] {
            journal.append(Timestamp::default(), frame(values));
        }
        assert_eq!(numbers(&reader.next(CALL).await), [1, 2]);
        assert_eq!(numbers(&reader.next(CALL).await), [3]);
        assert_eq!(numbers(&reader.next(CALL).await), [4]);
    }

    #[tokio::test]
    async fn what_falls_off_the_end_is_told_and_its_description_kept() {
        let journal = Journal::in_memory();
        let mut reader = reader(&journal, "acme");
        let site = Site { id: "S".into(), revision: 1, devices: vec![], sources: vec![], attributes: vec![] };
        journal.append(Timestamp::default(), EventBody::Site(Arc::new(site)));
        for _ in 0..3 {
            journal.append(Timestamp::default(), frame(MEMORY_BYTES / 20));
        }
        let events = reader.next(CALL).await;
        assert_eq!(numbers(&events), [2, 3]);
        assert_eq!(events[0].body, EventBody::Gap(Gap { lost: Some(2), reason: "the journal was full".into() }));
        assert_eq!(reader.site().unwrap().id, "S");
        assert_eq!(journal.lost(), 2);
    }

    #[tokio::test]
    async fn a_waiting_reader_wakes() {
        let journal = Journal::in_memory();
        let mut reader = reader(&journal, "acme");
        let waiting = reader.next(CALL);
        let appending = async {
            tokio::task::yield_now().await;
            journal.append(Timestamp::default(), EventBody::Heartbeat);
        };
        let (events, ()) = tokio::join!(waiting, appending);
        assert_eq!(numbers(&events), [1]);
    }
}
