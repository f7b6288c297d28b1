//! The ordered list of events that every feed reads at its own pace.
//!
//! Kept in memory: what every feed has passed is forgotten, and what grows beyond [`MEMORY_BYTES`] falls off the old end;
//! a feed that had not read it is told so by a gap. Numbers rise by one and are never used twice within a run.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use bessai_domain::event::{Event, EventBody, Gap, Sequence};
use bessai_domain::site::Site;
use bessai_domain::time::Timestamp;
use tokio::sync::Notify;

/// Memory that waiting events may take: a day of one device at 5 s, with 30 channels.
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
    cursors: Vec<Option<Sequence>>,
    lost: u64,
}

/// One feed's place.
pub struct Reader {
    shared: Rc<Shared>,
    slot: usize,
    read: Sequence,
}

/// How many events a call may get, and how many values in all.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// Events.
    pub events: usize,
    /// Values of all frames together.
    pub values: usize,
}

impl Journal {
    /// An empty journal whose first event has the number 1.
    pub fn in_memory() -> Self {
        let kept =
            Kept { events: VecDeque::new(), bytes: 0, next: Sequence(1), site: None, cursors: Vec::new(), lost: 0 };
        Self(Rc::new(Shared { kept: RefCell::new(kept), appended: Notify::new() }))
    }

    /// Numbers an event and keeps it.
    pub fn append(&self, at: Timestamp, body: EventBody) -> Sequence {
        let sequence = self.0.kept.borrow_mut().append(at, body);
        self.0.appended.notify_waiters();
        sequence
    }

    /// A place at the oldest event that is kept.
    pub fn reader(&self) -> Reader {
        let mut kept = self.0.kept.borrow_mut();
        let read = Sequence(kept.first().0.saturating_sub(1));
        kept.cursors.push(Some(read));
        let slot = kept.cursors.len() - 1;
        Reader { shared: Rc::clone(&self.0), slot, read }
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

    fn append(&mut self, at: Timestamp, body: EventBody) -> Sequence {
        let sequence = self.next;
        self.next = sequence.next();
        let event = Arc::new(Event { sequence, at, body });
        self.bytes += size(&event);
        self.events.push_back(event);
        while self.bytes > MEMORY_BYTES && self.events.len() > 1 {
            self.lost += 1;
            self.forget_oldest();
        }
        sequence
    }

    fn forget_oldest(&mut self) {
        let Some(event) = self.events.pop_front() else { return };
        self.bytes = self.bytes.saturating_sub(size(&event));
        if let EventBody::Site(site) = &event.body {
            self.site = Some(Arc::clone(site));
        }
    }

    /// Forgets what every feed has passed.
    fn trim(&mut self) {
        let Some(passed) = self.cursors.iter().flatten().min().copied() else { return };
        while self.events.front().is_some_and(|event| event.sequence <= passed) {
            self.forget_oldest();
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

    /// Everything up to this number was delivered and need not be kept for this feed.
    pub fn passed(&mut self, sequence: Sequence) {
        let mut kept = self.shared.kept.borrow_mut();
        if let Some(cursor) = kept.cursors.get_mut(self.slot) {
            *cursor = Some(sequence);
        }
        kept.trim();
    }

    /// Events that are kept and not yet read.
    pub fn lag(&self) -> usize {
        self.shared.kept.borrow().after(self.read).count()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut kept = self.shared.kept.borrow_mut();
        if let Some(cursor) = kept.cursors.get_mut(self.slot) {
            *cursor = None;
        }
        kept.trim();
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

    const LIMIT: Limit = Limit { events: 64, values: 8192 };

    fn frame(values: usize) -> EventBody {
        EventBody::Frame(Frame { source: 0, values: vec![0.0; values], faults: Vec::new(), texts: Vec::new() })
    }

    fn numbers(events: &[Arc<Event>]) -> Vec<u64> {
        events.iter().map(|event| event.sequence.0).collect()
    }

    #[tokio::test]
    async fn every_reader_gets_every_event_in_order() {
        let journal = Journal::in_memory();
        let (mut quick, mut slow) = (journal.reader(), journal.reader());
        for _ in 0..70 {
            journal.append(Timestamp::default(), frame(1));
        }
        assert_eq!(numbers(&quick.next(LIMIT).await), (1..=64).collect::<Vec<_>>());
        assert_eq!(numbers(&quick.next(LIMIT).await), (65..=70).collect::<Vec<_>>());
        quick.passed(Sequence(70));
        assert_eq!(slow.next(LIMIT).await.len(), 64);
        slow.passed(Sequence(64));
        assert_eq!((slow.lag(), quick.lag()), (6, 0));
        slow.passed(Sequence(70));
        assert_eq!(journal.0.kept.borrow().events.len(), 0);
        assert_eq!(journal.append(Timestamp::default(), EventBody::Heartbeat), Sequence(71));
    }

    #[tokio::test]
    async fn a_call_is_bounded_by_values_but_never_empty() {
        let journal = Journal::in_memory();
        let mut reader = journal.reader();
        for values in [5000, 3192, 1, 9000] {
            journal.append(Timestamp::default(), frame(values));
        }
        assert_eq!(numbers(&reader.next(LIMIT).await), [1, 2]);
        assert_eq!(numbers(&reader.next(LIMIT).await), [3]);
        assert_eq!(numbers(&reader.next(LIMIT).await), [4]);
    }

    #[tokio::test]
    async fn what_falls_off_the_end_is_told_and_its_description_kept() {
        let journal = Journal::in_memory();
        let mut reader = journal.reader();
        let site = Site { id: "S".into(), revision: 1, devices: vec![], sources: vec![], attributes: vec![] };
        journal.append(Timestamp::default(), EventBody::Site(Arc::new(site)));
        for _ in 0..3 {
            journal.append(Timestamp::default(), frame(MEMORY_BYTES / 20));
        }
        let events = reader.next(LIMIT).await;
        assert_eq!(numbers(&events), [2, 3]);
        assert_eq!(events[0].body, EventBody::Gap(Gap { lost: Some(2), reason: "the journal was full".into() }));
        assert_eq!(reader.site().unwrap().id, "S");
        assert_eq!(journal.lost(), 2);
    }

    #[tokio::test]
    async fn a_waiting_reader_wakes() {
        let journal = Journal::in_memory();
        let mut reader = journal.reader();
        let waiting = reader.next(LIMIT);
        let appending = async {
            tokio::task::yield_now().await;
            journal.append(Timestamp::default(), EventBody::Heartbeat);
        };
        let (events, ()) = tokio::join!(waiting, appending);
        assert_eq!(numbers(&events), [1]);
    }
}
