//! Events as lines of JSON, the format of test cases and recordings: convenient for people to write, exact for
//! programs.
//!
//! Each line is an object with one key that names the kind, such as `"frame":{…}`, in addition to `at`, `sequence`, `note`
//! and, for a quarantined event, `plugin`. The fields are those of `wit/types.wit`, with `_` for `-`. Reading returns exactly the value that was
//! written: numbers to the last bit, times to the nanosecond.

use std::sync::Arc;

use serde_json::Value;

use crate::event::{Event, EventBody, Sequence};
use crate::settings::{Mistake, Mistakes};
use crate::time::{Timestamp, parse_utc};

mod description;
mod frame;
pub mod json_reader;
pub mod json_writer;
mod proposal;
mod read;
pub mod strict_json;
#[cfg(test)]
mod tests;
mod write;

use frame::Described;
use json_reader::{JsonField, JsonObject, lines};

/// The keys that name the kind of an event.
const KINDS: [&str; 9] = ["site", "gap", "frame", "safety", "anomaly", "dispatch", "device", "heartbeat", "write"];

/// Reads one event per line, or returns every mistake with its line and key. Blank lines are ignored.
pub fn read_events(text: &str) -> Result<Vec<Event>, Vec<Mistake>> {
    let mistakes = Mistakes::default();
    let mut parser = EventParser::default();
    let mut events = Vec::new();
    for (line, text) in lines(text) {
        events.extend(parser.line(line, text, &mistakes));
    }
    let mistakes = mistakes.into_vec();
    if mistakes.is_empty() { Ok(events) } else { Err(mistakes) }
}

/// The line of an event, without the newline.
pub fn write_event(event: &Event, note: Option<&str>) -> String {
    write::line(event, note)
}

/// The body of an event without number and time: an object with the key that names the kind. A description has each of its
/// channel lists once.
pub fn write_body(body: &EventBody) -> String {
    write::body_alone(body)
}

/// Reads what [`write_body`] wrote, except for a frame, which can only be read together with the site's description.
pub fn read_body(text: &str) -> Option<EventBody> {
    if let Some(site) = description::read(text) {
        return Some(EventBody::Site(Arc::new(site?)));
    }
    let mistakes = Mistakes::default();
    let map = JsonObject::parse(1, text, &mistakes)?;
    let object = JsonObject::new("", &map, &mistakes);
    let body = EventParser::default().body(1, &object);
    object.report_unknown_keys();
    body.filter(|_| mistakes.count() == 0)
}

/// The state of reading events line by line.
#[derive(Default)]
struct EventParser {
    /// The number of the last event.
    last: Sequence,
    described: Described,
}

impl EventParser {
    fn line(&mut self, line: usize, text: &str, mistakes: &Mistakes) -> Option<Event> {
        let before = mistakes.count();
        let map = JsonObject::parse(line, text, mistakes)?;
        let object = JsonObject::new(format!("line {line}:"), &map, mistakes);
        let sequence = self.sequence(&object);
        let at = object.required("at", read_time);
        object.optional("note", JsonField::text);
        // Of a quarantined event: the plugin before it.
        object.optional("plugin", |field| Some(field.value()));
        let body = self.body(line, &object);
        object.report_unknown_keys();
        let is_valid = mistakes.count() == before;
        match &body {
            Some(EventBody::Site(site)) if is_valid => self.described = Described::Site(Arc::clone(site)),
            Some(EventBody::Site(_)) => self.described = Described::Invalid,
            _ => {}
        }
        body.filter(|_| is_valid).map(|body| Event { sequence, at, body })
    }

    fn sequence(&mut self, object: &JsonObject<'_>) -> Sequence {
        let last = self.last;
        let ascending = |field: &JsonField<'_>| {
            let number = field.unsigned()?;
            if number <= last.0 {
                field.add_mistake(format!("write a number above {}, that of the line before", last.0));
            }
            Some(Sequence(number))
        };
        self.last = object.optional("sequence", ascending).unwrap_or(last.next());
        self.last
    }

    fn body(&self, line: usize, object: &JsonObject<'_>) -> Option<EventBody> {
        let fields: Vec<_> = KINDS.into_iter().filter_map(|kind| Some((kind, object.field(kind)?))).collect();
        let names: Vec<_> = fields.iter().map(|(kind, _)| format!("`{kind}`")).collect();
        if names.len() > 1 {
            let hint = format!("has {}; write one event per line", names.join(" and "));
            object.mistakes().add(Mistake::without_value(format!("line {line}"), hint));
        } else if names.is_empty() && !object.has_misspelt_key(&KINDS) {
            let hint = format!("has no event; write one of {}", KINDS.join(", "));
            object.mistakes().add(Mistake::without_value(format!("line {line}"), hint));
        }
        let (kind, field) = fields.into_iter().next()?;
        let object = field.object()?;
        let body = self.kind(kind, &object);
        object.report_unknown_keys();
        body
    }

    fn kind(&self, kind: &str, object: &JsonObject<'_>) -> Option<EventBody> {
        Some(match kind {
            "site" => EventBody::Site(Arc::new(read::site(object, self.next_revision()))),
            "gap" => EventBody::Gap(read::gap(object)),
            "frame" => EventBody::Frame(frame::read(object, &self.described)),
            "safety" => EventBody::Safety(read::safety(object)),
            "anomaly" => EventBody::Anomaly(read::anomaly(object)),
            "dispatch" => EventBody::Dispatch(read::dispatch(object)),
            "device" => EventBody::Device(read::device_status(object)),
            "heartbeat" => EventBody::Heartbeat,
            "write" => EventBody::Write(Box::new(proposal::read(object))),
            _ => return None,
        })
    }

    /// The revision of a description that does not give one: one more than the last.
    fn next_revision(&self) -> u64 {
        match &self.described {
            Described::Site(site) => site.revision.saturating_add(1),
            Described::Nothing | Described::Invalid => 1,
        }
    }
}

/// A time in RFC 3339, or in nanoseconds.
pub fn read_time(field: &JsonField<'_>) -> Option<Timestamp> {
    let time = match field.value() {
        Value::String(text) => parse_utc(text),
        value => value.as_u64().map(Timestamp::from_nanos),
    };
    if time.is_none() {
        field.add_mistake("write a time in UTC, such as \"2026-01-02T03:04:05.25Z\", or nanoseconds since 1970");
    }
    time
}
