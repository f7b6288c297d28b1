//! Home Assistant finds the site's devices by itself: MQTT discovery, state, availability, and commands back.
//!
//! `<discovery_prefix>/device/<id>/config` describes a device with all its entities. Everything else is below
//! `<site>/home-assistant`: `status` says whether the gateway is connected, `<device>/availability` whether the device
//! answers, `<device>/state` has its newest values, and `<device>/<entity>/set` takes commands. All but the commands are
//! retained, so that Home Assistant has them as soon as it starts.

use bessai_plugin::{
    Actions, Commands, DeviceStatus, Event, Failure, Frame, Gap, Inbound, Login, Message, Messages, Outcome, Plugin,
    Request, Safety, SignsIn, Site, Subscription, Timestamp, Welcome, json, log, state,
};

mod config;
mod device;
mod discovery;
mod energy;
mod entity;
mod quantity;

use config::{Config, DEFAULT_PREFIX};
use device::{HomeDevice, HomeSource};
use discovery::Announcement;
use entity::{Entity, identifier};

/// Payloads of both kinds of availability topics; Home Assistant's defaults.
const ONLINE: &str = "online";
/// The same.
const OFFLINE: &str = "offline";

/// The site as Home Assistant sees it.
pub struct HomeAssistant {
    config: Config,
    site_id: String,
    base: String,
    devices: Vec<HomeDevice>,
    sources: Vec<HomeSource>,
    /// The description changed in this call, and Home Assistant does not know yet.
    is_announcement_due: bool,
    /// There may be readings of a backlog that wait for its end. After a start the state decides.
    has_late: bool,
    writer: json::Writer,
}

impl Plugin for HomeAssistant {
    fn configure(site: &Site, config: &str) -> Result<Self, String> {
        let (devices, sources) = device::of_site(site);
        Ok(Self {
            config: Config::read(config)?,
            site_id: site.id.clone(),
            base: device::base_topic(&site.id),
            devices,
            sources,
            is_announcement_due: false,
            has_late: true,
            writer: json::Writer::default(),
        })
    }

    fn site(&mut self, site: &Site, config: &str) -> Result<(), String> {
        *self = Self { is_announcement_due: true, ..Self::configure(site, config)? };
        Ok(())
    }

    fn frame(&mut self, event: &Event, frame: &Frame, out: &mut Messages) -> Result<(), Failure> {
        self.announce_if_due(out)?;
        let source = usize::try_from(frame.source).ok().and_then(|index| self.sources.get_mut(index));
        let Some(source) = source else { return Ok(()) };
        let is_newest = event.at >= source.newest || !event.historical;
        let Some(state) = source.state(event.at, frame, &mut self.writer)?.filter(|_| is_newest) else {
            return self.end_backlog(event, out);
        };
        source.keep_time(event.at)?;
        let topic = source.state_topic.clone();
        if event.historical {
            // Home Assistant stamps a value when it arrives: of a backlog only the last one is close to the present.
            self.has_late = true;
            return Ok(state::set(&late_key(&topic), &state)?);
        }
        if let Some(device) = self.devices.get(source.device) {
            if last(&device.availability_topic).as_deref() != Some(ONLINE.as_bytes()) {
                publish_kept(&device.availability_topic, ONLINE.into(), out)?;
            }
            state::delete(&late_key(&topic));
            publish_kept(&topic, state, out)?;
        }
        self.end_backlog(event, out)
    }

    fn safety(&mut self, event: &Event, safety: &Safety, out: &mut Messages) -> Result<(), Failure> {
        self.announce_if_due(out)?;
        // Of Home Assistant's device class `safety`, on means unsafe.
        let payload = if safety.is_safe { "OFF" } else { "ON" };
        if !event.historical && last(&self.safety_topic()).as_deref() != Some(payload.as_bytes()) {
            publish_kept(&self.safety_topic(), payload.into(), out)?;
        }
        self.end_backlog(event, out)
    }

    fn device(&mut self, event: &Event, status: &DeviceStatus, out: &mut Messages) -> Result<(), Failure> {
        self.announce_if_due(out)?;
        let position = self.devices.iter().position(|device| device.device.name == status.device);
        if !status.online {
            let energies = self.sources.iter_mut().filter(|source| Some(source.device) == position);
            energies.filter_map(|source| source.energy.as_mut()).try_for_each(|energy| energy.add(event.at, None))?;
        }
        if let Some(device) = position.and_then(|position| self.devices.get(position)) {
            let payload = if status.online { ONLINE } else { OFFLINE };
            // Also what happened during an outage of the broker: no later event repeats it.
            publish_kept(&device.availability_topic, payload.into(), out)?;
        }
        self.end_backlog(event, out)
    }

