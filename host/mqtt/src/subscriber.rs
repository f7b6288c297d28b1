//! Subscribes to a broker for the demo: MQTT 3.1.1, no stored session.

use std::time::Duration;

use bessai_domain::session::Login;
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use tokio::sync::mpsc;

use crate::connect_options::ConnectOptions;
use crate::settings::BrokerSettings;

/// A message from the broker.
#[derive(Debug)]
pub struct ReceivedMessage {
    /// Its topic.
    pub topic: String,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// Messages that may wait for the receiver; when it is full, the connection is not read.
const CAPACITY: usize = 256;
/// Pause before connecting again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(200);

/// Subscribes until the receiver is dropped. Must be called within a `LocalSet`.
pub fn subscribe(settings: BrokerSettings, filter: String) -> mpsc::Receiver<ReceivedMessage> {
    let (sender, receiver) = mpsc::channel(CAPACITY);
    tokio::task::spawn_local(async move {
        while !sender.is_closed() {
            if let Err(error) = receive(&settings, &filter, &sender).await {
                tracing::warn!("the demo's subscriber lost its connection: {error}; retrying in {RECONNECT_PAUSE:?}");
            }
            tokio::time::sleep(RECONNECT_PAUSE).await;
        }
    });
    receiver
}

/// Passes on messages until the connection or the receiver is gone.
async fn receive(
    settings: &BrokerSettings,
    filter: &str,
    received: &mpsc::Sender<ReceivedMessage>,
) -> Result<(), String> {
    let options = ConnectOptions::new(settings, Login::default())?;
    if options.tls.is_some() || options.websocket.is_some() {
        return Err("the subscriber connects without TLS and WebSockets only".into());
    }
    let mut mqtt = MqttOptions::new(&options.client_id, &options.endpoint.host, options.endpoint.port);
    mqtt.set_keep_alive(options.keep_alive);
    if let Some((username, password)) = options.credentials() {
        mqtt.set_credentials(username, password);
    }
    let (client, mut events) = AsyncClient::new(mqtt, CAPACITY);
    client.try_subscribe(filter, QoS::AtLeastOnce).map_err(|error| error.to_string())?;
    loop {
        let event = events.poll().await.map_err(|error| error.to_string())?;
        if let Event::Incoming(Packet::Publish(publish)) = event {
            let message = ReceivedMessage { topic: publish.topic, payload: publish.payload.to_vec() };
            if received.send(message).await.is_err() {
                return Ok(());
            }
        }
    }
}
