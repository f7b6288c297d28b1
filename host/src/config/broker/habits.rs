//! What a feed announces at its broker beside its messages, and what the broker is known not to accept.

use std::time::Duration;

use bessai_domain::broker_limits::BrokerLimits;
use bessai_domain::settings::SettingsTable;
use bessai_domain::topic;

/// The smallest `max_packet`: a topic and a reading still fit into it.
const SMALLEST_PACKET: u32 = 256;
/// The longest `session_expiry`: MQTT counts seconds in 32 bits (5.0 §3.1.2.11.2).
const LONGEST_EXPIRY: Duration = Duration::from_secs(u32::MAX as u64);

/// A topic that the gateway publishes to by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum OwnTopic {
    /// That of the default feed; other feeds have none.
    #[default]
    Default,
    /// Nothing is published.
    Off,
    /// This one.
    Named(String),
}

/// How a feed uses its broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BrokerHabits {
    /// Where `online` and `offline` are published.
    pub(crate) status_topic: OwnTopic,
    /// Where the broker publishes `offline` when the connection is lost; by default the status topic.
    pub(crate) will: OwnTopic,
    /// Whether messages, status and last will may be retained.
    pub(crate) retain: bool,
    /// The largest packet in bytes, if the broker does not announce a smaller one.
    pub(crate) max_packet: Option<u32>,
    /// Whether the broker forgets the last session's unfinished messages.
    pub(crate) clean_start: bool,
    /// How long the broker keeps a session whose connection is lost.
    pub(crate) session_expiry: Option<Duration>,
}

impl Default for BrokerHabits {
    fn default() -> Self {
        Self {
            status_topic: OwnTopic::Default,
            will: OwnTopic::Default,
            retain: true,
            max_packet: None,
            clean_start: true,
            session_expiry: None,
        }
    }
}

impl BrokerHabits {
    /// What a kind of broker accepts.
    fn of(kind: Option<&BrokerLimits>) -> Self {
        let default = Self::default();
        let Some(kind) = kind else { return default };
        let status_topic = if kind.has_status { OwnTopic::Default } else { OwnTopic::Off };
        let max_packet = kind.max_packet.map(|(usual, _)| usual);
        Self { status_topic, retain: kind.retains, max_packet, ..default }
    }

    /// Reads the keys; what is not set is as the broker's kind has it.
    pub(super) fn read(table: &SettingsTable<'_>, kind: Option<&BrokerLimits>) -> Self {
        let default = Self::of(kind);
        Self {
            status_topic: own_topic(table, "status_topic", table.value("status_topic"), default.status_topic),
            will: own_topic(table, "will", table.value("will"), default.will),
            retain: table.boolean("retain").unwrap_or(default.retain),
            max_packet: table.integer("max_packet", SMALLEST_PACKET..=u32::MAX).or(default.max_packet),
            clean_start: table.boolean("clean_start").unwrap_or(default.clean_start),
            session_expiry: table.duration("session_expiry", Duration::from_secs(1)..=LONGEST_EXPIRY),
        }
    }

    /// The status topic of a feed, given that of the default feed if it is that.
    pub(crate) fn status_topic_of(&self, default: Option<String>) -> Option<String> {
        self.status_topic.or(default)
    }

    /// The topic of a feed's last will.
    pub(crate) fn will_of(&self, default: Option<String>) -> Option<String> {
        self.will.or(self.status_topic_of(default))
    }
}

impl OwnTopic {
    fn or(&self, default: Option<String>) -> Option<String> {
        match self {
            Self::Default => default,
            Self::Off => None,
            Self::Named(topic) => Some(topic.clone()),
        }
    }
}

fn own_topic(table: &SettingsTable<'_>, key: &str, value: Option<&toml::Value>, default: OwnTopic) -> OwnTopic {
    match value {
        None => default,
        Some(toml::Value::Boolean(false)) => OwnTopic::Off,
        Some(toml::Value::String(named)) if topic::check(named).is_ok() => OwnTopic::Named(named.clone()),
        Some(_) => {
            table.add_mistake(key, "write a topic without + and #, or false for none");
            OwnTopic::Default
        }
    }
}

#[cfg(test)]
mod tests {
    use bessai_domain::settings::Mistakes;

    use super::*;

    fn read(text: &str) -> (BrokerHabits, String) {
        let (mistakes, settings) = (Mistakes::default(), text.parse().unwrap());
        let habits = BrokerHabits::read(&SettingsTable::new("broker", &settings, &mistakes), None);
        (habits, format!("{:?}", mistakes.into_vec()))
    }

    #[test]
    fn the_last_will_goes_where_the_status_goes() {
        let topics = |text: &str| {
            let (habits, _) = read(text);
            let default = Some("S/system/status".to_owned());
            (habits.status_topic_of(default.clone()), habits.will_of(default))
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(topics(""), (some("S/system/status"), some("S/system/status")));
        assert_eq!(topics("status_topic = false"), (None, None));
        assert_eq!(topics("status_topic = \"a/b\""), (some("a/b"), some("a/b")));
        assert_eq!(topics("will = false"), (some("S/system/status"), None));
        assert_eq!(topics("status_topic = false\nwill = \"lost\""), (None, some("lost")));
        assert_eq!(read("will = \"x\"").0.will_of(None), some("x"));
        assert_eq!(BrokerHabits::default().will_of(None), None);
    }

    #[test]
    fn mistakes_name_the_key() {
        for text in
            ["status_topic = \"a/#\"", "will = true", "max_packet = 10", "retain = 1", "session_expiry = \"0s\""]
        {
            let (_, mistakes) = read(text);
            assert!(mistakes.contains(text.split(' ').next().unwrap()), "{text}: {mistakes}");
        }
    }
}
