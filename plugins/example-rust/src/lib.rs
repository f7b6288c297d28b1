//! The example plugin in Rust: publishes a device's power when it changes, and whether the device is online.
//!
//! `<topic>/<device>/power` as JSON, `<topic>/<device>/online` as `1` or `0`. The examples in JavaScript and Python do
//! the same, and all three pass the cases in `cases/`.

use bessai_plugin::{DeviceStatus, Event, Failure, Frame, Gap, Message, Messages, Plugin, Site, json, log, state};

mod config;
mod source;

use config::Config;
use source::Source;

/// The settings, and the positions of the channels in each source.
pub struct ReportOnChange {
    config: Config,
    sources: Vec<Source>,
    keys: Keys,
    writer: json::Writer,
}

struct Keys {
    ts: json::Key,
    kw: json::Key,
    soc: json::Key,
}

impl Plugin for ReportOnChange {
    fn configure(site: &Site, config: &str) -> Result<Self, String> {
        Ok(Self {
            config: Config::read(config)?,
            sources: source::of_site(site),
            keys: Keys { ts: json::Key::new("ts"), kw: json::Key::new("kw"), soc: json::Key::new("soc") },
            writer: json::Writer::default(),
        })
    }

    fn site(&mut self, site: &Site, _config: &str) -> Result<(), String> {
        self.sources = source::of_site(site);
        Ok(())
    }

    fn frame(&mut self, event: &Event, frame: &Frame, out: &mut Messages) -> Result<(), Failure> {
        let source = usize::try_from(frame.source).ok().and_then(|index| self.sources.get(index));
        let Some(source) = source else {
            return Err(Failure::Reject(format!("the site has no source {}", frame.source)));
        };
        let Some(power) = source.power.and_then(|power| frame.read_value(power)) else { return Ok(()) };
        let key = format!("power/{}", source.device);
        if last_published(&key).is_some_and(|last| (power - last).abs() < self.config.min_change_kw) {
            return Ok(());
        }
        state::set(&key, power.to_string().as_bytes())
            .map_err(|_| Failure::Reject(format!("state is full: {key} cannot be stored")))?;

        self.writer.number(&self.keys.ts, json::seconds(event.at));
        self.writer.rounded(&self.keys.kw, power, 3);
        if let Some(soc) = source.soc.and_then(|soc| frame.read_value(soc)) {
            self.writer.rounded(&self.keys.soc, soc, 1);
        }
        let topic = format!("{}/{}/power", self.config.topic, source.device);
        out.push(Message::new(topic, self.writer.finish()));
        Ok(())
    }

    fn device(&mut self, _event: &Event, status: &DeviceStatus, out: &mut Messages) -> Result<(), Failure> {
        let topic = format!("{}/{}/online", self.config.topic, status.device);
        out.push(Message::new(topic, if status.online { "1" } else { "0" }).retained());
        Ok(())
    }

    fn gap(&mut self, _event: &Event, gap: &Gap, _out: &mut Messages) -> Result<(), Failure> {
        let lost = gap.lost.map_or("an unknown number of".to_owned(), |lost| lost.to_string());
        log::warn(&format!("{lost} events lost: {}", gap.reason));
        Ok(())
    }
}

bessai_plugin::export!(ReportOnChange);

/// Read from the state, which outlives the instance, unlike its fields.
fn last_published(key: &str) -> Option<f64> {
    String::from_utf8(state::get(key)?).ok()?.parse().ok()
}
