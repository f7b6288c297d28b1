//! Device-based discovery messages, and what was announced before, so that what is gone is removed.

use bessai_plugin::{Failure, Message, Messages, json, state};

use crate::device::{HomeDevice, HomeSource};
use crate::energy;
use crate::entity::{Entity, EntityKind};

/// The key in the state under which the announced devices are: an id and retained topics, one device a line.
const DEVICES: &str = "announced";

/// What a discovery message is made of, beside the device itself.
pub(crate) struct Announcement<'a> {
    pub(crate) prefix: &'a str,
    /// Named in the origin.
    pub(crate) status_topic: &'a str,
    /// The id of the gateway's own device.
    pub(crate) gateway: &'a str,
    /// The gateway's own device, and the prefix of the others' names.
    pub(crate) name: &'a str,
    pub(crate) base: &'a str,
    pub(crate) safety_topic: &'a str,
}

/// A device's components by their keys.
type Components = Vec<(String, (&'static str, Vec<u8>))>;

impl Announcement<'_> {
    /// The messages that make Home Assistant show exactly these devices.
    pub(crate) fn publish(
        &self,
        devices: &[HomeDevice],
        sources: &[HomeSource],
        out: &mut Messages,
    ) -> Result<(), Failure> {
        let mut announced = vec![format!("{} {}", self.gateway, self.safety_topic)];
        let safety = [("safety".to_owned(), ("binary_sensor", self.safety()))];
        self.device(self.gateway, &self.gateway_head(), safety.into(), out)?;
        for device in devices {
            let components = self.components(device, sources);
            if !components.is_empty() {
                let of_device = device.sources.iter().filter_map(|index| sources.get(*index));
                let topics = of_device.map(|source| source.state_topic.as_str());
                let line: Vec<_> = [device.id.as_str(), &device.availability_topic].into_iter().chain(topics).collect();
                announced.push(line.join(" "));
                self.device(&device.id, &self.head(device, sources, devices.len()), components, out)?;
            }
        }
        self.remove_others(&announced, out)
    }

    fn config_topic(&self, id: &str) -> String {
        format!("{}/device/{id}/config", self.prefix)
    }

    /// Publishes a device's components; those that it had before are removed first.
    fn device(&self, id: &str, head: &[u8], components: Components, out: &mut Messages) -> Result<(), Failure> {
        let key = format!("components/{id}");
        let now: Vec<_> = components.iter().map(|(key, (platform, _))| format!("{key} {platform}")).collect();
        let now = now.join("\n");
        let before = state::get(&key).map(|stored| String::from_utf8_lossy(&stored).into_owned()).unwrap_or_default();
        let gone = before
            .lines()
            .filter_map(|line| line.split_once(' '))
            .filter(|(key, platform)| components.iter().all(|(other, (now, _))| other != key || now != platform));
        let gone: Vec<_> = gone.collect();
        if !gone.is_empty() {
            let mut members = json::Writer::default();
            for (key, (_, component)) in components.iter().filter(|(key, _)| gone.iter().all(|(gone, _)| gone != key)) {
                put_raw(&mut members, key, component);
            }
            for (key, platform) in &gone {
                let mut component = json::Writer::default();
                put_text(&mut component, "p", platform);
                put_raw(&mut members, key, &component.finish());
            }
            out.push(self.config(id, head, &members.finish()));
        }
        let mut members = json::Writer::default();
        components.iter().for_each(|(key, (_, component))| put_raw(&mut members, key, component));
        out.push(self.config(id, head, &members.finish()));
        if now != before {
            state::set(&key, now.as_bytes())?;
        }
        Ok(())
    }

    fn config(&self, id: &str, head: &[u8], components: &[u8]) -> Message {
        let mut payload = head.strip_suffix(b"}").unwrap_or(head).to_vec();
        payload.extend_from_slice(b",\"cmps\":");
        payload.extend_from_slice(components);
        payload.push(b'}');
        Message::new(self.config_topic(id), payload).retained()
    }

    /// Deletes what earlier calls announced and is no longer there: descriptions, and then the retained topics.
    fn remove_others(&self, announced: &[String], out: &mut Messages) -> Result<(), Failure> {
        let before =
            state::get(DEVICES).map(|stored| String::from_utf8_lossy(&stored).into_owned()).unwrap_or_default();
        let words = || announced.iter().flat_map(|line| line.split(' '));
        for mut line in before.lines().map(|line| line.split(' ')) {
            let id = line.next().filter(|id| words().all(|other| other != *id));
            if let Some(id) = id {
                out.push(Message::new(self.config_topic(id), Vec::new()).retained());
                state::delete(&format!("components/{id}"));
            }
            for topic in line.filter(|topic| words().all(|other| other != *topic)) {
                out.push(Message::new(topic, Vec::new()).retained());
                state::delete(&format!("last/{topic}"));
            }
        }
        let now = announced.join("\n");
        if now != before {
            state::set(DEVICES, now.as_bytes())?;
        }
        Ok(())
    }

    /// `dev`, `o` and what the gateway's own components share.
    fn gateway_head(&self) -> Vec<u8> {
        let mut device = json::Writer::default();
        put_raw(&mut device, "ids", &list(&[quoted(self.gateway)]));
        put_text(&mut device, "name", self.name);
        put_text(&mut device, "mf", "bessai-edge");
        put_text(&mut device, "mdl", "Gateway");
        let mut head = self.start(&device.finish());
        put_text(&mut head, "avty_t", self.status_topic);
        put_text(&mut head, "stat_t", self.safety_topic);
        head.finish()
    }

    fn safety(&self) -> Vec<u8> {
        let mut component = json::Writer::default();
        put_text(&mut component, "p", "binary_sensor");
        put_text(&mut component, "uniq_id", &format!("{}_safety", self.gateway));
        put_text(&mut component, "name", "Safety");
        put_text(&mut component, "dev_cla", "safety");
        component.finish()
    }

    fn head(&self, device: &HomeDevice, sources: &[HomeSource], devices: usize) -> Vec<u8> {
        let mut described = json::Writer::default();
        put_raw(&mut described, "ids", &list(&[quoted(&device.id)]));
        let name =
            if devices == 1 { device.device.name.clone() } else { format!("{} {}", self.name, device.device.name) };
        put_text(&mut described, "name", &name);
        for (key, attribute) in [("mf", "manufacturer"), ("mdl", "model"), ("sn", "serial"), ("sw", "firmware")] {
            let found = device.device.attributes.iter().find(|(name, value)| name == attribute && !value.is_empty());
            found.iter().for_each(|(_, value)| put_text(&mut described, key, value));
        }
        put_text(&mut described, "via_device", self.gateway);
        let mut head = self.start(&described.finish());
        let topic = |topic: &str| {
            let mut entry = json::Writer::default();
            put_text(&mut entry, "t", topic);
            entry.finish()
        };
        put_raw(&mut head, "avty", &list(&[topic(self.status_topic), topic(&device.availability_topic)]));
        put_text(&mut head, "avty_mode", "all");
        let first = device.sources.first().and_then(|first| sources.get(*first));
        first.iter().for_each(|source| put_text(&mut head, "stat_t", &source.state_topic));
        head.finish()
    }

    fn start(&self, device: &[u8]) -> json::Writer {
        let mut origin = json::Writer::default();
        put_text(&mut origin, "name", "bessai-edge");
        put_text(&mut origin, "sw", env!("CARGO_PKG_VERSION"));
        let mut head = json::Writer::default();
        put_raw(&mut head, "dev", device);
        put_raw(&mut head, "o", &origin.finish());
        put_raw(&mut head, "qos", b"1");
        head
    }

    fn components(&self, device: &HomeDevice, sources: &[HomeSource]) -> Components {
        let mut components = Components::new();
        for (position, source) in device.sources.iter().filter_map(|index| sources.get(*index)).enumerate() {
            let state_topic = (position > 0).then_some(source.state_topic.as_str());
            for entity in &source.entities {
                let component = self.component(device, entity, state_topic);
                components.push((entity.key.clone(), (entity.platform(), component)));
            }
            for (key, name) in source.energy.iter().flat_map(|_| energy::KEYS) {
                let mut component = begin(device, "sensor", key, name, state_topic);
                let members = [("dev_cla", "energy"), ("stat_cla", "total_increasing"), ("unit_of_meas", "kWh")];
                members.iter().for_each(|(key, value)| put_text(&mut component, key, value));
                put_raw(&mut component, "sug_dsp_prc", b"2");
                components.push((key.to_owned(), ("sensor", component.finish())));
            }
        }
        components
    }

    fn component(&self, device: &HomeDevice, entity: &Entity, state_topic: Option<&str>) -> Vec<u8> {
        let mut component = begin(device, entity.platform(), &entity.key, &entity.name, state_topic);
        match &entity.kind {
            EntityKind::Number { quantity, unit, state_class, bounds } => {
                quantity.device_class.iter().for_each(|class| put_text(&mut component, "dev_cla", class));
                unit.iter().for_each(|unit| put_text(&mut component, "unit_of_meas", unit));
                if let Some((min, max)) = bounds {
                    let step = [1.0, 0.1, 0.01, 0.001].get(usize::from(quantity.decimals)).copied().unwrap_or(0.001);
                    put_number(&mut component, "min", min * quantity.factor);
                    put_number(&mut component, "max", max * quantity.factor);
                    put_number(&mut component, "step", step);
                    put_text(&mut component, "mode", "box");
                } else {
                    state_class.iter().for_each(|class| put_text(&mut component, "stat_cla", class));
                    put_raw(&mut component, "sug_dsp_prc", &[b'0' + quantity.decimals]);
                }
            }
            EntityKind::Text => put_text(&mut component, "ent_cat", "diagnostic"),
            EntityKind::Choice { names, settable } => {
                if !settable {
                    put_text(&mut component, "dev_cla", "enum");
                }
                put_raw(&mut component, "options", &options(names));
            }
            EntityKind::Bits { alarm, detail, .. } => {
                if *alarm {
                    put_text(&mut component, "dev_cla", "problem");
                }
                if *detail {
                    put_text(&mut component, "ent_cat", "diagnostic");
                }
            }
        }
        if entity.is_settable() {
            let device = crate::entity::identifier(&device.device.name);
            put_text(&mut component, "ent_cat", "config");
            put_text(&mut component, "cmd_t", &format!("{}/{device}/{}/set", self.base, entity.key));
        }
        component.finish()
    }
}

/// What all components of a device have.
fn begin(device: &HomeDevice, platform: &str, key: &str, name: &str, state_topic: Option<&str>) -> json::Writer {
    let mut component = json::Writer::default();
    put_text(&mut component, "p", platform);
    put_text(&mut component, "uniq_id", &format!("{}_{key}", device.id));
    put_text(&mut component, "name", name);
    // In brackets, because the name of a method such as `items` after a point would be that method.
    put_text(&mut component, "val_tpl", &format!("{{{{ value_json['{key}'] }}}}"));
    state_topic.iter().for_each(|topic| put_text(&mut component, "stat_t", topic));
    component
}

/// Each name once: two values of a state may have the same.
fn options(names: &[(i64, String)]) -> Vec<u8> {
    let mut options: Vec<Vec<u8>> = Vec::new();
    for (_, name) in names {
        let name = quoted(name);
        if !options.contains(&name) {
            options.push(name);
        }
    }
    list(&options)
}

fn list(items: &[Vec<u8>]) -> Vec<u8> {
    [b"[".as_slice(), &items.join(&b','), b"]"].concat()
}

/// A text in JSON.
fn quoted(text: &str) -> Vec<u8> {
    let mut writer = json::Writer::default();
    put_text(&mut writer, "", text);
    let object = writer.finish();
    // Between `{"":` and `}`.
    object.get(4..object.len() - 1).unwrap_or_default().to_vec()
}

// One copy of each, instead of one for each use: the component is a third smaller.

#[inline(never)]
fn put_text(writer: &mut json::Writer, key: &str, value: &str) {
    writer.text(&json::Key::new(key), value);
}

#[inline(never)]
fn put_raw(writer: &mut json::Writer, key: &str, value: &[u8]) {
    writer.raw(&json::Key::new(key), value);
}

#[inline(never)]
fn put_number(writer: &mut json::Writer, key: &str, value: f64) {
    writer.number(&json::Key::new(key), value);
}
