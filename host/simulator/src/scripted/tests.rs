//! The broker keeps to the standard or breaks it as its script says.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, advance};

use super::rules::ClientRules;
use super::*;
use crate::mqtt_client::{MqttClient, message};
use crate::packet::{self, PacketKind, Properties, Version, reason};

type Client = MqttClient<TcpStream>;

/// The code of a connection that was closed without CONNACK.
const CLOSED: u8 = 0xff;

/// Connects; the code of the CONNACK.
async fn connect(broker: &ScriptedBroker, version: Version) -> (Client, u8) {
    let mut client = MqttClient::open(broker.address(), version).await;
    let code = client.connect("me").await.map_or(CLOSED, |packet| packet.body[1]);
    (client, code)
}

async fn publish(client: &mut Client, packet_id: u16, qos: u8, alias: Option<u32>) {
    let none = Properties::default();
    let properties = alias.map_or(none.clone(), |alias| none.with(Properties::TOPIC_ALIAS, alias));
    let topic = if alias.is_some() { "" } else { "a" };
    client.publish(&packet::Publish { qos, packet_id, properties, ..message(topic, "payload") }).await;
}

async fn acknowledged(how: Acknowledgements, count: usize) -> Vec<u16> {
    let broker = ScriptedBroker::start(Script::with_acknowledgements(how)).await.unwrap();
    let (mut client, _) = connect(&broker, Version::V5).await;
    for packet_id in 1..=5 {
        publish(&mut client, packet_id, 1, None).await;
    }
    let mut packet_ids = Vec::new();
    for _ in 0..count {
        packet_ids.push(client.next().await.unwrap().packet_id().unwrap());
    }
    let expected = (5, Vec::new());
    assert_eq!(broker.inspect(|recording| (recording.messages.len(), recording.violations.clone())), expected);
    packet_ids
}

#[tokio::test]
async fn acknowledgements_follow_the_script() {
    use Acknowledgements::{Held, Immediate, Twice, WithUnknownIds};
    assert_eq!(acknowledged(Immediate, 5).await, [1, 2, 3, 4, 5]);
    assert_eq!(acknowledged(Held(5, HeldOrder::Reversed), 5).await, [5, 4, 3, 2, 1]);
    assert_eq!(acknowledged(Held(3, HeldOrder::Reversed), 5).await, [3, 2, 1, 5, 4]);
    assert_eq!(acknowledged(Held(4, HeldOrder::Shuffled), 4).await, [4, 3, 2, 1]);
    assert_eq!(acknowledged(Twice, 10).await, [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]);
    assert_eq!(acknowledged(WithUnknownIds, 4).await, [0xfffe, 1, 0xfffe, 2]);
}

/// The violation that the broker records for messages sent one after the other over one connection.
async fn violation(script: Script, messages: &[(u16, u8, Option<u32>)]) -> String {
    let broker = ScriptedBroker::start(script).await.unwrap();
    let (mut client, _) = connect(&broker, Version::V5).await;
    for (packet_id, qos, alias) in messages {
        publish(&mut client, *packet_id, *qos, *alias).await;
    }
    broker.wait_until(|recording| !recording.violations.is_empty()).await;
    broker.inspect(|recording| recording.violations[0].clone())
}

#[tokio::test]
async fn violations_of_clients_are_recorded() {
    let never = || Script::with_acknowledgements(Acknowledgements::Never);
    for (script, messages, expected) in [
        (never(), vec![(1, 1, None), (1, 1, None)], "packet id 1 used again"),
        (never(), vec![(0, 1, None)], "without a packet id"),
        (Script { receive_maximum: Some(2), ..never() }, vec![(1, 1, None), (2, 2, None), (3, 1, None)], "3 messages"),
        (Script { maximum_qos: Some(1), ..never() }, vec![(1, 2, None)], "QoS 2, the maximum is 1"),
        (never(), vec![(1, 1, Some(1))], "topic alias 1, the maximum is 0"),
        (Script { topic_alias_maximum: Some(2), ..never() }, vec![(1, 1, Some(2))], "never assigned"),
        (Script { maximum_packet: Some(4), ..never() }, vec![(1, 1, None)], "the limit is 4"),
    ] {
        let found = violation(script, &messages).await;
        assert!(found.contains(expected), "{found}");
    }
}

#[tokio::test(start_paused = true)]
async fn more_messages_than_the_rate_are_a_violation() {
    let script = Script { messages_per_s: Some(2), ..Script::default() };
    let mut rules = ClientRules::new(Version::V5, script, Instant::now());
    let mut check = || rules.check_publish(&message("a", "payload"));
    for _ in 0..2 {
        assert_eq!((check(), check()), (Ok("a".to_owned()), Ok("a".to_owned())));
        advance(Duration::from_secs(1)).await;
    }
    assert_eq!((check().is_ok(), check().is_ok()), (true, true));
    assert_eq!(check(), Err("7 messages in the first 3 s, the limit is 2 in each".to_owned()));
}

