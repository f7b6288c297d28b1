//! What a feed may see and publish: its rights and limits, checked for every event, message and login.

use std::time::Duration;

use bessai_domain::broker_limits::BrokerLimits;
use bessai_domain::command::{MAX_SUBSCRIPTIONS, Subscription};
use bessai_domain::event::{EventBody, RecordedEvent};
use bessai_domain::message::{Message, Qos};
use bessai_domain::session::{EndpointRight, Login};
use bessai_domain::time::MonotonicTime;
use bessai_domain::topic;

use crate::inbox::plain_filter;
use crate::processor::ProcessorShare;

/// Messages that one call may return: one site event of a large plant makes hundreds.
const MESSAGES_PER_CALL: usize = 1000;
/// Bytes of topics, payloads and properties that one call may return.
const BYTES_PER_CALL: usize = 1 << 20;

/// A feed's rights and limits, as its settings have them.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Devices that it may read; all if there is no list.
    pub read: Option<Vec<String>>,
    /// Brokers that its sign-in may name.
    pub connect: Vec<EndpointRight>,
    /// Topic filters that it may publish to; any topic if there is no list.
    pub topics: Option<Vec<String>>,
    /// Topic filters that it may subscribe to, and any that match a part of their topics.
    pub subscribe: Vec<String>,
    /// What it may propose to write, as `device/channel`.
    pub write: Vec<String>,
    /// Filters of the topics that belong to another feed: it may publish to them only if `topics` lists them.
    pub reserved: Vec<String>,
    /// The highest quality of service that it may use.
    pub qos: Qos,
    /// Messages per second; further ones wait.
    pub rate_per_s: Option<u32>,
    /// Older events are skipped.
    pub max_age: Option<Duration>,
    /// The share of a core that the plugin's calls may use.
    pub processor: ProcessorShare,
    /// The most bytes of the feed's quarantine.
    pub quarantine_bytes: u64,
    /// What the broker accepts, if its kind is known.
    pub broker: Option<&'static BrokerLimits>,
    /// Which events go first after an outage.
    pub order: DeliveryOrder,
}

/// Which events go first after an outage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeliveryOrder {
    /// The oldest.
    #[default]
    InOrder,
    /// The newest; the backlog follows beside them.
    LiveFirst {
        /// Messages of the backlog per second; without it the backlog gets what the newest events leave.
        backlog_rate: Option<u32>,
    },
}

/// A call's messages after the check.
pub struct Admitted {
    /// The allowed ones.
    pub messages: Vec<Message>,
    /// Why the others are not allowed.
    pub refusals: Vec<String>,
}

impl Policy {
    /// Whether an event is too old for the plugin; a site description never is.
    pub fn is_too_old(&self, recorded: &RecordedEvent, now: MonotonicTime) -> bool {
        let is_description = matches!(recorded.event.body, EventBody::Site(_));
        !is_description && self.max_age.is_some_and(|max_age| now.since(recorded.occurred) > max_age)
    }

    /// Admits valid messages that the feed has the right to publish, at no more than its quality of service. The error:
    /// the call returned too much.
    pub fn admit(&self, messages: Vec<Message>) -> Result<Admitted, String> {
        let bytes: usize = messages.iter().map(Message::size).sum();
        if messages.len() > MESSAGES_PER_CALL || bytes > BYTES_PER_CALL {
            let count = messages.len();
            let limits = format!("{MESSAGES_PER_CALL} messages and {} MiB", BYTES_PER_CALL >> 20);
            // Rounded up, so that what exceeds the limit also reads as more.
            let tenths = (bytes * 10).div_ceil(BYTES_PER_CALL);
            let size = format!("{}.{} MiB", tenths / 10, tenths % 10);
            return Err(format!("returned {count} messages of {size}; a call may return {limits}"));
        }
        let mut refusals = Vec::new();
        let mut admitted = Vec::with_capacity(messages.len());
        for message in messages {
            match self.refusal(&message) {
                None => admitted.push(Message { qos: message.qos.min(self.qos), ..message }),
                Some(refusal) => refusals.push(refusal),
            }
        }
        Ok(Admitted { messages: admitted, refusals })
    }

