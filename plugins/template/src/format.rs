//! Rows as JSON, CSV and InfluxDB's line protocol.

use bessai_plugin::{Timestamp, json, time};

use crate::config::{Format, Settings, TimestampForm};
use crate::row::{Column, Labels, Row};

/// What is the same in all payloads of a device.
#[derive(Debug)]
pub(crate) struct Layout {
    format: Format,
    timestamp: TimestampForm,
    /// What comes before the values: the header of CSV, the measurement and tags of a line.
    prefix: Vec<u8>,
    /// The site and device of each row of CSV.
    names: Vec<u8>,
    members: Members,
    writer: json::Writer,
}

/// The members of a JSON object, or the escaped keys of a line's fields.
#[derive(Debug)]
struct Members {
    ts: json::Key,
    site: json::Constant,
    device: json::Constant,
    keys: Vec<json::Key>,
    fields: Vec<Vec<u8>>,
}

impl Layout {
    /// The layout of a device's payloads.
    pub(crate) fn new(format: Format, settings: &Settings, labels: &Labels) -> Self {
        let mut names = Vec::new();
        for name in [&labels.site, &labels.device] {
            names.push(b',');
            push_csv(&mut names, name);
        }
        Self {
            format,
            timestamp: settings.timestamp,
            prefix: match format {
                Format::Json => Vec::new(),
                Format::Csv => {
                    if settings.header {
                        header(labels)
                    } else {
                        Vec::new()
                    }
                }
                Format::Influx => series(settings, labels),
            },
            names,
            members: Members::new(labels),
            writer: json::Writer::default(),
        }
    }

    /// The payload of a row; none if a line would have no fields.
    pub(crate) fn write(&mut self, row: &Row) -> Vec<u8> {
        match self.format {
            Format::Json => self.json(row),
            Format::Csv => self.csv(row),
            Format::Influx => self.influx(row),
        }
    }

    fn json(&mut self, row: &Row) -> Vec<u8> {
        let mut at = Vec::new();
        push_time(&mut at, row.at, self.timestamp, true);
        self.writer.raw(&self.members.ts, &at);
        self.writer.constant(&self.members.site);
        self.writer.constant(&self.members.device);
        for (position, (key, &value)) in self.members.keys.iter().zip(&row.values).enumerate() {
            match row.texts.get(&position) {
                Some(text) => self.writer.text(key, text),
                None if value.is_nan() => {}
                None if is_integer(row, position) => self.writer.integer(key, value),
                None => self.writer.number(key, value),
            }
        }
        self.writer.finish()
    }

    fn csv(&self, row: &Row) -> Vec<u8> {
        let mut bytes = self.prefix.clone();
        push_time(&mut bytes, row.at, self.timestamp, false);
        bytes.extend_from_slice(&self.names);
        for (position, &value) in row.values.iter().enumerate() {
            bytes.push(b',');
            match row.texts.get(&position) {
                Some(text) => push_csv(&mut bytes, text),
                None if value.is_nan() => {}
                None => push_number(&mut bytes, value, is_integer(row, position)),
            }
        }
        bytes.push(b'\n');
        bytes
    }

    fn influx(&self, row: &Row) -> Vec<u8> {
        let mut bytes = self.prefix.clone();
        let mut separator = b' ';
        for (position, (field, &value)) in self.members.fields.iter().zip(&row.values).enumerate() {
            let text = row.texts.get(&position);
            // The protocol has no NaN and no infinity.
            if text.is_none() && !value.is_finite() {
                continue;
            }
            bytes.push(separator);
            separator = b',';
            bytes.extend_from_slice(field);
            bytes.push(b'=');
            match text {
                Some(text) => push_influx_text(&mut bytes, text),
                None if is_integer(row, position) => {
                    push_number(&mut bytes, value, true);
                    bytes.push(b'i');
                }
                None => json::append_number(&mut bytes, value),
            }
        }
        bytes.push(b' ');
        match self.timestamp {
            // Times in a line are integers.
            TimestampForm::Seconds => bytes.extend_from_slice((row.at / 1_000_000_000).to_string().as_bytes()),
            form => push_time(&mut bytes, row.at, form, false),
        }
        bytes
    }
}

