//! Live first: after an outage the newest events go first, and the backlog beside them, once and in order.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bessai_domain::event::{RecordedEvent, Sequence};
use bessai_domain::ports::{Cursor, Events};
use bessai_domain::site::Site;
use bessai_domain::state::PluginState;
use bessai_domain::time::{MonotonicTime, Timestamp};
use tokio::time::{Instant, sleep_until};

use super::fakes::*;
use super::running::*;
use super::sessions::{connector, leaves_it_to_the_settings};
use crate::{DeliveryOrder, Policy};

/// A position in the journal, and the plugin's state at it.
#[derive(Default)]
struct Position {
    delivered: Cell<u64>,
    state: RefCell<PluginState>,
    /// Of a backlog: its last event.
    last: Option<u64>,
}

/// A journal in which event `n` happens after `n` seconds; those that `poisoned` names have the value that plugins fail on.
struct Timeline {
    began: Instant,
    read: u64,
    position: Rc<Position>,
    backlogs: Rc<RefCell<VecDeque<Rc<Position>>>>,
    poisoned: fn(u64) -> bool,
}

impl Timeline {
    fn time(&self, number: u64) -> Instant {
        self.began + Duration::from_secs(number)
    }
}

impl Events for Timeline {
    type Cursor = TimelineCursor;

    fn site(&self) -> Option<Arc<Site>> {
        Some(Arc::new(Site { id: "S".into(), revision: 1, devices: vec![], sources: vec![], attributes: vec![] }))
    }

    async fn next(&mut self) -> Vec<RecordedEvent> {
        let next = self.read + 1;
        if self.position.last.is_some_and(|last| next > last) {
            return Vec::new();
        }
        sleep_until(self.time(next)).await;
        self.read = next;
        vec![RecordedEvent::by_wall_clock(frame(next, if (self.poisoned)(next) { 66.6 } else { 1.0 }))]
    }

    fn cursor(&self) -> TimelineCursor {
        TimelineCursor(Rc::clone(&self.position), Rc::clone(&self.backlogs))
    }

    fn leave_backlog(&mut self, age: Duration, _now: MonotonicTime) -> bool {
        let (delivered, newest) = (self.position.delivered.get(), self.began.elapsed().as_secs());
        if Instant::now().saturating_duration_since(self.time(delivered + 1)) <= age {
            return false;
        }
        let state = self.position.state.clone();
        let backlog = Position { delivered: Cell::new(delivered), state, last: Some(newest) };
        self.backlogs.borrow_mut().push_back(Rc::new(backlog));
        (self.read, _) = (newest, self.position.delivered.set(newest));
        true
    }

    fn backlog(&self) -> Option<(Self, PluginState)> {
        let position = Rc::clone(self.backlogs.borrow().front()?);
        let (began, backlogs, poisoned) = (self.began, Rc::clone(&self.backlogs), self.poisoned);
        let state = position.state.borrow().clone();
        Some((Self { began, read: position.delivered.get(), position, backlogs, poisoned }, state))
    }
}

struct TimelineCursor(Rc<Position>, Rc<RefCell<VecDeque<Rc<Position>>>>);

impl Cursor for TimelineCursor {
    fn advance(&mut self, sequence: Sequence, _at: Timestamp, state: &PluginState) {
        assert!(self.0.delivered.get() < sequence.0, "the position only moves forward");
        self.0.delivered.set(sequence.0);
        self.0.state.replace(state.clone());
    }

    async fn save_state(&mut self, state: &PluginState) {
        self.0.state.replace(state.clone());
    }

    fn finish_backlog(&mut self) {
        assert_eq!(self.0.last, Some(self.0.delivered.get()), "the whole backlog is delivered");
        self.1.borrow_mut().pop_front();
    }
}

struct LiveFirst {
    feed: TestFeed,
    position: Rc<Position>,
    backlogs: Rc<RefCell<VecDeque<Rc<Position>>>>,
    began: Instant,
}

fn policy_of(order: DeliveryOrder) -> Policy {
    Policy { order, ..policy() }
}

fn run_live_first(plugin: RulePlugin, backlog_rate: Option<u32>, poisoned: fn(u64) -> bool) -> LiveFirst {
    run_after(plugin, backlog_rate, poisoned, None)
}

