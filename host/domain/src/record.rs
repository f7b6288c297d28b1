//! Events as lines of JSON, as test cases and recordings keep them: for people to write, exact for machines.
//!
//! A line is an object with one key that names the kind, such as `"frame":{…}`, beside `at`, `sequence` and `note`. The
//! fields are those of `wit/types.wit`, with `_` for `-`. What is read is the same value that was written: numbers to
//! the last bit, times to the nanosecond.

use std::sync::Arc;

use serde_json::Value;

use crate::event::{Event, EventBody, FaultKind, Sequence, Watchdog};
use crate::settings::{Mistake, Mistakes};
use crate::site::{ChannelKind, Site};
use crate::time::{Timestamp, parse_utc};

mod description;
mod frame;
pub mod json;
pub mod object;
mod read;
#[cfg(test)]
mod tests;
pub mod value;
mod write;

use object::{Field, Object, lines};

/// The keys that say what happened.
const KINDS: [&str; 8] = ["site", "gap", "frame", "safety", "anomaly", "dispatch", "device", "heartbeat"];

const FAULTS: [(&str, FaultKind); 5] = [
    ("missing", FaultKind::Missing),
    ("unavailable", FaultKind::Unavailable),
    ("stale", FaultKind::Stale),
    ("out-of-range", FaultKind::OutOfRange),
    ("other", FaultKind::Other),
];

const WATCHDOGS: [(&str, Watchdog); 4] =
    [("absent", Watchdog::Absent), ("ok", Watchdog::Ok), ("late", Watchdog::Late), ("failed", Watchdog::Failed)];

const CHANNEL_KINDS: [(&str, ChannelKind); 5] = [
    ("gauge", ChannelKind::Gauge),
    ("counter", ChannelKind::Counter),
    ("state", ChannelKind::State),
    ("flag", ChannelKind::Flag),
    ("text", ChannelKind::Text),
];

/// One event a line, in order, or every mistake with its line and key. Blank lines are passed over.
pub fn read_events(text: &str) -> Result<Vec<Event>, Vec<Mistake>> {
    let mistakes = Mistakes::default();
    let mut reader = Reader { last: Sequence(0), known: Known::Nothing };
    let mut events = Vec::new();
    for (line, text) in lines(text) {
        events.extend(reader.line(line, text, &mistakes));
    }
    let mistakes = mistakes.into_vec();
    if mistakes.is_empty() { Ok(events) } else { Err(mistakes) }
}

/// The line of an event, without the newline.
pub fn write_event(event: &Event, note: Option<&str>) -> String {
    write::line(&event.body, Some(event), note)
}

/// What happened alone, without number and time: an object with the key that names the kind.
pub fn write_body(body: &EventBody) -> String {
    write::line(body, None, None)
}

/// What [`write_body`] wrote of anything but a frame, which needs its site's description to be read.
pub fn read_body(text: &str) -> Option<EventBody> {
    if let Some(site) = description::read(text) {
        return Some(EventBody::Site(Arc::new(site?)));
    }
    let mistakes = Mistakes::default();
    let map = Object::parse(1, text, &mistakes)?;
    let object = Object::new("", &map, &mistakes);
    let body = Reader { last: Sequence(0), known: Known::Nothing }.body(1, &object);
    object.finish();
    body.filter(|_| mistakes.count() == 0)
}

/// What the lines so far say.
struct Reader {
    last: Sequence,
    known: Known,
}

/// The description that frames refer to.
enum Known {
    Nothing,
    /// It has mistakes of its own; those that would follow from them are not told.
    Unsound,
    Site(Arc<Site>),
}

impl Reader {
    fn line(&mut self, line: usize, text: &str, mistakes: &Mistakes) -> Option<Event> {
        let before = mistakes.count();
        let map = Object::parse(line, text, mistakes)?;
        let object = Object::new(format!("line {line}:"), &map, mistakes);
        let sequence = self.sequence(&object);
        let at = object.required("at", time);
        object.optional("note", Field::text);
        let body = self.body(line, &object);
        object.finish();
        let is_sound = mistakes.count() == before;
        match &body {
            Some(EventBody::Site(site)) if is_sound => self.known = Known::Site(Arc::clone(site)),
            Some(EventBody::Site(_)) => self.known = Known::Unsound,
            _ => {}
        }
        body.filter(|_| is_sound).map(|body| Event { sequence, at, body })
    }

    fn sequence(&mut self, object: &Object<'_>) -> Sequence {
        let last = self.last;
        let rising = |field: &Field<'_>| {
            let number = field.whole()?;
            if number <= last.0 {
                field.wrong(format!("write a number above {}, the line before", last.0));
            }
            Some(Sequence(number))
        };
        self.last = object.optional("sequence", rising).unwrap_or(last.next());
        self.last
    }

    fn body(&self, line: usize, object: &Object<'_>) -> Option<EventBody> {
        let fields: Vec<_> = KINDS.into_iter().filter_map(|kind| Some((kind, object.field(kind)?))).collect();
        let names: Vec<_> = fields.iter().map(|(kind, _)| format!("`{kind}`")).collect();
        if names.len() > 1 {
            let mend = format!("has {}; write one event a line", names.join(" and "));
            object.mistakes().add(Mistake::bare(format!("line {line}"), mend));
        } else if names.is_empty() && !object.has_misspelt(&KINDS) {
            let mend = format!("has no event; write one of {}", KINDS.join(", "));
            object.mistakes().add(Mistake::bare(format!("line {line}"), mend));
        }
        let (kind, field) = fields.into_iter().next()?;
        let object = field.object()?;
        let body = self.kind(kind, &object);
        object.finish();
        body
    }

    fn kind(&self, kind: &str, object: &Object<'_>) -> Option<EventBody> {
        Some(match kind {
            "site" => EventBody::Site(Arc::new(read::site(object, self.revision()))),
            "gap" => EventBody::Gap(read::gap(object)),
            "frame" => EventBody::Frame(frame::read(object, &self.known)),
            "safety" => EventBody::Safety(read::safety(object)),
            "anomaly" => EventBody::Anomaly(read::anomaly(object)),
            "dispatch" => EventBody::Dispatch(read::dispatch(object)),
            "device" => EventBody::Device(read::device_status(object)),
            "heartbeat" => EventBody::Heartbeat,
            _ => return None,
        })
    }

    /// Of a description that does not say: one more than the last.
    fn revision(&self) -> u64 {
        match &self.known {
            Known::Site(site) => site.revision.saturating_add(1),
            Known::Nothing | Known::Unsound => 1,
        }
    }
}

/// As RFC 3339 writes it, or in nanoseconds.
fn time(field: &Field<'_>) -> Option<Timestamp> {
    let time = match field.value() {
        Value::String(text) => parse_utc(text),
        value => value.as_u64().map(Timestamp::from_nanos),
    };
    if time.is_none() {
        field.wrong("write a time in UTC, such as \"2026-01-02T03:04:05.25Z\", or nanoseconds since 1970");
    }
    time
}
