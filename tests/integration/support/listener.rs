//! A subscriber that keeps every message, in order.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use serde_json::Value;
use tokio::sync::mpsc;

use super::within;

/// A message as it arrived.
#[derive(Clone, Debug)]
pub struct Heard {
    pub topic: String,
    pub payload: String,
    pub qos: u8,
    pub retain: bool,
}

pub struct Listener {
    messages: mpsc::UnboundedReceiver<Heard>,
    _client: AsyncClient,
}

impl Heard {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.payload).unwrap_or_else(|error| panic!("{}: {error}", self.payload))
    }
}

impl Listener {
    /// Everything on an anonymous broker.
    pub async fn start(port: u16) -> Self {
        Self::with(port, "#", None).await
    }

    /// Subscribed, before anything else goes on.
    pub async fn with(port: u16, filter: &str, login: Option<(&str, &str)>) -> Self {
        // Two on one broker must not take each other's session.
        static LISTENERS: AtomicU32 = AtomicU32::new(0);
        let name = format!("listener-{}", LISTENERS.fetch_add(1, Ordering::Relaxed));
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
        let (again, filter) = (client.clone(), filter.to_owned());
        tokio::spawn(async move {
            loop {
                match events.poll().await {
                    Ok(Event::Incoming(Packet::ConnAck(_))) => {
                        again.try_subscribe(&filter, QoS::ExactlyOnce).unwrap();
                    }
                    Ok(Event::Incoming(Packet::SubAck(_))) => drop(ready.try_send(())),
                    Ok(Event::Incoming(Packet::Publish(message))) => {
                        let payload = String::from_utf8_lossy(&message.payload).into_owned();
                        let (qos, retain) = (message.qos as u8, message.retain);
                        let heard = Heard { topic: message.topic, payload, qos, retain };
                        if sender.send(heard).is_err() {
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

    /// The next message on a topic that ends so, and that is as wanted.
    pub async fn wait(&mut self, topic_end: &str, wanted: impl Fn(&Heard) -> bool) -> Heard {
        within(&format!("a message on …{topic_end}"), async {
            loop {
                let heard = self.messages.recv().await.expect("the listener has ended");
                if heard.topic.ends_with(topic_end) && wanted(&heard) {
                    return heard;
                }
            }
        })
        .await
    }

    /// The next message on a topic that ends so.
    pub async fn next(&mut self, topic_end: &str) -> Heard {
        self.wait(topic_end, |_| true).await
    }

    /// Drops what has arrived so far.
    pub fn forget(&mut self) {
        while self.messages.try_recv().is_ok() {}
    }
}
