//! The broker seen by raw clients of both versions.

mod connecting;
mod limits;
mod malformed;
mod messages;
mod retained;
mod wills;

use std::net::Ipv4Addr;
use std::sync::Arc;

use tokio::io::{DuplexStream, duplex};
use tokio::net::TcpStream;

use super::router::Router;
use super::{Broker, session};
use crate::mqtt_client::{MqttClient, message};
use crate::packet::{self, PacketKind, Properties, Publish, Version};

const BOTH: [Version; 2] = [Version::V311, Version::V5];

type Client = MqttClient<TcpStream>;

async fn start() -> Broker {
    Broker::start((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap()
}

/// A client that is connected.
async fn client(broker: &Broker, version: Version, client_id: &str) -> Client {
    let mut client = MqttClient::open(broker.address(), version).await;
    let connack = client.connect(client_id).await.unwrap();
    assert_eq!((connack.kind, &connack.body[..2]), (PacketKind::Connack, &[0, 0][..]));
    client
}

/// A client that is connected over a stream in memory, which holds so many bytes.
async fn client_in_memory(
    router: &Arc<Router>,
    connection: u64,
    version: Version,
    buffer_bytes: usize,
) -> MqttClient<DuplexStream> {
    let (stream, served) = duplex(buffer_bytes);
    tokio::spawn(session::serve(served, connection, Arc::clone(router)));
    let mut client = MqttClient::new(stream, version);
    assert_eq!(client.connect(&format!("client-{connection}")).await.unwrap().body[1], 0);
    client
}

/// A CONNECT with a keep alive, a will of QoS 1, and properties of MQTT 5 as bytes.
fn connect_with(version: Version, client_id: &str, keep_alive_s: u16, will: Option<&Publish>, v5: &[u8]) -> Vec<u8> {
    let is_v5 = version == Version::V5;
    let text = |text: &[u8]| [&u16::try_from(text.len()).unwrap().to_be_bytes()[..], text].concat();
    let properties =
        |bytes: &[u8]| if is_v5 { [&[u8::try_from(bytes.len()).unwrap()], bytes].concat() } else { vec![] };
    let flags = will.map_or(2, |will| 2 | 4 | 8 | u8::from(will.retain) << 5);
    let mut body = [&text(b"MQTT")[..], &[if is_v5 { 5 } else { 4 }, flags], &keep_alive_s.to_be_bytes()].concat();
    body.extend(properties(v5));
    body.extend(text(client_id.as_bytes()));
    if let Some(will) = will {
        body.extend(properties(&[]));
        body.extend([text(will.topic.as_bytes()), text(&will.payload)].concat());
    }
    [&[0x10, u8::try_from(body.len()).unwrap()], &body[..]].concat()
}

/// The bytes of DISCONNECT without a reason.
const DISCONNECT: [u8; 2] = [0xe0, 0];

/// The client has received all that was sent to it before this answer.
async fn check_nothing_came(client: &mut Client) {
    client.send(&[0xc0, 0]).await;
    assert_eq!(client.next().await.map(|packet| packet.kind), Some(PacketKind::Pingresp));
}

/// The session ends: with this reason in MQTT 5, where there is one, and without any packet in 3.1.1.
async fn check_ended(client: &mut Client, version: Version, reason: u8) {
    if version == Version::V5 {
        let last = client.next().await.expect("no DISCONNECT");
        assert_eq!((last.kind, last.body), (PacketKind::Disconnect, vec![reason]));
    }
    assert_eq!(client.next().await, None);
}
