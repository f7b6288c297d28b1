//! SPEC-003: `bessai/<site>/<message type>`, each payload in an envelope with version, type, site and time.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

use bessai_plugin::{
    Anomaly, Dispatch, Event, Failure, FaultKind, Frame, Message, Messages, Plugin, Qos, Safety, Site, json, log,
    metrics, state, time,
};

mod config;
mod source;

use config::Config;
use source::Source;

/// The version of the specification's payloads.
const SCHEMA_VERSION: &str = "1.0";
/// The state's keys: safe or not, with the number of violations; the last state of charge and temperature; the last score.
const SAFETY: &str = "safety";
const BATTERY: &str = "battery";
const SCORE: &str = "score";

/// The site's topics and the sources that have a battery's telemetry.
pub struct Spec003 {
    site_id: String,
    prefix: String,
    sources: Vec<Option<Source>>,
    keys: Keys,
    writer: json::Writer,
}

/// Members of payloads, formatted once.
struct Keys {
    soc_pct: json::Key,
    power_kw: json::Key,
    temperature_c: json::Key,
    mode: json::Key,
    alarm_code: json::Key,
    voltage_v: json::Key,
    current_a: json::Key,
    cycle_number: json::Key,
    driver_source: json::Key,
}

impl Plugin for Spec003 {
    fn configure(site: &Site, config: &str) -> Result<Self, String> {
        let config = Config::read(config)?;
        if !is_site_id(&site.id) {
            log::warn(&format!("SPEC-003 wants a site id such as ABCD-EF-001: SITE_ID = {:?} is not one", site.id));
        }
        Ok(Self {
            site_id: site.id.clone(),
            prefix: format!("{}/{}", config.prefix, site.id),
            sources: site.sources.iter().map(Source::of).collect(),
            keys: Keys::new(),
            writer: json::Writer::default(),
        })
    }

    fn frame(&mut self, event: &Event, frame: &Frame, out: &mut Messages) -> Result<(), Failure> {
        let source = usize::try_from(frame.source).ok().and_then(|index| self.sources.get(index));
        let Some(Some(source)) = source else { return Ok(()) };
        let value = |channel: Option<u32>| good_value(frame, channel?);
        let soc = value(Some(source.soc)).filter(|soc| (0.0..=100.0).contains(soc));
        let temperature = value(Some(source.temperature)).filter(|temp| (-40.0..=100.0).contains(temp));
        let (Some(soc), Some(power), Some(temperature)) = (soc, value(Some(source.power)), temperature) else {
            metrics::counter("incomplete_readings_total", &[], 1.0);
            return Ok(());
        };
        if !event.historical {
            state::set(BATTERY, format!("{soc} {temperature}").as_bytes())?;
        }
        let mode = value(source.mode).filter(|mode| (0.0..=3.0).contains(mode)).unwrap_or_else(|| mode_of(power));
        let alarm = value(source.alarm).filter(|alarm| *alarm >= 0.0).unwrap_or_else(|| f64::from(violations()));
        let (keys, writer) = (&self.keys, &mut self.writer);
        writer.rounded(&keys.soc_pct, soc, 2);
        writer.rounded(&keys.power_kw, power, 3);
        writer.rounded(&keys.temperature_c, temperature, 1);
        writer.integer(&keys.mode, mode);
        writer.integer(&keys.alarm_code, alarm);
        for (key, channel) in [(&keys.voltage_v, source.voltage), (&keys.current_a, source.current)] {
            if let Some(channel) = channel {
                writer.number(key, good_value(frame, channel).unwrap_or(f64::NAN));
            }
        }
        if let Some(cycles) = value(source.cycles) {
            writer.integer(&keys.cycle_number, cycles);
        }
        writer.text(&keys.driver_source, &source.device);
        let payload = self.writer.finish();
        out.push(self.message("telemetry", event, &payload));
        Ok(())
    }

    fn safety(&mut self, event: &Event, safety: &Safety, out: &mut Messages) -> Result<(), Failure> {
        let before = state::get(SAFETY);
        let was_safe = before.as_ref().and_then(|stored| stored.first()).map(|safe| *safe == b'1');
        let now = format!("{} {}", u8::from(safety.is_safe), safety.violations.len());
        if before.as_deref() != Some(now.as_bytes()) {
            state::set(SAFETY, now.as_bytes())?;
        }
        // A site that is safe from the start has no event.
        if was_safe.unwrap_or(true) == safety.is_safe {
            return Ok(());
        }
        let is_stale = |rule: &str| matches!(rule, "stale" | "unread");
        let first = safety.violations.first();
        let (kind, action) = match first {
            _ if safety.is_safe => ("SAFE_STATE_CLEARED", "set-points are allowed again"),
            Some(violation) if is_stale(&violation.rule) => ("STALE_DATA_BLOCK", "set-points are refused"),
            _ => ("DISPATCH_BLOCKED", "set-points are refused"),
        };
        let condition = first.map_or("no rule is violated".to_owned(), |violation| {
            format!(
                "{} {} {}: {}, limit {}",
                violation.device, violation.channel, violation.rule, violation.value, violation.limit
            )
        });
        let (soc, temperature) = last_battery();
        let mut payload = json::Writer::default();
        payload.text(&json::Key::new("event_type"), kind);
        payload.text(&json::Key::new("trigger_condition"), &condition);
        payload.number(&json::Key::new("soc_pct"), soc);
        payload.number(&json::Key::new("temperature_c"), temperature);
        payload.text(&json::Key::new("action_taken"), action);
        payload.integer(&json::Key::new("alarm_code"), f64::from(violations()));
        payload.boolean(&json::Key::new("resolution_required"), !safety.is_safe);
        out.push(self.message("safety_event", event, &payload.finish()));
        Ok(())
    }

