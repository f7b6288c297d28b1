//! A message on its way from its publisher to its subscribers.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::packet::{self, Properties, Publish, Version, Will};

/// The properties of a message that its subscribers receive too [3.3.2.3].
const FORWARDED: [u8; 5] = [
    Properties::PAYLOAD_FORMAT_INDICATOR,
    Properties::CONTENT_TYPE,
    Properties::RESPONSE_TOPIC,
    Properties::CORRELATION_DATA,
    Properties::USER_PROPERTY,
];

/// A message as it was published.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RoutedMessage {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    pub(super) qos: u8,
    pub(super) retain: bool,
    /// Those that are forwarded, except the expiry interval, which shrinks with time.
    properties: Properties,
    expires_at: Option<Instant>,
}

/// A message for one subscriber.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct QueuedMessage {
    pub(super) message: Arc<RoutedMessage>,
    /// The lower of the message's QoS and the subscription's.
    pub(super) qos: u8,
    pub(super) retain: bool,
}

impl RoutedMessage {
    fn new(topic: String, payload: Vec<u8>, qos: u8, retain: bool, properties: Properties) -> Self {
        let expiry_s = properties.number(Properties::MESSAGE_EXPIRY_INTERVAL);
        let expires_at = expiry_s.and_then(|expiry_s| Instant::now().checked_add(Duration::from_secs(expiry_s.into())));
        Self { topic, payload, qos, retain, properties: properties.only(&FORWARDED), expires_at }
    }

    /// The bytes that it occupies, nearly.
    pub(super) fn size(&self) -> usize {
        self.topic.len() + self.payload.len()
    }

    /// Whether it is too old to be delivered [3.3.2.3.3].
    pub(super) fn is_expired(&self) -> bool {
        self.expires_at.is_some_and(|expires_at| expires_at <= Instant::now())
    }
}

impl From<Publish> for RoutedMessage {
    fn from(publish: Publish) -> Self {
        Self::new(publish.topic, publish.payload, publish.qos, publish.retain, publish.properties)
    }
}

impl From<Will> for RoutedMessage {
    fn from(will: Will) -> Self {
        Self::new(will.topic, will.payload, will.qos, will.retain, will.properties)
    }
}

impl QueuedMessage {
    /// Its PUBLISH, with the time that is left until the message expires; the packet id counts only above QoS 0.
    pub(super) fn encode(&self, version: Version, packet_id: u16) -> Vec<u8> {
        let message = &*self.message;
        let mut properties = message.properties.clone();
        if let Some(expires_at) = message.expires_at {
            let left = expires_at.saturating_duration_since(Instant::now());
            let left_s = u32::try_from(left.as_millis().div_ceil(1000)).unwrap_or(u32::MAX);
            properties = properties.with(Properties::MESSAGE_EXPIRY_INTERVAL, left_s);
        }
        let publish = Publish {
            topic: message.topic.clone(),
            payload: message.payload.clone(),
            qos: self.qos,
            dup: false,
            retain: self.retain,
            packet_id,
            properties,
        };
        packet::publish(version, &publish)
    }
}
