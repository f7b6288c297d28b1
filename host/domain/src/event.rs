//! Events at a site, in the order in which they are journalled.

use std::sync::Arc;

use crate::exchange::Exchange;
use crate::proposal::WriteStep;
use crate::safety::{is_ignorance, reduces_only};
use crate::site::Site;
use crate::time::{Moment, MonotonicTime, Timestamp};

/// An event's number: per site, ascending, never reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u64);

impl Sequence {
    /// The number after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// An event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its number.
    pub sequence: Sequence,
    /// When it was measured or occurred.
    pub at: Timestamp,
    /// What occurred.
    pub body: EventBody,
}

/// An event of the journal, with the time from which its age counts.
#[derive(Clone, Debug)]
pub struct RecordedEvent {
    /// The event. Its own time is the wall clock's, which may have been wrong or have stepped since.
    pub event: Arc<Event>,
    /// When it occurred, on the monotonic clock of this run: ages are measured from here. For an event of an earlier run
    /// it counts only the time that the machine was running since then.
    pub occurred: MonotonicTime,
}

impl RecordedEvent {
    /// An event whose own time is right: for recorded events that are processed in simulated time.
    pub fn by_wall_clock(event: Arc<Event>) -> Self {
        let occurred = Moment::by_wall_clock(event.at).monotonic;
        Self { event, occurred }
    }
}

/// The kinds of event.
#[derive(Clone, Debug, PartialEq)]
pub enum EventBody {
    /// The site's description changed.
    Site(Arc<Site>),
    /// The event numbers are not continuous here.
    Gap(Gap),
    /// A reading.
    Frame(Frame),
    /// The verdict of the safety rules.
    Safety(Safety),
    /// How unusual the readings are.
    Anomaly(Anomaly),
    /// A model's set-point.
    Dispatch(Dispatch),
    /// A device went online or offline.
    Device(DeviceStatus),
    /// A tick of the gateway's clock.
    Heartbeat,
    /// A step of a proposed set-point; boxed because it is much larger than the others and rare.
    Write(Box<WriteStep>),
}

impl EventBody {
    /// Number of values that it carries, which determines the size of a plugin call.
    pub fn value_count(&self) -> usize {
        match self {
            Self::Frame(frame) => frame.values.len(),
            _ => 0,
        }
    }
}

/// Why a channel of a frame is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// No response, or the device refused the request: the value is NaN.
    Missing,
    /// The device has no value now: the value is NaN.
    Unavailable,
    /// Not read in this cycle: the value is the last good one.
    Stale,
    /// Outside the range that the profile allows.
    OutOfRange,
    /// Anything else.
    Other,
}

impl FaultKind {
    /// Every kind with its name in `wit/types.wit`.
    pub(crate) const NAMES: [(&'static str, Self); 5] = [
        ("missing", Self::Missing),
        ("unavailable", Self::Unavailable),
        ("stale", Self::Stale),
        ("out-of-range", Self::OutOfRange),
        ("other", Self::Other),
    ];
}

/// A channel of a frame that is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The channel's position in the source.
    pub channel: u32,
    /// What is wrong.
    pub kind: FaultKind,
}

/// A channel of a frame whose value is text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// The channel's position in the source.
    pub channel: u32,
    /// The text.
    pub value: String,
}

/// One reading of one source.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// The source's index in [`Site::sources`].
    pub source: u32,
    /// The values of all channels by position; NaN where a fault is missing or unavailable.
    pub values: Vec<f64>,
    /// Every channel that is not good.
    pub faults: Vec<Fault>,
    /// The channels whose value is text.
    pub texts: Vec<Text>,
}

impl Frame {
    /// A channel's value if it was read in this cycle and is valid.
    pub fn good(&self, channel: usize) -> Option<f64> {
        let value = self.values.get(channel).copied().filter(|value| value.is_finite())?;
        let excludes =
            |fault: &Fault| usize::try_from(fault.channel) == Ok(channel) && fault.kind != FaultKind::OutOfRange;
        (!self.faults.iter().any(excludes)).then_some(value)
    }

