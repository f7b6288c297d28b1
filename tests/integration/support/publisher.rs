//! Publishes single messages, as a customer does who sends commands.

use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};

use super::within;

/// Publishes with QoS 1; returns once the broker has acknowledged it.
pub async fn publish(port: u16, topic: &str, payload: impl Into<Vec<u8>>, retain: bool) {
    publish_all(port, topic, vec![payload.into()], retain).await;
}

/// Publishes messages one right after the other, with QoS 1; returns once the broker has acknowledged them.
pub async fn publish_all(port: u16, topic: &str, payloads: Vec<Vec<u8>>, retain: bool) {
    let mut options = MqttOptions::new(format!("publisher-{}", super::free_port()), "127.0.0.1", port);
    options.set_max_packet_size(4 << 20, 4 << 20);
    let mut open = payloads.len();
    let (client, mut events) = AsyncClient::new(options, open);
    for payload in payloads {
        client.try_publish(topic, QoS::AtLeastOnce, retain, payload).unwrap();
    }
    within("the publication", async {
        while open > 0 {
            if let Event::Incoming(Packet::PubAck(_)) = events.poll().await.unwrap() {
                open -= 1;
            }
        }
    })
    .await;
}
