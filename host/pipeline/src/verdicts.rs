//! Verdicts: when they become events, what the log says about them, and trips.

use bessai_domain::event::{EventBody, Safety, SafetyState, Violation, Watchdog};
use bessai_domain::safety::rule;
use tokio::sync::oneshot;

use crate::Pipeline;

/// An operator's request to end the trips of one device, or of all.
#[derive(Debug)]
pub struct TripReset {
    /// The device's name; none for all.
    pub device: Option<String>,
    /// Gets the trips that were reset, or why none was.
    pub answer: oneshot::Sender<Result<Vec<Violation>, Violation>>,
}

/// What makes two verdicts equal: which rules are broken on which channel, not by how much.
#[derive(PartialEq)]
pub(crate) struct VerdictKey {
    state: SafetyState,
    watchdog: Watchdog,
    broken: Vec<(String, String, String)>,
    power_limit_kw: Option<f64>,
}

/// Whether a verdict is appended that says the same as the one before.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repetition {
    Always,
    OnlyChanges,
}

impl Pipeline {
    /// Takes over the trips of the last verdict before a restart: a restart resets none.
    pub fn restore_trips(&mut self, last: &Safety) {
        self.monitor.borrow_mut().restore_trips(last);
        for trip in self.monitor.borrow().trips() {
            let (device, channel, value, limit) = (&trip.device, &trip.channel, trip.value, trip.limit);
            tracing::error!(
                %device, %channel, value, limit,
                "{device} tripped before the restart: {channel} was {value}, limit {limit}; set-points are refused until \
                 an operator resets the trip"
            );
        }
        // Recorded again at once: the next restart reads the newest part of the journal only.
        if !self.monitor.borrow().trips().is_empty() {
            self.judge(Repetition::OnlyChanges);
        }
    }

    /// Ends trips, and judges without them.
    pub(crate) fn reset_trips(&mut self, device: Option<&str>) -> Result<Vec<Violation>, Violation> {
        let reset = self.monitor.borrow_mut().reset_trips(device, (self.clock)().monotonic)?;
        for Violation { device, channel, value, limit, .. } in &reset {
            tracing::warn!(
                %device, %channel, value, limit,
                "an operator reset the trip of {device}: {channel} was {value}, limit {limit}"
            );
        }
        self.judge(Repetition::OnlyChanges);
        Ok(reset)
    }

    /// Judges the newest readings. The verdict's time is that of the judgement, so that verdicts follow each other in time
    /// whichever device's reading caused them.
    pub(crate) fn judge(&mut self, repetition: Repetition) {
        let now = (self.clock)();
        let safety = self.monitor.borrow().evaluate(now.monotonic);
        let state = safety.state();
        // A start knows nothing yet. That is no alarm until each channel had the time to be read.
        if state != SafetyState::Unsafe && self.verdict.is_none() && !self.monitor.borrow().is_settled(now.monotonic) {
            (self.sinks.judged)(SafetyState::Unknown);
            return;
        }
        (self.sinks.judged)(state);
        let key = VerdictKey::of(&safety);
        let has_changed = self.verdict.as_ref() != Some(&key);
        if !has_changed && repetition == Repetition::OnlyChanges {
            return;
        }
        if self.verdict.as_ref().is_none_or(|verdict| verdict.state != state) {
            self.log_verdict(&safety);
        }
        self.log_new_rules(&safety);
        self.verdict = Some(key);
        self.append(now, EventBody::Safety(safety));
    }

    fn log_verdict(&self, safety: &Safety) {
        match safety.state() {
            SafetyState::Safe if self.verdict.is_some() => tracing::info!("the battery is back within its limits"),
            SafetyState::Safe => {}
            SafetyState::Unknown => {
                for violation in safety.violations.iter().filter(|violation| !violation.reduces_only()) {
                    let (rule, device, channel) = (&violation.rule, &violation.device, &violation.channel);
                    let limit = violation.limit;
                    tracing::error!(
                        %rule, %device, %channel,
                        "safety is unknown: {channel} has no value that is younger than {limit} s"
                    );
                }
            }
            SafetyState::Unsafe => {
                for violation in safety.violations.iter().filter(|violation| !violation.reduces_only()) {
                    let (rule, device, channel) = (&violation.rule, &violation.device, &violation.channel);
                    let (value, limit) = (violation.value, violation.limit);
                    tracing::error!(
                        %rule, %device, %channel, value, limit,
                        "the battery is not safe: {channel} violates {rule}"
                    );
                }
            }
        }
    }

    /// Names the trips and the reductions of set-points that the verdict before did not have.
    fn log_new_rules(&self, safety: &Safety) {
        let is_known = |violation: &Violation| {
            let mut known = self.verdict.iter().flat_map(|verdict| &verdict.broken);
            known.any(|known| *known == VerdictKey::broken(violation))
        };
        for violation in safety.violations.iter().filter(|violation| !is_known(violation)) {
            let Violation { rule, device, channel, value, limit } = violation;
            if violation.reduces_only() {
                tracing::warn!(
                    %rule, %device, %channel, value, limit,
                    "set-points of {device} are reduced: {channel} is {value}, limit {limit} (rule {rule})"
                );
            } else if rule == rule::TRIP {
                tracing::error!(
                    %rule, %device, %channel, value, limit,
                    "{device} tripped: {channel} was {value}, limit {limit}; set-points are refused until an operator \
                     resets the trip"
                );
            }
        }
    }
}

impl VerdictKey {
    fn of(safety: &Safety) -> Self {
        let broken = safety.violations.iter().map(Self::broken).collect();
        let (watchdog, power_limit_kw) = (safety.watchdog, safety.power_limit_kw);
        Self { state: safety.state(), watchdog, broken, power_limit_kw }
    }

    fn broken(violation: &Violation) -> (String, String, String) {
        (violation.device.clone(), violation.channel.clone(), violation.rule.clone())
    }
}
