//! Messages in a form that a person likes to read.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};

use anyhow::bail;
use serde_json::Value;

/// Columns before the payload.
const TOPIC_WIDTH: usize = 34;

/// Prints each message, and counts them by topic.
#[derive(Default)]
pub(super) struct Printer {
    counts: BTreeMap<String, u64>,
}

impl Printer {
    pub(super) fn print(&mut self, topic: &str, payload: &[u8]) {
        *self.counts.entry(topic.to_owned()).or_default() += 1;
        let (bold, plain) = if std::io::stdout().is_terminal() { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
        let line = format!("{bold}{topic:<TOPIC_WIDTH$}{plain} {}", readable(payload));
        // A closed standard output, such as behind `head`, does not stop the gateway.
        let _ = writeln!(std::io::stdout(), "{line}");
    }

    /// The last line; an error when no telemetry came.
    pub(super) fn summary(&self) -> anyhow::Result<()> {
        let total: u64 = self.counts.values().sum();
        let of = |end: &str| {
            self.counts.iter().filter(|(topic, _)| topic.ends_with(end)).map(|(_, count)| count).sum::<u64>()
        };
        let telemetry = of("/telemetry");
        println!(
            "\n{total} messages: {telemetry} telemetry, {} safety, {} dispatch, {} heartbeat",
            of("/safety"),
            of("/ai/dispatch"),
            of("/system/heartbeat")
        );
        if telemetry == 0 {
            bail!("no telemetry arrived");
        }
        Ok(())
    }
}

/// `soc_pct 72.3   power_kw -85.5`; the time and the site are on every line's left already.
fn readable(payload: &[u8]) -> String {
    let Ok(Value::Object(object)) = serde_json::from_slice(payload) else {
        return String::from_utf8_lossy(payload).into_owned();
    };
    let shown = object.iter().filter(|(key, _)| key.as_str() != "site_id");
    let members: Vec<_> = shown.map(|(key, value)| member(key, value)).collect();
    members.join("   ")
}

fn member(key: &str, value: &Value) -> String {
    let (name, unit) = match key {
        "ts" => return clock(value.as_f64().unwrap_or(0.0)),
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

/// Local wall-clock time of the reading.
fn clock(seconds: f64) -> String {
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
    fn payloads_read_well() {
        let shown =
            readable(br#"{"site_id":"S","soc_pct":72.3,"is_safe":false,"watchdog":"ok","dispatch_kw":-1.23456}"#);
        assert_eq!(shown, "SOC 72.3 %   safe NO   watchdog ok   set-point -1.23 kW");
        assert_eq!(readable(b"online"), "online");
    }

    #[test]
    fn no_telemetry_is_a_failure() {
        let mut printer = Printer::default();
        printer.print("S/safety", b"{}");
        assert!(printer.summary().is_err());
        printer.print("S/telemetry", b"{}");
        assert!(printer.summary().is_ok());
    }
}
