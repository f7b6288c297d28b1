//! How unusual a reading is: a model's score of its values, and how far its timing is from the usual.

/// Readings before the timing is judged.
const BASELINE_READINGS: u32 = 50;
/// Weight of a new reading in the baseline: it follows slow changes within some hundred readings.
const LEARNING_RATE: f64 = 0.02;
/// Smallest standard deviation, ms: less is the resolution of timers, not of the device.
const LEAST_DEVIATION_MS: f64 = 1.0;
/// A reading further from the mean than this many standard deviations is learned as if it were there: an attack that lasts must
/// not become the baseline at once.
const LEARNED_DEVIATIONS: f64 = 3.0;

/// The weights and thresholds of a score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AnomalyRules {
    /// What the model's score counts, 0 to 1.
    pub model_weight: f64,
    /// What the timing's score counts, 0 to 1.
    pub timing_weight: f64,
    /// A score from here on is counted as an alert.
    pub alert_at: f64,
    /// A score above is an alarm.
    pub alarm_above: f64,
}

impl Default for AnomalyRules {
    fn default() -> Self {
        Self { model_weight: 0.8, timing_weight: 0.7, alert_at: 0.65, alarm_above: 0.7 }
    }
}

/// What is known of the timing so far.
#[derive(Clone, Copy, Debug, Default)]
struct TimingBaseline {
    readings: u32,
    mean_ms: f64,
    variance: f64,
}

/// Judges the readings of one device, one after the other.
#[derive(Clone, Debug)]
pub struct AnomalyJudge {
    rules: AnomalyRules,
    timing: TimingBaseline,
    alerts: u32,
}

/// What is said of a reading.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AnomalyVerdict {
    /// 0 to 1.
    pub score: f64,
    /// Alerts so far.
    pub alert_count: u32,
    /// Whether the timing of enough readings is known.
    pub trained: bool,
    /// Whether a person should look.
    pub alarm: bool,
}

impl AnomalyJudge {
    /// Begins without a baseline.
    pub fn new(rules: AnomalyRules) -> Self {
        Self { rules, timing: TimingBaseline::default(), alerts: 0 }
    }

    /// Judges a reading by the model's score, 0 to 1, and its time in milliseconds, if it has one.
    pub fn judge(&mut self, model_score: f64, timing_ms: Option<f64>) -> AnomalyVerdict {
        let trained = self.timing.readings >= BASELINE_READINGS;
        let timing_score = timing_ms.filter(|_| trained).map_or(0.0, |timing| self.timing.score(timing));
        if let Some(timing) = timing_ms {
            self.timing.learn(timing);
        }
        let sum = self.rules.model_weight * model_score + self.rules.timing_weight * timing_score;
        let score = sum.clamp(0.0, 1.0);
        if score >= self.rules.alert_at {
            self.alerts = self.alerts.saturating_add(1);
        }
        AnomalyVerdict { score, alert_count: self.alerts, trained, alarm: score > self.rules.alarm_above }
    }
}

impl TimingBaseline {
    fn deviation_ms(&self) -> f64 {
        self.variance.sqrt().max(LEAST_DEVIATION_MS)
    }

    /// The z-score, mapped from 0 and up to 0 to 1.
    fn score(&self, timing_ms: f64) -> f64 {
        let z = (timing_ms - self.mean_ms).abs() / self.deviation_ms();
        z / (1.0 + z)
    }

    fn learn(&mut self, timing_ms: f64) {
        self.readings = self.readings.saturating_add(1);
        let most = LEARNED_DEVIATIONS * self.deviation_ms();
        // At first the mean of all readings, later a moving one.
        let rate = (1.0 / f64::from(self.readings)).max(LEARNING_RATE);
        let is_first = self.readings <= BASELINE_READINGS;
        let difference = timing_ms - self.mean_ms;
        let difference = if is_first { difference } else { difference.clamp(-most, most) };
        self.mean_ms += rate * difference;
        self.variance = (1.0 - rate) * (self.variance + rate * difference * difference);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Readings that take 10 ms ± 1.5 ms.
    fn trained() -> AnomalyJudge {
        let mut judge = AnomalyJudge::new(AnomalyRules::default());
        for reading in 0..200_u32 {
            judge.judge(0.0, Some(8.5 + f64::from(reading % 7) * 0.5));
        }
        judge
    }

    #[test]
    fn timing_is_judged_after_fifty_readings() {
        let mut judge = AnomalyJudge::new(AnomalyRules::default());
        for _ in 0..50 {
            assert!(!judge.judge(0.0, Some(10.0)).trained);
        }
        assert_eq!(
            judge.judge(0.0, Some(10.0)),
            AnomalyVerdict { score: 0.0, alert_count: 0, trained: true, alarm: false }
        );
    }

    #[test]
    fn a_slow_reading_scores_high_and_a_usual_one_low() {
        assert!(trained().judge(0.0, Some(10.5)).score < 0.3);
        let slow = trained().judge(0.0, Some(50.0));
        assert!(slow.score > 0.65, "{slow:?}");
        assert_eq!(slow.alert_count, 1);
    }

    #[test]
    fn the_model_alone_can_alarm() {
        let verdict = trained().judge(1.0, Some(10.0));
        assert!(verdict.alarm && verdict.alert_count == 1, "{verdict:?}");
        let unknown_timing = trained().judge(0.9, None);
        assert!(unknown_timing.alarm, "{unknown_timing:?}");
    }

    #[test]
    fn weights_and_thresholds_are_settings() {
        let rules = AnomalyRules { model_weight: 0.5, timing_weight: 0.0, alert_at: 0.4, alarm_above: 0.45 };
        let mut judge = AnomalyJudge::new(rules);
        assert_eq!(
            judge.judge(0.8, Some(5.0)),
            AnomalyVerdict { score: 0.4, alert_count: 1, trained: false, alarm: false }
        );
        assert!(judge.judge(1.0, None).alarm);
    }

    #[test]
    fn a_lasting_change_is_not_learned_at_once() {
        let mut judge = trained();
        let scores: Vec<_> = (0..20).map(|_| judge.judge(0.0, Some(60.0)).score).collect();
        assert!(scores.iter().all(|score| *score > 0.6), "{scores:?}");
    }
}
