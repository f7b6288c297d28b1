//! The feed's `[config]` table.

use bessai_plugin::Site;

/// Stands for the site's id in a topic.
const SITE_ID: &str = "<SITE_ID>";
/// Stands for the names that a command is for, each a level of its own.
const DEVICE: &str = "<device>";
const CHANNEL: &str = "<channel>";
/// The topics unless they are set.
const REQUESTS: &str = "<SITE_ID>/cmd/<device>/<channel>";
const RESPONSES: &str = "<SITE_ID>/answer/<device>/<channel>";

/// Topics, with `<device>` and `<channel>` as levels of their own.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Config {
    request_topic: String,
    response_topic: String,
    outcome_topic: Option<String>,
}

impl Config {
    pub(crate) fn read(site: &Site, json: &str) -> Result<Self, String> {
        let mut config = bessai_plugin::Config::read(json)?;
        let mut topic = |key: &str, default: Option<&str>| -> Result<Option<String>, String> {
            let topic = config.text(key)?.or_else(|| default.map(str::to_owned));
            Ok(topic.map(|topic| topic.replace(SITE_ID, &site.id)))
        };
        let request_topic = topic("request_topic", Some(REQUESTS))?.unwrap_or_default();
        let response_topic = topic("response_topic", Some(RESPONSES))?.unwrap_or_default();
        let outcome_topic = topic("outcome_topic", None)?;
        config.finish()?;
        for name in [DEVICE, CHANNEL] {
            if request_topic.split('/').filter(|level| *level == name).count() != 1 {
                return Err(format!(
                    "config.request_topic = {request_topic:?} must contain {name} once, as a level of its own, such as {REQUESTS:?}"
                ));
            }
        }
        let config = Self { request_topic, response_topic, outcome_topic };
        let published =
            [("response_topic", Some(&config.response_topic)), ("outcome_topic", config.outcome_topic.as_ref())];
        let published = published.into_iter().filter_map(|(key, topic)| Some((key, topic?)));
        for (key, topic) in [("request_topic", &config.request_topic)].into_iter().chain(published.clone()) {
            if topic.is_empty() || topic.contains(['+', '#']) {
                return Err(format!("config.{key} = {topic:?}: write a topic without + and #"));
            }
        }
        for (key, topic) in published {
            if config.names_of(&filled(topic, "d", "c")).is_some() {
                return Err(format!(
                    "config.{key} = {topic:?} is a request topic as well: an answer would be a command"
                ));
            }
        }
        Ok(config)
    }

    /// What to subscribe to.
    pub(crate) fn filter(&self) -> String {
        self.request_topic.replace(DEVICE, "+").replace(CHANNEL, "+")
    }

    /// Where the answer to a command for this channel goes.
    pub(crate) fn response_topic_of(&self, device: &str, channel: &str) -> String {
        filled(&self.response_topic, device, channel)
    }

    /// Where each outcome goes beside that; none if only the first one is answered.
    pub(crate) fn outcome_topic_of(&self, device: &str, channel: &str) -> Option<String> {
        self.outcome_topic.as_ref().map(|topic| filled(topic, device, channel))
    }

    /// The device and channel that a topic names.
    pub(crate) fn names_of<'a>(&self, topic: &'a str) -> Option<(&'a str, &'a str)> {
        let (mut device, mut channel) = ("", "");
        let mut levels = topic.split('/');
        for wanted in self.request_topic.split('/') {
            let level = levels.next()?;
            match wanted {
                DEVICE => device = level,
                CHANNEL => channel = level,
                wanted if wanted == level => {}
                _ => return None,
            }
        }
        levels.next().is_none().then_some((device, channel))
    }
}

fn filled(topic: &str, device: &str, channel: &str) -> String {
    topic.replace(DEVICE, device).replace(CHANNEL, channel)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bessai_plugin::testing::site;

    #[test]
    fn topics_are_read_and_unknown_keys_refused() {
        let read = |json: &str| Config::read(&site("S").build(), json);
        let config = read("{}").unwrap();
        assert_eq!(config.filter(), "S/cmd/+/+");
        assert_eq!(config.names_of("S/cmd/battery/power_kw"), Some(("battery", "power_kw")));
        for other in ["S/cmd/battery", "S/cmd/battery/power_kw/x", "T/cmd/battery/power_kw"] {
            assert_eq!(config.names_of(other), None, "{other}");
        }
        assert_eq!(config.response_topic_of("battery", "power_kw"), "S/answer/battery/power_kw");
        assert_eq!(config.outcome_topic_of("battery", "power_kw"), None);
        let outcomes = read(r#"{"outcome_topic":"<SITE_ID>/outcome/<device>/<channel>"}"#).unwrap();
        assert_eq!(outcomes.outcome_topic_of("battery", "p").as_deref(), Some("S/outcome/battery/p"));
        let own = read(r#"{"request_topic":"acme/<channel>/of/<device>","response_topic":"acme/answers"}"#).unwrap();
        assert_eq!((own.filter().as_str(), own.names_of("acme/p/of/b")), ("acme/+/of/+", Some(("b", "p"))));
        let check = |json: &str, expected: &str| assert_eq!(read(json).unwrap_err(), expected);
        check(
            r#"{"request_topic":"S/cmd/<device>"}"#,
            "config.request_topic = \"S/cmd/<device>\" must contain <channel> once, as a level of its own, such as \
             \"<SITE_ID>/cmd/<device>/<channel>\"",
        );
        check(r#"{"response_topic":"a/+"}"#, "config.response_topic = \"a/+\": write a topic without + and #");
        check(
            r#"{"response_topic":"S/cmd/a/b"}"#,
            "config.response_topic = \"S/cmd/a/b\" is a request topic as well: an answer would be a command",
        );
        check(
            r#"{"outcome_topic":"S/cmd/<device>/x"}"#,
            "config.outcome_topic = \"S/cmd/<device>/x\" is a request topic as well: an answer would be a command",
        );
        check(r#"{"outcome_topic":""}"#, "config.outcome_topic = \"\": write a topic without + and #");
        check(r#"{"topic":"a"}"#, "config.topic is unknown: write request_topic or response_topic or outcome_topic");
    }
}
