//! What a site allows a model's set-point to be: clamped to the battery's power, ramped, and changed only by a minimum step.

use crate::time::MonotonicTime;

/// Seconds of a minute, the unit of a ramp.
const MINUTE_S: f64 = 60.0;
/// Seconds of the ramp that the first set-point may use: nothing is known of the time before it.
const FIRST_RAMP_S: f64 = 1.0;

/// The rules for the set-points of one model; kW, + = discharge.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DispatchRules {
    /// The most that it may discharge, not negative; none without a limit.
    pub max_discharge_kw: Option<f64>,
    /// The most that it may charge, not negative; none without a limit.
    pub max_charge_kw: Option<f64>,
    /// The most that its set-point changes in a minute; none without a limit.
    pub ramp_kw_per_min: Option<f64>,
    /// A smaller change is none: the set-point stays as it is.
    pub min_step_kw: f64,
}

/// The set-points of one model, one after the other.
#[derive(Clone, Debug)]
pub struct DispatchLimiter {
    rules: DispatchRules,
    last: Option<(MonotonicTime, f64)>,
}

impl Default for DispatchRules {
    fn default() -> Self {
        Self { max_discharge_kw: None, max_charge_kw: None, ramp_kw_per_min: None, min_step_kw: 0.0 }
    }
}

impl DispatchLimiter {
    /// Begins without a set-point.
    pub fn new(rules: DispatchRules) -> Self {
        Self { rules, last: None }
    }

    /// The set-point for what the model wants; both powers are finite. The first one ramps from the battery's present power, or
    /// from zero if that is unknown.
    pub fn limit(&mut self, at: MonotonicTime, wanted_kw: f64, present_kw: Option<f64>) -> f64 {
        let clamped = self.rules.clamp(wanted_kw);
        let limited = match self.last {
            None => self.rules.ramp(self.rules.clamp(present_kw.unwrap_or_default()), clamped, FIRST_RAMP_S),
            Some((_, last)) if (clamped - last).abs() < self.rules.min_step_kw => last,
            Some((since, last)) => self.rules.ramp(last, clamped, at.since(since).as_secs_f64()),
        };
        self.last = Some((self.last.map_or(at, |(since, _)| since.max(at)), limited));
        limited
    }

    /// The model gave no answer, so its set-point ends: the next one ramps from the battery's power again.
    pub fn reset(&mut self) {
        self.last = None;
    }
}

impl DispatchRules {
    fn clamp(&self, power_kw: f64) -> f64 {
        let discharge = self.max_discharge_kw.unwrap_or(f64::INFINITY);
        let charge = self.max_charge_kw.unwrap_or(f64::INFINITY);
        power_kw.min(discharge).max(-charge)
    }

    fn ramp(&self, from_kw: f64, to_kw: f64, elapsed_s: f64) -> f64 {
        let Some(ramp) = self.ramp_kw_per_min else { return to_kw };
        let most = ramp * elapsed_s / MINUTE_S;
        from_kw + (to_kw - from_kw).clamp(-most, most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Applies the rules to (second, wanted) one after the other.
    fn check(rules: DispatchRules, present: Option<f64>, wanted: &[(i64, f64)], expected: &[f64]) {
        let mut limiter = DispatchLimiter::new(rules);
        let at = |second: i64| MonotonicTime::from_nanos(second * 1_000_000_000);
        let limited: Vec<_> =
            wanted.iter().map(|&(second, wanted)| limiter.limit(at(second), wanted, present)).collect();
        assert_eq!(limited, expected, "{rules:?} {wanted:?}");
    }

    #[test]
    fn without_rules_a_set_point_is_what_the_model_wants() {
        check(DispatchRules::default(), Some(7.0), &[(0, 500.0), (0, -500.0), (1, 0.0)], &[500.0, -500.0, 0.0]);
    }

    #[test]
    fn set_points_are_clamped_in_each_direction() {
        let rules =
            DispatchRules { max_discharge_kw: Some(50.0), max_charge_kw: Some(30.0), ..DispatchRules::default() };
        check(rules, None, &[(0, 500.0), (1, -500.0), (2, 10.0)], &[50.0, -30.0, 10.0]);
        let only_discharge = DispatchRules { max_charge_kw: Some(0.0), ..DispatchRules::default() };
        check(only_discharge, None, &[(0, -5.0), (1, 5.0)], &[0.0, 5.0]);
    }

    #[test]
    fn set_points_ramp_from_the_present_power() {
        let rules = DispatchRules { ramp_kw_per_min: Some(60.0), ..DispatchRules::default() };
        check(rules, Some(20.0), &[(0, 100.0), (10, 100.0), (100, 100.0)], &[21.0, 31.0, 100.0]);
        check(rules, Some(20.0), &[(0, -100.0), (10, -100.0)], &[19.0, 9.0]);
        check(rules, None, &[(0, 5.0), (2, 5.0), (5, 5.0)], &[1.0, 3.0, 5.0]);
    }

    #[test]
    fn a_clock_that_does_not_advance_moves_nothing() {
        let rules = DispatchRules { ramp_kw_per_min: Some(60.0), ..DispatchRules::default() };
        check(rules, Some(0.0), &[(10, 100.0), (10, 100.0), (5, 100.0)], &[1.0, 1.0, 1.0]);
    }

    #[test]
    fn small_changes_are_none() {
        let rules = DispatchRules { min_step_kw: 2.0, ..DispatchRules::default() };
        check(rules, None, &[(0, 10.0), (1, 11.9), (2, 12.0), (3, 10.1)], &[10.0, 10.0, 12.0, 12.0]);
        // A set-point that was held for long does not jump afterwards.
        let ramped = DispatchRules { ramp_kw_per_min: Some(60.0), ..rules };
        check(ramped, Some(10.0), &[(0, 10.0), (500, 11.0), (505, 30.0)], &[10.0, 10.0, 15.0]);
        // A ramp of small steps is no small change.
        check(ramped, Some(10.0), &[(0, 10.0), (1, 13.0), (2, 13.0)], &[10.0, 11.0, 12.0]);
    }

    #[test]
    fn after_no_answer_it_ramps_from_the_present_power_again() {
        let rules = DispatchRules { ramp_kw_per_min: Some(60.0), ..DispatchRules::default() };
        let mut limiter = DispatchLimiter::new(rules);
        let at = |second: i64| MonotonicTime::from_nanos(second * 1_000_000_000);
        assert_eq!(limiter.limit(at(0), 50.0, Some(49.0)), 50.0);
        limiter.reset();
        assert_eq!(limiter.limit(at(600), 50.0, Some(0.0)), 1.0);
    }
}
