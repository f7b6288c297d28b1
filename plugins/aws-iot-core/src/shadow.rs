//! The device shadow: what changed is `reported`, and what differs from `desired` becomes a set-point.

use bessai_plugin::json::{self, Value as Json};
use bessai_plugin::{
    Actions, Failure, Frame, Inbound, Message, Messages, Proposal, Site, Subscription, Value, log, state,
};

use crate::flags::{flags, keep_flags_of, store_flags};
use crate::members;

/// The largest shadow that AWS keeps.
const SHADOW_BYTES: usize = 8192;
/// The most bytes of a value and the punctuation of its member.
const VALUE_BYTES: usize = 28;
/// The state's key of the members that were reported as removed.
const REMOVED: &str = "r/gone";
/// The state's key of the newest version of the shadow that was handled.
const VERSION: &str = "version";

/// The shadow of a thing.
pub(crate) struct Shadow {
    prefix: String,
    /// A device and its channels, by source.
    sources: Vec<(String, Vec<String>)>,
}

impl Shadow {
    pub(crate) fn new(site: &Site, thing: &str) -> Result<Self, String> {
        let sources = site.sources.iter().map(|source| {
            let names = source.channels.iter().map(|channel| channel.name.clone()).collect::<Vec<_>>();
            (source.device.clone(), names)
        });
        let sources: Vec<_> = sources.collect();
        let names = sources.iter().flat_map(|(_, names)| names).map(|name| name.len() + VALUE_BYTES).sum::<usize>();
        let devices: usize = site.devices.iter().map(|device| device.name.len() + VALUE_BYTES).sum();
        if names + devices > SHADOW_BYTES {
            return Err(format!(
                "config.shadow: the shadow of this site may have {} bytes, and AWS accepts {SHADOW_BYTES}: write shadow = false, or \
                 give the feed the right to read fewer devices",
                names + devices
            ));
        }
        members::update(site)
            .and_then(|()| keep_flags_of(site))
            .map_err(|_| "config.shadow: the plugin's state is full")?;
        Ok(Self { prefix: format!("$aws/things/{thing}/shadow"), sources })
    }

    pub(crate) fn subscriptions(&self) -> Vec<Subscription> {
        ["update/delta", "get/accepted", "update/rejected"].map(|tail| self.topic(tail)).map(Subscription::new).into()
    }

    fn topic(&self, tail: &str) -> String {
        format!("{}/{tail}", self.prefix)
    }

    /// A session begins: everything is reported again, and what is desired is asked for.
    pub(crate) fn begin(&self, out: &mut Messages) {
        for key in self.reported_keys() {
            state::delete(&key);
        }
        out.push(Message::new(self.topic("get"), Vec::new()));
    }

    /// The state's keys of what was reported: one a source, one for the rest, one for what was removed.
    fn reported_keys(&self) -> impl Iterator<Item = String> {
        (0..self.sources.len()).map(|index| format!("r/{index}")).chain(["r/site".into(), REMOVED.into()])
    }

    /// Keeps a reading until the next report.
    pub(crate) fn note(&self, frame: &Frame) -> Result<(), Failure> {
        let count = u32::try_from(frame.values.len()).unwrap_or(0);
        let values = (0..count).flat_map(|channel| frame.read_value(channel).unwrap_or(f64::NAN).to_le_bytes());
        Ok(state::set(&format!("n/{}", frame.source), &values.collect::<Vec<_>>())?)
    }

    pub(crate) fn note_safety(&self, is_safe: bool) -> Result<(), Failure> {
        self.note_site("safety", is_safe)
    }

    pub(crate) fn note_device(&self, device: &str, online: bool) -> Result<(), Failure> {
        self.note_site(&format!("device/{device}"), online)
    }

    fn note_site(&self, name: &str, flag: bool) -> Result<(), Failure> {
        let mut flags = flags("n/site");
        flags.retain(|(other, _)| other != name);
        flags.push((name.into(), flag));
        flags.sort();
        store_flags("n/site", &flags)
    }

