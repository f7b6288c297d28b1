//! Listens to a broker, for the demo: MQTT 3.1.1, no persistence.

use std::time::Duration;

use bessai_domain::session::Login as Wish;
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use tokio::sync::mpsc;

/// A message as it arrived.
#[derive(Debug)]
pub struct Heard {
    /// Its topic.
    pub topic: String,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// Messages that may wait for the printer; more hold the connection back.
const WAITING: usize = 256;
/// Pause before connecting again.
const PAUSE: Duration = Duration::from_millis(200);

/// Subscribes until the receiver is dropped. To be called within a `LocalSet`.
pub fn listen(settings: super::Settings, filter: String) -> mpsc::Receiver<Heard> {
    let (sender, receiver) = mpsc::channel(WAITING);
    tokio::task::spawn_local(async move {
        while !sender.is_closed() {
            if let Err(error) = once(&settings, &filter, &sender).await {
                tracing::warn!("the demo's subscriber is not connected: {error}");
            }
            tokio::time::sleep(PAUSE).await;
        }
    });
    receiver
}

async fn once(settings: &super::Settings, filter: &str, heard: &mpsc::Sender<Heard>) -> Result<(), String> {
    let login = super::Login::new(settings, Wish::default())?;
    let mut options = MqttOptions::new(&login.client_id, &login.target, login.endpoint.port);
    options.set_transport(login.transport.clone());
    options.set_keep_alive(login.keep_alive);
    if let Some((username, password)) = login.credentials() {
        options.set_credentials(username, password);
    }
    let (client, mut events) = AsyncClient::new(options, WAITING);
    client.try_subscribe(filter, QoS::AtLeastOnce).map_err(|error| error.to_string())?;
    loop {
        let event = events.poll().await.map_err(|error| error.to_string())?;
        if let Event::Incoming(Packet::Publish(publish)) = event {
            let message = Heard { topic: publish.topic, payload: publish.payload.to_vec() };
            if heard.send(message).await.is_err() {
                return Ok(());
            }
        }
    }
}
