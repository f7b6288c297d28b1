//! Published messages as short lines for people.

use std::collections::BTreeMap;
use std::io::IsTerminal;

use anyhow::bail;
use serde_json::Value;

/// Columns for the topic, before the payload.
const TOPIC_WIDTH: usize = 34;

/// Prints a line to standard output; fails if nobody reads it any more.
pub(crate) type PrintLine = fn(&str) -> anyhow::Result<()>;

/// Prints messages, and counts them by topic.
pub(super) struct Printer {
    print_line: PrintLine,
    counts: BTreeMap<String, u64>,
}

impl Printer {
    pub(super) fn new(print_line: PrintLine) -> Self {
        Self { print_line, counts: BTreeMap::new() }
    }

    pub(super) fn print(&mut self, topic: &str, payload: &[u8]) -> anyhow::Result<()> {
        *self.counts.entry(topic.to_owned()).or_default() += 1;
        let (bold, plain) = if std::io::stdout().is_terminal() { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
        (self.print_line)(&format!("{bold}{topic:<TOPIC_WIDTH$}{plain} {}", readable(payload)))
    }

    /// Prints the number of messages; fails if no telemetry was received.
    pub(super) fn summary(&self) -> anyhow::Result<()> {
        let total: u64 = self.counts.values().sum();
        let of = |end: &str| {
            self.counts.iter().filter(|(topic, _)| topic.ends_with(end)).map(|(_, count)| count).sum::<u64>()
        };
        let telemetry = of("/telemetry");
        let (safety, dispatch, heartbeat) = (of("/safety"), of("/ai/dispatch"), of("/system/heartbeat"));
        (self.print_line)(&format!(
            "\n{total} messages: {telemetry} telemetry, {safety} safety, {dispatch} dispatch, {heartbeat} heartbeat"
        ))?;
        if telemetry == 0 {
            bail!("no telemetry arrived");
        }
        Ok(())
    }
}

/// `SOC 72.3 %   power -85.5 kW`.
fn readable(payload: &[u8]) -> String {
    let Ok(Value::Object(object)) = serde_json::from_slice(payload) else {
        return String::from_utf8_lossy(payload).into_owned();
    };
    let members = object.iter().filter(|(key, value)| !is_known(key, value));
    let members: Vec<_> = members.map(|(key, value)| member(key, value)).collect();
    members.join("   ")
}

/// Whether a member says what is the same in every line of the demo, which has one model.
fn is_known(key: &str, value: &Value) -> bool {
    matches!(key, "site_id" | "model") || (key == "shadow" && value == &Value::Bool(false))
}

fn member(key: &str, value: &Value) -> String {
    let (name, unit) = match key {
        "ts" => return local_time(value.as_f64().unwrap_or(0.0)),
        "soc_pct" => ("SOC", " %"),
        "power_kw" => ("power", " kW"),
        "temp_c" => ("temperature", " °C"),
        "cycle_count" => ("cycles", ""),
        "dispatch_kw" => ("set-point", " kW"),
        "inference_ms" => ("inference", " ms"),
        "is_safe" => ("safe", ""),
        other => (other, ""),
    };
    let value = match value {
        Value::Bool(true) => "yes".into(),
        Value::Bool(false) => "NO".into(),
        Value::String(text) => text.clone(),
        Value::Number(number) if key == "dispatch_kw" => {
            number.as_f64().map_or_else(String::new, |kw| format!("{kw:.2}"))
        }
        other => other.to_string(),
    };
    format!("{name} {value}{unit}")
}

/// A time of the payload as local wall-clock time.
fn local_time(seconds: f64) -> String {
    let at = jiff::Timestamp::from_duration(jiff::SignedDuration::try_from_secs_f64(seconds).unwrap_or_default());
    at.map_or_else(
        |_| String::new(),
        |at| jiff::tz::TimeZone::system().to_datetime(at).strftime("%H:%M:%S").to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_become_short_lines() {
        let line =
            readable(br#"{"site_id":"S","soc_pct":72.3,"is_safe":false,"watchdog":"ok","dispatch_kw":-1.23456,"model":"a","shadow":false}"#);
        assert_eq!(line, "SOC 72.3 %   safe NO   watchdog ok   set-point -1.23 kW");
        assert_eq!(readable(b"online"), "online");
    }

    #[test]
    fn no_telemetry_is_a_failure() {
        let mut printer = Printer::new(|_| Ok(()));
        printer.print("S/safety", b"{}").unwrap();
        assert!(printer.summary().is_err());
        printer.print("S/telemetry", b"{}").unwrap();
        assert!(printer.summary().is_ok());
    }

    #[test]
    fn a_line_that_cannot_be_printed_is_an_error() {
        let mut printer = Printer::new(|_| bail!("standard output is closed"));
        assert!(printer.print("S/telemetry", b"{}").is_err());
        assert!(printer.summary().is_err());
    }
}
