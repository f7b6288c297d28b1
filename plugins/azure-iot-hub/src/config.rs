//! The feed's `[config]` table.

use bessai_plugin::json::{self, Value};

/// How readings become messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// One message a reading.
    Readings,
    /// Several readings of a source in one message.
    Batch,
}

/// The provisioning service's names for this device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Provisioning {
    pub(crate) id_scope: String,
    pub(crate) registration_id: String,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Config {
    /// None if the provisioning service assigns it.
    pub(crate) device_id: Option<String>,
    /// The hub's host name in user names and tokens; none for the host of the sign-in.
    pub(crate) hub: Option<String>,
    pub(crate) token_lifetime_s: u64,
    /// Properties of each message, sorted.
    pub(crate) properties: Vec<(String, String)>,
    pub(crate) format: Format,
    /// The most bytes of a message's payload and properties.
    pub(crate) batch_bytes: usize,
    pub(crate) batch_age_s: u64,
    pub(crate) interval_s: Option<u64>,
    pub(crate) channels: Option<Vec<String>>,
    pub(crate) provisioning: Option<Provisioning>,
}

/// The usual lifetime of a token, that of the vendor's SDKs.
const TOKEN_LIFETIME_S: u64 = 3600;
/// Tokens that are valid for a shorter time would be renewed all the time.
const SHORTEST_TOKEN_S: u64 = 5;
/// Longest setting of a time: ten years.
const LONGEST_S: u64 = 3650 * 86_400;
/// A message is billed in blocks of 4,096 bytes; the rest is left for what the hub adds.
const BATCH_BYTES: usize = 4000;
/// Smallest batch: a reading with its names.
const LEAST_BATCH_BYTES: usize = 512;
/// A hub's largest message; the rest is left for what the hub adds.
const MOST_BATCH_BYTES: usize = 262_144;
/// After this time a batch is sent though it is not full.
const BATCH_AGE_S: u64 = 60;
/// The longest id of a device or registration.
const LONGEST_ID: usize = 128;
/// What a device id may contain besides letters and digits. `+` and `#` are allowed by the hub, but not in MQTT topics.
const ID_PUNCTUATION: &str = "-:.%_*?!(),=@$'";

impl Config {
    pub(crate) fn read(json: &str) -> Result<Self, String> {
        let mut config = bessai_plugin::Config::read(json)?;
        let provisioning = config.value("provisioning").map(provisioning).transpose()?;
        let device_id = config.text("device_id")?;
        let read = Self {
            hub: config.text("hub")?.map(|hub| hub_name(&hub)).transpose()?,
            token_lifetime_s: duration(&mut config, "token_lifetime", SHORTEST_TOKEN_S)?.unwrap_or(TOKEN_LIFETIME_S),
            properties: config.value("properties").map(properties).transpose()?.unwrap_or_default(),
            format: match config.text("format")?.as_deref() {
                None | Some("readings") => Format::Readings,
                Some("batch") => Format::Batch,
                Some(other) => return Err(format!("config.format = {other:?}: write \"readings\" or \"batch\"")),
            },
            batch_bytes: config.number("batch_bytes")?.map_or(Ok(BATCH_BYTES), batch_bytes)?,
            batch_age_s: duration(&mut config, "batch_age", 1)?.unwrap_or(BATCH_AGE_S),
            interval_s: duration(&mut config, "interval", 1)?,
            channels: config.value("channels").map(|value| names(&value, "config.channels")).transpose()?,
            device_id,
            provisioning,
        };
        config.finish()?;
        match (&read.device_id, &read.provisioning) {
            (Some(id), _) => check_id("config.device_id", id)?,
            (None, None) => {
                return Err("config.device_id is missing: write the name of the device in IoT Hub".into());
            }
            (None, Some(_)) => {}
        }
        Ok(read)
    }
}

