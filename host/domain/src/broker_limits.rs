//! What brokers of a known kind accept, by their documentation: a message beyond that is not sent.

use std::time::Duration;

use crate::message::{Message, Qos};
use crate::topic;

/// One kibibyte.
const KIB: u32 = 1024;
/// The longest `keep_alive` and session of MQTT where a kind has no shorter one.
const ANY_KEEP_ALIVE: Duration = Duration::from_secs(65_535);
/// Messages of a second that are sent, of each ten that the broker takes: a burst and the network's delays add the rest.
const PACED_OF_TEN: u32 = 9;

/// The limits and habits of a kind of broker.
#[derive(Debug, PartialEq, Eq)]
pub struct BrokerLimits {
    /// Its name in settings.
    pub kind: &'static str,
    /// Its name for people.
    pub name: &'static str,
    /// The largest payload in bytes.
    pub max_payload: Option<u32>,
    /// The largest packet in bytes: where nothing is set, and the most that can be set.
    pub max_packet: Option<(u32, u32)>,
    /// The highest quality of service.
    pub max_qos: Qos,
    /// Whether messages are retained where nothing is set.
    pub retains: bool,
    /// Whether it can retain messages at all.
    pub can_retain: bool,
    /// Messages that it takes in a second over one connection.
    pub rate_per_s: Option<u32>,
    /// Unacknowledged messages: where nothing is set, and the most that can be set.
    pub in_flight: Option<(u16, u16)>,
    /// The longest keep-alive.
    pub keep_alive: Duration,
    /// The longest time for which it keeps a session.
    pub session_expiry: Option<Duration>,
    /// The longest client id in bytes.
    pub client_id: Option<usize>,
    /// The client id is the name of a device that the broker knows.
    pub client_id_is_device: bool,
    /// The topics that it takes.
    pub topics: TopicRules,
    /// It speaks MQTT 3.1.1 only.
    pub only_v311: bool,
    /// It takes TLS only.
    pub wants_tls: bool,
    /// TLS has to name its host.
    pub wants_server_name: bool,
    /// It takes no anonymous clients.
    pub wants_login: bool,
    /// The default feed announces itself there, with a last will.
    pub has_status: bool,
    /// Its protocols by ALPN on port 443: with a client certificate, and without one.
    pub alpn_443: Option<[&'static str; 2]>,
    /// The path of its WebSocket, if it is not the usual one.
    pub websocket: Option<&'static str>,
}

/// The topics that a broker takes.
#[derive(Debug, PartialEq, Eq)]
pub enum TopicRules {
    /// Every topic of MQTT.
    Any,
    /// Topics of so many bytes and slashes; the first levels of some are not counted.
    Limited {
        /// Bytes in UTF-8.
        bytes: usize,
        /// Slashes.
        slashes: usize,
        /// Topics that begin like this are the only ones with a `$`.
        reserved: &'static str,
        /// The filter of the levels in front that do not count.
        uncounted: &'static str,
    },
    /// Only what these filters match; the first one is for readings.
    OneOf(&'static [&'static str]),
}

/// What all kinds share that say nothing else.
const UNLIMITED: BrokerLimits = BrokerLimits {
    kind: "",
    name: "",
    max_payload: None,
    max_packet: None,
    max_qos: Qos::ExactlyOnce,
    retains: true,
    can_retain: true,
    rate_per_s: None,
    in_flight: None,
    keep_alive: ANY_KEEP_ALIVE,
    session_expiry: None,
    client_id: None,
    client_id_is_device: false,
    topics: TopicRules::Any,
    only_v311: false,
    wants_tls: false,
    wants_server_name: false,
    wants_login: false,
    has_status: true,
    alpn_443: None,
    websocket: None,
};

/// AWS IoT Core: developer guide ("Protocols", "Topics", "Transport security") and "AWS IoT Core endpoints and quotas".
static AWS_IOT: BrokerLimits = BrokerLimits {
    kind: "aws-iot",
    name: "AWS IoT Core",
    max_payload: Some(128 * KIB),
    max_qos: Qos::AtLeastOnce,
    rate_per_s: Some(100),
    in_flight: Some((100, 100)),
    keep_alive: Duration::from_secs(1200),
    session_expiry: Some(Duration::from_hours(7 * 24)),
    client_id: Some(128),
    topics: TopicRules::Limited { bytes: 256, slashes: 7, reserved: "$aws/", uncounted: "$aws/rules/+" },
    wants_tls: true,
    wants_server_name: true,
    alpn_443: Some(["x-amzn-mqtt-ca", "mqtt"]),
    ..UNLIMITED
};

