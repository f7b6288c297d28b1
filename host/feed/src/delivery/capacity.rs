//! How many messages the broker takes in a second, learnt from its refusals: a quota that is used up costs time, no message.

use std::time::Duration;

use tokio::time::Instant;

/// Acknowledgements are counted, and the rate is adapted, in steps of this time.
const STEP: Duration = Duration::from_secs(1);
/// The rate is forgotten after this time without a refusal.
const FORGOTTEN_AFTER: Duration = Duration::from_mins(10);
/// Pause after a refusal, at least.
const PAUSE: Duration = Duration::from_millis(100);
/// The lowest rate: one message in ten seconds finds out whether the broker takes messages again.
const LOWEST: f64 = 0.1;
/// The rate becomes this part of what was acknowledged when the broker refused a message.
const REDUCED: f64 = 0.9;
/// Growth in a step near the rate at which the broker refused a message.
const GROWTH: f64 = 1.05;
/// Growth in a step far below it.
const FAST_GROWTH: f64 = 2.0;

/// The rate that the broker accepts, while it is known to be limited.
#[derive(Debug, Default)]
pub(super) struct BrokerCapacity {
    limit: Option<Limit>,
    step_began: Option<Instant>,
    /// Acknowledgements in this step and in the one before.
    acknowledged: u32,
    acknowledged_before: u32,
    /// A message was acknowledged since the last refusal.
    has_passed: bool,
}

#[derive(Debug)]
struct Limit {
    /// Messages per second.
    rate: f64,
    /// The rate at which the broker last refused a message.
    ceiling: f64,
    refused: Instant,
    /// When the next message may be sent.
    next: Instant,
}

impl BrokerCapacity {
    /// The broker acknowledged a message.
    pub(super) fn acknowledged(&mut self, now: Instant) {
        self.begin_step(now);
        self.acknowledged += 1;
        self.has_passed = true;
    }

    /// The broker has no capacity for a message, or ended the session because of too many.
    pub(super) fn refused(&mut self, now: Instant) {
        self.begin_step(now);
        let has_passed = std::mem::take(&mut self.has_passed);
        let acknowledged = f64::from(self.acknowledged.max(self.acknowledged_before));
        match &mut self.limit {
            // One reaction to all the messages that were in flight.
            Some(limit) if now.duration_since(limit.refused) < STEP => {
                if !has_passed {
                    limit.next = limit.next.max(now + STEP);
                }
            }
            Some(limit) => {
                if acknowledged >= 1.0 {
                    limit.ceiling = acknowledged;
                }
                limit.rate = if acknowledged >= 1.0 { acknowledged * REDUCED } else { limit.rate / 2.0 }.max(LOWEST);
                (limit.refused, limit.next) = (now, now + Duration::from_secs_f64(1.0 / limit.rate).max(PAUSE));
            }
            None => {
                let ceiling = acknowledged.max(1.0);
                self.limit = Some(Limit { rate: ceiling * REDUCED, ceiling, refused: now, next: now + STEP });
            }
        }
    }

    /// Begins a new step if the last one is over, and adapts the rate to it.
    fn begin_step(&mut self, now: Instant) {
        let began = *self.step_began.get_or_insert(now);
        let elapsed = now.duration_since(began);
        if elapsed < STEP {
            return;
        }
        self.step_began = Some(now);
        let counted = std::mem::take(&mut self.acknowledged);
        self.acknowledged_before = if elapsed < STEP * 2 { counted } else { 0 };
        let Some(limit) = &mut self.limit else { return };
        if now.duration_since(limit.refused) >= FORGOTTEN_AFTER {
            self.limit = None;
        } else if now.duration_since(limit.refused) >= STEP {
            let near = limit.ceiling * REDUCED;
            limit.rate = if limit.rate * FAST_GROWTH < near { limit.rate * FAST_GROWTH } else { limit.rate * GROWTH };
        }
    }

    /// Whether there is room for a message, or when there is some.
    pub(super) fn available(&mut self, now: Instant) -> Result<(), Instant> {
        if self.limit.is_some() {
            self.begin_step(now);
        }
        match &self.limit {
            Some(limit) if limit.next > now => Err(limit.next),
            _ => Ok(()),
        }
    }

    /// Takes room for a message.
    pub(super) fn take(&mut self, now: Instant) {
        if let Some(limit) = &mut self.limit {
            limit.next = limit.next.max(now - STEP / 10) + Duration::from_secs_f64(1.0 / limit.rate);
        }
    }

    /// Messages per second, while they are limited.
    pub(super) fn rate(&self) -> Option<f64> {
        self.limit.as_ref().map(|limit| limit.rate)
    }

    /// When the broker last refused a message, while the rate is limited.
    pub(super) fn refused_at(&self) -> Option<Instant> {
        self.limit.as_ref().map(|limit| limit.refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends to a broker that takes so many messages in each second for some time; returns how many it took and refused.
    fn run(capacity: &mut BrokerCapacity, now: &mut Instant, per_second: u32, seconds: u64) -> (u32, u32) {
        let end = *now + Duration::from_secs(seconds);
        let (mut second, mut in_second, mut taken, mut refused) = (*now, 0, 0, 0);
        while *now < end {
            match capacity.available(*now) {
                Err(next) => *now = next,
                Ok(()) => {
                    capacity.take(*now);
                    if now.duration_since(second) >= STEP {
                        (second, in_second) = (*now, 0);
                    }
                    in_second += 1;
                    if in_second <= per_second {
                        taken += 1;
                        capacity.acknowledged(*now);
                    } else {
                        refused += 1;
                        capacity.refused(*now);
                    }
                    *now += Duration::from_micros(500);
                }
            }
        }
        (taken, refused)
    }

    #[test]
    fn the_brokers_rate_is_found_and_kept() {
        let (mut capacity, mut now) = (BrokerCapacity::default(), Instant::now());
        let (taken, refused) = run(&mut capacity, &mut now, 100, 120);
        assert!(taken >= 120 * 75 && refused <= 120 * 5, "{taken} taken, {refused} refused");
        let rate = capacity.rate().unwrap();
        assert!((50.0..=150.0).contains(&rate), "{rate}");
    }

    #[test]
    fn after_a_pause_of_the_broker_the_rate_comes_back() {
        let (mut capacity, mut now) = (BrokerCapacity::default(), Instant::now());
        run(&mut capacity, &mut now, 100, 60);
        let (taken, refused) = run(&mut capacity, &mut now, 0, 60);
        assert!(taken == 0 && refused <= 120, "{refused}");
        run(&mut capacity, &mut now, 100, 20);
        let (taken, _) = run(&mut capacity, &mut now, 100, 60);
        assert!(taken >= 60 * 70, "{taken}");
    }

    #[test]
    fn a_limit_is_forgotten_after_some_time_without_a_refusal() {
        let (mut capacity, mut now) = (BrokerCapacity::default(), Instant::now());
        capacity.refused(now);
        assert!(capacity.available(now).is_err() && capacity.refused_at() == Some(now));
        now += FORGOTTEN_AFTER;
        assert_eq!((capacity.available(now), capacity.rate()), (Ok(()), None));
    }
}
