//! The rules of Azure IoT Hub: identities, topics, sizes, direct methods and twins.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Map, Value, json};

use super::mqtt::{Connect, Publish};
use super::service::{Admitted, End, Service};
use super::token::{self, decoded};

/// The versions of the interface that the hub knows.
const VERSIONS: [&str; 3] = ["2021-04-12", "2020-09-30", "2019-10-01"];
/// The largest message from a device, payload and properties.
const MOST_MESSAGE_BYTES: usize = 262_144;
/// The largest part of a twin.
const MOST_TWIN_BYTES: usize = 32_768;
/// The longest keep-alive that the hub's own limit of 1,767 s allows, as the vendor's SDKs count.
const LONGEST_KEEP_ALIVE_S: u16 = 1740;

/// How a device is known.
#[derive(Clone)]
pub enum Credential {
    Key(Vec<u8>),
    /// Its certificate, DER.
    Certificate(Vec<u8>),
}

/// A hub and its devices.
pub struct IotHub {
    name: String,
    devices: Mutex<HashMap<String, Credential>>,
    /// Desired and reported properties of the only device whose twin the test looks at.
    twin: Mutex<Value>,
    /// Whether it has no capacity: it closes the connection over each message.
    is_throttled: AtomicBool,
}

impl IotHub {
    /// A hub of this host name.
    pub fn new(name: &str) -> Self {
        let twin = json!({ "desired": { "$version": 1 }, "reported": { "$version": 1 } });
        Self { name: name.into(), devices: Mutex::default(), twin: twin.into(), is_throttled: AtomicBool::new(false) }
    }

    /// Registers a device.
    pub fn with(self, device: &str, credential: Credential) -> Self {
        self.register(device, credential);
        self
    }

    pub fn register(&self, device: &str, credential: Credential) {
        self.devices.lock().unwrap().insert(device.into(), credential);
    }

    /// Removes a device; its connection goes on.
    pub fn forget(&self, device: &str) {
        self.devices.lock().unwrap().remove(device);
    }

    pub fn throttle(&self, is_throttled: bool) {
        self.is_throttled.store(is_throttled, Ordering::Relaxed);
    }

    /// What the device has reported.
    pub fn reported(&self) -> Value {
        self.twin.lock().unwrap()["reported"].clone()
    }

    /// Changes desired properties; the topic and payload of the device's notification.
    pub fn desire(&self, patch: &Value) -> (String, String) {
        let mut twin = self.twin.lock().unwrap();
        let version = merge(&mut twin["desired"], patch.as_object().unwrap());
        let mut payload = patch.clone();
        payload["$version"] = version.into();
        (format!("$iothub/twin/PATCH/properties/desired/?$version={version}"), payload.to_string())
    }

    fn telemetry(&self, bag: &str, payload: &[u8]) -> Result<(), End> {
        if self.is_throttled.load(Ordering::Relaxed) {
            return Err(End::Throttled);
        }
        properties(bag).map_err(End::Violation)?;
        let size = payload.len() + bag.len();
        if size > MOST_MESSAGE_BYTES {
            return Err(End::Violation(format!("a message of {size} bytes")));
        }
        Ok(())
    }

    fn twin(&self, request: &str, payload: &[u8]) -> Result<(String, Vec<u8>), String> {
        let mut twin = self.twin.lock().unwrap();
        if let Some(rid) = request.strip_prefix("GET/?$rid=") {
            if !payload.trim_ascii().is_empty() {
                return Err("reading the twin has a payload".into());
            }
            return Ok((format!("$iothub/twin/res/200/?$rid={rid}"), twin.to_string().into()));
        }
        let rid = request.strip_prefix("PATCH/properties/reported/?$rid=").ok_or("an unknown topic of the twin")?;
        let patch: Option<Map<String, Value>> = serde_json::from_slice(payload).ok();
        let Some(patch) = patch.filter(|patch| payload.len() <= MOST_TWIN_BYTES && patch.keys().all(|key| is_key(key)))
        else {
            return Ok((format!("$iothub/twin/res/400/?$rid={rid}"), Vec::new()));
        };
        let version = merge(&mut twin["reported"], &patch);
        Ok((format!("$iothub/twin/res/204/?$rid={rid}&$version={version}"), Vec::new()))
    }
}

fn is_key(key: &str) -> bool {
    !key.is_empty() && !key.contains(['.', '$', ' ']) && !key.chars().any(char::is_control)
}

