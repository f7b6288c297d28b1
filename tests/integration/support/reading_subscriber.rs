//! A subscriber to readings that loses none itself: it reads each connection to its end before it opens the next, where a
//! client library discards unread messages when a write fails. Its session outlives its connections.

use std::sync::atomic::{AtomicU32, Ordering};

use bessai_simulator::packet::{self, Packet, PacketKind, Version};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

use super::device::Device;
use super::gateway::Gateway;
use super::readings::DeliveredReadings;
use super::{LIMIT, within};

/// A running subscriber, stopped when dropped.
pub struct ReadingSubscriber {
    messages: mpsc::UnboundedReceiver<(String, Vec<u8>)>,
    subscriptions: watch::Receiver<usize>,
    task: tokio::task::JoinHandle<()>,
}

/// The broker, the topic filter and the QoS of a subscriber.
#[derive(Clone)]
pub struct Subscription {
    pub port: u16,
    pub filter: String,
    /// With 1 a broker with persistent sessions queues messages while the subscriber is disconnected; with 0 mosquitto
    /// forwards a message before it acknowledges it to the publisher.
    pub qos: u8,
    pub login: Option<(String, String)>,
}

impl Subscription {
    /// The first device's telemetry, without login.
    pub fn telemetry(port: u16, qos: u8) -> Self {
        Self { port, filter: "SITE-CL-001/telemetry".into(), qos, login: None }
    }
}

impl ReadingSubscriber {
    /// Returns once the subscription is acknowledged.
    pub async fn start(subscription: Subscription) -> Self {
        // Distinct client ids: two subscribers of one broker must not take over each other's session.
        static SUBSCRIBERS: AtomicU32 = AtomicU32::new(0);
        let client_id = format!("reading-subscriber-{}", SUBSCRIBERS.fetch_add(1, Ordering::Relaxed));
        let (sender, messages) = mpsc::unbounded_channel();
        let (subscribed, subscriptions) = watch::channel(0);
        let task = tokio::spawn(async move {
            while !sender.is_closed() {
                // Why a connection ended does not matter: the next one resumes the session.
                let _ = receive(&client_id, &subscription, &sender, &subscribed).await;
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        });
        let mut subscriber = Self { messages, subscriptions, task };
        subscriber.wait_for_subscriptions(1).await;
        subscriber
    }

    /// Waits until the subscription was acknowledged this many times, once for each connection.
    pub async fn wait_for_subscriptions(&mut self, times: usize) {
        within("the subscription", self.subscriptions.wait_for(|count| *count >= times)).await.unwrap();
    }

    /// The next message, as JSON.
    pub async fn next(&mut self) -> Value {
        let (topic, payload) = self.messages.recv().await.expect("the subscriber's task has ended");
        serde_json::from_slice(&payload).unwrap_or_else(|error| panic!("{topic}: {error}"))
    }

    /// Receives all readings that the device has given so far, and five more to show that delivery continues.
    pub async fn receive_all(&mut self, readings: &mut DeliveredReadings, device: &Device, gateway: &Gateway) {
        self.receive_below(readings, device.readings().wrapping_add(5), gateway).await;
    }

    /// Receives readings until every one below this count has arrived.
    pub async fn receive_below(&mut self, readings: &mut DeliveredReadings, count: u16, gateway: &Gateway) {
        while !readings.has_all_below(count) {
            let Ok(telemetry) = tokio::time::timeout(LIMIT, self.next()).await else {
                panic!("no reading arrived for {LIMIT:?} after {:?}\n{}", readings.highest(), gateway.log());
            };
            if let Err(violation) = readings.add_message(&telemetry) {
                panic!("{violation}\n{}", gateway.log());
            }
        }
    }

    /// Adds the readings that have arrived, without waiting.
    pub fn drain(&mut self, readings: &mut DeliveredReadings) {
        while let Ok((_, payload)) = self.messages.try_recv() {
            readings.add_message(&serde_json::from_slice(&payload).unwrap()).unwrap();
        }
    }
}

impl Drop for ReadingSubscriber {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Subscribes over one connection and receives messages until its end.
async fn receive(
    client_id: &str,
    subscription: &Subscription,
    messages: &mpsc::UnboundedSender<(String, Vec<u8>)>,
    subscribed: &watch::Sender<usize>,
) -> Option<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", subscription.port)).await.ok()?;
    let login = subscription.login.as_ref().map(|(user, password)| (user.as_str(), password.as_str()));
    stream.write_all(&packet::connect(Version::V311, client_id, false, login)).await.ok()?;
    let mut received = Vec::new();
    loop {
        while let Some(packet) = Packet::decode(&mut received).ok()? {
            match packet.kind {
                PacketKind::Connack if packet.body[1] == 0 => {
                    let subscribe = packet::subscribe(Version::V311, 1, &subscription.filter, subscription.qos);
                    let _ = stream.write_all(&subscribe).await;
                }
                PacketKind::Suback => subscribed.send_modify(|count| *count += 1),
                PacketKind::Publish => {
                    let message = packet.publish(Version::V311)?;
                    messages.send((message.topic, message.payload)).ok()?;
                    if message.qos > 0 {
                        // A failed write does not end the loop: the broker's last messages are still to be read.
                        let acknowledgement = packet::acknowledgement(PacketKind::Puback, message.packet_id, 0);
                        let _ = stream.write_all(&acknowledgement).await;
                    }
                }
                _ => {}
            }
        }
        match stream.read_buf(&mut received).await {
            Ok(0) => return None,
            Ok(_) => {}
            // The error of a failed write is reported by the next read, and unread data may follow it.
            Err(_) if stream.read_buf(&mut received).await.is_ok_and(|read| read > 0) => {}
            Err(_) => return None,
        }
    }
}