    fn anomaly(&mut self, event: &Event, anomaly: &Anomaly, out: &mut Messages) -> Result<(), Failure> {
        state::set(SCORE, anomaly.score.to_string().as_bytes())?;
        let mut payload = json::Writer::default();
        payload.rounded(&json::Key::new("ids_anomaly_score"), anomaly.score, 4);
        payload.text(&json::Key::new("inference_source"), "onnx_local");
        payload.boolean(&json::Key::new("ids_alert"), anomaly.alarm);
        out.push(self.message("ai_score", event, &payload.finish()));
        Ok(())
    }

    fn dispatch(&mut self, event: &Event, dispatch: &Dispatch, out: &mut Messages) -> Result<(), Failure> {
        let score = state::get(SCORE).and_then(|score| String::from_utf8(score).ok()?.parse().ok()).unwrap_or(f64::NAN);
        let mut payload = json::Writer::default();
        payload.rounded(&json::Key::new("ids_anomaly_score"), score, 4);
        payload.text(&json::Key::new("inference_source"), "onnx_local");
        if let Some(target) = dispatch.target_kw {
            payload.rounded(&json::Key::new("onnx_dispatch_kw"), target, 3);
        }
        payload.rounded(&json::Key::new("onnx_inference_ms"), dispatch.inference_ms, 2);
        out.push(self.message("ai_score", event, &payload.finish()));
        Ok(())
    }
}

bessai_plugin::export!(Spec003);

impl Spec003 {
    /// A payload in its envelope. Telemetry may have any quality of service, and the rest at least 1.
    fn message(&mut self, message_type: &str, event: &Event, payload: &[u8]) -> Message {
        let writer = &mut self.writer;
        writer.text(&json::Key::new("schema_version"), SCHEMA_VERSION);
        writer.text(&json::Key::new("message_type"), message_type);
        writer.text(&json::Key::new("site_id"), &self.site_id);
        writer.text(&json::Key::new("timestamp"), &time::rfc3339(event.at));
        writer.raw(&json::Key::new("payload"), payload);
        let topic = format!("{}/{message_type}", self.prefix);
        Message::new(topic, writer.finish()).with_qos(Qos::AtLeastOnce)
    }
}

impl Keys {
    fn new() -> Self {
        Self {
            soc_pct: json::Key::new("soc_pct"),
            power_kw: json::Key::new("power_kw"),
            temperature_c: json::Key::new("temperature_c"),
            mode: json::Key::new("mode"),
            alarm_code: json::Key::new("alarm_code"),
            voltage_v: json::Key::new("voltage_v"),
            current_a: json::Key::new("current_a"),
            cycle_number: json::Key::new("cycle_number"),
            driver_source: json::Key::new("driver_source"),
        }
    }
}

/// Idle, charging or discharging: positive power is discharge.
fn mode_of(power_kw: f64) -> f64 {
    if power_kw > 0.0 {
        2.0
    } else if power_kw < 0.0 {
        1.0
    } else {
        0.0
    }
}

/// The rules of safety that were violated at the last verdict.
fn violations() -> u32 {
    let stored = state::get(SAFETY).and_then(|stored| String::from_utf8(stored).ok()).unwrap_or_default();
    stored.split_once(' ').and_then(|(_, count)| count.parse().ok()).unwrap_or(0)
}

/// The last state of charge and temperature; NaN before the first reading.
fn last_battery() -> (f64, f64) {
    let stored = state::get(BATTERY).and_then(|stored| String::from_utf8(stored).ok()).unwrap_or_default();
    let number = |text: Option<&str>| text.and_then(|text| text.parse().ok()).unwrap_or(f64::NAN);
    let mut parts = stored.split(' ');
    (number(parts.next()), number(parts.next()))
}

/// A value outside the profile's range was still read; any other fault means that it was not.
fn good_value(frame: &Frame, channel: u32) -> Option<f64> {
    let unread = |kind| !matches!(kind, FaultKind::OutOfRange);
    if frame.faults.iter().any(|fault| fault.channel == channel && unread(fault.kind)) {
        return None;
    }
    frame.values.get(usize::try_from(channel).ok()?).copied().filter(|value| value.is_finite())
}

/// Four letters, two letters and three digits.
fn is_site_id(id: &str) -> bool {
    let mut parts = id.split('-');
    let mut is_part = |length: usize, is_of: fn(u8) -> bool| {
        parts.next().is_some_and(|part| part.len() == length && part.bytes().all(is_of))
    };
    let letters = |byte: u8| byte.is_ascii_uppercase();
    is_part(4, letters) && is_part(2, letters) && is_part(3, |byte| byte.is_ascii_digit()) && parts.next().is_none()
}
