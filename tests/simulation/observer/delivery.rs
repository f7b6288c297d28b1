//! Which events there were, which of them are promised to be durable, and what each feed got.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::{Invariant, Violation};

/// Within this a feed that behaves has delivered an event.
const NEIGHBOUR_LIMIT: Duration = Duration::from_secs(5);
/// Within this after a start a feed that behaves has delivered what waited for it.
const START_LIMIT: Duration = Duration::from_secs(30);
/// Violations of one kind that are listed.
const LISTED: usize = 5;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crash {
    /// The operating system keeps what was written.
    Kill,
    /// What was not synced may be gone.
    PowerCut,
}

/// Where an event went that a feed did not deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Account {
    /// Into the quarantine.
    Quarantined,
    /// Its message was refused by the broker.
    Refused,
}

/// What a feed owes its customer, apart from every event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Expectation {
    /// It behaves: each event in order and in time.
    InTime,
    #[default]
    InOrder,
    /// The newest events first, after an outage.
    AnyOrder,
}

/// The record of all events and feeds.
#[derive(Default)]
pub(crate) struct DeliveryRecord {
    events: BTreeMap<u64, AppendedEvent>,
    /// The newest event that is written, with all before it.
    written: u64,
    /// The newest event that is on disk, with all before it.
    synced: u64,
    feeds: Vec<FeedRecord>,
}

struct AppendedEvent {
    fingerprint: u64,
    /// It was not promised to survive the crash after it.
    may_be_lost: bool,
}

#[derive(Default)]
struct FeedRecord {
    name: String,
    expectation: Expectation,
    delivered: BTreeSet<u64>,
    accounted: BTreeMap<u64, Account>,
    /// Events that later ones may overtake.
    may_come_later: BTreeSet<u64>,
    /// The events that a neighbour has not delivered yet, with the time until which it has to.
    waiting: VecDeque<(u64, Duration)>,
}

