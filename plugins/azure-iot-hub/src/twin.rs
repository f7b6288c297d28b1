//! The device's twin: what the gateway reports, and what the hub desires.

use bessai_plugin::json::{self, Value};
use bessai_plugin::{DeviceStatus, Message, Messages, Site, log, state};

use crate::AGENT;
use crate::config::{self, Config};

/// The request id of reading the twin.
pub(crate) const READ: &str = "1";
/// The request id of reporting.
pub(crate) const REPORT: &str = "2";
/// The state's key with the last report that the hub was sent.
const REPORTED: &str = "reported";
/// The state's key with the devices' status: a line each, `1` or `0` and the name.
const STATUS: &str = "status";
/// The state's keys with what the hub desires.
const INTERVAL: &str = "interval";
/// Names, a line each.
const CHANNELS: &str = "channels";
/// Why a desired value is not used.
const REJECTED: &str = "rejected";
/// The state's key that is set while the twin must be read again.
const UNREAD: &str = "unread";
/// Reported properties may have 32 KiB; beyond this the devices are left out.
const MOST_REPORTED: usize = 30_000;

/// Interval and channels, from the twin or else from the settings.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Selection {
    pub(crate) interval_s: Option<u64>,
    pub(crate) channels: Option<Vec<String>>,
}

impl Selection {
    /// What applies now.
    pub(crate) fn current(config: &Config) -> Self {
        let interval = text(INTERVAL).and_then(|seconds| seconds.parse().ok());
        let channels = text(CHANNELS).map(|names| names.lines().map(str::to_owned).collect());
        Self { interval_s: interval.or(config.interval_s), channels: channels.or_else(|| config.channels.clone()) }
    }
}

fn text(key: &str) -> Option<String> {
    state::get(key).and_then(|bytes| String::from_utf8(bytes).ok())
}

/// Stores what fits; a state that is full changes nothing here, and the next sign-in reads and reports again.
fn store(key: &str, value: Option<&str>) {
    match value {
        Some(value) => {
            if state::set(key, value.as_bytes()).is_err() {
                log::warn(&format!("the state is full: {key} of the twin is not kept"));
            }
        }
        None => state::delete(key),
    }
}

/// Asks for the whole twin: a change that happened while the device was away is not sent by itself.
pub(crate) fn read(out: &mut Messages) {
    state::delete(UNREAD);
    out.push(Message::new(format!("$iothub/twin/GET/?$rid={READ}"), ""));
}

/// The hub could not answer; it is asked again at the next [`heartbeat`].
pub(crate) fn failed(rid: &str, status: u16, answer: &str) {
    let what = if rid == READ { "reading the twin" } else { "reporting to the twin" };
    // 4xx but 429: the same request would be refused again.
    let is_temporary = status == 429 || status >= 500;
    let next = if is_temporary { "it is tried again" } else { "it is not tried again before the next sign-in" };
    log::warn(&format!("{what} was answered with {status} {answer}; {next}"));
    if is_temporary {
        match rid {
            READ => store(UNREAD, Some("1")),
            _ => state::delete(REPORTED),
        }
    }
}

/// Repeats what the hub had no time for.
pub(crate) fn heartbeat(site: &Site, selection: &Selection, out: &mut Messages) {
    if state::get(UNREAD).is_some() {
        read(out);
    }
    report(site, selection, out);
}

/// Keeps a device's status for the report.
pub(crate) fn note(status: &DeviceStatus) {
    let before = text(STATUS).unwrap_or_default();
    let line = format!("{}{}", u8::from(status.online), status.device);
    let mut lines: Vec<&str> = before.lines().collect();
    match lines.iter_mut().find(|line| line.get(1..) == Some(&status.device)) {
        Some(known) => *known = &line,
        None => lines.push(&line),
    }
    let after = lines.join("\n");
    if after != before {
        store(STATUS, Some(&after));
    }
}