    /// Reports what is not as it was reported last.
    pub(crate) fn report(&self, out: &mut Messages) -> Result<(), Failure> {
        let mut devices = Devices::new();
        for (index, (device, names)) in self.sources.iter().enumerate() {
            let (now, before) = (state::get(&format!("n/{index}")), state::get(&format!("r/{index}")));
            let Some(now) = now.filter(|now| before.as_ref() != Some(now)) else { continue };
            let before = before.unwrap_or_default();
            let reported = before.chunks_exact(8).map(Some).chain(std::iter::repeat(None));
            for (name, (value, reported)) in names.iter().zip(now.chunks_exact(8).zip(reported)) {
                if Some(value) != reported
                    && let Some(value) = value.first_chunk()
                {
                    // Null deletes the member.
                    of_device(&mut devices, device).number(&json::Key::new(name), f64::from_le_bytes(*value));
                }
            }
            state::set(&format!("r/{index}"), &now)?;
        }
        let (now, before) = (flags("n/site"), flags("r/site"));
        let mut safe = None;
        for (name, flag) in now.iter().filter(|flag| !before.contains(flag)) {
            match name.strip_prefix("device/") {
                Some(device) => of_device(&mut devices, device).boolean(&json::Key::new("online"), *flag),
                None => safe = Some(*flag),
            }
        }
        if now != before {
            state::set("r/site", &state::get("n/site").unwrap_or_default())?;
        }
        let gone = self.removed(&mut devices)?;
        if devices.is_empty() && safe.is_none() && gone.is_empty() {
            return Ok(());
        }
        let mut reported = json::Writer::default();
        gone.iter().for_each(|device| reported.null(&json::Key::new(device)));
        for (device, writer) in &mut devices {
            reported.raw(&json::Key::new(device), &writer.finish());
        }
        if let Some(safe) = safe {
            reported.boolean(&json::Key::new("is_safe"), safe);
        }
        out.push(self.update(&reported.finish()));
        Ok(())
    }

    /// Sets the members to null that are to be removed and were not reported yet; returns the devices of which nothing is left.
    fn removed(&self, devices: &mut Devices) -> Result<Vec<String>, Failure> {
        let gone = members::gone();
        let text = gone.iter().map(|path| path.join("\t")).collect::<Vec<_>>().join("\n");
        if text.is_empty() || state::get(REMOVED).as_deref() == Some(text.as_bytes()) {
            return Ok(Vec::new());
        }
        state::set(REMOVED, text.as_bytes())?;
        let mut whole = Vec::new();
        for mut path in gone {
            match path.pop() {
                Some(name) if path.is_empty() => whole.push(name),
                Some(name) => of_device(devices, &path.join("\t")).null(&json::Key::new(&name)),
                None => {}
            }
        }
        Ok(whole)
    }

    /// Why a set-point was refused becomes a member of `refused`; null deletes it. Repeated reasons are not reported again, as
    /// AWS may answer each report with the same delta.
    pub(crate) fn report_refusal(
        &self,
        setpoint: &str,
        reason: Option<&str>,
        out: &mut Messages,
    ) -> Result<(), Failure> {
        let key = members::refusal_key(setpoint);
        let known = state::get(&key);
        if known.as_deref() == reason.map(str::as_bytes) {
            return Ok(());
        }
        let (mut refused, mut reported) = (json::Writer::default(), json::Writer::default());
        let name = json::Key::new(setpoint);
        match reason {
            Some(reason) => {
                state::set(&key, reason.as_bytes())?;
                refused.text(&name, reason);
            }
            None => {
                state::delete(&key);
                refused.number(&name, f64::NAN);
            }
        }
        reported.raw(&json::Key::new(members::REFUSED), &refused.finish());
        out.push(self.update(&reported.finish()));
        Ok(())
    }

