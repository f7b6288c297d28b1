//! How unusual a reading is: a model's score of it, and how far its requests are from the usual: their reply time, and how
//! many of them failed or met frames of others.

use std::collections::VecDeque;

use crate::exchange::Exchange;

/// Readings before the timing is judged.
const BASELINE_READINGS: u32 = 50;
/// Weight of a new reading in the baseline: it follows slow changes within some hundred readings.
const LEARNING_RATE: f64 = 0.02;
/// Smallest standard deviation of the reply time, ms: less is the resolution of timers, not of the device.
const LEAST_DEVIATION_MS: f64 = 1.0;
/// Smallest standard deviation of the disturbances of a reading: one now and then is no attack.
const LEAST_DEVIATION_COUNT: f64 = 0.5;
/// Up to this many standard deviations nothing is unusual.
const USUAL_DEVIATIONS: f64 = 3.0;
/// Replies whose median is judged: a busy machine delays a single one.
const REPLIES_JUDGED: usize = 3;
/// The same for a reading that is unusual: what lasts for an hour becomes usual, an attack of minutes does not.
const UNUSUAL_LEARNING_RATE: f64 = 0.002;
/// A reading further from the mean than this many standard deviations is learned as if it were there: an attack that lasts must
/// not become the baseline at once.
const LEARNED_DEVIATIONS: f64 = 3.0;

/// The weights and thresholds of a score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AnomalyRules {
    /// What the model's score counts, 0 to 1.
    pub model_weight: f64,
    /// What the score of the exchange counts, 0 to 1.
    pub timing_weight: f64,
    /// A score from here on is counted as an alert.
    pub alert_at: f64,
    /// A score above is an alarm.
    pub alarm_above: f64,
}

impl Default for AnomalyRules {
    fn default() -> Self {
        Self { model_weight: 0.8, timing_weight: 0.75, alert_at: 0.65, alarm_above: 0.7 }
    }
}

/// What a figure usually is.
#[derive(Clone, Copy, Debug)]
struct Baseline {
    readings: u32,
    mean: f64,
    variance: f64,
    least_deviation: f64,
}

/// Judges the readings of one device, one after the other.
#[derive(Clone, Debug)]
pub struct AnomalyJudge {
    rules: AnomalyRules,
    reply_ms: Baseline,
    /// The newest reply times.
    replies: VecDeque<f64>,
    disturbances: Baseline,
    alerts: u32,
}

/// What is said of a reading.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AnomalyVerdict {
    /// 0 to 1.
    pub score: f64,
    /// Alerts so far.
    pub alert_count: u32,
    /// Whether the exchanges of enough readings are known.
    pub trained: bool,
    /// Whether a person should look.
    pub alarm: bool,
}

impl AnomalyJudge {
    /// Begins without a baseline.
    pub fn new(rules: AnomalyRules) -> Self {
        Self {
            rules,
            reply_ms: Baseline::new(LEAST_DEVIATION_MS),
            replies: VecDeque::with_capacity(REPLIES_JUDGED),
            disturbances: Baseline::new(LEAST_DEVIATION_COUNT),
            alerts: 0,
        }
    }

    /// Judges a reading by the model's score, 0 to 1, and by what its requests met.
    pub fn judge(&mut self, model_score: f64, exchange: &Exchange) -> AnomalyVerdict {
        let trained = self.disturbances.readings >= BASELINE_READINGS;
        let timing_score = self.reply_score(exchange).max(self.disturbances.judge(exchange.disturbances().into()));
        let sum = self.rules.model_weight * model_score + self.rules.timing_weight * timing_score;
        let score = sum.clamp(0.0, 1.0);
        if score >= self.rules.alert_at {
            self.alerts = self.alerts.saturating_add(1);
        }
        AnomalyVerdict { score, alert_count: self.alerts, trained, alarm: score > self.rules.alarm_above }
    }

    /// The score of the newest reply times.
    fn reply_score(&mut self, exchange: &Exchange) -> f64 {
        let Some(reply_ms) = exchange.reply_ms.filter(|reply_ms| reply_ms.is_finite()) else { return 0.0 };
        if self.replies.len() == REPLIES_JUDGED {
            self.replies.pop_front();
        }
        self.replies.push_back(reply_ms);
        let mut sorted: Vec<f64> = self.replies.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).map_or(0.0, |median| self.reply_ms.judge(*median))
    }
}

impl Baseline {
    fn new(least_deviation: f64) -> Self {
        Self { readings: 0, mean: 0.0, variance: 0.0, least_deviation }
    }

    /// The score of a value, 0 before there is a baseline; the value is learned.
    fn judge(&mut self, value: f64) -> f64 {
        let score = if self.readings >= BASELINE_READINGS { self.score(value) } else { 0.0 };
        self.learn(value, if score > 0.0 { UNUSUAL_LEARNING_RATE } else { LEARNING_RATE });
        score
    }

    fn deviation(&self) -> f64 {
        self.variance.sqrt().max(self.least_deviation)
    }

    /// What the z-score is beyond the usual, mapped from 0 and up to 0 to 1.
    fn score(&self, value: f64) -> f64 {
        let z = (value - self.mean).abs() / self.deviation();
        let beyond = (z - USUAL_DEVIATIONS).max(0.0);
        beyond / (1.0 + beyond)
    }

