//! The feed's `[config]` table, checked against the limits of AWS IoT Core.

use bessai_plugin::Site;

/// Stand for names in `topic`.
const SITE_ID: &str = "<SITE_ID>";
const DEVICE: &str = "<device>";
const THING: &str = "<thing>";
/// The topic unless it is set.
const TOPIC: &str = "<thing>/<device>/telemetry";
/// AWS limits, of "AWS IoT Core endpoints and quotas": bytes of a client id and of a rule's name, slashes and bytes of a topic.
const NAME_BYTES: usize = 128;
const TOPIC_SLASHES: usize = 7;
const TOPIC_BYTES: usize = 256;

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) thing: String,
    topic: String,
    basic_ingest: Option<String>,
    pub(crate) shadow: bool,
}

impl Config {
    pub(crate) fn read(site: &Site, json: &str) -> Result<Self, String> {
        let mut config = bessai_plugin::Config::read(json)?;
        let thing = config.text("thing")?;
        let topic = config.text("topic")?.unwrap_or_else(|| TOPIC.into());
        let basic_ingest = config.text("basic_ingest")?;
        let shadow = config.boolean("shadow")?.unwrap_or(false);
        config.finish()?;
        let thing =
            thing.ok_or("config.thing is missing: write the thing's name in AWS IoT, which is the client id")?;
        check_name("thing", &thing, ":_-")?;
        if let Some(rule) = &basic_ingest {
            check_name("basic_ingest", rule, "_")?;
        }
        let topic = topic.replace(SITE_ID, &site.id).replace(THING, &thing);
        let config = Self { thing, topic, basic_ingest, shadow };
        if site.devices.is_empty() {
            config.check_topic("device")?;
        }
        site.devices.iter().try_for_each(|device| config.check_topic(&device.name))?;
        Ok(config)
    }

    /// Where a device's readings go.
    pub(crate) fn topic_of(&self, device: &str) -> String {
        let topic = self.topic.replace(DEVICE, device);
        self.basic_ingest.as_ref().map_or(topic.clone(), |rule| format!("$aws/rules/{rule}/{topic}"))
    }

    /// What comes before the topic for Basic Ingest is not counted.
    fn check_topic(&self, device: &str) -> Result<(), String> {
        let topic = self.topic.replace(DEVICE, device);
        let slashes = topic.matches('/').count();
        let fault = if topic.is_empty() || topic.contains(['+', '#']) {
            "contains + or #, or is empty".into()
        } else if topic.starts_with('$') {
            "begins with $, which AWS reserves; basic_ingest = \"<rule>\" leads to a rule".into()
        } else if slashes > TOPIC_SLASHES {
            format!("has {slashes} slashes, and AWS accepts {TOPIC_SLASHES}")
        } else if topic.len() > TOPIC_BYTES {
            format!("has {} bytes, and AWS accepts {TOPIC_BYTES}", topic.len())
        } else {
            return Ok(());
        };
        Err(format!("config.topic: {topic:?} {fault}: write a shorter one, such as {TOPIC:?}"))
    }
}

fn check_name(key: &str, name: &str, also: &str) -> Result<(), String> {
    let is_good = |c: char| c.is_ascii_alphanumeric() || also.contains(c);
    if name.is_empty() || name.len() > NAME_BYTES || !name.chars().all(is_good) {
        return Err(format!(
            "config.{key} = {name:?}: write 1 to {NAME_BYTES} of A-Z, a-z, 0-9 and {also}, as AWS accepts them"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bessai_plugin::testing::site;

    #[test]
    fn settings_are_checked_against_the_limits() {
        let read = |json: &str| Config::read(&site("S").device("battery", &[]).build(), json);
        let config = read(r#"{"thing":"edge-1"}"#).unwrap();
        assert_eq!((config.topic_of("battery").as_str(), config.shadow), ("edge-1/battery/telemetry", false));
        let ingest = read(r#"{"thing":"edge-1","topic":"a/<SITE_ID>/c/d/e/f/g/<device>","basic_ingest":"rule_1"}"#);
        assert_eq!(ingest.unwrap().topic_of("battery"), "$aws/rules/rule_1/a/S/c/d/e/f/g/battery");
        let check = |json: &str, expected: &str| {
            let error = read(json).unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        check("{}", "config.thing is missing: write the thing's name");
        check(r#"{"thing":"a b"}"#, "config.thing = \"a b\": write 1 to 128 of A-Z, a-z, 0-9 and :_-");
        check(&format!(r#"{{"thing":"{}"}}"#, "a".repeat(129)), "write 1 to 128 of");
        check(r#"{"thing":"a","basic_ingest":"a-b"}"#, "config.basic_ingest = \"a-b\": write 1 to 128");
        check(r#"{"thing":"a","topic":"a/b/c/d/e/f/g/h/i"}"#, "has 8 slashes, and AWS accepts 7");
        check(&format!(r#"{{"thing":"a","topic":"{}"}}"#, "a".repeat(257)), "has 257 bytes, and AWS accepts 256");
        check(r#"{"thing":"a","topic":"$aws/rules/r/x"}"#, "begins with $, which AWS reserves");
        check(r#"{"thing":"a","topic":"a/#"}"#, "contains + or #");
        check(r#"{"thing":"a","shadow":"yes"}"#, "config.shadow is neither true nor false");
        check(r#"{"thing":"a","rule":"r"}"#, "config.rule is unknown: write thing or topic or basic_ingest or shadow");
    }
}