    fn heartbeat(&mut self, event: &Event, out: &mut Messages) -> Result<(), Failure> {
        self.announce_if_due(out)?;
        self.end_backlog(event, out)
    }

    fn gap(&mut self, event: &Event, gap: &Gap, _out: &mut Messages) -> Result<(), Failure> {
        if gap.lost == Some(0) {
            return Ok(());
        }
        let energies = self.sources.iter_mut().filter_map(|source| source.energy.as_mut());
        energies.into_iter().try_for_each(|energy| energy.add(event.at, None))
    }

    fn call_ended(&mut self, out: &mut Messages) -> Result<(), Failure> {
        self.announce_if_due(out)
    }
}

impl SignsIn for HomeAssistant {
    fn connect(&mut self, _request: &Request) -> Result<Login, String> {
        let will = Message::new(self.status_topic(), OFFLINE).retained();
        Ok(Login { will: Some(will), ..Login::default() })
    }

    fn connected(&mut self, welcome: &Welcome, out: &mut Messages) -> Result<(), Failure> {
        if !welcome.retain {
            log::warn(
                "the broker keeps no retained messages: after a restart of Home Assistant its entities are unavailable \
                 until they are read again; use another broker, such as Home Assistant's own Mosquitto",
            );
        }
        self.announce(out)?;
        out.push(Message::new(self.status_topic(), ONLINE).retained());
        Ok(())
    }

    fn closing(&mut self, _at: Timestamp, out: &mut Messages) {
        out.push(Message::new(self.status_topic(), OFFLINE).retained());
    }
}

impl Commands for HomeAssistant {
    fn subscriptions(&mut self) -> Vec<Subscription> {
        let mut topics = vec![format!("{DEFAULT_PREFIX}/status")];
        if self.config.discovery_prefix != DEFAULT_PREFIX {
            topics.push(format!("{}/status", self.config.discovery_prefix));
        }
        if self.entities().any(|(_, entity)| entity.is_settable()) {
            topics.push(format!("{}/+/+/set", self.base));
        }
        topics.into_iter().map(Subscription::new).collect()
    }

    fn receive(&mut self, message: &Inbound, out: &mut Actions) -> Result<(), Failure> {
        if message.topic.ends_with("/status") {
            // A retained `online` is from before this session, whose own announcement came first.
            if message.payload == ONLINE.as_bytes() && !message.retained {
                self.answer_birth(out)?;
            }
            return Ok(());
        }
        let Some((source, entity)) = self.commanded(&message.topic) else {
            return Err(Failure::Reject(format!("{} belongs to no entity that can be set", message.topic)));
        };
        let device = self.devices.get(source.device).map_or("", |device| device.device.name.as_str());
        if message.retained || message.historical {
            let reason = format!("the command for {device} {} may be old: it is not carried out", entity.key);
            return Err(Failure::Reject(reason));
        }
        match entity.parse(&String::from_utf8_lossy(&message.payload)) {
            Ok(value) => {
                let index = usize::try_from(entity.channel).unwrap_or(usize::MAX);
                let channel = source.channels.get(index).map_or("", String::as_str);
                out.write(entity.proposal(device, channel, value));
            }
            Err(reason) => {
                log::warn(&format!("Home Assistant's command for {device} {} is refused: {reason}", entity.key));
                last_message(&source.state_topic).into_iter().for_each(|message| out.publish(message));
            }
        }
        Ok(())
    }