/// `left`: the one event of a backlog that an earlier run has left.
fn run_after(plugin: RulePlugin, backlog_rate: Option<u32>, poisoned: fn(u64) -> bool, left: Option<u64>) -> LiveFirst {
    let began = Instant::now();
    let (position, backlogs) = (Rc::<Position>::default(), Rc::<RefCell<VecDeque<_>>>::default());
    let read = left.unwrap_or(0);
    position.delivered.set(read);
    let backlog = |last: u64| Position { delivered: Cell::new(last - 1), last: Some(last), ..Position::default() };
    backlogs.borrow_mut().extend(left.map(backlog).map(Rc::new));
    let events = Timeline { began, read, position: Rc::clone(&position), backlogs: Rc::clone(&backlogs), poisoned };
    let policy = policy_of(DeliveryOrder::LiveFirst { backlog_rate });
    LiveFirst { feed: spawn(Rc::default(), policy, plugin, events), position, backlogs, began }
}

impl LiveFirst {
    async fn at(&self, seconds: u64) {
        // Between two events, so that what happens at the same time has no part in it.
        sleep_until(self.began + Duration::from_secs(seconds) + Duration::from_millis(500)).await;
    }

    /// The broker cannot be reached from one second to another.
    async fn outage(&self, from: u64, to: u64) {
        self.at(from).await;
        self.feed.outside.is_unreachable.set(true);
        self.feed.outside.closes_session.set(true);
        self.feed.outside.changed.notify_waiters();
        self.at(to).await;
        self.feed.outside.is_unreachable.set(false);
    }

    fn numbers(&self) -> Vec<u64> {
        let published = self.feed.published();
        published.iter().filter_map(|topic| topic.split('/').nth(1)?.parse().ok()).collect()
    }

    fn index(&self, number: u64) -> usize {
        self.numbers()
            .iter()
            .position(|published| *published == number)
            .unwrap_or_else(|| panic!("{number} is missing"))
    }