impl Members {
    fn new(labels: &Labels) -> Self {
        let keys = labels.columns.iter().map(|column| json::Key::new(&column.name)).collect();
        let field = |column: &Column| {
            let mut bytes = Vec::new();
            push_influx(&mut bytes, &column.name, b"\\,= ");
            bytes
        };
        Self {
            ts: json::Key::new("ts"),
            site: json::Key::new("site_id").constant(&labels.site),
            device: json::Key::new("device").constant(&labels.device),
            keys,
            fields: labels.columns.iter().map(field).collect(),
        }
    }
}

fn is_integer(row: &Row, position: usize) -> bool {
    row.labels.columns.get(position).is_some_and(|column| column.integer)
}

fn push_number(bytes: &mut Vec<u8>, value: f64, integer: bool) {
    if integer {
        bytes.extend_from_slice(format!("{:.0}", value.round() + 0.0).as_bytes());
    } else {
        json::append_number(bytes, value);
    }
}

fn push_time(bytes: &mut Vec<u8>, at: Timestamp, form: TimestampForm, quoted: bool) {
    let divisor = match form {
        TimestampForm::Seconds => return json::append_number(bytes, json::seconds(at)),
        TimestampForm::Rfc3339 if quoted => return json::append_text(bytes, &time::rfc3339(at)),
        TimestampForm::Rfc3339 => return bytes.extend_from_slice(time::rfc3339(at).as_bytes()),
        TimestampForm::Milliseconds => 1_000_000,
        TimestampForm::Microseconds => 1000,
        TimestampForm::Nanoseconds => 1,
    };
    bytes.extend_from_slice((at / divisor).to_string().as_bytes());
}

/// The names of the columns.
fn header(labels: &Labels) -> Vec<u8> {
    let mut bytes = b"time,site,device".to_vec();
    for column in &labels.columns {
        bytes.push(b',');
        push_csv(&mut bytes, &column.name);
    }
    bytes.push(b'\n');
    bytes
}

/// A field of CSV, in quotes where RFC 4180 requires them.
fn push_csv(bytes: &mut Vec<u8>, text: &str) {
    if !text.contains(['"', ',', '\n', '\r']) {
        return bytes.extend_from_slice(text.as_bytes());
    }
    bytes.push(b'"');
    bytes.extend_from_slice(text.replace('"', "\"\"").as_bytes());
    bytes.push(b'"');
}

/// The measurement and the tags of a line. A tag cannot be empty.
fn series(settings: &Settings, labels: &Labels) -> Vec<u8> {
    let mut bytes = Vec::new();
    push_influx(&mut bytes, &settings.measurement, b", ");
    let own = [("site", labels.site.as_str()), ("device", labels.device.as_str())];
    let extra = settings.tags.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    for (key, value) in own.into_iter().filter(|(key, _)| settings.tags.iter().all(|(tag, _)| tag != key)).chain(extra)
    {
        if value.trim_end_matches('\\').is_empty() {
            continue;
        }
        bytes.push(b',');
        push_influx(&mut bytes, key, b",= ");
        bytes.push(b'=');
        push_influx(&mut bytes, value, b",= ");
    }
    bytes
}

/// A name in line protocol. It has no form for a line break, and none for a backslash at the end, which would escape what
/// follows.
fn push_influx(bytes: &mut Vec<u8>, text: &str, escaped: &[u8]) {
    for byte in text.trim_end_matches('\\').bytes() {
        let byte = if matches!(byte, b'\n' | b'\r') { b' ' } else { byte };
        if escaped.contains(&byte) {
            bytes.push(b'\\');
        }
        bytes.push(byte);
    }
}

fn push_influx_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.push(b'"');
    for byte in text.bytes() {
        if matches!(byte, b'"' | b'\\') {
            bytes.push(b'\\');
        }
        bytes.push(byte);
    }
    bytes.push(b'"');
}
