//! The broker is as good, and as bad, as its script.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::packet::{Kind, Packet, Properties, Publish};

const LIMIT: Duration = Duration::from_secs(30);

struct Client {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Client {
    /// Signs in; the code of the CONNACK.
    async fn start(broker: &Broker, version: Version) -> (Self, u8) {
        let stream = TcpStream::connect(broker.address()).await.unwrap();
        let mut client = Self { stream, received: Vec::new() };
        client.stream.write_all(&packet::connect(version, "me", true, None)).await.unwrap();
        let code = client.next().await.map_or(0xff, |packet| packet.body[1]);
        (client, code)
    }

    async fn publish(&mut self, packet_id: u16, qos: u8, alias: Option<u32>) {
        let none = Properties::default();
        let properties = alias.map_or(none.clone(), |alias| none.with(Properties::TOPIC_ALIAS, alias));
        let topic = if alias.is_some() { "" } else { "a" };
        let payload = packet_id.to_be_bytes().to_vec();
        let message = Publish { topic: topic.into(), payload, qos, dup: false, retain: false, packet_id, properties };
        self.stream.write_all(&packet::publish(Version::V5, &message)).await.unwrap();
    }

    async fn next(&mut self) -> Option<Packet> {
        loop {
            if let Some(packet) = Packet::take(&mut self.received).ok()? {
                return Some(packet);
            }
            let read = tokio::time::timeout(LIMIT, self.stream.read_buf(&mut self.received)).await.unwrap();
            if read.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    async fn acknowledgements(&mut self, count: usize) -> Vec<u16> {
        let mut ids = Vec::new();
        for _ in 0..count {
            ids.push(self.next().await.unwrap().packet_id().unwrap());
        }
        ids
    }
}

async fn acknowledged(how: Acknowledging, count: usize) -> Vec<u16> {
    let broker = Broker::start(Script::acknowledging(how)).await.unwrap();
    let (mut client, _) = Client::start(&broker, Version::V5).await;
    for id in 1..=5 {
        client.publish(id, 1, None).await;
    }
    let ids = client.acknowledgements(count).await;
    assert_eq!(broker.look(|seen| (seen.taken.len(), seen.violations.clone())), (5, Vec::new()));
    ids
}

#[tokio::test]
async fn acknowledgements_come_as_the_script_has_it() {
    use Acknowledging::{Held, InOrder, Twice, WithStrangers};
    assert_eq!(acknowledged(InOrder, 5).await, [1, 2, 3, 4, 5]);
    assert_eq!(acknowledged(Held(5, Order::Reversed), 5).await, [5, 4, 3, 2, 1]);
    assert_eq!(acknowledged(Held(3, Order::Reversed), 5).await, [3, 2, 1, 5, 4]);
    assert_eq!(acknowledged(Held(4, Order::Shuffled), 4).await, [4, 3, 2, 1]);
    assert_eq!(acknowledged(Twice, 10).await, [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]);
    assert_eq!(acknowledged(WithStrangers, 4).await, [0xfffe, 1, 0xfffe, 2]);
}

/// What the broker says against packets, sent one after the other over one connection.
async fn violation(script: Script, packets: &[(u16, u8, Option<u32>)]) -> String {
    let broker = Broker::start(script).await.unwrap();
    let (mut client, _) = Client::start(&broker, Version::V5).await;
    for (id, qos, alias) in packets {
        client.publish(*id, *qos, *alias).await;
    }
    broker.until(|seen| !seen.violations.is_empty()).await;
    broker.look(|seen| seen.violations[0].clone())
}

#[tokio::test]
async fn clients_that_break_the_rules_are_found_out() {
    let never = || Script::acknowledging(Acknowledging::Never);
    for (script, packets, expected) in [
        (never(), vec![(1, 1, None), (1, 1, None)], "the packet id 1 is used again"),
        (never(), vec![(0, 1, None)], "without a packet id"),
        (Script { receive_maximum: Some(2), ..never() }, vec![(1, 1, None), (2, 2, None), (3, 1, None)], "3 messages"),
        (Script { maximum_qos: Some(1), ..never() }, vec![(1, 2, None)], "QoS 2, granted was 1"),
        (never(), vec![(1, 1, Some(1))], "the topic alias 1, granted were 0"),
        (Script { topic_alias_maximum: Some(2), ..never() }, vec![(1, 1, Some(2))], "stands for nothing"),
        (Script { maximum_packet: Some(4), ..never() }, vec![(1, 1, None)], "the limit is 4"),
    ] {
        let found = violation(script, &packets).await;
        assert!(found.contains(expected), "{found}");
    }
}

#[tokio::test]
async fn the_handshake_of_qos_2_is_watched() {
    let broker = Broker::start(Script::default()).await.unwrap();
    let (mut client, _) = Client::start(&broker, Version::V5).await;
    client.publish(9, 2, None).await;
    assert_eq!(client.next().await.unwrap().kind, Kind::Pubrec);
    assert_eq!(broker.look(|seen| seen.acknowledged), 0);
    let release = packet::acknowledgement(Kind::Pubrel, 9, 0);
    client.stream.write_all(&release).await.unwrap();
    assert_eq!(client.next().await.unwrap().kind, Kind::Pubcomp);
    broker.until(|seen| seen.acknowledged == 1).await;
    client.stream.write_all(&release).await.unwrap();
    broker.until(|seen| seen.violations.len() == 1).await;
}

#[tokio::test]
async fn greetings_are_as_the_script_has_them() {
    for (script, version, expected) in [
        (Script::greeting(Greeting::Refuse(0x87)), Version::V5, 0x87),
        (Script::greeting(Greeting::Refuse(0x87)), Version::V311, 5),
        (Script::greeting(Greeting::Close), Version::V5, 0xff),
        (Script { on_v5: OnV5::Refuse, ..Script::default() }, Version::V5, 0x84),
        (Script { on_v5: OnV5::RefuseInOldForm, ..Script::default() }, Version::V5, 1),
        (Script { on_v5: OnV5::Refuse, ..Script::default() }, Version::V311, 0),
    ] {
        let broker = Broker::start(script.clone()).await.unwrap();
        assert_eq!(Client::start(&broker, version).await.1, expected, "{script:?}");
    }
    let broker = Broker::start(Script::greeting(Greeting::WelcomeAndGarbage)).await.unwrap();
    let (mut client, code) = Client::start(&broker, Version::V311).await;
    assert_eq!((code, client.next().await), (0, None));
}

#[tokio::test]
async fn a_second_client_of_the_same_id_takes_the_session_over() {
    let broker = Broker::start(Script::default()).await.unwrap();
    let (mut first, _) = Client::start(&broker, Version::V5).await;
    let (mut second, _) = Client::start(&broker, Version::V5).await;
    let told = first.next().await.unwrap();
    assert_eq!((told.kind, told.body), (Kind::Disconnect, vec![0x8e]));
    broker.send(&packet::acknowledgement(Kind::Puback, 1, 0));
    assert_eq!(second.next().await.unwrap().kind, Kind::Puback);
    broker.cut();
    assert_eq!(second.next().await, None);
}