/// Refuses ids that no hub has, and those that cannot be part of a topic.
pub(crate) fn check_id(key: &str, id: &str) -> Result<(), String> {
    if id.is_empty() || id.len() > LONGEST_ID {
        return Err(format!("{key} = {id:?}: write 1 to {LONGEST_ID} characters"));
    }
    let is_allowed = |c: &char| c.is_ascii_alphanumeric() || ID_PUNCTUATION.contains(*c);
    match id.chars().find(|c| !is_allowed(c)) {
        None => Ok(()),
        Some(c @ ('+' | '#')) => Err(format!(
            "{key} = {id:?}: {c:?} is a wildcard in MQTT topics, so this device cannot publish; create one with another name"
        )),
        Some(c) => Err(format!(
            "{key} = {id:?}: IoT Hub allows no {c:?} in a device id; write letters, digits and {ID_PUNCTUATION}"
        )),
    }
}

fn hub_name(hub: &str) -> Result<String, String> {
    let is_host = |hub: &str| !hub.is_empty() && hub.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.');
    if is_host(hub) {
        return Ok(hub.to_owned());
    }
    Err(format!("config.hub = {hub:?}: write the hub's host name alone, such as hub.azure-devices.net"))
}

fn batch_bytes(bytes: f64) -> Result<usize, String> {
    let allowed = LEAST_BATCH_BYTES..=MOST_BATCH_BYTES;
    let whole = u32::try_from(whole(bytes)).ok().and_then(|bytes| usize::try_from(bytes).ok());
    whole.filter(|bytes| allowed.contains(bytes)).ok_or_else(|| {
        let bytes = shown(bytes);
        format!("config.batch_bytes = {bytes}: write {LEAST_BATCH_BYTES} to {MOST_BATCH_BYTES}, best just under a multiple of 4096")
    })
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float saturates, and NaN becomes 0")]
fn whole(number: f64) -> u64 {
    number as u64
}

/// A number as the settings had it. The standard library's formatting would be a tenth of the plugin's code.
fn shown(number: f64) -> String {
    let mut bytes = Vec::new();
    json::append_number(&mut bytes, number);
    let text = String::from_utf8_lossy(&bytes);
    text.strip_suffix(".0").unwrap_or(&text).to_owned()
}

fn duration(config: &mut bessai_plugin::Config, key: &str, least_s: u64) -> Result<Option<u64>, String> {
    config.value(key).map(|value| seconds(&value, &format!("config.{key}"), least_s)).transpose()
}

/// Seconds of a text such as `"90s"`, `"30min"`, `"1h"` or `"2d"`, or of a number.
pub(crate) fn seconds(value: &Value, key: &str, least_s: u64) -> Result<u64, String> {
    let (seconds, shown) = match value {
        Value::Number(number) => ((number.fract() == 0.0).then(|| whole(*number)), shown(*number)),
        Value::Text(text) => (parsed(text), format!("{text:?}")),
        _ => (None, "this value".into()),
    };
    let allowed = seconds.filter(|seconds| (least_s..=LONGEST_S).contains(seconds));
    allowed.ok_or_else(|| {
        format!("{key} = {shown}: write a time from \"{least_s}s\" on, such as \"90s\", \"30min\" or \"1h\"")
    })
}

fn parsed(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    let factor = match unit.trim_start() {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// A list of channel names.
pub(crate) fn names(value: &Value, key: &str) -> Result<Vec<String>, String> {
    let Value::List(values) = value else {
        return Err(format!("{key} is not a list: write [\"soc_pct\", \"power_kw\"]"));
    };
    let name = |value: &Value| match value {
        Value::Text(name) => Ok(name.clone()),
        _ => Err(format!("{key} has something else than names: write [\"soc_pct\", \"power_kw\"]")),
    };
    values.iter().map(name).collect()
}

fn properties(value: Value) -> Result<Vec<(String, String)>, String> {
    let Value::Table(members) = value else {
        return Err("config.properties is not a table: write properties = { plant = \"north\" }".into());
    };
    let mut read: Vec<(String, String)> = Vec::new();
    for (key, value) in members {
        match value {
            // Inserted in order: a sort of the standard library would be a tenth of the plugin's code.
            Value::Text(text) => read.insert(read.partition_point(|(other, _)| *other < key), (key, text)),
            _ => return Err(format!("config.properties.{key} is not a text: put it in quotes")),
        }
    }
    Ok(read)
}

fn provisioning(value: Value) -> Result<Provisioning, String> {
    let Value::Table(members) = value else {
        return Err("config.provisioning is not a table: write [config.provisioning]".into());
    };
    let (mut id_scope, mut registration_id) = (None, None);
    for (key, value) in members {
        let target = match key.as_str() {
            "id_scope" => &mut id_scope,
            "registration_id" => &mut registration_id,
            _ => return Err(format!("config.provisioning.{key} is unknown: write id_scope or registration_id")),
        };
        match value {
            Value::Text(text) => *target = Some(text),
            _ => return Err(format!("config.provisioning.{key} is not a text: put it in quotes")),
        }
    }
    let missing = |key: &str| {
        format!("config.provisioning.{key} is missing: the provisioning service's page in the portal shows it")
    };
    let id_scope = id_scope.ok_or_else(|| missing("id_scope"))?;
    let registration_id = registration_id.ok_or_else(|| missing("registration_id"))?;
    check_id("config.provisioning.id_scope", &id_scope)?;
    check_id("config.provisioning.registration_id", &registration_id)?;
    Ok(Provisioning { id_scope, registration_id })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(json: &str) -> String {
        Config::read(json).unwrap_err()
    }

    #[test]
    fn defaults_and_every_key() {
        let config = Config::read(r#"{"device_id":"d"}"#).unwrap();
        assert_eq!((config.token_lifetime_s, config.format, config.batch_bytes), (3600, Format::Readings, 4000));
        let config = Config::read(
            r#"{"device_id":"d","hub":"h.net","token_lifetime":"90s","properties":{"b":"2","a":"1"},"format":"batch",
                "batch_bytes":8192,"batch_age":"5min","interval":"10s","channels":["soc_pct"]}"#,
        )
        .unwrap();
        assert_eq!((config.token_lifetime_s, config.batch_bytes, config.batch_age_s), (90, 8192, 300));
        assert_eq!(config.properties, [("a".into(), "1".into()), ("b".into(), "2".into())]);
        assert_eq!((config.interval_s, config.channels), (Some(10), Some(vec!["soc_pct".into()])));
        let config = Config::read(r#"{"provisioning":{"id_scope":"0ne1","registration_id":"r"}}"#).unwrap();
        assert_eq!((config.device_id, config.provisioning.unwrap().registration_id), (None, "r".into()));
    }

    #[test]
    fn errors_name_the_key_the_value_and_the_fix() {
        let check = |json: &str, part: &str| assert!(error(json).contains(part), "{}", error(json));
        check("{}", "config.device_id is missing: write the name of the device in IoT Hub");
        check(r#"{"device_id":"a+b"}"#, r#"config.device_id = "a+b": '+' is a wildcard in MQTT topics"#);
        check(r#"{"device_id":"a/b"}"#, r#"IoT Hub allows no '/' in a device id"#);
        check(r#"{"device_id":"a b"}"#, r#"IoT Hub allows no ' ' in a device id"#);
        check(r#"{"device_id":""}"#, "write 1 to 128 characters");
        check(r#"{"device_id":"d","device":"d"}"#, "config.device is unknown: write ");
        check(r#"{"device_id":"d","format":"csv"}"#, r#"config.format = "csv": write "readings" or "batch""#);
        check(r#"{"device_id":"d","batch_bytes":100}"#, "config.batch_bytes = 100: write 512 to 262144");
        check(
            r#"{"device_id":"d","token_lifetime":"1s"}"#,
            r#"config.token_lifetime = "1s": write a time from "5s" on"#,
        );
        check(r#"{"device_id":"d","token_lifetime":"1 year"}"#, r#"config.token_lifetime = "1 year": write a time"#);
        check(r#"{"device_id":"d","hub":"https://h"}"#, "write the hub's host name alone");
        check(r#"{"device_id":"d","properties":{"a":1}}"#, "config.properties.a is not a text");
        check(r#"{"device_id":"d","channels":"soc_pct"}"#, "config.channels is not a list");
        check(r#"{"provisioning":{"id_scope":"0ne1"}}"#, "config.provisioning.registration_id is missing");
        check(
            r#"{"provisioning":{"scope":"0ne1"}}"#,
            "config.provisioning.scope is unknown: write id_scope or registration_id",
        );
    }
}