    fn wrote(&mut self, _at: Timestamp, reference: &str, outcome: &Outcome, out: &mut Messages) -> Result<(), Failure> {
        let reason = match outcome {
            Outcome::Verified(_) | Outcome::Acknowledged => return Ok(()),
            Outcome::Refused(reason) | Outcome::Failed(reason) => reason.as_str(),
            Outcome::Superseded(by) => by.as_str(),
            Outcome::Released(by) => by.as_str(),
            Outcome::Expired => "expired",
        };
        log::warn(&format!(
            "Home Assistant's command for {} is not carried out: {reason}",
            reference.replace('/', " ")
        ));
        // Home Assistant shows what it asked for until the state says otherwise.
        let found = self.entities().find(|(source, entity)| {
            let device = self.devices.get(source.device).map_or("", |device| device.device.name.as_str());
            reference.strip_prefix(device).and_then(|rest| rest.strip_prefix('/')) == Some(&entity.key)
        });
        out.extend(found.and_then(|(source, _)| last_message(&source.state_topic)));
        Ok(())
    }
}

bessai_plugin::export!(HomeAssistant, session, commands);

impl HomeAssistant {
    fn status_topic(&self) -> String {
        format!("{}/status", self.base)
    }

    fn safety_topic(&self) -> String {
        format!("{}/safety", self.base)
    }

    fn entities(&self) -> impl Iterator<Item = (&HomeSource, &Entity)> {
        self.sources.iter().flat_map(|source| source.entities.iter().map(move |entity| (source, entity)))
    }

    fn announce_if_due(&mut self, out: &mut Messages) -> Result<(), Failure> {
        if std::mem::take(&mut self.is_announcement_due) { self.announce(out) } else { Ok(()) }
    }

    /// Publishes what the sources read last in a backlog, once events are of the present again: a source that is read rarely, or
    /// published only on a change, may have nothing newer for long.
    fn end_backlog(&mut self, event: &Event, out: &mut Messages) -> Result<(), Failure> {
        if event.historical || !self.has_late {
            return Ok(());
        }
        for source in &self.sources {
            let key = late_key(&source.state_topic);
            let (Some(state), Some(device)) = (state::get(&key), self.devices.get(source.device)) else { continue };
            if last(&device.availability_topic).is_none() {
                publish_kept(&device.availability_topic, ONLINE.into(), out)?;
            }
            publish_kept(&source.state_topic, state, out)?;
            state::delete(&key);
        }
        self.has_late = false;
        Ok(())
    }

    fn announce(&self, out: &mut Messages) -> Result<(), Failure> {
        let announcement = Announcement {
            prefix: &self.config.discovery_prefix,
            status_topic: &self.status_topic(),
            gateway: &identifier(&self.site_id),
            name: self.config.name.as_deref().unwrap_or(&self.site_id),
            base: &self.base,
            safety_topic: &self.safety_topic(),
        };
        announcement.publish(&self.devices, &self.sources, out)
    }

    /// Home Assistant has started: descriptions, availability and states once more, in this order.
    fn answer_birth(&self, out: &mut Actions) -> Result<(), Failure> {
        let mut messages = Messages::new();
        self.announce(&mut messages)?;
        messages.push(Message::new(self.status_topic(), ONLINE).retained());
        let availability = self.devices.iter().map(|device| device.availability_topic.clone());
        let states = self.sources.iter().map(|source| source.state_topic.clone());
        let topics = availability.chain(states).chain([self.safety_topic()]);
        messages.extend(topics.filter_map(|topic| last_message(&topic)));
        messages.into_iter().for_each(|message| out.publish(message));
        Ok(())
    }

    /// What a command topic belongs to.
    fn commanded(&self, topic: &str) -> Option<(&HomeSource, &Entity)> {
        let rest = topic.strip_prefix(&self.base)?.strip_prefix('/')?.strip_suffix("/set")?;
        let (device, key) = rest.split_once('/')?;
        self.entities().find(|(source, entity)| {
            let is_device =
                self.devices.get(source.device).is_some_and(|found| identifier(&found.device.name) == device);
            is_device && entity.key == key && entity.is_settable()
        })
    }
}

/// The last payload of a topic, kept in the state, because another instance may need it.
fn last(topic: &str) -> Option<Vec<u8>> {
    state::get(&format!("last/{topic}"))
}

/// The state's key of a source's last reading in a backlog.
fn late_key(topic: &str) -> String {
    format!("late/{topic}")
}

fn last_message(topic: &str) -> Option<Message> {
    last(topic).map(|payload| Message::new(topic, payload).retained())
}

fn publish_kept(topic: &str, payload: Vec<u8>, out: &mut Messages) -> Result<(), Failure> {
    state::set(&format!("last/{topic}"), &payload)?;
    out.push(Message::new(topic, payload).retained());
    Ok(())
}
