//! A site as a thing of AWS IoT Core: one message a reading, on a topic or straight to a rule, and a device shadow.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic))]

use bessai_plugin::{
    Actions, Commands, DeviceStatus, Event, Failure, Frame, Inbound, Login, Message, Messages, Outcome, Plugin,
    Request, Safety, SignsIn, Site, Subscription, Timestamp, Welcome, json, log,
};

mod config;
mod flags;
mod members;
mod shadow;
#[cfg(test)]
mod tests;

use config::Config;
use shadow::Shadow;

/// AWS accepts no larger payload.
const PAYLOAD_BYTES: usize = 131_072;
/// The most bytes of a number and the punctuation of its member.
const NUMBER_BYTES: usize = 28;
/// Bytes of a payload beside its channels and names.
const FIXED_BYTES: usize = 100;

/// The thing.
pub struct AwsIotCore {
    sources: Vec<Source>,
    site_id: json::Constant,
    ts: json::Key,
    writer: json::Writer,
    shadow: Option<Shadow>,
    config: Config,
}

/// One source's topic and members.
struct Source {
    topic: String,
    device: json::Constant,
    keys: Vec<json::Key>,
}

impl Plugin for AwsIotCore {
    fn configure(site: &Site, config: &str) -> Result<Self, String> {
        let config = Config::read(site, config)?;
        let mut sources = Vec::with_capacity(site.sources.len());
        for source in &site.sources {
            let names: usize = source.channels.iter().map(|channel| channel.name.len() + NUMBER_BYTES).sum();
            let bytes = names + FIXED_BYTES + site.id.len() + source.device.len();
            if bytes > PAYLOAD_BYTES {
                return Err(format!(
                    "a reading of {} may have {bytes} bytes, and AWS accepts {PAYLOAD_BYTES}: read its channels in several sources",
                    source.device
                ));
            }
            sources.push(Source {
                topic: config.topic_of(&source.device),
                device: json::Key::new("device").constant(&source.device),
                keys: source.channels.iter().map(|channel| json::Key::new(&channel.name)).collect(),
            });
        }
        let shadow = if config.shadow { Some(Shadow::new(site, &config.thing)?) } else { None };
        let (site_id, ts) = (json::Key::new("site_id").constant(&site.id), json::Key::new("ts"));
        Ok(Self { sources, site_id, ts, writer: json::Writer::default(), shadow, config })
    }

    fn frame(&mut self, event: &Event, frame: &Frame, out: &mut Messages) -> Result<(), Failure> {
        let source = usize::try_from(frame.source).ok().and_then(|index| self.sources.get(index));
        let Some(source) = source else {
            return Err(Failure::Reject(format!("the site has no source {}", frame.source)));
        };
        if let Some(shadow) = self.shadow.as_ref().filter(|_| !event.historical) {
            shadow.note(frame)?;
        }
        self.writer.number(&self.ts, json::seconds(event.at));
        self.writer.constant(&self.site_id);
        self.writer.constant(&source.device);
        let mut is_empty = true;
        for (index, key) in (0..).zip(&source.keys) {
            if let Some(value) = frame.read_value(index) {
                self.writer.number(key, value);
                is_empty = false;
            } else if let Some(text) = frame.texts.iter().find(|text| text.channel == index) {
                self.writer.text(key, &text.value);
                is_empty = false;
            }
        }
        let payload = self.writer.finish();
        if !is_empty {
            out.push(Message::new(&source.topic, payload));
        }
        Ok(())
    }

    fn safety(&mut self, event: &Event, safety: &Safety, _out: &mut Messages) -> Result<(), Failure> {
        match self.shadow.as_ref().filter(|_| !event.historical) {
            Some(shadow) => shadow.note_safety(safety.is_safe),
            None => Ok(()),
        }
    }

    fn device(&mut self, event: &Event, status: &DeviceStatus, _out: &mut Messages) -> Result<(), Failure> {
        match self.shadow.as_ref().filter(|_| !event.historical) {
            Some(shadow) => shadow.note_device(&status.device, status.online),
            None => Ok(()),
        }
    }

    /// The shadow changes at most once in this time, so that its quota lasts.
    fn heartbeat(&mut self, event: &Event, out: &mut Messages) -> Result<(), Failure> {
        match self.shadow.as_ref().filter(|_| !event.historical) {
            Some(shadow) => shadow.report(out),
            None => Ok(()),
        }
    }
}

impl SignsIn for AwsIotCore {
    fn connect(&mut self, _request: &Request) -> Result<Login, String> {
        Ok(Login { client_id: Some(self.config.thing.clone()), ..Login::default() })
    }

    fn connected(&mut self, _welcome: &Welcome, out: &mut Messages) -> Result<(), Failure> {
        if let Some(shadow) = &self.shadow {
            shadow.begin(out);
        }
        Ok(())
    }
}

impl Commands for AwsIotCore {
    fn subscriptions(&mut self) -> Vec<Subscription> {
        self.shadow.as_ref().map(Shadow::subscriptions).unwrap_or_default()
    }

    fn receive(&mut self, message: &Inbound, out: &mut Actions) -> Result<(), Failure> {
        match &self.shadow {
            Some(shadow) => shadow.receive(message, out),
            None => Err(Failure::Reject(format!("nothing was asked for on {}", message.topic))),
        }
    }

    fn wrote(&mut self, _: Timestamp, reference: &str, outcome: &Outcome, out: &mut Messages) -> Result<(), Failure> {
        let refusal = match outcome {
            Outcome::Refused(reason) | Outcome::Failed(reason) => Some(reason.as_str()),
            // The next reading reports the value.
            _ => None,
        };
        if let Some(reason) = refusal {
            log::warn(&format!("the desired {reference} was refused: {reason}"));
        }
        match &self.shadow {
            Some(shadow) => shadow.report_refusal(reference, refusal, out),
            None => Ok(()),
        }
    }
}

bessai_plugin::export!(AwsIotCore, session, commands);
