//! Selects the readings that are worth a frame, by a deadband and a maximum silence for each channel.
//!
//! Safety and models see every reading; only journalled and published frames are reduced.

use std::time::Duration;

use crate::event::{FaultKind, Frame};
use crate::time::MonotonicTime;

/// A channel is reported at least this often, unless its settings give another time.
pub(crate) const DEFAULT_MAX_SILENCE: Duration = Duration::from_secs(60);

/// When a channel is worth a frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReportRule {
    /// Its value has changed by more than this since it was last reported, in its unit; 0 for any change.
    pub deadband: f64,
    /// It has not been reported for this long.
    pub max_silence: Duration,
}

/// Selects the frames of one source that are reported.
#[derive(Clone, Debug)]
pub struct ReportFilter {
    /// None if a channel reports every reading.
    rules: Option<Vec<ReportRule>>,
    /// The last reported frame.
    last: Option<(MonotonicTime, Frame)>,
}

impl ReportFilter {
    /// A filter for the channels of a source, in their order.
    pub fn new(channels: impl Iterator<Item = Option<ReportRule>>) -> Self {
        let rules: Option<Vec<_>> = channels.collect();
        Self { rules: rules.filter(|rules| !rules.is_empty()), last: None }
    }

    /// Whether to report a reading; later ones are then compared with it.
    pub fn accepts(&mut self, at: MonotonicTime, frame: &Frame) -> bool {
        let Some(rules) = &self.rules else { return true };
        let is_reported = match &self.last {
            None => true,
            Some((last_at, last)) => {
                faults(last).ne(faults(frame))
                    || last.texts != frame.texts
                    || last.values.len() != frame.values.len()
                    || is_due(rules, at.since(*last_at))
                    || has_changed(rules, &last.values, &frame.values)
            }
        };
        if is_reported {
            self.last = Some((at, frame.clone()));
        }
        is_reported
    }
}

fn faults(frame: &Frame) -> impl Iterator<Item = (u32, FaultKind)> {
    frame.faults.iter().map(|fault| (fault.channel, fault.kind))
}

fn is_due(rules: &[ReportRule], silence: Duration) -> bool {
    rules.iter().any(|rule| silence >= rule.max_silence)
}

fn has_changed(rules: &[ReportRule], last: &[f64], now: &[f64]) -> bool {
    let mut channels = rules.iter().zip(last.iter().zip(now));
    // NaN is never above the deadband; it has a fault, which is compared too.
    channels.any(|(rule, (last, now))| (last - now).abs() > rule.deadband)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Fault;

    const REPORT: ReportRule = ReportRule { deadband: 0.5, max_silence: Duration::from_secs(60) };

    fn frame(values: &[f64]) -> Frame {
        Frame { source: 0, values: values.to_vec(), faults: vec![], texts: vec![] }
    }

    fn at(seconds: i64) -> MonotonicTime {
        MonotonicTime::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn a_frame_is_reported_when_any_channel_leaves_its_deadband() {
        let any_change = ReportRule { deadband: 0.0, ..REPORT };
        let mut filter = ReportFilter::new([Some(REPORT), Some(any_change)].into_iter());
        assert!(filter.accepts(at(0), &frame(&[10.0, 1.0])), "the first");
        assert!(!filter.accepts(at(1), &frame(&[10.4, 1.0])));
        assert!(!filter.accepts(at(2), &frame(&[10.5, 1.0])));
        assert!(
            filter.accepts(at(3), &frame(&[10.6, 1.0])),
            "compared with the last reported frame, not with the last reading"
        );
        assert!(!filter.accepts(at(4), &frame(&[10.2, 1.0])));
        assert!(filter.accepts(at(5), &frame(&[10.2, 1.001])));
    }

    #[test]
    fn silence_is_limited_and_faults_are_reported() {
        let mut filter = ReportFilter::new([Some(REPORT)].into_iter());
        assert!(filter.accepts(at(0), &frame(&[1.0])));
        assert!(!filter.accepts(at(59), &frame(&[1.0])));
        assert!(filter.accepts(at(60), &frame(&[1.0])));
        let faulty = Frame { faults: vec![Fault { channel: 0, kind: FaultKind::Missing }], ..frame(&[f64::NAN]) };
        assert!(filter.accepts(at(61), &faulty));
        assert!(!filter.accepts(at(62), &faulty));
        assert!(filter.accepts(at(63), &frame(&[1.0])));
    }

    #[test]
    fn a_channel_without_a_rule_reports_every_frame() {
        let mut filter = ReportFilter::new([Some(REPORT), None].into_iter());
        assert!(filter.accepts(at(0), &frame(&[1.0, 1.0])));
        assert!(filter.accepts(at(1), &frame(&[1.0, 1.0])));
    }
}
