//! The journal of a run: the real one, whose threads' work is done in steps, with a feed's reader, cursor and quarantine that
//! the observer watches.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bessai_domain::event::{EventBody, RecordedEvent, Sequence};
use bessai_domain::journal::SyncPolicy;
use bessai_domain::ports::{Cursor, Events};
use bessai_domain::site::Site;
use bessai_domain::state::PluginState;
use bessai_domain::time::{MonotonicTime, Timestamp};
use bessai_feed::{Deleting, Quarantine, QuarantineContent, QuarantineEntry, ReadingRequeued, StoredEntry, Storing};
use bessai_journal::{JournalCursor, JournalReader, JournalSteps};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use crate::broker::events_of;
use crate::observer::Account;
use crate::plugin::last_processed;
use crate::sabotage::Sabotage;
use crate::trace::Digest;
use crate::world::World;

/// The longest time between an event and its write, as long as the disk works.
const WRITE_WITHIN: Duration = Duration::from_millis(5);
/// How long cursors are collected where the settings give no interval.
const CURSOR_INTERVAL: Duration = Duration::from_secs(1);
/// The longest time that storing an entry in the quarantine takes.
const QUARANTINED_WITHIN: Duration = Duration::from_millis(200);
/// How often that fails.
const QUARANTINE_FAILS: f64 = 0.05;
/// How often a sabotaged reader misbehaves.
const SABOTAGE_EVERY: f64 = 0.02;

/// Does what the journal's threads do, one step after the other, until the journal is closed.
pub(crate) async fn work(mut steps: JournalSteps, wake: Rc<Notify>, world: Rc<World>) {
    let interval = match world.scenario.sync {
        SyncPolicy::Interval(interval) => interval,
        SyncPolicy::EveryEvent | SyncPolicy::Memory => CURSOR_INTERVAL,
    };
    let mut sync_at = Instant::now();
    while !steps.has_ended() {
        tokio::select! {
            biased;
            () = wake.notified() => {}
            () = sleep_until(sync_at), if steps.has_unsynced() => {}
        }
        sleep(world.choose(|random| random.below(WRITE_WITHIN))).await;
        let newest = world.delivery.borrow().newest();
        while steps.write() {}
        world.delivery.borrow_mut().written(newest);
        if world.scenario.sync == SyncPolicy::EveryEvent {
            world.delivery.borrow_mut().synced(newest);
        }
        if steps.is_urgent() || (steps.has_unsynced() && Instant::now() >= sync_at) {
            steps.sync();
            world.delivery.borrow_mut().synced(newest);
            world.note("journal synced");
            sync_at = Instant::now() + interval;
        }
    }
}

/// Identifies an event's content.
pub(crate) fn fingerprint(at: Timestamp, body: &EventBody) -> u64 {
    let mut digest = Digest::default();
    digest.add(&at.nanos().to_le_bytes());
    match body {
        EventBody::Frame(frame) => {
            digest.add(&frame.source.to_le_bytes());
            frame.values.iter().for_each(|value| digest.add(&value.to_bits().to_le_bytes()));
        }
        other => digest.add(format!("{other:?}").as_bytes()),
    }
    digest.value()
}

/// The kind of an event, for the steps.
pub(crate) fn kind(body: &EventBody) -> &'static str {
    match body {
        EventBody::Site(_) => "site",
        EventBody::Gap(_) => "gap",
        EventBody::Frame(_) => "frame",
        EventBody::Safety(_) => "safety",
        EventBody::Anomaly(_) => "anomaly",
        EventBody::Dispatch(_) => "dispatch",
        EventBody::Device(_) => "device",
        EventBody::Heartbeat => "heartbeat",
        EventBody::Write(_) => "write",
    }
}

/// The journal's reader of a feed.
pub(crate) struct SimEvents {
    pub(crate) reader: JournalReader,
    pub(crate) world: Rc<World>,
    pub(crate) feed: usize,
    pub(crate) wake: Rc<Notify>,
    /// It never hands out an event again.
    pub(crate) has_stopped: bool,
}

impl Events for SimEvents {
    type Cursor = SimCursor;

    fn site(&self) -> Option<Arc<Site>> {
        self.reader.site()
    }

