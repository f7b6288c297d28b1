//! Which readings are worth a frame: a deadband and a longest silence by channel.
//!
//! Safety and models see every reading; only what is journalled and published is thinned.

use std::time::Duration;

use crate::event::{FaultKind, Frame};
use crate::time::Timestamp;

/// A channel is told at least this often, unless its settings say otherwise.
pub const DEFAULT_MAX_SILENCE: Duration = Duration::from_secs(60);

/// When a channel is worth a frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Report {
    /// It has moved by more than this since it was last told, in its own unit; 0: any change.
    pub deadband: f64,
    /// It was not told for so long.
    pub max_silence: Duration,
}

/// Decides for the frames of one source.
#[derive(Clone, Debug)]
pub struct Reporter {
    /// None where some channel wants every reading.
    reports: Option<Vec<Report>>,
    told: Option<(Timestamp, Frame)>,
}

impl Reporter {
    /// For the channels of a source, by position.
    pub fn new(channels: impl Iterator<Item = Option<Report>>) -> Self {
        let reports: Option<Vec<_>> = channels.collect();
        Self { reports: reports.filter(|reports| !reports.is_empty()), told: None }
    }

    /// Whether a reading is to be told; if so, it is what later ones are compared with.
    pub fn wants(&mut self, at: Timestamp, frame: &Frame) -> bool {
        let Some(reports) = &self.reports else { return true };
        let wanted = match &self.told {
            None => true,
            Some((told_at, told)) => {
                faults(told).ne(faults(frame))
                    || told.texts != frame.texts
                    || told.values.len() != frame.values.len()
                    // A clock that was set back must not silence it until the old time comes again.
                    || at < *told_at
                    || is_due(reports, at.since(*told_at))
                    || has_moved(reports, &told.values, &frame.values)
            }
        };
        if wanted {
            self.told = Some((at, frame.clone()));
        }
        wanted
    }
}

fn faults(frame: &Frame) -> impl Iterator<Item = (u32, FaultKind)> {
    frame.faults.iter().map(|fault| (fault.channel, fault.kind))
}

fn is_due(reports: &[Report], silence: Duration) -> bool {
    reports.iter().any(|report| silence >= report.max_silence)
}

fn has_moved(reports: &[Report], told: &[f64], now: &[f64]) -> bool {
    let mut channels = reports.iter().zip(told.iter().zip(now));
    // What is not a number is told of by its fault.
    channels.any(|(report, (told, now))| (told - now).abs() > report.deadband)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Fault;

    const REPORT: Report = Report { deadband: 0.5, max_silence: Duration::from_secs(60) };

    fn frame(values: &[f64]) -> Frame {
        Frame { source: 0, values: values.to_vec(), faults: vec![], texts: vec![] }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn a_frame_is_told_when_any_channel_left_its_deadband() {
        let any_change = Report { deadband: 0.0, ..REPORT };
        let mut reporter = Reporter::new([Some(REPORT), Some(any_change)].into_iter());
        assert!(reporter.wants(at(0), &frame(&[10.0, 1.0])), "the first");
        assert!(!reporter.wants(at(1), &frame(&[10.4, 1.0])));
        assert!(!reporter.wants(at(2), &frame(&[10.5, 1.0])));
        assert!(reporter.wants(at(3), &frame(&[10.6, 1.0])), "compared with what was told, not with the last reading");
        assert!(!reporter.wants(at(4), &frame(&[10.2, 1.0])));
        assert!(reporter.wants(at(5), &frame(&[10.2, 1.001])));
    }

    #[test]
    fn silence_ends_and_faults_are_told() {
        let mut reporter = Reporter::new([Some(REPORT)].into_iter());
        assert!(reporter.wants(at(0), &frame(&[1.0])));
        assert!(!reporter.wants(at(59), &frame(&[1.0])));
        assert!(reporter.wants(at(60), &frame(&[1.0])));
        assert!(reporter.wants(at(30), &frame(&[1.0])), "the clock was set back");
        assert!(!reporter.wants(at(60), &frame(&[1.0])));
        let faulty = Frame { faults: vec![Fault { channel: 0, kind: FaultKind::Missing }], ..frame(&[f64::NAN]) };
        assert!(reporter.wants(at(61), &faulty));
        assert!(!reporter.wants(at(62), &faulty));
        assert!(reporter.wants(at(63), &frame(&[1.0])));
    }

    #[test]
    fn one_channel_that_wants_every_reading_has_the_frame() {
        let mut reporter = Reporter::new([Some(REPORT), None].into_iter());
        assert!(reporter.wants(at(0), &frame(&[1.0, 1.0])));
        assert!(reporter.wants(at(1), &frame(&[1.0, 1.0])));
    }
}
