//! A client that sends the tests' packets and receives the answers, over any stream.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::packet::{self, Packet, PacketKind, Properties, Publish, Version};

/// Far longer than any answer takes; a broker that does not answer fails the test.
const LIMIT: Duration = Duration::from_secs(30);

pub(crate) struct MqttClient<S> {
    stream: S,
    received: Vec<u8>,
    version: Version,
}

/// A message of QoS 0 on a topic, to be changed as a test needs it.
pub(crate) fn message(topic: &str, payload: &str) -> Publish {
    Publish {
        topic: topic.into(),
        payload: payload.into(),
        qos: 0,
        dup: false,
        retain: false,
        packet_id: 0,
        properties: Properties::default(),
    }
}

impl MqttClient<TcpStream> {
    /// Not yet connected in the sense of MQTT.
    pub(crate) async fn open(address: SocketAddr, version: Version) -> Self {
        Self::new(TcpStream::connect(address).await.unwrap(), version)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> MqttClient<S> {
    pub(crate) fn new(stream: S, version: Version) -> Self {
        Self { stream, received: Vec::new(), version }
    }

    /// Connects with a clean session; the CONNACK, or none where the broker closes the connection.
    pub(crate) async fn connect(&mut self, client_id: &str) -> Option<Packet> {
        self.send(&packet::connect(self.version, client_id, true, None)).await;
        self.next().await
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    pub(crate) async fn publish(&mut self, message: &Publish) {
        self.send(&packet::publish(self.version, message)).await;
    }

    /// Subscribes to one filter; the code of the SUBACK.
    pub(crate) async fn subscribe(&mut self, filter: &str, options: u8) -> u8 {
        self.send(&packet::subscribe(self.version, 1, filter, options)).await;
        let suback = self.next().await.unwrap();
        assert_eq!((suback.kind, suback.packet_id()), (PacketKind::Suback, Some(1)));
        *suback.body.last().unwrap()
    }

    /// The next packet; none when the broker has closed the connection.
    pub(crate) async fn next(&mut self) -> Option<Packet> {
        loop {
            if let Some(packet) = Packet::decode(&mut self.received).ok()? {
                return Some(packet);
            }
            let read = timeout(LIMIT, self.stream.read_buf(&mut self.received)).await;
            if read.expect("the broker did not answer").unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    /// The next packet, which must be a message.
    pub(crate) async fn next_message(&mut self) -> Publish {
        let packet = self.next().await.expect("the broker closed the connection");
        assert_eq!(packet.kind, PacketKind::Publish, "{packet:?}");
        packet.publish(self.version).unwrap()
    }
}