    fn learn(&mut self, value: f64, least_rate: f64) {
        self.readings = self.readings.saturating_add(1);
        let most = LEARNED_DEVIATIONS * self.deviation();
        // At first the mean of all readings, later a moving one.
        let rate = (1.0 / f64::from(self.readings)).max(least_rate);
        let is_first = self.readings <= BASELINE_READINGS;
        let difference = value - self.mean;
        let difference = if is_first { difference } else { difference.clamp(-most, most) };
        self.mean += rate * difference;
        self.variance = (1.0 - rate) * (self.variance + rate * difference * difference);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replied(reply_ms: f64) -> Exchange {
        Exchange { requests: 2, reply_ms: Some(reply_ms), ..Exchange::default() }
    }

    /// Readings whose replies take 10 ms ± 1.5 ms.
    fn trained() -> AnomalyJudge {
        let mut judge = AnomalyJudge::new(AnomalyRules::default());
        for reading in 0..200_u32 {
            judge.judge(0.0, &replied(8.5 + f64::from(reading % 7) * 0.5));
        }
        judge
    }

    #[test]
    fn exchanges_are_judged_after_fifty_readings() {
        let mut judge = AnomalyJudge::new(AnomalyRules::default());
        for reading in 0..50 {
            let verdict = judge.judge(0.0, &replied(if reading < 10 { 10.0 } else { 80.0 }));
            assert!(!verdict.trained && verdict.score == 0.0, "{verdict:?}");
        }
        let mut judge = AnomalyJudge::new(AnomalyRules::default());
        for _ in 0..50 {
            judge.judge(0.0, &replied(10.0));
        }
        let verdict = AnomalyVerdict { score: 0.0, alert_count: 0, trained: true, alarm: false };
        assert_eq!(judge.judge(0.0, &replied(10.0)), verdict);
    }

    #[test]
    fn slow_replies_alarm_and_a_single_one_does_not() {
        let mut judge = trained();
        assert_eq!(judge.judge(0.0, &replied(11.5)).score, 0.0);
        assert_eq!(judge.judge(0.0, &replied(50.0)).score, 0.0);
        assert_eq!(judge.judge(0.0, &replied(10.5)).score, 0.0);
        let second = [50.0, 50.0, 50.0].map(|reply_ms| judge.judge(0.0, &replied(reply_ms)))[1];
        assert!(second.alarm && second.alert_count == 2, "{second:?}");
    }

    #[test]
    fn a_reading_without_a_reply_is_judged_by_its_failures() {
        let mut judge = trained();
        let failed = |failed| Exchange { requests: 8, failed, ..Exchange::default() };
        assert_eq!(judge.judge(0.0, &failed(1)).score, 0.0);
        let verdict = judge.judge(0.0, &Exchange { irregular: 7, ..failed(8) });
        assert!(verdict.alarm, "{verdict:?}");
    }

    #[test]
    fn failures_that_are_usual_are_no_anomaly() {
        let mut judge = AnomalyJudge::new(AnomalyRules::default());
        let failed = |failed| Exchange { failed, ..replied(10.0) };
        for _ in 0..200 {
            judge.judge(0.0, &failed(6));
        }
        assert_eq!(judge.judge(0.0, &failed(6)).score, 0.0);
    }

    #[test]
    fn the_model_alone_can_alarm() {
        let verdict = trained().judge(1.0, &replied(10.0));
        assert!(verdict.alarm && verdict.alert_count == 1, "{verdict:?}");
        let unknown_timing = trained().judge(0.9, &Exchange::default());
        assert!(unknown_timing.alarm, "{unknown_timing:?}");
    }

    #[test]
    fn weights_and_thresholds_are_settings() {
        let rules = AnomalyRules { model_weight: 0.5, timing_weight: 0.0, alert_at: 0.4, alarm_above: 0.45 };
        let mut judge = AnomalyJudge::new(rules);
        assert_eq!(
            judge.judge(0.8, &replied(5.0)),
            AnomalyVerdict { score: 0.4, alert_count: 1, trained: false, alarm: false }
        );
        assert!(judge.judge(1.0, &Exchange::default()).alarm);
    }

    #[test]
    fn a_lasting_change_is_not_learned_at_once() {
        let mut judge = trained();
        let scores: Vec<_> = (0..20).map(|_| judge.judge(0.0, &replied(60.0)).score).collect();
        assert!(scores[1..].iter().all(|score| *score > 0.6), "{scores:?}");
    }

    /// scripts/train-anomaly evaluates models with the same rules; these scores are the script's.
    #[test]
    fn the_training_script_computes_the_same() {
        let mut judge = AnomalyJudge::new(AnomalyRules::default());
        let mut scores = Vec::new();
        for reading in 0..120_u32 {
            let exchange = match reading {
                70..=73 => replied(45.0),
                90 | 91 => Exchange { failed: 3, ..Exchange::default() },
                100 => Exchange { failed: 2, irregular: 9, ..replied(10.0) },
                _ => replied(10.0 + f64::from(reading % 7) * 0.5),
            };
            scores.push(judge.judge(if reading < 60 { 0.0 } else { 0.25 }, &exchange).score);
        }
        for (reading, expected) in [
            (40, 0.0),
            (60, 0.2),
            (71, 0.926_189_459_846_030_1),
            (73, 0.926_126_732_958_200_4),
            (74, 0.925_831_294_681_732),
            (75, 0.2),
            (91, 0.760_941_828_254_847_7),
            (100, 0.912_395_102_256_324_1),
            (119, 0.2),
        ] {
            assert!((scores[reading] - expected).abs() < 1e-12, "{reading}: {} for {expected}", scores[reading]);
        }
    }
}
