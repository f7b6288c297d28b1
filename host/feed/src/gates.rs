//! Brokers that cannot be reached: feeds that share one do not all try it.
//!
//! When a broker cannot be reached, one of its feeds tries it again with back-off, and the others wait for the outcome. When
//! it can be reached again they sign in one after the other, because a broker that has just started is easily overrun.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use bessai_domain::session::Endpoint;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::backoff::{Backoff, LONGEST};

/// Brokers that are remembered; a plugin may name others again and again.
const MAX_BROKERS: usize = 1024;
/// Time between two sign-ins of feeds that have waited.
const SPACING: Duration = Duration::from_millis(20);
/// A feed that does not report the outcome of its try for this long keeps the others waiting no longer.
const LONGEST_TRY: Duration = Duration::from_secs(30);

/// The gates of all brokers; clones share them.
#[derive(Clone, Default)]
pub struct BrokerGates(Rc<RefCell<HashMap<Endpoint, Gate>>>);

struct Gate {
    state: watch::Sender<GateState>,
    backoff: Backoff,
    /// When the next feed that has waited may sign in.
    next_turn: Instant,
}

#[derive(Clone, Debug, PartialEq)]
enum GateState {
    Open,
    /// Nobody signs in before this time, and then one feed; with the last error.
    Closed {
        until: Instant,
        reason: Rc<str>,
    },
}

/// Why a feed waits, and until when at least.
pub(crate) struct Waiting {
    pub(crate) reason: Rc<str>,
    pub(crate) until: Instant,
}

impl BrokerGates {
    /// Why a sign-in to this broker has to wait; none if it may begin. A feed that may begin at a closed gate tries for all.
    pub(crate) fn enter(&self, broker: &Endpoint) -> Option<Waiting> {
        let mut gates = self.0.borrow_mut();
        let gate = gates.get_mut(broker)?;
        let now = Instant::now();
        let GateState::Closed { until, reason } = gate.state.borrow().clone() else { return None };
        if until > now {
            return Some(Waiting { reason, until });
        }
        gate.state.send_replace(GateState::Closed { until: now + LONGEST_TRY, reason });
        None
    }

    /// Waits until the gate opens or its time has come; then [`Self::enter`] has to be asked again.
    pub(crate) async fn wait(&self, broker: &Endpoint, waiting: &Waiting) {
        let state = self.0.borrow().get(broker).map(|gate| gate.state.subscribe());
        let Some(mut state) = state else { return };
        let opened = async {
            let _ = state.wait_for(|state| *state == GateState::Open).await;
        };
        tokio::select! {
            () = opened => sleep_until(self.next_turn(broker)).await,
            () = sleep_until(waiting.until) => {}
        }
    }

    fn next_turn(&self, broker: &Endpoint) -> Instant {
        let mut gates = self.0.borrow_mut();
        let Some(gate) = gates.get_mut(broker) else { return Instant::now() };
        gate.next_turn = gate.next_turn.max(Instant::now()) + SPACING;
        gate.next_turn
    }

    /// The broker was reached, whatever it answered.
    pub(crate) fn reached(&self, broker: &Endpoint) {
        let mut gates = self.0.borrow_mut();
        let Some(gate) = gates.get_mut(broker) else { return };
        gate.backoff.reset();
        gate.state.send_if_modified(|state| std::mem::replace(state, GateState::Open) != GateState::Open);
    }

    /// The broker cannot be reached.
    pub(crate) fn unreachable(&self, broker: &Endpoint, reason: &str) {
        let mut gates = self.0.borrow_mut();
        if gates.len() >= MAX_BROKERS && !gates.contains_key(broker) {
            gates.retain(|_, gate| gate.state.receiver_count() > 0);
        }
        let now = Instant::now();
        let gate = gates.entry(broker.clone()).or_insert_with(|| Gate {
            state: watch::Sender::new(GateState::Open),
            backoff: Backoff::default(),
            next_turn: now,
        });
        let until = now + gate.backoff.next(LONGEST);
        gate.state.send_replace(GateState::Closed { until, reason: reason.into() });
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::task::LocalSet;

    use super::*;

    fn endpoint() -> Endpoint {
        Endpoint { host: "broker.example".into(), port: 8883 }
    }

    /// Signs in as often as it takes; notes each try.
    async fn sign_in(gates: BrokerGates, is_up: Rc<Cell<bool>>, tries: Rc<RefCell<Vec<Instant>>>) {
        loop {
            while let Some(waiting) = gates.enter(&endpoint()) {
                gates.wait(&endpoint(), &waiting).await;
            }
            tries.borrow_mut().push(Instant::now());
            tokio::time::sleep(Duration::from_millis(100)).await;
            if is_up.get() {
                return gates.reached(&endpoint());
            }
            gates.unreachable(&endpoint(), "failed to connect");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn many_feeds_try_a_dead_broker_as_one_and_come_back_one_after_the_other() {
        let (gates, is_up, tries) =
            (BrokerGates::default(), Rc::new(Cell::new(false)), Rc::<RefCell<Vec<_>>>::default());
        let local = LocalSet::new();
        local
            .run_until(async {
                let feeds: Vec<_> = (0..400)
                    .map(|_| tokio::task::spawn_local(sign_in(gates.clone(), Rc::clone(&is_up), Rc::clone(&tries))))
                    .collect();
                tokio::time::sleep(Duration::from_hours(1)).await;
                // All at once before anybody knows; then one about every half minute.
                let count = tries.borrow().len();
                assert!((400 + 60..400 + 300).contains(&count), "{count}");
                is_up.set(true);
                let before = tries.borrow().len();
                for feed in feeds {
                    feed.await.unwrap();
                }
                let back = tries.borrow()[before..].to_vec();
                // One may be trying already.
                assert!((399..=402).contains(&back.len()), "{}", back.len());
                let took = *back.last().unwrap() - back[1];
                assert!(took >= SPACING * 390 && took < Duration::from_secs(60), "{took:?}");
            })
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_try_without_an_outcome_does_not_keep_the_others_waiting_for_ever() {
        let gates = BrokerGates::default();
        gates.unreachable(&endpoint(), "failed to connect");
        while let Some(waiting) = gates.enter(&endpoint()) {
            sleep_until(waiting.until).await;
        }
        let waiting = gates.enter(&endpoint()).unwrap();
        assert_eq!(&*waiting.reason, "failed to connect");
        gates.wait(&endpoint(), &waiting).await;
        assert!(gates.enter(&endpoint()).is_none());
    }
}