/// Azure IoT Hub: "Communicate with an IoT hub using the MQTT protocol", "IoT Hub quotas and throttling", and for the topics of
/// its provisioning service "Communicate with DPS using the MQTT protocol".
static AZURE_IOT_HUB: BrokerLimits = BrokerLimits {
    kind: "azure-iot-hub",
    name: "Azure IoT Hub",
    max_payload: Some(256 * KIB),
    max_qos: Qos::AtLeastOnce,
    retains: false,
    can_retain: false,
    in_flight: Some((16, u16::MAX)),
    keep_alive: Duration::from_secs(1177),
    client_id: Some(128),
    client_id_is_device: true,
    topics: TopicRules::OneOf(&[
        "devices/+/messages/events/#",
        "devices/+/modules/+/messages/events/#",
        "$iothub/twin/GET/#",
        "$iothub/twin/PATCH/properties/reported/#",
        "$iothub/methods/res/#",
        "$dps/registrations/PUT/iotdps-register/#",
        "$dps/registrations/GET/iotdps-get-operationstatus/#",
    ]),
    only_v311: true,
    wants_tls: true,
    has_status: false,
    websocket: Some("/$iothub/websocket"),
    ..UNLIMITED
};

/// The MQTT broker of Azure Event Grid: "MQTT features supported by Azure Event Grid's MQTT broker feature" and "MQTT retain".
static EVENT_GRID: BrokerLimits = BrokerLimits {
    kind: "event-grid",
    name: "Azure Event Grid",
    max_packet: Some((512 * KIB, 1024 * KIB)),
    max_qos: Qos::AtLeastOnce,
    retains: false,
    keep_alive: Duration::from_secs(1160),
    session_expiry: Some(Duration::from_hours(8)),
    wants_tls: true,
    ..UNLIMITED
};

/// HiveMQ Cloud: its console and "Connect to a HiveMQ Cloud cluster". Sizes and windows differ by plan and are announced.
static HIVEMQ_CLOUD: BrokerLimits = BrokerLimits {
    kind: "hivemq-cloud",
    name: "HiveMQ Cloud",
    wants_tls: true,
    wants_server_name: true,
    wants_login: true,
    ..UNLIMITED
};

/// Mosquitto: mosquitto.conf(5), `max_inflight_messages`.
static MOSQUITTO: BrokerLimits =
    BrokerLimits { kind: "mosquitto", name: "Mosquitto", in_flight: Some((20, u16::MAX)), ..UNLIMITED };

impl BrokerLimits {
    /// Every kind.
    pub fn all() -> [&'static Self; 5] {
        [&AWS_IOT, &AZURE_IOT_HUB, &EVENT_GRID, &HIVEMQ_CLOUD, &MOSQUITTO]
    }

    /// Whether the broker takes a message, apart from its quality of service and retain flag; the error says why not.
    pub fn admit(&self, message: &Message) -> Result<(), String> {
        self.admit_topic(&message.topic)?;
        match self.max_payload.and_then(|limit| usize::try_from(limit).ok()) {
            Some(limit) if message.payload.len() > limit => {
                let (name, size) = (self.name, message.payload.len());
                Err(format!("{name} takes payloads of up to {limit} bytes, and this one has {size}"))
            }
            _ => Ok(()),
        }
    }

    /// Whether the broker takes messages to a topic; the error says why not.
    pub fn admit_topic(&self, topic: &str) -> Result<(), String> {
        let name = self.name;
        match &self.topics {
            TopicRules::Any => Ok(()),
            TopicRules::OneOf(filters) if filters.iter().any(|filter| topic::matches(filter, topic)) => Ok(()),
            TopicRules::OneOf(filters) => {
                let first = filters.first().map_or("", |filter| filter.trim_end_matches('#'));
                Err(format!("{name} takes messages to its own topics only, such as {first}"))
            }
            TopicRules::Limited { reserved, .. } if topic.starts_with('$') && !topic.starts_with(reserved) => {
                Err(format!("{name} takes no messages to topics that begin with $, except {reserved}"))
            }
            TopicRules::Limited { bytes, slashes, uncounted, .. } => {
                let counted = counted(topic, uncounted);
                let (size, levels) = (counted.len(), counted.matches('/').count() + 1);
                if size > *bytes {
                    return Err(format!("{name} takes topics of up to {bytes} bytes, and this one has {size}"));
                }
                let limit = slashes + 1;
                if levels > limit {
                    return Err(format!("{name} takes topics of up to {limit} levels, and this one has {levels}"));
                }
                Ok(())
            }
        }
    }

    /// Whether a message to this topic may be retained.
    pub fn may_retain(&self, topic: &str) -> bool {
        self.can_retain && !(matches!(self.topics, TopicRules::Limited { .. }) && topic.starts_with('$'))
    }

    /// Messages that are sent in a second, so that the broker's rate is not exceeded in any second.
    pub fn paced_per_s(&self) -> Option<u32> {
        self.rate_per_s.map(|rate| rate * PACED_OF_TEN / 10)
    }