/// Reports if something changed since the last time.
pub(crate) fn report(site: &Site, selection: &Selection, out: &mut Messages) {
    let report = reported(site, selection);
    if state::get(REPORTED).as_deref() == Some(&report[..]) {
        return;
    }
    store(REPORTED, std::str::from_utf8(&report).ok());
    out.push(Message::new(format!("$iothub/twin/PATCH/properties/reported/?$rid={REPORT}"), report));
}

/// Reports all, whatever was reported before.
pub(crate) fn report_again(site: &Site, selection: &Selection, out: &mut Messages) {
    state::delete(REPORTED);
    report(site, selection, out);
}

/// The report as JSON; also the answer of the method `status`.
pub(crate) fn reported(site: &Site, selection: &Selection) -> Vec<u8> {
    let report = with_devices(site, selection, &devices(site));
    if report.len() <= MOST_REPORTED { report } else { with_devices(site, selection, b"null") }
}

fn with_devices(site: &Site, selection: &Selection, devices: &[u8]) -> Vec<u8> {
    let mut writer = json::Writer::default();
    writer.text(&json::Key::new("gateway"), AGENT);
    writer.text(&json::Key::new("site_id"), &site.id);
    match selection.interval_s {
        Some(seconds) => writer.text(&json::Key::new("interval"), &format!("{seconds}s")),
        None => writer.null(&json::Key::new("interval")),
    }
    let channels = selection.channels.as_ref().map(|names| list(names.iter().map(|name| quoted(name))));
    writer.raw(&json::Key::new("channels"), channels.as_deref().unwrap_or(b"null"));
    match text(REJECTED) {
        Some(why) => writer.text(&json::Key::new("rejected"), &why),
        None => writer.null(&json::Key::new("rejected")),
    }
    writer.raw(&json::Key::new("devices"), devices);
    writer.finish()
}

/// A list, because a device's name may have characters that a twin's keys may not.
fn devices(site: &Site) -> Vec<u8> {
    let status = text(STATUS).unwrap_or_default();
    let is_online = |name: &str| {
        let line = status.lines().find(|line| line.get(1..) == Some(name))?;
        Some(line.starts_with('1'))
    };
    list(site.devices.iter().map(|device| {
        let mut writer = json::Writer::default();
        writer.text(&json::Key::new("name"), &device.name);
        match is_online(&device.name) {
            Some(online) => writer.boolean(&json::Key::new("online"), online),
            None => writer.null(&json::Key::new("online")),
        }
        for (key, value) in &device.attributes {
            let key: String =
                key.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
            writer.text(&json::Key::new(&key), value);
        }
        writer.finish()
    }))
}

fn quoted(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    json::append_text(&mut bytes, text);
    bytes
}

fn list(items: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let items: Vec<_> = items.collect();
    [b"[".as_slice(), &items.join(&b','), b"]"].concat()
}

/// Takes over what the hub desires. `is_whole`: keys that are missing are not desired any more, else they are unchanged.
pub(crate) fn desire(desired: &[(String, Value)], is_whole: bool) {
    let mut rejected = Vec::new();
    for key in [INTERVAL, CHANNELS] {
        match desired.iter().find(|(name, _)| name == key).map(|(_, value)| value) {
            None if !is_whole => {}
            None | Some(Value::Null) => store(key, None),
            Some(value) => match wanted(key, value) {
                Ok(wanted) => store(key, Some(&wanted)),
                Err(why) => rejected.push(why),
            },
        }
    }
    for why in &rejected {
        log::warn(&format!("{why}; what was desired before still applies"));
    }
    store(REJECTED, (!rejected.is_empty()).then(|| rejected.join("; ")).as_deref());
}

fn wanted(key: &str, value: &Value) -> Result<String, String> {
    let shown = format!("desired.{key}");
    if key == INTERVAL {
        return config::seconds(value, &shown, 1).map(|seconds| seconds.to_string());
    }
    config::names(value, &shown).map(|names| names.join("\n"))
}
