//! An MQTT subscriber that queues every message in the order of arrival.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use serde_json::Value;
use tokio::sync::mpsc;

use super::within;

/// A message as received.
#[derive(Clone, Debug)]
pub struct ReceivedMessage {
    pub topic: String,
    pub payload: String,
    pub qos: u8,
    pub retain: bool,
}

/// A connected subscriber; it reconnects with its session.
pub struct Subscriber {
    messages: mpsc::UnboundedReceiver<ReceivedMessage>,
    _client: AsyncClient,
}

impl ReceivedMessage {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.payload).unwrap_or_else(|error| panic!("{}: {error}", self.payload))
    }
}

impl Subscriber {
    /// Subscribes to every topic of a broker without login.
    pub async fn start(port: u16) -> Self {
        Self::with(port, "#", None).await
    }

    /// Returns once the subscription is acknowledged.
    pub async fn with(port: u16, filter: &str, login: Option<(&str, &str)>) -> Self {
        // Distinct client ids: two subscribers of one broker must not take over each other's session.
        static SUBSCRIBERS: AtomicU32 = AtomicU32::new(0);
        let name = format!("subscriber-{}", SUBSCRIBERS.fetch_add(1, Ordering::Relaxed));
        let mut options = MqttOptions::new(name, "127.0.0.1", port);
        options.set_max_packet_size(4 << 20, 4 << 20);
        options.set_keep_alive(Duration::from_secs(30));
        options.set_clean_session(false);
        if let Some((user, password)) = login {
            options.set_credentials(user, password);
        }
        let (client, mut events) = AsyncClient::new(options, 10);
        let (sender, messages) = mpsc::unbounded_channel();
        let (ready, mut subscribed) = mpsc::channel(1);
        let (resubscriber, filter) = (client.clone(), filter.to_owned());
        tokio::spawn(async move {
            loop {
                match events.poll().await {
                    Ok(Event::Incoming(Packet::ConnAck(_))) => {
                        resubscriber.try_subscribe(&filter, QoS::ExactlyOnce).unwrap();
                    }
                    Ok(Event::Incoming(Packet::SubAck(_))) => drop(ready.try_send(())),
                    Ok(Event::Incoming(Packet::Publish(message))) => {
                        let payload = String::from_utf8_lossy(&message.payload).into_owned();
                        let (qos, retain) = (message.qos as u8, message.retain);
                        let received = ReceivedMessage { topic: message.topic, payload, qos, retain };
                        if sender.send(received).is_err() {
                            return;
                        }
                    }
                    Ok(_) => {}
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        });
        within("the subscription", subscribed.recv()).await;
        Self { messages, _client: client }
    }

    /// The next message that meets a condition, on a topic with this end; messages before it are discarded.
    pub async fn wait_for(&mut self, topic_end: &str, condition: impl Fn(&ReceivedMessage) -> bool) -> ReceivedMessage {
        within(&format!("a message on …{topic_end}"), async {
            loop {
                let message = self.messages.recv().await.expect("the subscriber's task has ended");
                if message.topic.ends_with(topic_end) && condition(&message) {
                    return message;
                }
            }
        })
        .await
    }

    /// The next message on a topic with this end; messages before it are discarded.
    pub async fn next(&mut self, topic_end: &str) -> ReceivedMessage {
        self.wait_for(topic_end, |_| true).await
    }

    /// Discards the messages received so far.
    pub fn discard_received(&mut self) {
        while self.messages.try_recv().is_ok() {}
    }
}