    /// The limits as a list for people.
    pub fn summary(&self) -> String {
        let mut parts = Vec::new();
        parts.extend(self.max_payload.map(|bytes| format!("payloads up to {bytes} bytes")));
        parts.extend(self.max_packet.map(|(bytes, _)| format!("packets up to {bytes} bytes")));
        parts.extend(self.rate_per_s.map(|rate| format!("{rate} messages/s")));
        if self.max_qos < Qos::ExactlyOnce {
            parts.push(format!("QoS up to {}", self.max_qos.level()));
        }
        if !self.retains {
            parts.push("nothing retained".into());
        }
        match &self.topics {
            TopicRules::Any => {}
            TopicRules::Limited { bytes, slashes, .. } => {
                parts.push(format!("topics up to {bytes} bytes and {} levels", slashes + 1));
            }
            TopicRules::OneOf(_) => parts.push("its own topics only".into()),
        }
        parts.extend(self.in_flight.map(|(usual, _)| format!("{usual} messages in flight")));
        if self.keep_alive < ANY_KEEP_ALIVE {
            parts.push(format!("keep_alive up to {} s", self.keep_alive.as_secs()));
        }
        if self.only_v311 {
            parts.push("MQTT 3.1.1".into());
        }
        match parts.is_empty() {
            true => "those that it announces".into(),
            false => parts.join(", "),
        }
    }
}

/// The part of a topic behind the levels that do not count.
fn counted<'a>(topic: &'a str, uncounted: &str) -> &'a str {
    let levels = uncounted.split('/').count();
    let end = topic.match_indices('/').nth(levels.saturating_sub(1)).map(|(at, _)| at);
    match end.and_then(|end| topic.split_at_checked(end)) {
        Some((prefix, rest)) if topic::matches(uncounted, prefix) => rest.strip_prefix('/').unwrap_or(rest),
        _ => topic,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(kind: &str) -> &'static BrokerLimits {
        BrokerLimits::all().into_iter().find(|limits| limits.kind == kind).unwrap()
    }

    fn refused(kind: &str, topic: &str, expected: &str) {
        let result = limits(kind).admit_topic(topic);
        match expected {
            "" => assert_eq!(result, Ok(()), "{topic}"),
            expected => assert!(result.as_ref().is_err_and(|error| error.contains(expected)), "{topic}: {result:?}"),
        }
    }

    #[test]
    fn topics_of_aws() {
        refused("aws-iot", "a/b/c/d/e/f/g/h", "");
        refused("aws-iot", "a/b/c/d/e/f/g/h/i", "up to 8 levels, and this one has 9");
        refused("aws-iot", &"é".repeat(128), "");
        refused("aws-iot", &"é".repeat(129), "up to 256 bytes, and this one has 258");
        refused("aws-iot", "$aws/things/a/shadow/update", "");
        refused("aws-iot", "$aws/rules/ingest/a/b/c/d/e/f/g/h", "");
        refused("aws-iot", "$aws/rules/ingest/a/b/c/d/e/f/g/h/i", "has 9");
        refused("aws-iot", "$SYS/a", "that begin with $, except $aws/");
        assert!(!limits("aws-iot").may_retain("$aws/rules/a/b") && limits("aws-iot").may_retain("a/b"));
    }

    #[test]
    fn topics_of_an_iot_hub() {
        for topic in [
            "devices/site001/messages/events/",
            "devices/site001/messages/events/$.ct=application%2Fjson&$.ce=utf-8",
            "devices/site001/modules/m/messages/events/",
            "$iothub/twin/GET/?$rid=1",
            "$iothub/twin/PATCH/properties/reported/?$rid=2",
            "$iothub/methods/res/200/?$rid=1",
            "$dps/registrations/PUT/iotdps-register/?$rid=1",
        ] {
            refused("azure-iot-hub", topic, "");
        }
        for topic in ["SITE-CL-001/telemetry", "devices/site001/messages/devicebound/x", "$iothub/methods/POST/x"] {
            refused("azure-iot-hub", topic, "its own topics only, such as devices/+/messages/events/");
        }
    }

    #[test]
    fn payloads() {
        let admit = |kind: &str, bytes| {
            let topic = "devices/a/messages/events/".to_owned();
            let message =
                Message { topic, payload: vec![0; bytes], qos: Qos::AtLeastOnce, retain: false, properties: None };
            limits(kind).admit(&message)
        };
        for (kind, limit) in [("aws-iot", 131_072), ("azure-iot-hub", 262_144)] {
            assert_eq!(admit(kind, limit), Ok(()));
            let error = admit(kind, limit + 1).unwrap_err();
            assert!(error.contains(&format!("up to {limit} bytes, and this one has {}", limit + 1)), "{error}");
        }
        assert_eq!(admit("mosquitto", 1 << 20), Ok(()));
    }

    #[test]
    fn summaries_name_every_limit() {
        assert_eq!(
            limits("aws-iot").summary(),
            "payloads up to 131072 bytes, 100 messages/s, QoS up to 1, topics up to 256 bytes and 8 levels, 100 messages in \
             flight, keep_alive up to 1200 s"
        );
        assert_eq!(limits("hivemq-cloud").summary(), "those that it announces");
        assert_eq!(limits("aws-iot").paced_per_s(), Some(90));
    }
}