    /// Whether no channel was read.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty() && (0..self.values.len()).all(|channel| self.good(channel).is_none())
    }
}

/// A violated limit.
#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    /// One of [`rule`](crate::safety::rule): `min`, `max`, `ramp`, `alarm` and `trip`; `stale` and `unread`; `derate`,
    /// `derate-discharge` and `no-charge`, which only reduce set-points.
    pub rule: String,
    /// The device's name.
    pub device: String,
    /// The channel's name.
    pub channel: String,
    /// The value, its age in seconds, or its change per second.
    pub value: f64,
    /// The limit, in the same unit.
    pub limit: f64,
}

impl Violation {
    /// Whether the site can be safe with it: it only reduces set-points.
    pub fn reduces_only(&self) -> bool {
        reduces_only(&self.rule)
    }
}

/// Whether readings of the devices that safety depends on arrive in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watchdog {
    /// There is no such device.
    Absent,
    /// Readings arrive at their period.
    Ok,
    /// The newest reading is older than two periods.
    Late,
    /// A device does not answer, or its newest reading is too old to be used.
    Failed,
}

impl Watchdog {
    /// Every state with its name in `wit/types.wit`.
    pub(crate) const NAMES: [(&'static str, Self); 4] =
        [("absent", Self::Absent), ("ok", Self::Ok), ("late", Self::Late), ("failed", Self::Failed)];
}

/// The verdict of the safety rules on the newest readings.
#[derive(Clone, Debug, PartialEq)]
pub struct Safety {
    /// No limit is violated and every limited value is known.
    pub is_safe: bool,
    /// Whether readings arrive.
    pub watchdog: Watchdog,
    /// Set-points of at most this power are allowed now, in either direction, kW; none if safety sets no limit.
    pub power_limit_kw: Option<f64>,
    /// Every violated limit, also those of a safe site that only reduce set-points.
    pub violations: Vec<Violation>,
}

/// What a verdict says about the battery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SafetyState {
    /// Every limited channel has a good young value within its limits.
    Safe,
    /// A value is outside its limits.
    Unsafe,
    /// No value is known to be outside its limits, but a limited channel has no good young value.
    Unknown,
}

impl Safety {
    /// What the verdict says; a known violation counts more than an unknown value.
    pub fn state(&self) -> SafetyState {
        let mut ending = self.violations.iter().filter(|violation| !violation.reduces_only()).peekable();
        if self.is_safe {
            SafetyState::Safe
        } else if ending.peek().is_some() && ending.all(|violation| is_ignorance(&violation.rule)) {
            SafetyState::Unknown
        } else {
            SafetyState::Unsafe
        }
    }
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
    /// Number of alerts so far.
    pub alert_count: u32,
    /// Whether the model has seen enough readings to judge.
    pub trained: bool,
    /// Whether a person should look.
    pub alarm: bool,
    /// What the requests of the reading met, for the training of models; plugins do not get it.
    pub exchange: Option<Exchange>,
}

/// A set-point that a model proposes.
#[derive(Clone, Debug, PartialEq)]
pub struct Dispatch {
    /// The model's name.
    pub model: String,
    /// The device's name.
    pub device: String,
    /// kW, + = discharge; none if it could not decide.
    pub target_kw: Option<f64>,
    /// Whether it was written to the device.
    pub applied: bool,
    /// Why it was not written, or why there is none.
    pub refusal: Option<String>,
    /// Duration of the inference, ms.
    pub inference_ms: f64,
}

/// A device that went online or offline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceStatus {
    /// The device's name.
    pub device: String,
    /// Whether it answers.
    pub online: bool,
    /// The reason, for people.
    pub detail: String,
}

/// Precedes the event whose number does not follow the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Number of lost events; 0 if only numbers were skipped; none if it is not known.
    pub lost: Option<u64>,
    /// The reason, for people.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_good_if_read_in_this_cycle() {
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