    async fn next(&mut self) -> Vec<RecordedEvent> {
        let stops = self.world.sabotage == Some(Sabotage::StopsFeeds);
        if self.has_stopped || (stops && self.world.choose(|random| random.chance(SABOTAGE_EVERY))) {
            self.has_stopped = true;
            std::future::pending::<()>().await;
        }
        let mut events = self.reader.next().await;
        let numbers = [events.first(), events.last()].map(|event| event.map_or(0, |event| event.event.sequence.0));
        let has_site = self.reader.site().is_some();
        self.world.note(&format!("feed {} reads {numbers:?}, site: {has_site}", self.feed));
        let is_sabotaged = |sabotage| self.world.sabotage == Some(sabotage) && events.len() > 1;
        if is_sabotaged(Sabotage::DropsEvents) && self.world.choose(|random| random.chance(SABOTAGE_EVERY)) {
            events.remove(0);
        } else if is_sabotaged(Sabotage::SwapsEvents) && self.world.choose(|random| random.chance(SABOTAGE_EVERY)) {
            events.swap(0, 1);
        }
        events
    }

    fn cursor(&self) -> SimCursor {
        let (world, wake) = (Rc::clone(&self.world), Rc::clone(&self.wake));
        SimCursor { cursor: self.reader.cursor(), world, wake, feed: self.feed }
    }

    fn leave_backlog(&mut self, age: Duration, now: MonotonicTime) -> bool {
        let has_left = self.reader.leave_backlog(age, now);
        if has_left {
            self.world.note(&format!("feed {} leaves a backlog", self.feed));
            self.wake.notify_one();
        }
        has_left
    }

    fn backlog(&self) -> Option<(Self, PluginState)> {
        let (reader, state) = self.reader.backlog()?;
        self.world.note(&format!("feed {} opens a backlog", self.feed));
        let (world, wake) = (Rc::clone(&self.world), Rc::clone(&self.wake));
        Some((Self { reader, world, feed: self.feed, wake, has_stopped: false }, state))
    }
}

/// The cursor of a feed.
pub(crate) struct SimCursor {
    cursor: JournalCursor,
    world: Rc<World>,
    wake: Rc<Notify>,
    feed: usize,
}

impl Cursor for SimCursor {
    fn advance(&mut self, sequence: Sequence, at: Timestamp, state: &PluginState) {
        let is_sabotaged = self.world.sabotage == Some(Sabotage::AdvancesTooFar);
        let sequence = if is_sabotaged { sequence.next() } else { sequence };
        let violation = self.world.delivery.borrow().positioned(self.feed, sequence.0, last_processed(state));
        self.world.report(violation);
        self.world.note(&format!("feed {} is saved at {}", self.feed, sequence.0));
        self.cursor.advance(sequence, at, state);
        self.wake.notify_one();
    }

    fn finish_backlog(&mut self) {
        self.world.note(&format!("feed {} has delivered a backlog", self.feed));
        self.cursor.finish_backlog();
        self.wake.notify_one();
    }

    async fn save_state(&mut self, state: &PluginState) {
        let saved = self.cursor.save_state(state);
        self.wake.notify_one();
        saved.await;
    }
}

/// The quarantine of a feed.
pub(crate) struct SimQuarantine {
    pub(crate) world: Rc<World>,
    pub(crate) feed: usize,
}

impl Quarantine for SimQuarantine {
    fn store(&self, entry: QuarantineEntry) -> Storing {
        let (world, feed) = (Rc::clone(&self.world), self.feed);
        Box::pin(async move {
            let time = world.choose(|random| random.below(QUARANTINED_WITHIN));
            world.pause(time).await;
            if world.fails("quarantine is full", QUARANTINE_FAILS) {
                return Err("its disk is full".into());
            }
            match entry.content {
                QuarantineContent::Event(event) => {
                    world.accounted(feed, event.event.sequence.0, Account::Quarantined);
                }
                QuarantineContent::Message(message) => {
                    for (event, _) in events_of(&message.message.payload) {
                        world.accounted(feed, event, Account::Refused);
                    }
                }
            }
            Ok(StoredEntry { location: "quarantine".into(), deleted: 0 })
        })
    }

    fn requeued(&self, _feed: &str) -> Rc<Notify> {
        Rc::default()
    }

    fn read_requeued(&self, _feed: &str) -> ReadingRequeued {
        Box::pin(async { None })
    }

    fn delete_requeued(&self, _feed: &str, _name: &str) -> Deleting {
        Box::pin(async {})
    }
}

/// Where the verdict that the status shows is kept.
pub(crate) type Shown = Rc<Cell<bessai_domain::event::SafetyState>>;
