//! What all parts of a run share: its random choices, its observer, its steps, and whether things still fail.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bessai_domain::event::{Event, EventBody, Frame, Safety, SafetyState};
use bessai_domain::safety::rule;
use bessai_domain::time::Moment;

use crate::clock;
use crate::observer::{Account, DeliveryRecord, Invariant, LimitedChannel, SafetyRecord, Violation};
use crate::random::Random;
use crate::sabotage::Sabotage;
use crate::scenario::Scenario;
use crate::trace::{Digest, Trace};

/// Violations of one invariant that are kept: more of them say nothing new.
const KEPT_VIOLATIONS: usize = 3;

/// The world of a run.
pub(crate) struct World {
    pub(crate) scenario: Scenario,
    pub(crate) sabotage: Option<Sabotage>,
    pub(crate) delivery: RefCell<DeliveryRecord>,
    pub(crate) safety: RefCell<SafetyRecord>,
    pub(crate) trace: RefCell<Trace>,
    random: RefCell<Random>,
    violations: RefCell<Vec<Violation>>,
    has_faults: Cell<bool>,
    /// Decides which events a plugin traps on, whenever it sees them.
    poison: u64,
}

impl World {
    pub(crate) fn new(seed: u64, sabotage: Option<Sabotage>) -> Rc<Self> {
        let mut random = Random::new(seed);
        let scenario = Scenario::of(&mut random);
        Rc::new(Self {
            delivery: RefCell::new(DeliveryRecord::new(
                scenario.feeds.iter().map(|feed| (feed.name.as_str(), Scenario::expectation(feed))),
            )),
            safety: RefCell::default(),
            trace: RefCell::default(),
            poison: random.number(0..u64::MAX),
            random: RefCell::new(random),
            violations: RefCell::default(),
            has_faults: Cell::new(true),
            scenario,
            sabotage,
        })
    }

    /// Limited channels, once the devices exist.
    pub(crate) fn watch(&self, channels: Vec<LimitedChannel>, devices: usize) {
        self.safety.replace(SafetyRecord::new(channels, devices));
    }

    /// The generator, for one choice.
    pub(crate) fn choose<T>(&self, choice: impl FnOnce(&mut Random) -> T) -> T {
        choice(&mut self.random.borrow_mut())
    }

    /// Whether something that goes wrong with this probability does; nothing does any more when the faults have ended.
    pub(crate) fn fails(&self, kind: &'static str, probability: f64) -> bool {
        let fails = self.has_faults.get() && self.choose(|random| random.chance(probability));
        if fails {
            self.trace.borrow_mut().count(clock::elapsed(), kind);
        }
        fails
    }

    pub(crate) fn has_faults(&self) -> bool {
        self.has_faults.get()
    }

    /// From here on everything behaves.
    pub(crate) fn end_faults(&self) {
        self.has_faults.set(false);
    }

    /// Whether this event makes plugins trap that have poisonous events with this probability.
    pub(crate) fn is_poisonous(&self, feed: usize, event: &Event, probability: f64) -> bool {
        let mut digest = Digest::default();
        for number in [self.poison, feed as u64, event.sequence.0] {
            digest.add(&number.to_le_bytes());
        }
        matches!(event.body, EventBody::Frame(_)) && (digest.value() >> 11) as f64 / (1_u64 << 53) as f64 <= probability
    }

    pub(crate) fn disturb(&self, kind: &'static str, detail: &str) {
        self.trace.borrow_mut().disturb(clock::elapsed(), kind, detail);
    }

    pub(crate) fn note(&self, step: &str) {
        self.trace.borrow_mut().note(clock::elapsed(), step);
    }

    /// An invariant is violated.
    pub(crate) fn report(&self, violation: impl IntoIterator<Item = Violation>) {
        for violation in violation {
            let mut violations = self.violations.borrow_mut();
            let same = violations.iter().filter(|known| known.invariant == violation.invariant).count();
            if same < KEPT_VIOLATIONS {
                let step = format!("{:?}: {}", violation.invariant, violation.detail);
                self.trace.borrow_mut().violated(clock::elapsed(), &step);
                violations.push(violation);
            }
        }
    }

    pub(crate) fn panicked(&self, what: &str) {
        self.report([Violation::new(Invariant::NoPanic, what)]);
    }

    pub(crate) fn violations(&self) -> Vec<Violation> {
        self.violations.borrow().clone()
    }

    /// An event was appended.
    pub(crate) fn appended(&self, number: u64, fingerprint: u64, kind: &str) {
        self.note(&format!("event {number} {kind} {fingerprint:x}"));
        let violation = self.delivery.borrow_mut().appended(number, fingerprint, clock::elapsed());
        self.report(violation);
    }

    /// A feed's broker received an event. A description of the site that a feed has missed is repeated with a number that no
    /// event has.
    pub(crate) fn delivered(&self, feed: usize, number: u64, is_description: bool) {
        self.note(&format!("feed {feed} got {number}"));
        if is_description && !self.delivery.borrow().has_happened(number) {
            return;
        }
        let violation = self.delivery.borrow_mut().delivered(feed, number);
        self.report(violation);
    }

    /// The broker refused a message with an event, or ended the session before it had acknowledged it: those behind it may
    /// go first.
    pub(crate) fn may_come_later(&self, feed: usize, number: u64) {
        self.delivery.borrow_mut().may_come_later(feed, number);
    }

    /// A feed gave up an event.
    pub(crate) fn accounted(&self, feed: usize, number: u64, account: Account) {
        self.note(&format!("feed {feed} gave up {number}: {account:?}"));
        self.delivery.borrow_mut().accounted(feed, number, account);
    }

    /// The pipeline gets a frame.
    pub(crate) fn frame(&self, at: Moment, frame: &Frame) {
        let (now, elapsed) = (clock::now().monotonic, clock::elapsed());
        let violation = self.safety.borrow_mut().frame(at.monotonic, frame, now, elapsed);
        self.report(violation);
    }

    /// The readings are judged.
    pub(crate) fn judged(&self, state: SafetyState) {
        self.note(&format!("verdict {state:?}"));
        let violation = self.safety.borrow_mut().judged(state, clock::now().monotonic, clock::elapsed());
        self.report(violation);
    }

    /// A verdict is in the journal.
    pub(crate) fn verdict_recorded(&self, number: u64, safety: &Safety) {
        let lists_trip = safety.violations.iter().any(|violation| violation.rule == rule::TRIP);
        self.safety.borrow_mut().trips.recorded(number, lists_trip);
    }

    /// The status shows a verdict.
    pub(crate) fn shown(&self, state: SafetyState) {
        let violation = self.safety.borrow().shown(state, clock::now().monotonic, clock::elapsed());
        self.report(violation);
    }

    /// Waits in virtual time.
    pub(crate) async fn pause(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}