/// Merges a patch as RFC 7396 says; the new version.
fn merge(properties: &mut Value, patch: &Map<String, Value>) -> u64 {
    for (key, value) in patch {
        match value {
            Value::Null => drop(properties.as_object_mut().unwrap().shift_remove(key)),
            value => properties[key] = value.clone(),
        }
    }
    let version = properties["$version"].as_u64().unwrap() + 1;
    properties["$version"] = version.into();
    version
}

/// The properties at the end of a topic, decoded.
pub fn properties(bag: &str) -> Result<Vec<(String, String)>, String> {
    if bag.is_empty() {
        return Ok(Vec::new());
    }
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=').ok_or_else(|| format!("the property {pair:?} has no value"))?;
        // System properties may have their dollar as it is.
        let key = match key.strip_prefix('$') {
            Some(rest) => format!("${}", decoded(rest)?),
            None => decoded(key)?,
        };
        Ok((key, decoded(value)?))
    };
    bag.split('&').map(pair).collect()
}

impl Service for IotHub {
    fn admit(&self, connect: &Connect, certificate: Option<&[u8]>, now_s: u64) -> Result<Admitted, String> {
        let device = &connect.client_id;
        let credential = self.devices.lock().unwrap().get(device).cloned();
        let credential = credential.ok_or_else(|| format!("there is no device {device:?}"))?;
        let username = connect.username.as_deref().unwrap_or_default();
        let rest = username.strip_prefix(&format!("{}/{device}/?", self.name));
        let rest = rest.ok_or_else(|| format!("the user name {username:?} is another hub's or device's"))?;
        let mut parameters = rest.split('&').map(|parameter| parameter.split_once('=').unwrap_or((parameter, "")));
        let version = parameters.find(|(key, _)| *key == "api-version").map(|(_, value)| value).unwrap_or_default();
        if !VERSIONS.contains(&version) {
            return Err(format!("api-version is {version:?}"));
        }
        if connect.keep_alive_s == 0 || connect.keep_alive_s > LONGEST_KEEP_ALIVE_S {
            return Err(format!("a keep-alive of {} s", connect.keep_alive_s));
        }
        let own = format!("devices/{device}/messages/events/");
        if let Some((topic, ..)) = &connect.will
            && !topic.starts_with(&own)
        {
            return Err(format!("a will on {topic:?}"));
        }
        let resource = format!("{}/devices/{device}", self.name);
        let expiry_s = admitted_until(connect, certificate, &credential, &resource, None, now_s)?;
        Ok(Admitted { identity: device.clone(), expiry_s })
    }

    fn is_filter_allowed(&self, identity: &str, filter: &str) -> bool {
        let own = format!("devices/{identity}/messages/devicebound/#");
        let common = ["$iothub/methods/POST/#", "$iothub/twin/res/#", "$iothub/twin/PATCH/properties/desired/#"];
        filter == own || common.contains(&filter)
    }

    fn receive(&self, identity: &str, message: &Publish) -> Result<Vec<(String, Vec<u8>)>, End> {
        if let Some(bag) = message.topic.strip_prefix(&format!("devices/{identity}/messages/events/")) {
            return self.telemetry(bag, &message.payload).map(|()| Vec::new());
        }
        if let Some(request) = message.topic.strip_prefix("$iothub/twin/") {
            return self.twin(request, &message.payload).map(|answer| vec![answer]).map_err(End::Violation);
        }
        let response = message.topic.strip_prefix("$iothub/methods/res/").and_then(|rest| rest.split_once("/?$rid="));
        match response {
            Some((status, rid)) if status.parse::<u16>().is_ok() && !rid.is_empty() => Ok(Vec::new()),
            _ => Err(End::Violation(format!("a message to {}", message.topic))),
        }
    }
}

/// Checks the password or the certificate; when the token expires.
pub fn admitted_until(
    connect: &Connect,
    certificate: Option<&[u8]>,
    credential: &Credential,
    resource: &str,
    policy: Option<&str>,
    now_s: u64,
) -> Result<Option<u64>, String> {
    match (credential, &connect.password) {
        (Credential::Key(key), Some(password)) => token::check(password, resource, policy, key, now_s).map(Some),
        (Credential::Key(_), None) => Err("the password is missing".into()),
        (Credential::Certificate(_), Some(_)) => Err("a password beside a certificate".into()),
        (Credential::Certificate(known), None) if certificate == Some(&known[..]) => Ok(None),
        (Credential::Certificate(_), None) => Err("the client's certificate is missing or another".into()),
    }
}
