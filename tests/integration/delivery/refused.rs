//! Brokers that do not accept every message: what they accept arrives, what they refuse is in the quarantine, and `/health`
//! tells them apart.

use bessai_simulator::scripted::{Objection, ObjectionReply, Script, ScriptedBroker};
use serde_json::{Value, json};

use super::speaking;
use crate::support::broker::{Broker, BrokerSetup};
use crate::support::device::Device;
use crate::support::gateway::Gateway;
use crate::support::reading_subscriber::{ReadingSubscriber, Subscription};
use crate::support::readings::DeliveredReadings;
use crate::support::{folder, within};

/// The topic that the tests' brokers object to; the default feed publishes to it every 5 s.
const HEARTBEAT: &str = "/system/heartbeat";

/// Why the first quarantined message of the default feed was refused.
fn quarantined_reason(gateway: &Gateway) -> String {
    let folder = std::fs::read_dir(gateway.path("quarantine/default")).unwrap();
    let entries = folder.map(|entry| serde_json::from_slice::<Value>(&std::fs::read(entry.unwrap().path()).unwrap()));
    let refused: Vec<_> = entries.map(Result::unwrap).collect();
    assert!(refused.iter().all(|entry| entry["topic"].as_str().unwrap().ends_with(HEARTBEAT)), "{refused:?}");
    refused[0]["set_aside"].as_str().unwrap().to_owned()
}

/// Waits until the default feed has learnt that its broker refuses heartbeats.
async fn wait_for_lesson(gateway: &Gateway) -> Value {
    let is_learnt = |health: &Value| {
        let lessons = health["feeds"]["default"]["broker_refuses"].as_array().unwrap();
        lessons.iter().any(|lesson| lesson["topic"].as_str().is_some_and(|topic| topic.ends_with(HEARTBEAT)))
    };
    gateway.wait_for_health("what the broker refuses", |health| is_learnt(health)).await
}

#[tokio::test]
async fn a_topic_that_mosquitto_denies_costs_no_reading() {
    let folder = folder();
    let acl = folder.path().join("acl");
    std::fs::write(&acl, "topic readwrite +/telemetry\ntopic write +/safety\ntopic write +/system/status\n").unwrap();
    let lines = [&*format!("acl_file {}", acl.display())];
    let (device, broker) = (Device::counting(), Broker::with(&BrokerSetup { lines: &lines, ..BrokerSetup::default() }));
    let mut subscriber = ReadingSubscriber::start(Subscription::telemetry(broker.port, 1)).await;
    let gateway = speaking(&device, "5", broker.url()).run();
    let mut readings = DeliveredReadings::default();
    subscriber.receive_all(&mut readings, &device, &gateway).await;
    let health = wait_for_lesson(&gateway).await;
    subscriber.receive_all(&mut readings, &device, &gateway).await;
    let feed = &health["feeds"]["default"];
    assert_eq!(
        (&health["status"], &feed["connected"], &feed["refused"]),
        (&json!("degraded"), &json!(true), &json!(0))
    );
    assert_eq!(feed["sign_ins"], json!(1), "{health}");
    let reason = quarantined_reason(&gateway);
    assert!(reason.starts_with("0x87 not authorized"), "{reason}");
}

#[tokio::test]
async fn a_broker_that_retains_nothing_gets_every_message_in_both_protocols() {
    for protocol in ["3.1.1", "5"] {
        let lines = ["retain_available false"];
        let (device, broker) =
            (Device::counting(), Broker::with(&BrokerSetup { lines: &lines, ..BrokerSetup::default() }));
        let mut subscriber = ReadingSubscriber::start(Subscription::telemetry(broker.port, 1)).await;
        let gateway = speaking(&device, protocol, broker.url()).run();
        let mut readings = DeliveredReadings::default();
        readings.allow_redeliveries(10);
        subscriber.receive_all(&mut readings, &device, &gateway).await;
        let health = gateway.health().await;
        let feed = &health["feeds"]["default"];
        assert_eq!((&feed["set_aside"], &feed["refused"]), (&json!(0), &json!(0)), "{protocol}: {health}");
    }
}

/// Scripted brokers, each with the default feed of a gateway of its own.
async fn start(protocol: &str, reply: ObjectionReply, times: Option<u64>) -> (Device, ScriptedBroker, Gateway) {
    let objection = Some(Objection { topic_end: HEARTBEAT.into(), reply, times });
    let broker = ScriptedBroker::start(Script { objection, ..Script::default() }).await.unwrap();
    let device = Device::counting();
    let gateway = speaking(&device, protocol, format!("mqtt://{}", broker.address())).run();
    (device, broker, gateway)
}

fn received(broker: &ScriptedBroker, topic_end: &str) -> usize {
    broker.inspect(|recording| recording.messages.iter().filter(|message| message.topic.ends_with(topic_end)).count())
}

/// Waits until the broker has so many more messages to that topic.
async fn receives(broker: &ScriptedBroker, topic_end: &str, more: usize) {
    let before = received(broker, topic_end);
    let arrived = broker.wait_until(|recording| {
        recording.messages.iter().filter(|message| message.topic.ends_with(topic_end)).count() >= before + more
    });
    within("messages", arrived).await;
}

#[tokio::test]
async fn a_message_over_which_the_broker_ends_the_session_is_quarantined_in_both_protocols() {
    let checks =
        [("3.1.1", ObjectionReply::Close), ("5", ObjectionReply::Close), ("5", ObjectionReply::Disconnect(0x87))].map(
            |(protocol, reply)| async move {
                let (_device, broker, gateway) = start(protocol, reply, None).await;
                let health = wait_for_lesson(&gateway).await;
                assert_eq!(health["status"], json!("degraded"), "{health}");
                let sign_ins = &gateway.health().await["feeds"]["default"]["sign_ins"];
                let before = sign_ins.as_u64().unwrap();
                // Heartbeats are quarantined without another try.
                gateway
                    .wait_for_health("a second heartbeat", |health| {
                        health["feeds"]["default"]["set_aside"].as_u64() >= Some(2)
                    })
                    .await;
                receives(&broker, "/telemetry", 20).await;
                let after = gateway.health().await;
                // The session after the one that convicted the message may not have begun.
                assert!(
                    after["feeds"]["default"]["sign_ins"].as_u64().unwrap() <= before + 1,
                    "{after}\n{}",
                    gateway.log()
                );
                let reason = quarantined_reason(&gateway);
                assert!(reason.contains("connection closed by") || reason.contains("0x87 not authorized"), "{reason}");
                assert_eq!(received(&broker, HEARTBEAT), 0);
            },
        );
    let [first, second, third] = checks;
    tokio::join!(first, second, third);
}

#[tokio::test]
async fn a_refusal_for_want_of_capacity_loses_and_quarantines_nothing() {
    let checks = [0x80, 0x83, 0x97].map(|code| async move {
        let (_device, broker, gateway) = start("5", ObjectionReply::Reason(code), Some(4)).await;
        receives(&broker, HEARTBEAT, 1).await;
        receives(&broker, "/telemetry", 5).await;
        let health = gateway.health().await;
        let feed = &health["feeds"]["default"];
        assert_eq!(
            (&feed["set_aside"], &feed["refused"], &feed["sign_ins"]),
            (&json!(0), &json!(0), &json!(1)),
            "{health}"
        );
        assert_eq!(health["status"], json!("degraded"), "{health}");
        assert!(broker.inspect(|recording| recording.refused) == 4);
    });
    let [first, second, third] = checks;
    tokio::join!(first, second, third);
}
