//! Events made from any bytes.

use std::sync::Arc;
use std::time::Duration;

use bessai_domain::event::{
    Anomaly, DeviceStatus, Dispatch, Event, EventBody, Fault, FaultKind, Frame, Gap, Safety, Sequence, Text, Violation,
    Watchdog,
};
use bessai_domain::proposal::{Proposal, SetValue, WriteOutcome, WriteStep};
use bessai_domain::site::{Channel, ChannelKind, Device, Site, Source};
use bessai_domain::time::Timestamp;

use super::guest::RESULT_SOURCE;
use super::image::Input;

/// The most events of one call.
const EVENTS: u8 = 16;
/// Kinds of faults by number.
const FAULTS: [FaultKind; 5] =
    [FaultKind::Missing, FaultKind::Unavailable, FaultKind::Stale, FaultKind::OutOfRange, FaultKind::Other];
/// Kinds of channels by number.
const CHANNELS: [ChannelKind; 5] =
    [ChannelKind::Gauge, ChannelKind::Counter, ChannelKind::State, ChannelKind::Flag, ChannelKind::Text];
/// States of the watchdog by number.
const WATCHDOGS: [Watchdog; 4] = [Watchdog::Absent, Watchdog::Ok, Watchdog::Late, Watchdog::Failed];

/// At least one event.
pub fn events(input: &mut Input<'_>) -> Vec<Arc<Event>> {
    let count = input.byte() % EVENTS + 1;
    let event = |input: &mut Input<'_>| {
        let (sequence, at) = (Sequence(input.number::<8>()), Timestamp::from_nanos(input.number::<8>()));
        Arc::new(Event { sequence, at, body: body(input) })
    };
    (0..count).map(|_| event(input)).collect()
}

/// The kind's number in the contract.
pub fn kind(body: &EventBody) -> u8 {
    match body {
        EventBody::Site(_) => 0,
        EventBody::Gap(_) => 1,
        EventBody::Frame(_) => 2,
        EventBody::Safety(_) => 3,
        EventBody::Anomaly(_) => 4,
        EventBody::Dispatch(_) => 5,
        EventBody::Device(_) => 6,
        EventBody::Heartbeat => 7,
        EventBody::Write(_) => 8,
    }
}

fn body(input: &mut Input<'_>) -> EventBody {
    match input.byte() % 9 {
        0 => EventBody::Site(Arc::new(site(input))),
        1 => EventBody::Gap(Gap { lost: input.flag().then(|| input.number::<8>()), reason: text(input) }),
        2 => EventBody::Frame(frame(input)),
        3 => EventBody::Safety(safety(input)),
        4 => EventBody::Anomaly(Anomaly {
            model: text(input),
            device: text(input),
            score: float(input),
            alert_count: word(input),
            trained: input.flag(),
            alarm: input.flag(),
            exchange: None,
        }),
        5 => EventBody::Dispatch(Dispatch {
            model: text(input),
            device: text(input),
            target_kw: input.flag().then(|| float(input)),
            applied: input.flag(),
            refusal: input.flag().then(|| text(input)),
            inference_ms: float(input),
        }),
        6 => EventBody::Device(DeviceStatus { device: text(input), online: input.flag(), detail: text(input) }),
        7 => EventBody::Heartbeat,
        _ => EventBody::Write(Box::new(write(input))),
    }
}

fn write(input: &mut Input<'_>) -> WriteStep {
    WriteStep {
        proposed: input.flag().then(|| Sequence(input.number::<8>())),
        proposer: text(input),
        proposal: Proposal {
            device: text(input),
            channel: text(input),
            value: input.flag().then(|| value(input)),
            until: input.flag().then(|| Timestamp::from_nanos(input.number::<8>())),
            reference: text(input),
        },
        unit: text(input),
        outcome: match input.byte() % 8 {
            0 => None,
            1 => Some(WriteOutcome::Verified(value(input))),
            2 => Some(WriteOutcome::Acknowledged),
            3 => Some(WriteOutcome::Refused(text(input))),
            4 => Some(WriteOutcome::Failed(text(input))),
            5 => Some(WriteOutcome::Superseded(text(input))),
            6 => Some(WriteOutcome::Expired),
            _ => Some(WriteOutcome::Released(text(input))),
        },
    }
}

fn value(input: &mut Input<'_>) -> SetValue {
    if input.flag() { SetValue::Number(float(input)) } else { SetValue::Text(text(input)) }
}

fn site(input: &mut Input<'_>) -> Site {
    Site {
        id: text(input),
        revision: input.number::<8>(),
        devices: list(input, |input| Device { name: text(input), attributes: pairs(input) }),
        sources: list(input, |input| Source {
            device: text(input),
            period: Duration::from_millis(input.number::<8>()),
            channels: list(input, channel).into(),
            attributes: pairs(input),
        }),
        attributes: pairs(input),
    }
}

fn channel(input: &mut Input<'_>) -> Channel {
    Channel {
        name: text(input),
        unit: text(input),
        kind: CHANNELS[usize::from(input.byte()) % CHANNELS.len()],
        writable: input.flag(),
        attributes: pairs(input),
    }
}

fn frame(input: &mut Input<'_>) -> Frame {
    let source = word(input);
    Frame {
        source: if source == RESULT_SOURCE { 0 } else { source },
        values: list(input, float),
        faults: list(input, |input| Fault {
            channel: word(input),
            kind: FAULTS[usize::from(input.byte()) % FAULTS.len()],
        }),
        texts: list(input, |input| Text { channel: word(input), value: text(input) }),
    }
}

fn safety(input: &mut Input<'_>) -> Safety {
    Safety {
        is_safe: input.flag(),
        watchdog: WATCHDOGS[usize::from(input.byte()) % WATCHDOGS.len()],
        power_limit_kw: input.flag().then(|| float(input)),
        violations: list(input, |input| Violation {
            rule: text(input),
            device: text(input),
            channel: text(input),
            value: float(input),
            limit: float(input),
        }),
    }
}

fn list<T>(input: &mut Input<'_>, item: impl Fn(&mut Input<'_>) -> T) -> Vec<T> {
    let count = input.byte() % 8;
    (0..count).map(|_| item(input)).collect()
}

fn pairs(input: &mut Input<'_>) -> Vec<(String, String)> {
    list(input, |input| (text(input), text(input)))
}

fn text(input: &mut Input<'_>) -> String {
    String::from_utf8_lossy(&input.bytes()).into_owned()
}

fn word(input: &mut Input<'_>) -> u32 {
    u32::try_from(input.number::<4>()).unwrap()
}

fn float(input: &mut Input<'_>) -> f64 {
    f64::from_bits(input.number::<8>())
}
