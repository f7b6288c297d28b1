//! The devices of a site with their entities, topics and what is known of them.

use bessai_plugin::{Device, Failure, FaultKind, Frame, Site, Source, Timestamp, json, log, state};

use crate::energy::Energy;
use crate::entity::{self, Entity, identifier};

/// The most entities of a device: a discovery message is about 200 bytes for each, and a call's messages have 1 MiB.
const MAX_ENTITIES: usize = 1_000;

/// One device of Home Assistant.
#[derive(Debug)]
pub(crate) struct HomeDevice {
    pub(crate) device: Device,
    /// Unique within the broker: site and device.
    pub(crate) id: String,
    pub(crate) availability_topic: String,
    /// Indexes into the sources.
    pub(crate) sources: Vec<usize>,
}

/// One source and its state topic.
#[derive(Debug)]
pub(crate) struct HomeSource {
    /// Index into the devices.
    pub(crate) device: usize,
    pub(crate) state_topic: String,
    pub(crate) entities: Vec<Entity>,
    pub(crate) energy: Option<Energy>,
    /// The time of its newest reading with a value; an older one of a backlog may follow it.
    pub(crate) newest: Timestamp,
    /// Channels by position, for proposals.
    pub(crate) channels: Vec<String>,
}

/// The topic below which everything of a site is.
pub(crate) fn base_topic(site: &str) -> String {
    format!("{site}/home-assistant")
}

/// All devices and sources, the latter with the positions of the site's.
pub(crate) fn of_site(site: &Site) -> (Vec<HomeDevice>, Vec<HomeSource>) {
    let mut devices: Vec<_> = site.devices.iter().map(|device| home_device(site, device)).collect();
    let mut sources: Vec<HomeSource> = Vec::with_capacity(site.sources.len());
    let mut keys: Vec<Vec<String>> = vec![Vec::new(); devices.len()];
    for (index, source) in site.sources.iter().enumerate() {
        let found = devices.iter().position(|device| device.device.name == source.device);
        let position = found.unwrap_or(usize::MAX);
        let (Some(device), Some(keys)) = (devices.get_mut(position), keys.get_mut(position)) else {
            sources.push(HomeSource { device: usize::MAX, ..home_source(String::new(), Vec::new()) });
            continue;
        };
        device.sources.push(index);
        let all = (0..).zip(&source.channels).flat_map(|(index, channel)| entity::of_channel(index, channel));
        let mut entities = all.collect();
        make_unique(&mut entities, keys);
        let of_device: Vec<&Source> = site.sources.iter().filter(|other| other.device == source.device).collect();
        let tail = if device.sources.len() == 1 { String::new() } else { format!("-{}", device.sources.len()) };
        let topic = format!("{}/{}/state{tail}", base_topic(&site.id), identifier(&source.device));
        let channels = source.channels.iter().map(|channel| channel.name.clone()).collect();
        let energy = Energy::of_source(source, &of_device);
        sources.push(HomeSource { device: position, energy, channels, ..home_source(topic, entities) });
    }
    (devices, sources)
}

fn home_device(site: &Site, device: &Device) -> HomeDevice {
    HomeDevice {
        device: device.clone(),
        id: identifier(&format!("{}_{}", identifier(&site.id), identifier(&device.name))),
        availability_topic: format!("{}/{}/availability", base_topic(&site.id), identifier(&device.name)),
        sources: Vec::new(),
    }
}

fn home_source(state_topic: String, entities: Vec<Entity>) -> HomeSource {
    let stored = state::get(&newest_key(&state_topic)).and_then(|stored| stored.try_into().ok());
    let newest = stored.map_or(0, Timestamp::from_le_bytes);
    HomeSource { device: 0, state_topic, entities, energy: None, newest, channels: Vec::new() }
}

/// The state's key of the time of a source's newest reading.
fn newest_key(topic: &str) -> String {
    format!("newest/{topic}")
}

/// Two channels of a device may have one name in different sources; and a device may have too many.
fn make_unique(entities: &mut Vec<Entity>, taken: &mut Vec<String>) {
    let room = MAX_ENTITIES.saturating_sub(taken.len());
    if entities.len() > room {
        log::warn(&format!(
            "Home Assistant gets {MAX_ENTITIES} entities of a device; {} are left out",
            entities.len() - room
        ));
        entities.truncate(room);
    }
    for entity in entities {
        while taken.contains(&entity.key) {
            entity.key.push_str("_2");
            entity.member = json::Key::new(&entity.key);
        }
        taken.push(entity.key.clone());
    }
}

impl HomeSource {
    /// Integrates the energy and writes the state; none if no channel has a value.
    pub(crate) fn state(
        &mut self,
        at: Timestamp,
        frame: &Frame,
        writer: &mut json::Writer,
    ) -> Result<Option<Vec<u8>>, Failure> {
        let mut has_value = false;
        for entity in &self.entities {
            let text = frame.texts.iter().find(|text| text.channel == entity.channel);
            let value = read_value(frame, entity.channel);
            has_value |= value.is_some() || text.is_some();
            entity.write(value, text.map(|text| text.value.as_str()), writer);
        }
        if let Some(energy) = &mut self.energy {
            energy.add(at, read_value(frame, energy.channel))?;
            energy.write(writer);
        }
        let state = writer.finish();
        Ok(has_value.then_some(state))
    }

    /// Remembers the time of its newest reading.
    pub(crate) fn keep_time(&mut self, at: Timestamp) -> Result<(), Failure> {
        self.newest = at;
        Ok(state::set(&newest_key(&self.state_topic), &at.to_le_bytes())?)
    }
}

/// A value outside the profile's range was still read; any other fault means that it was not.
fn read_value(frame: &Frame, channel: u32) -> Option<f64> {
    let unread = |kind| !matches!(kind, FaultKind::OutOfRange);
    if frame.faults.iter().any(|fault| fault.channel == channel && unread(fault.kind)) {
        return None;
    }
    let value = frame.values.get(usize::try_from(channel).ok()?).copied()?;
    value.is_finite().then_some(value)
}