    /// Whether the feed may propose to write a channel. The error is the right that it lacks.
    pub fn check_write(&self, device: &str, channel: &str) -> Result<(), String> {
        let right = format!("{device}/{channel}");
        if self.write.contains(&right) { Ok(()) } else { Err(right) }
    }

    /// Admits a login if the feed has the right to its host and its last will. The error is for people.
    pub fn admit_login(&self, mut login: Login) -> Result<Login, String> {
        if let Some(endpoint) = &login.endpoint
            && !self.connect.iter().any(|right| right.includes(endpoint))
        {
            let wanted = EndpointRight { host: endpoint.host.clone(), port: Some(endpoint.port) }.to_string();
            return Err(format!("the feed has no right to sign in at {wanted:?}: add it to [rights] connect"));
        }
        if let Some(will) = &mut login.will {
            if let Some(refusal) = self.refusal(will) {
                return Err(format!("the last will: {refusal}"));
            }
            will.qos = will.qos.min(self.qos);
        }
        Ok(login)
    }

    /// The subscriptions that the feed has the right to, with QoS 1 at most; and the others, with the reason.
    pub fn admit_subscriptions(&self, wanted: Vec<Subscription>) -> (Vec<Subscription>, Vec<(String, String)>) {
        let (mut admitted, mut refusals) = (Vec::new(), Vec::new());
        for subscription in wanted {
            match self.subscription_refusal(&subscription.filter) {
                None if admitted.len() < MAX_SUBSCRIPTIONS => {
                    admitted.push(Subscription { qos: subscription.qos.min(Qos::AtLeastOnce), ..subscription });
                }
                None => refusals.push((subscription.filter, format!("a feed has at most {MAX_SUBSCRIPTIONS}"))),
                Some(reason) => refusals.push((subscription.filter, reason)),
            }
            // What is beyond is neither sent nor kept.
            if refusals.len() == MAX_SUBSCRIPTIONS {
                break;
            }
        }
        (admitted, refusals)
    }

    fn subscription_refusal(&self, filter: &str) -> Option<String> {
        if let Err(error) = topic::check_filter(filter) {
            return Some(format!("the filter {error}"));
        }
        let has_right = self.subscribe.iter().any(|right| topic::covers(right, plain_filter(filter)));
        (!has_right)
            .then(|| format!("the feed has no right to it: add it to [rights] subscribe, subscribe = [{filter:?}]"))
    }

    fn refusal(&self, message: &Message) -> Option<String> {
        if let Err(error) = topic::check(&message.topic) {
            return Some(error.to_string());
        }
        if let Err(error) = message.check_properties() {
            return Some(format!("a message to {:?} {error}", message.topic));
        }
        let topic = &message.topic;
        let mut filters = self.topics.iter().flatten();
        if self.reserved.iter().any(|filter| topic::matches(filter, topic)) {
            let is_listed = filters.any(|filter| lists(filter, topic));
            return (!is_listed).then(|| {
                format!(
                    "topic {topic:?} belongs to the default feed: to allow it all the same, add it to [rights] topics, \
                     topics = [{topic:?}]"
                )
            });
        }
        let has_right = self.topics.is_none() || filters.any(|filter| topic::matches(filter, topic));
        (!has_right).then(|| format!("the feed has no right to topic {topic:?}: add it to [rights] topics"))
    }
}

