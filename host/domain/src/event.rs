//! What happens at a site, in the order in which it is journalled.

use std::sync::Arc;

use crate::site::Site;
use crate::time::Timestamp;

/// An event's number: per site, rising, never used twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u64);

impl Sequence {
    /// The number after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// A numbered happening.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its number.
    pub sequence: Sequence,
    /// When it was measured or happened.
    pub at: Timestamp,
    /// What happened.
    pub body: EventBody,
}

/// The kinds of event.
#[derive(Clone, Debug, PartialEq)]
pub enum EventBody {
    /// The site's description changed.
    Site(Arc<Site>),
    /// Numbers jump here.
    Gap(Gap),
    /// A reading.
    Frame(Frame),
    /// What the safety rules say.
    Safety(Safety),
    /// How unusual the readings are.
    Anomaly(Anomaly),
    /// A model's set-point.
    Dispatch(Dispatch),
    /// A device came or went.
    Device(DeviceStatus),
    /// A tick of the gateway's clock.
    Heartbeat,
}

impl EventBody {
    /// How many values it carries: the measure of a call's size.
    pub fn values(&self) -> usize {
        match self {
            Self::Frame(frame) => frame.values.len(),
            _ => 0,
        }
    }
}

/// Why a channel of a frame is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// No answer, or the device refused: the value is NaN.
    Missing,
    /// The device answered that it has no value now: NaN.
    Unavailable,
    /// Not read in this cycle: the last good value.
    Stale,
    /// Read, but outside the range that the profile allows.
    OutOfRange,
    /// Anything else.
    Other,
}

/// A channel of a frame that is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its position in the source.
    pub channel: u32,
    /// What is wrong.
    pub kind: FaultKind,
}

/// A channel of a frame whose value is text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// Its position in the source.
    pub channel: u32,
    /// The text.
    pub value: String,
}

/// One reading of one source.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// The source's place in [`Site::sources`].
    pub source: u32,
    /// All channels by position; NaN where a fault says missing or unavailable.
    pub values: Vec<f64>,
    /// Every channel that is not good.
    pub faults: Vec<Fault>,
    /// Channels whose value is text.
    pub texts: Vec<Text>,
}

impl Frame {
    /// A channel's value where it was read in this cycle and means something.
    pub fn good(&self, channel: usize) -> Option<f64> {
        let value = self.values.get(channel).copied().filter(|value| value.is_finite())?;
        let doubtful =
            |fault: &Fault| usize::try_from(fault.channel) == Ok(channel) && fault.kind != FaultKind::OutOfRange;
        (!self.faults.iter().any(doubtful)).then_some(value)
    }

    /// Whether the cycle brought nothing at all.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty() && (0..self.values.len()).all(|channel| self.good(channel).is_none())
    }
}

/// A limit that a value breaks.
#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    /// `min`, `max`, `stale` or `unread`.
    pub rule: String,
    /// The device's name.
    pub device: String,
    /// The channel's name.
    pub channel: String,
    /// The value, or its age in seconds.
    pub value: f64,
    /// The limit, in the same unit.
    pub limit: f64,
}

/// The watch over the devices that safety is judged on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watchdog {
    /// No device is judged.
    Absent,
    /// Readings arrive at their period.
    Ok,
    /// The newest reading is older than two periods.
    Late,
    /// No device answers, or its newest reading is too old to be trusted.
    Failed,
}

/// What the safety rules say of the newest readings.
#[derive(Clone, Debug, PartialEq)]
pub struct Safety {
    /// No limit is broken and every watched value is known.
    pub is_safe: bool,
    /// Whether readings arrive.
    pub watchdog: Watchdog,
    /// What safety admits now in either direction, kW; none where it sets no limit.
    pub power_limit_kw: Option<f64>,
    /// Every broken limit.
    pub violations: Vec<Violation>,
}

/// How unusual a device's readings are.
#[derive(Clone, Debug, PartialEq)]
pub struct Anomaly {
    /// The model's name.
    pub model: String,
    /// The device's name.
    pub device: String,
    /// 0 to 1.
    pub score: f64,
    /// Alerts so far.
    pub alert_count: u32,
    /// Whether the model has seen enough to judge.
    pub trained: bool,
    /// Whether a person should look.
    pub alarm: bool,
}

/// A set-point that a model proposes.
#[derive(Clone, Debug, PartialEq)]
pub struct Dispatch {
    /// The model's name.
    pub model: String,
    /// The device's name.
    pub device: String,
    /// kW, + = discharge; none where it could not decide.
    pub target_kw: Option<f64>,
    /// Whether it was written to the device.
    pub applied: bool,
    /// Why it was not, or why there is none.
    pub refusal: Option<String>,
    /// Time that the model took, ms.
    pub inference_ms: f64,
}

/// A device that came or went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceStatus {
    /// The device's name.
    pub device: String,
    /// Whether it answers.
    pub online: bool,
    /// Why, for people.
    pub detail: String,
}

/// Comes before the event whose number jumps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Events that were lost; 0: numbers skipped, nothing missing; none: not known.
    pub lost: Option<u64>,
    /// Why, for people.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_good_when_it_was_read_now() {
        let fault = |channel, kind| Fault { channel, kind };
        let frame = Frame {
            source: 0,
            values: vec![1.0, f64::NAN, 3.0, 4.0],
            faults: vec![fault(1, FaultKind::Missing), fault(2, FaultKind::Stale), fault(3, FaultKind::OutOfRange)],
            texts: Vec::new(),
        };
        let good: Vec<_> = (0..5).map(|channel| frame.good(channel)).collect();
        assert_eq!(good, [Some(1.0), None, None, Some(4.0), None]);
        assert!(!frame.is_empty());
    }
}
