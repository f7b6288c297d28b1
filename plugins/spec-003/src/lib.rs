//! SPEC-003: `bessai/<site>/<message type>`, each payload in an envelope with version, type, site and time.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

use bessai_plugin::{
    Anomaly, Dispatch, Event, Failure, Frame, Message, Messages, Plugin, Qos, Safety, Site, Timestamp, json, log,
    metrics, state, time,
};

mod config;
mod safety;
mod source;

use config::Config;
use safety::Battery;
use source::Source;

/// The version of the specification's payloads.
const SCHEMA_VERSION: &str = "1.0";
/// The state's key of the last score.
const SCORE: &str = "score";
/// Stands for a score before the first one: the specification requires a number in each `ai_score`.
const NO_SCORE: f64 = 0.0;

/// The site's topics and the sources that have a battery's telemetry.
pub struct Spec003 {
    site_id: String,
    prefix: String,
    sources: Vec<Option<Source>>,
    /// A state of charge and a temperature were read at some time.
    has_battery: bool,
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
        let sources: Vec<_> = site.sources.iter().map(Source::of).collect();
        if !sources.iter().any(Option::is_some) {
            log::warn(
                "no source has soc_pct, power_kw and temp_c: no telemetry is published, and safety events wait for their \
                 first reading",
            );
        }
        Ok(Self {
            site_id: site.id.clone(),
            prefix: format!("{}/{}", config.prefix, site.id),
            sources,
            has_battery: Battery::last().is_some(),
            keys: Keys::new(),
            writer: json::Writer::default(),
        })
    }

    fn frame(&mut self, event: &Event, frame: &Frame, out: &mut Messages) -> Result<(), Failure> {
        let index = usize::try_from(frame.source).unwrap_or(usize::MAX);
        let Some(Some(source)) = self.sources.get(index) else { return Ok(()) };
        let battery = source.battery(frame);
        if let Some(battery) = battery {
            self.keep(battery, out)?;
        }
        match self.telemetry(index, frame, battery) {
            Some(payload) => out.push(self.message("telemetry", event.at, &payload)),
            None => metrics::counter("incomplete_readings_total", &[], 1.0),
        }
        Ok(())
    }

    fn safety(&mut self, event: &Event, safety: &Safety, out: &mut Messages) -> Result<(), Failure> {
        let Some(change) = safety::change(event.at, safety)? else { return Ok(()) };
        match Battery::last() {
            Some(battery) => out.push(self.message("safety_event", change.at, &change.payload(battery))),
            None => change.wait()?,
        }
        Ok(())
    }

    fn anomaly(&mut self, event: &Event, anomaly: &Anomaly, out: &mut Messages) -> Result<(), Failure> {
        state::set(SCORE, anomaly.score.to_string().as_bytes())?;
        let mut payload = json::Writer::default();
        payload.rounded(&json::Key::new("ids_anomaly_score"), anomaly.score, 4);
        payload.text(&json::Key::new("inference_source"), "onnx_local");
        payload.boolean(&json::Key::new("ids_alert"), anomaly.alarm);
        out.push(self.message("ai_score", event.at, &payload.finish()));
        Ok(())
    }

    fn dispatch(&mut self, event: &Event, dispatch: &Dispatch, out: &mut Messages) -> Result<(), Failure> {
        let score = state::get(SCORE).and_then(|score| String::from_utf8(score).ok()?.parse().ok()).unwrap_or(NO_SCORE);
        let mut payload = json::Writer::default();
        payload.rounded(&json::Key::new("ids_anomaly_score"), score, 4);
        payload.text(&json::Key::new("inference_source"), "onnx_local");
        if let Some(target) = dispatch.target_kw {
            payload.rounded(&json::Key::new("onnx_dispatch_kw"), target, 3);
        }
        payload.rounded(&json::Key::new("onnx_inference_ms"), dispatch.inference_ms, 2);
        out.push(self.message("ai_score", event.at, &payload.finish()));
        Ok(())
    }
}

bessai_plugin::export!(Spec003);

impl Spec003 {
    /// Keeps the battery's state for safety events, and publishes those that waited for it.
    fn keep(&mut self, battery: Battery, out: &mut Messages) -> Result<(), Failure> {
        battery.keep()?;
        if !std::mem::replace(&mut self.has_battery, true) {
            for change in safety::take_waiting() {
                out.push(self.message("safety_event", change.at, &change.payload(battery)));
            }
        }
        Ok(())
    }

    /// The payload of `telemetry`; none without a good value of each required field.
    fn telemetry(&mut self, source: usize, frame: &Frame, battery: Option<Battery>) -> Option<Vec<u8>> {
        let source = self.sources.get(source)?.as_ref()?;
        let value = |channel: Option<u32>| frame.read_value(channel?);
        let (Battery { soc, temperature }, power) = (battery?, value(Some(source.power))?);
        let mode = value(source.mode).filter(|mode| (0.0..=3.0).contains(mode)).unwrap_or_else(|| mode_of(power));
        let alarm = value(source.alarm).filter(|alarm| *alarm >= 0.0);
        let (keys, writer) = (&self.keys, &mut self.writer);
        writer.rounded(&keys.soc_pct, soc, 2);
        writer.rounded(&keys.power_kw, power, 3);
        writer.rounded(&keys.temperature_c, temperature, 1);
        writer.integer(&keys.mode, mode);
        writer.integer(&keys.alarm_code, alarm.unwrap_or_else(|| f64::from(safety::violations())));
        for (key, channel) in [(&keys.voltage_v, source.voltage), (&keys.current_a, source.current)] {
            if let Some(channel) = channel {
                writer.number(key, frame.read_value(channel).unwrap_or(f64::NAN));
            }
        }
        if let Some(cycles) = value(source.cycles) {
            writer.integer(&keys.cycle_number, cycles);
        }
        writer.text(&keys.driver_source, &source.device);
        Some(writer.finish())
    }

    /// A payload in its envelope. Telemetry may have any quality of service, and the rest at least 1.
    fn message(&mut self, message_type: &str, at: Timestamp, payload: &[u8]) -> Message {
        let writer = &mut self.writer;
        writer.text(&json::Key::new("schema_version"), SCHEMA_VERSION);
        writer.text(&json::Key::new("message_type"), message_type);
        writer.text(&json::Key::new("site_id"), &self.site_id);
        writer.text(&json::Key::new("timestamp"), &time::rfc3339(at));
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

/// Four letters, two letters and three digits.
fn is_site_id(id: &str) -> bool {
    let mut parts = id.split('-');
    let mut is_part = |length: usize, is_of: fn(u8) -> bool| {
        parts.next().is_some_and(|part| part.len() == length && part.bytes().all(is_of))
    };
    let letters = |byte: u8| byte.is_ascii_uppercase();
    is_part(4, letters) && is_part(2, letters) && is_part(3, |byte| byte.is_ascii_digit()) && parts.next().is_none()
}