    fn update(&self, reported: &[u8]) -> Message {
        let (mut state, mut document) = (json::Writer::default(), json::Writer::default());
        state.raw(&json::Key::new("reported"), reported);
        document.raw(&json::Key::new("state"), &state.finish());
        Message::new(self.topic("update"), document.finish())
    }

    pub(crate) fn receive(&self, message: &Inbound, out: &mut Actions) -> Result<(), Failure> {
        let text = std::str::from_utf8(&message.payload).map_err(|error| error.to_string());
        let document =
            text.and_then(json::read).map_err(|error| Failure::Reject(format!("{}: {error}", message.topic)))?;
        if message.topic == self.topic("update/rejected") {
            let text = member(&document, "message").map_or("no reason".into(), |reason| format!("{reason:?}"));
            log::warn(&format!("AWS refused a change of the shadow: {text}; everything is reported again"));
            self.reported_keys().for_each(|key| state::delete(&key));
            return Ok(());
        }
        let version = match member(&document, "version") {
            Some(Json::Number(version)) => *version,
            _ => 0.0,
        };
        // Deltas may come out of order, and an old one must not be applied after a newer one. What was asked for at the sign-in
        // counts in any case: a shadow that was deleted begins with version 1 again.
        let is_answer = message.topic == self.topic("get/accepted");
        let known = state::get(VERSION).and_then(|known| String::from_utf8(known).ok()?.parse::<f64>().ok());
        if !is_answer && known.is_some_and(|known| version < known) {
            return Ok(());
        }
        state::set(VERSION, version.to_string().as_bytes())?;
        let state = member(&document, "state");
        if is_answer {
            members::confirm(state.and_then(|state| member(state, "reported")))?;
        }
        let delta = if is_answer { state.and_then(|state| member(state, "delta")) } else { state };
        let Some(Json::Table(devices)) = delta else { return Ok(()) };
        for (device, channels) in devices {
            let Json::Table(channels) = channels else {
                log::warn(&format!("the desired {device} is ignored: write {{\"<device>\":{{\"<channel>\":…}}}}"));
                continue;
            };
            channels.iter().for_each(|(channel, value)| self.propose(device, channel, value, out));
        }
        Ok(())
    }

    fn propose(&self, device: &str, channel: &str, value: &Json, out: &mut Actions) {
        let is_known =
            self.sources.iter().any(|(name, names)| name == device && names.iter().any(|name| name == channel));
        let value = match value {
            Json::Number(number) => Value::Number(*number),
            // Who means a switch must not set a power of 1 kW.
            Json::Boolean(flag) => {
                return log::warn(&format!(
                    "the desired {device}/{channel} is ignored: it is {flag}; write a number in the channel's unit"
                ));
            }
            Json::Text(text) => Value::Text(text.clone()),
            _ => {
                return log::warn(&format!(
                    "the desired {device}/{channel} is ignored: it is neither a number nor a text"
                ));
            }
        };
        if !is_known {
            return log::warn(&format!("the desired {device}/{channel} is ignored: the site has no such channel"));
        }
        let (device, channel, value) = (device.to_owned(), channel.to_owned(), Some(value));
        let reference = format!("{device}/{channel}");
        out.write(Proposal { device, channel, value, until: None, reference });
    }
}

/// Each device's members.
type Devices = Vec<(String, json::Writer)>;

/// The writer of a device's members.
fn of_device<'a>(devices: &'a mut Devices, device: &str) -> &'a mut json::Writer {
    let index = devices.iter().position(|(name, _)| *name == device).unwrap_or_else(|| {
        devices.push((device.into(), json::Writer::default()));
        devices.len() - 1
    });
    #[allow(clippy::indexing_slicing, reason = "found or just added")]
    &mut devices[index].1
}

fn member<'a>(value: &'a Json, name: &str) -> Option<&'a Json> {
    let Json::Table(members) = value else { return None };
    members.iter().find(|(key, _)| key == name).map(|(_, value)| value)
}
