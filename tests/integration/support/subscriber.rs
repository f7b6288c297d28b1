//! A subscriber whose own losses are none: it reads to the very end of each connection before it makes the next, where a
//! library drops what it has not read when its first write fails. Its session outlives its connections.

use std::sync::atomic::{AtomicU32, Ordering};

use bessai_simulator::packet::{self, Kind, Packet, Version};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

use super::device::Device;
use super::gateway::Gateway;
use super::readings::Readings;
use super::{LIMIT, within};

/// A subscriber; it ends with the value.
pub struct Subscriber {
    messages: mpsc::UnboundedReceiver<(String, Vec<u8>)>,
    subscriptions: watch::Receiver<usize>,
    task: tokio::task::JoinHandle<()>,
}

/// To whom, for what, and how it is delivered.
#[derive(Clone)]
pub struct Wish {
    pub port: u16,
    pub filter: String,
    /// 1 keeps messages for the subscriber while it is away, if the broker does; 0 sends them on before their publishers
    /// get to know.
    pub qos: u8,
    pub login: Option<(String, String)>,
}

impl Wish {
    /// The first device's telemetry, anonymously.
    pub fn telemetry(port: u16, qos: u8) -> Self {
        Self { port, filter: "SITE-CL-001/telemetry".into(), qos, login: None }
    }
}

impl Subscriber {
    /// Subscribed, before anything else goes on.
    pub async fn start(wish: Wish) -> Self {
        static SUBSCRIBERS: AtomicU32 = AtomicU32::new(0);
        let name = format!("subscriber-{}", SUBSCRIBERS.fetch_add(1, Ordering::Relaxed));
        let (sender, messages) = mpsc::unbounded_channel();
        let (subscribed, subscriptions) = watch::channel(0);
        let task = tokio::spawn(async move {
            while !sender.is_closed() {
                // What ends a connection does not matter: the next one goes on with the session.
                let _ = once(&name, &wish, &sender, &subscribed).await;
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        });
        let mut subscriber = Self { messages, subscriptions, task };
        subscriber.subscribed(1).await;
        subscriber
    }

    /// Waits until it has subscribed so many times.
    pub async fn subscribed(&mut self, times: usize) {
        within("the subscription", self.subscriptions.wait_for(|count| *count >= times)).await.unwrap();
    }

    /// The next message, as JSON.
    pub async fn next(&mut self) -> Value {
        let (topic, payload) = self.messages.recv().await.expect("the subscriber has ended");
        serde_json::from_slice(&payload).unwrap_or_else(|error| panic!("{topic}: {error}"))
    }

    /// Takes readings until all that the device has given by now have arrived, and some more: life goes on.
    pub async fn all(&mut self, readings: &mut Readings, device: &Device, gateway: &Gateway) {
        self.until(readings, device.readings().wrapping_add(5), gateway).await;
    }

    /// Takes readings until every one below this count has arrived.
    pub async fn until(&mut self, readings: &mut Readings, count: u16, gateway: &Gateway) {
        while !readings.has_all_of(count) {
            let Ok(telemetry) = tokio::time::timeout(LIMIT, self.next()).await else {
                panic!("no reading for {LIMIT:?} after {:?}\n{}", readings.highest(), gateway.log());
            };
            if let Err(broken) = readings.arrived(&telemetry) {
                panic!("{broken}\n{}", gateway.log());
            }
        }
    }

    /// Takes what has arrived already, without waiting.
    pub fn drain(&mut self, readings: &mut Readings) {
        while let Ok((_, payload)) = self.messages.try_recv() {
            readings.arrived(&serde_json::from_slice(&payload).unwrap()).unwrap();
        }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One connection, to its end.
async fn once(
    name: &str,
    wish: &Wish,
    messages: &mpsc::UnboundedSender<(String, Vec<u8>)>,
    subscribed: &watch::Sender<usize>,
) -> Option<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", wish.port)).await.ok()?;
    let login = wish.login.as_ref().map(|(user, password)| (user.as_str(), password.as_str()));
    stream.write_all(&packet::connect(Version::V311, name, false, login)).await.ok()?;
    let mut received = Vec::new();
    loop {
        while let Some(packet) = Packet::take(&mut received).ok()? {
            match packet.kind {
                Kind::Connack if packet.body[1] == 0 => {
                    let _ = stream.write_all(&packet::subscribe(Version::V311, 1, &wish.filter, wish.qos)).await;
                }
                Kind::Suback => subscribed.send_modify(|count| *count += 1),
                Kind::Publish => {
                    let message = packet.publish(Version::V311)?;
                    messages.send((message.topic, message.payload)).ok()?;
                    if message.qos > 0 {
                        // A broker that went gets no acknowledgement, but what it sent before is still to be read.
                        let acknowledgement = packet::acknowledgement(Kind::Puback, message.packet_id, 0);
                        let _ = stream.write_all(&acknowledgement).await;
                    }
                }
                _ => {}
            }
        }
        match stream.read_buf(&mut received).await {
            Ok(0) => return None,
            // A failed write is told once to whoever reads next; data may stand behind it.
            Ok(_) => {}
            Err(_) if stream.read_buf(&mut received).await.is_ok_and(|read| read > 0) => {}
            Err(_) => return None,
        }
    }
}