/// Whether a filter names a reserved topic: one that begins with a wildcard means any topic, not this site's.
fn lists(filter: &str, topic: &str) -> bool {
    !filter.starts_with(['+', '#']) && topic::matches(filter, topic)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(topics: Option<&[&str]>) -> Policy {
        Policy {
            read: None,
            connect: Vec::new(),
            subscribe: vec!["S/cmd/#".into()],
            topics: topics.map(|filters| filters.iter().map(|filter| (*filter).to_owned()).collect()),
            write: Vec::new(),
            reserved: vec!["S/+/telemetry".into(), "S/safety".into(), "S/ai/#".into()],
            qos: Qos::AtLeastOnce,
            rate_per_s: None,
            max_age: None,
            processor: ProcessorShare::default(),
            quarantine_bytes: 0,
            broker: None,
            order: DeliveryOrder::InOrder,
        }
    }

    fn refusal(topics: Option<&[&str]>, topic: &str) -> Option<String> {
        let message =
            Message { topic: topic.into(), payload: vec![], qos: Qos::AtMostOnce, retain: false, properties: None };
        policy(topics).refusal(&message)
    }

    #[test]
    fn a_call_that_returns_too_much_is_told_how_much() {
        let messages = |count: usize, bytes: usize| {
            let message = Message {
                topic: "t".into(),
                payload: vec![0; bytes],
                qos: Qos::AtMostOnce,
                retain: false,
                properties: None,
            };
            vec![message; count]
        };
        let refusal = |count, bytes| policy(None).admit(messages(count, bytes)).err();
        assert_eq!(refusal(1000, 1000), None);
        let expected = "returned 2 messages of 2.1 MiB; a call may return 1000 messages and 1 MiB";
        assert_eq!(refusal(2, 1_100_000).as_deref(), Some(expected));
        let expected = "returned 1001 messages of 0.1 MiB; a call may return 1000 messages and 1 MiB";
        assert_eq!(refusal(1001, 1).as_deref(), Some(expected));
    }

    #[test]
    fn reserved_topics_must_be_listed() {
        for topic in ["S/safety", "S/battery/telemetry", "S/ai", "S/ai/dispatch"] {
            for topics in [None, Some(&["#"][..]), Some(&["+/safety", "+/#"]), Some(&["S/other"])] {
                let refusal = refusal(topics, topic).unwrap_or_else(|| panic!("{topics:?} allows {topic}"));
                assert!(refusal.contains("belongs to the default feed"), "{refusal}");
                assert!(refusal.ends_with(&format!("topics = [\"{topic}\"]")), "{refusal}");
            }
            assert_eq!(refusal(Some(&["S/#"]), topic), None);
            assert_eq!(refusal(Some(&["x", topic]), topic), None);
        }
        assert_eq!((refusal(None, "S/power"), refusal(Some(&["#"]), "S/safety/x")), (None, None));
        assert!(refusal(Some(&["S/safety"]), "S/power").unwrap().contains("no right to topic \"S/power\""));
    }

    #[test]
    fn subscriptions_need_the_right_and_are_bounded() {
        let wanted = |filter: &str, qos| Subscription { filter: filter.into(), qos };
        let (admitted, refusals) = policy(None).admit_subscriptions(vec![
            wanted("S/cmd/+", Qos::ExactlyOnce),
            wanted("$share/g/S/cmd/a", Qos::AtMostOnce),
            wanted("S/#", Qos::AtLeastOnce),
            wanted("S/cmd/#/a", Qos::AtLeastOnce),
        ]);
        assert_eq!(admitted, [wanted("S/cmd/+", Qos::AtLeastOnce), wanted("$share/g/S/cmd/a", Qos::AtMostOnce)]);
        let right = "the feed has no right to it: add it to [rights] subscribe, subscribe = [\"S/#\"]";
        let invalid = "the filter has a `#` that is not its last level";
        assert_eq!(refusals, [("S/#".into(), right.into()), ("S/cmd/#/a".into(), invalid.into())]);
        let many = (0..40).map(|number| wanted(&format!("S/cmd/{number}"), Qos::AtLeastOnce)).collect();
        let (admitted, refusals) = policy(None).admit_subscriptions(many);
        assert_eq!((admitted.len(), refusals.len()), (16, 16));
        assert_eq!(refusals[0], ("S/cmd/16".into(), "a feed has at most 16".into()));
    }
}