#[tokio::test]
async fn the_handshake_of_qos_2_is_checked() {
    let broker = ScriptedBroker::start(Script::default()).await.unwrap();
    let (mut client, _) = connect(&broker, Version::V5).await;
    publish(&mut client, 9, 2, None).await;
    assert_eq!(client.next().await.unwrap().kind, PacketKind::Pubrec);
    assert_eq!(broker.inspect(|recording| recording.acknowledged), 0);
    let release = packet::acknowledgement(PacketKind::Pubrel, 9, 0);
    client.send(&release).await;
    assert_eq!(client.next().await.unwrap().kind, PacketKind::Pubcomp);
    broker.wait_until(|recording| recording.acknowledged == 1).await;
    client.send(&release).await;
    broker.wait_until(|recording| recording.violations.len() == 1).await;
}

#[tokio::test]
async fn replies_to_connect_follow_the_script() {
    for (script, version, expected) in [
        (Script::with_connect_reply(ConnectReply::Refuse(0x87)), Version::V5, 0x87),
        (Script::with_connect_reply(ConnectReply::Refuse(0x87)), Version::V311, 5),
        (Script::with_connect_reply(ConnectReply::Close), Version::V5, CLOSED),
        (Script { on_v5: OnV5::Refuse, ..Script::default() }, Version::V5, 0x84),
        (Script { on_v5: OnV5::RefuseAsV311, ..Script::default() }, Version::V5, 1),
        (Script { on_v5: OnV5::Refuse, ..Script::default() }, Version::V311, 0),
    ] {
        let broker = ScriptedBroker::start(script.clone()).await.unwrap();
        assert_eq!(connect(&broker, version).await.1, expected, "{script:?}");
    }
    let script = Script::with_connect_reply(ConnectReply::AcceptThenGarbage);
    let broker = ScriptedBroker::start(script).await.unwrap();
    let (mut client, code) = connect(&broker, Version::V311).await;
    assert_eq!((code, client.next().await), (0, None));
}

#[tokio::test]
async fn single_messages_are_acknowledged_late_or_refused() {
    let broker = ScriptedBroker::start(Script::with_acknowledgements(Acknowledgements::FirstAfter(2))).await.unwrap();
    let (mut client, _) = connect(&broker, Version::V5).await;
    for packet_id in 1..=3 {
        publish(&mut client, packet_id, 1, None).await;
    }
    for expected in [2, 1, 3] {
        assert_eq!(client.next().await.unwrap().packet_id(), Some(expected));
    }
    broker.set_script(Script::with_acknowledgements(Acknowledgements::Qos2WithReason(0x87)));
    for (qos, packet_id, expected) in [(1, 4, reason::SUCCESS), (2, 5, 0x87)] {
        publish(&mut client, packet_id, qos, None).await;
        assert_eq!(client.next().await.unwrap().reason(), expected);
    }
}

#[tokio::test]
async fn a_stored_session_is_resumed() {
    let stored = StoredSession { unreleased: [9].into(), releases: vec![7] };
    let broker = ScriptedBroker::start(Script { stored_session: Some(stored), ..Script::default() }).await.unwrap();
    let mut client = Client::open(broker.address(), Version::V5).await;
    assert_eq!(client.connect("me").await.unwrap().body[..2], [1, reason::SUCCESS]);
    let release = client.next().await.unwrap();
    assert_eq!((release.kind, release.packet_id()), (PacketKind::Pubrel, Some(7)));
    client.send(&packet::acknowledgement(PacketKind::Pubcomp, 7, 0)).await;
    publish(&mut client, 9, 2, None).await;
    assert_eq!(client.next().await.unwrap().kind, PacketKind::Pubrec);
    assert_eq!(broker.inspect(|recording| (recording.completed.clone(), recording.messages.len())), (vec![7], 0));
    for (packet_id, expected) in [(9, reason::SUCCESS), (10, reason::PACKET_IDENTIFIER_NOT_FOUND)] {
        client.send(&packet::acknowledgement(PacketKind::Pubrel, packet_id, 0)).await;
        assert_eq!(client.next().await.unwrap().reason(), expected);
    }
    client.send(&packet::acknowledgement(PacketKind::Pubcomp, 7, 0)).await;
    broker.wait_until(|recording| recording.violations.len() == 1).await;
}

#[tokio::test]
async fn the_connection_ends_after_its_first_message() {
    let script = Script { disconnect_after_message: Some(0x8b), ..Script::default() };
    let broker = ScriptedBroker::start(script).await.unwrap();
    let (mut client, _) = connect(&broker, Version::V5).await;
    publish(&mut client, 1, 1, None).await;
    assert_eq!(client.next().await.unwrap().kind, PacketKind::Puback);
    let last = client.next().await.unwrap();
    assert_eq!((last.kind, last.reason()), (PacketKind::Disconnect, 0x8b));
    assert_eq!(client.next().await, None);
}

#[tokio::test]
async fn a_second_client_of_the_same_id_takes_the_session_over() {
    let broker = ScriptedBroker::start(Script::default()).await.unwrap();
    let (mut first, _) = connect(&broker, Version::V5).await;
    let (mut second, _) = connect(&broker, Version::V5).await;
    let last = first.next().await.unwrap();
    assert_eq!((last.kind, last.body), (PacketKind::Disconnect, vec![0x8e]));
    broker.send_to_all(&packet::acknowledgement(PacketKind::Puback, 1, 0));
    assert_eq!(second.next().await.unwrap().kind, PacketKind::Puback);
    broker.close_connections();
    assert_eq!(second.next().await, None);
}