impl DeliveryRecord {
    /// `feeds`: their names, and what is expected of them.
    pub(crate) fn new<'a>(feeds: impl IntoIterator<Item = (&'a str, Expectation)>) -> Self {
        let feed = |(name, expectation): (&str, Expectation)| FeedRecord {
            name: name.into(),
            expectation,
            ..FeedRecord::default()
        };
        Self { feeds: feeds.into_iter().map(feed).collect(), ..Self::default() }
    }

    /// An event was numbered.
    pub(crate) fn appended(&mut self, number: u64, fingerprint: u64, now: Duration) -> Option<Violation> {
        let violation = match self.events.last_key_value() {
            Some((last, _)) if number <= *last => Some(match self.events.get(&number) {
                Some(known) if known.fingerprint != fingerprint => format!("{number} stands for two events"),
                _ => format!("{number} follows {last}"),
            }),
            _ => None,
        };
        self.events.insert(number, AppendedEvent { fingerprint, may_be_lost: false });
        for feed in self.feeds.iter_mut().filter(|feed| feed.expectation == Expectation::InTime) {
            feed.waiting.push_back((number, now + NEIGHBOUR_LIMIT));
        }
        violation.map(|detail| Violation::new(Invariant::NumbersAreUnique, detail))
    }

    /// The number of the newest event.
    pub(crate) fn newest(&self) -> u64 {
        self.events.last_key_value().map_or(0, |(number, _)| *number)
    }

    /// Whether there was an event of that number.
    pub(crate) fn has_happened(&self, number: u64) -> bool {
        self.events.contains_key(&number)
    }

    /// A feed's position moves to `through`, and its plugin's state is that after `processed`: what is between them is in the
    /// quarantine.
    pub(crate) fn positioned(&self, feed: usize, through: u64, processed: u64) -> Option<Violation> {
        let feed = &self.feeds[feed];
        // With live first, what is between them may be in a backlog.
        let has_backlogs = feed.expectation == Expectation::AnyOrder;
        let is_passed = |number: &u64| !has_backlogs && feed.accounted.get(number) != Some(&Account::Quarantined);
        let missing = self.events.range(processed.saturating_add(1)..=through.max(processed.saturating_add(1)));
        let missing = missing.map(|(number, _)| *number).filter(|number| *number <= through).find(is_passed);
        let detail = match missing {
            _ if processed > through => format!("its plugin's state is that after event {processed}"),
            Some(number) => format!("its plugin's state is that after event {processed}, without event {number}"),
            None => return None,
        };
        let detail = format!("feed {} is saved at event {through}, and {detail}", feed.name);
        Some(Violation::new(Invariant::StateFollowsPosition, detail))
    }

    /// All events up to this one survive a kill.
    pub(crate) fn written(&mut self, through: u64) {
        self.written = self.written.max(through);
    }

    /// All events up to this one survive a power cut.
    pub(crate) fn synced(&mut self, through: u64) {
        self.synced = self.synced.max(through);
    }

    /// All events up to this one are still there after the last end of the process.
    pub(crate) fn durable(&self) -> u64 {
        self.written
    }

    /// The process ends without a shutdown.
    pub(crate) fn crashed(&mut self, crash: Crash) {
        let promised = match crash {
            Crash::Kill => self.written,
            Crash::PowerCut => self.synced,
        };
        self.events.range_mut(promised + 1..).for_each(|(_, event)| event.may_be_lost = true);
        (self.written, self.synced) = (promised, self.synced.min(promised));
    }

    /// The process starts: what waits has to be delivered within [`START_LIMIT`].
    pub(crate) fn started(&mut self, now: Duration) {
        let kept: Vec<_> =
            self.events.iter().filter(|(_, event)| !event.may_be_lost).map(|(number, _)| *number).collect();
        for feed in self.feeds.iter_mut().filter(|feed| feed.expectation == Expectation::InTime) {
            let missing = kept.iter().filter(|number| !feed.has(**number));
            feed.waiting = missing.map(|number| (*number, now + START_LIMIT)).collect();
        }
    }

    /// Neighbours have until then for what they have not delivered: nobody publishes without a clock.
    pub(crate) fn excuse(&mut self, until: Duration) {
        for feed in &mut self.feeds {
            feed.waiting.iter_mut().for_each(|(_, due)| *due = (*due).max(until));
        }
    }

    /// A feed's broker has received an event.
    pub(crate) fn delivered(&mut self, feed: usize, number: u64) -> Option<Violation> {
        let feed = &mut self.feeds[feed];
        if !self.events.contains_key(&number) {
            let detail = format!("feed {} got event {number}, which never happened", feed.name);
            return Some(Violation::new(Invariant::NumbersAreUnique, detail));
        }
        let has_order = feed.expectation != Expectation::AnyOrder;
        let last = if has_order { feed.delivered.last().copied().unwrap_or(0) } else { 0 };
        // What was given up may come after all, if the position was not saved.
        let is_new = !feed.has(number);
        feed.delivered.insert(number);
        feed.waiting.retain(|(waiting, _)| *waiting != number);
        (is_new && number < last && !feed.may_come_later.contains(&number)).then(|| {
            let detail = format!("feed {} got event {number} for the first time after event {last}", feed.name);
            Violation::new(Invariant::OrderPerFeed, detail)
        })
    }

    /// Later events may overtake this one.
    pub(crate) fn may_come_later(&mut self, feed: usize, number: u64) {
        self.feeds[feed].may_come_later.insert(number);
    }

    /// A feed has given up an event, with a reason.
    pub(crate) fn accounted(&mut self, feed: usize, number: u64, account: Account) {
        let feed = &mut self.feeds[feed];
        feed.accounted.insert(number, account);
        feed.waiting.retain(|(waiting, _)| *waiting != number);
    }

    /// Whether each neighbour is in time.
    pub(crate) fn check_neighbours(&mut self, now: Duration) -> Vec<Violation> {
        let mut late = Vec::new();
        for feed in &mut self.feeds {
            while let Some((number, _)) = feed.waiting.pop_front_if(|(_, due)| *due < now) {
                late.push(Violation::new(
                    Invariant::NeighboursAreNotDelayed,
                    format!("feed {} behaves, and has not got event {number} in time", feed.name),
                ));
            }
        }
        late.truncate(LISTED);
        late
    }

    /// Whether each feed has got each event up to `through` that was promised. Later ones may still be on their way.
    pub(crate) fn check_losses(&self, through: u64) -> Vec<Violation> {
        let mut lost = Vec::new();
        for feed in &self.feeds {
            let promised = self.events.range(..=through).filter(|(_, event)| !event.may_be_lost);
            let missing: Vec<_> = promised.map(|(number, _)| *number).filter(|number| !feed.has(*number)).collect();
            if let Some(first) = missing.first() {
                lost.push(Violation::new(
                    Invariant::NothingIsLost,
                    format!("feed {} never got {} events, the first is {first}", feed.name, missing.len()),
                ));
            }
        }
        lost
    }

    /// Events appended and events delivered to all feeds together, for the summary.
    pub(crate) fn totals(&self) -> (usize, usize) {
        (self.events.len(), self.feeds.iter().map(|feed| feed.delivered.len()).sum())
    }
}

impl FeedRecord {
    fn has(&self, number: u64) -> bool {
        self.delivered.contains(&number) || self.accounted.contains_key(&number)
    }
}