    /// Waits until there is a backlog or, with `false`, none any more; then lets that many seconds pass.
    async fn with_backlog(&self, expected: bool, seconds: u64) {
        let change = async {
            while self.has_backlog() != expected {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(10), change).await.expect("the backlog to begin or to end");
        self.at(self.newest() + seconds).await;
    }

    /// The number of the newest event.
    fn newest(&self) -> u64 {
        self.began.elapsed().as_secs()
    }

    fn has_backlog(&self) -> bool {
        !self.backlogs.borrow().is_empty()
    }
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_the_newest_events_go_first_and_the_backlog_follows_at_its_rate() {
    on_one_thread(async {
        let run = run_live_first(rule("a", |_| false), Some(2), |_| false);
        run.outage(10, 70).await;
        run.with_backlog(true, 10).await;
        assert!(run.has_backlog());
        let numbers = run.numbers();
        let first_live = numbers.windows(2).find(|pair| pair[1] > pair[0] + 1).unwrap()[1];
        assert!(first_live >= 70, "{numbers:?}");
        // The session began up to a second before the next event.
        assert!(run.index(first_live) < run.index(15), "the newest go first: {numbers:?}");
        let of_backlog: Vec<_> = numbers.iter().copied().filter(|number| (11..first_live).contains(number)).collect();
        assert!(of_backlog.is_sorted() && (10..=24).contains(&of_backlog.len()), "{of_backlog:?}");
        run.with_backlog(false, 5).await;
        let (mut numbers, newest) = (run.numbers(), run.newest());
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=newest).collect::<Vec<_>>());
        // The state is that of the newest events: the backlog had a copy of the one before the outage.
        let seen = run.position.state.borrow().get("seen").unwrap()[0];
        assert_eq!(u64::from(seen), 10 + (newest - first_live + 1));
        assert_eq!(run.feed.health.borrow().delivered, newest);
        run.feed.stop().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_short_interruption_changes_no_order() {
    on_one_thread(async {
        let run = run_live_first(rule("a", |_| false), None, |_| false);
        run.outage(10, 12).await;
        run.at(30).await;
        assert_eq!(run.numbers(), (1..=30).collect::<Vec<_>>());
        run.feed.stop().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_second_outage_leaves_a_second_backlog_and_nothing_is_lost() {
    on_one_thread(async {
        let run = run_live_first(rule("a", |_| false), Some(1), |_| false);
        run.outage(10, 50).await;
        run.with_backlog(true, 10).await;
        let second = run.newest();
        run.outage(second, second + 30).await;
        while run.backlogs.borrow().len() < 2 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        run.with_backlog(false, 5).await;
        let (mut numbers, newest) = (run.numbers(), run.newest());
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers, (1..=newest).collect::<Vec<_>>());
        run.feed.stop().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_fails_on_the_backlog_stops_it_alone_until_it_is_replaced() {
    on_one_thread(async {
        let run = run_live_first(rule("bad", fails_on_poison), Some(50), |number| (20..23).contains(&number));
        run.outage(10, 50).await;
        run.with_backlog(true, 0).await;
        run.with_backlog(false, 0).await;
        let health = run.feed.health.borrow().clone();
        assert_eq!((health.off, health.connected), (None, true));
        let quarantined = run.feed.quarantined();
        // The events around the poisonous ones show that the plugin works.
        assert_eq!(quarantined, (20..23).collect::<Vec<_>>());
        run.feed.stop().await;

        let run = run_live_first(rule("bad", fails_on_poison), Some(50), |number| (11..60).contains(&number));
        run.outage(10, 70).await;
        run.with_backlog(true, 10).await;
        let health = run.feed.health.borrow().clone();
        assert_eq!(health.off, None);
        assert!(health.backlog_off.unwrap().contains("10 times in a row"));
        assert!(run.feed.quarantined().is_empty() && run.has_backlog());
        let (reply, replied) = tokio::sync::oneshot::channel();
        let policy = policy_of(DeliveryOrder::LiveFirst { backlog_rate: Some(50) });
        let replacement = crate::Replacement { policy, plugin: rule("good", |_| false), broker: None, reply };
        run.feed.replacements.send(Box::new(replacement)).await.ok().unwrap();
        replied.await.unwrap().unwrap();
        run.with_backlog(false, 0).await;
        assert_eq!(run.feed.health.borrow().backlog_off, None);
        let published = run.feed.published();
        assert!((11..60).all(|number| published.contains(&format!("good/{number}"))), "{published:?}");
        run.feed.stop().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_last_event_of_a_backlog_is_quarantined_if_the_plugin_fails_on_it_alone() {
    on_one_thread(async {
        // All of the backlog: no event of it shows whether the plugin or the events are at fault.
        let run = run_after(rule("a", fails_on_poison), None, |number| number == 3, Some(3));
        run.with_backlog(false, 0).await;
        assert_eq!((run.feed.quarantined(), run.feed.health.borrow().backlog_off.clone()), (vec![3], None));
        run.feed.stop().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn births_come_before_the_backlog_and_only_once() {
    on_one_thread(async {
        let outside = Rc::default();
        let run = run_live_first(connector(&outside, "a", |_| false, leaves_it_to_the_settings), Some(2), |_| false);
        run.outage(10, 50).await;
        run.with_backlog(true, 10).await;
        let published = run.feed.published();
        let births: Vec<_> = published.iter().enumerate().filter(|(_, topic)| topic.as_str() == "a/birth").collect();
        assert_eq!(births.len(), 2, "{published:?}");
        let first_of_backlog = published.iter().position(|topic| topic == "a/12").unwrap();
        assert!(births[1].0 < first_of_backlog, "{published:?}");
        run.feed.stop().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_the_backlog() {
    on_one_thread(async {
        let run = run_live_first(rule("a", |_| false), Some(1), |_| false);
        run.outage(10, 70).await;
        run.with_backlog(true, 10).await;
        let newest = run.newest();
        let (backlogs, position, stopping) = (Rc::clone(&run.backlogs), Rc::clone(&run.position), Instant::now());
        run.feed.stop().await;
        assert!(stopping.elapsed() <= Duration::from_secs(1), "{:?}", stopping.elapsed());
        let rest = Rc::clone(backlogs.borrow().front().unwrap());
        assert!(rest.delivered.get() < rest.last.unwrap() && position.delivered.get() >= newest);
    })
    .await;
}
