//! Quarantined events and messages are delivered after all when a person has removed the cause.

use serde_json::{Value, json};

use crate::delivery::speaking;
use crate::support::broker::{Broker, BrokerSetup};
use crate::support::device::Device;
use crate::support::gateway::Gateway;
use crate::support::guests::hostile_feed;
use crate::support::reading_subscriber::{ReadingSubscriber, Subscription};
use crate::support::site::TestSite;
use crate::support::{folder, within};

fn requeue(gateway: &Gateway, arguments: &[&str]) -> (bool, String) {
    let output = gateway.output(&[&["feed", "requeue"], arguments].concat());
    let text =
        String::from_utf8_lossy(if output.status.success() { &output.stdout } else { &output.stderr }).into_owned();
    (output.status.success(), text)
}

fn quarantine(gateway: &Gateway, feed: &str) -> Vec<Value> {
    let output = gateway.output(&["feed", "quarantine", feed, "--json"]);
    serde_json::from_slice(&output.stdout).unwrap()
}

fn requeued_files(gateway: &Gateway, feed: &str) -> usize {
    std::fs::read_dir(gateway.path("requeued").join(feed)).map_or(0, Iterator::count)
}

#[tokio::test]
async fn an_event_reaches_the_mended_plugin_and_returns_from_one_that_is_not() {
    let mut site = TestSite::start(&[("acme.toml", hostile_feed("trap-on", "value = 0.02"))]).await;
    site.feed("acme", |feed| feed["set_aside"] == json!(1)).await;
    let [entry] = &quarantine(&site.gateway, "acme")[..] else { panic!("not exactly one is quarantined") };
    let sequence = entry["sequence"].as_u64().unwrap();
    assert_eq!(entry["kind"], json!("event"), "{entry}");
    assert!(entry["reason"].as_str().unwrap().starts_with("trapped"), "{entry}");

    let (is_done, text) = requeue(&site.gateway, &["acme", "--from", &(sequence + 1).to_string()]);
    assert!(!is_done && text.contains(&format!("from event {} on", sequence + 1)), "{text}");
    let (is_done, text) = requeue(&site.gateway, &["acme"]);
    assert!(is_done && text.starts_with("1 of feed acme requeued"), "{text}");
    // The plugin still fails on it.
    site.feed("acme", |feed| feed["requeued"] == json!(1) && feed["set_aside"] == json!(2)).await;
    assert_eq!((quarantine(&site.gateway, "acme").len(), requeued_files(&site.gateway, "acme")), (1, 0));

    std::fs::write(site.gateway.path("plugins/acme.toml"), hostile_feed("echo", "")).unwrap();
    site.echo("echo").await;
    let (is_done, text) = requeue(&site.gateway, &["acme", "--from", &sequence.to_string()]);
    assert!(is_done, "{text}");
    while site.echo("echo").await.sequence != sequence {}
    let feed = site.feed("acme", |feed| feed["requeued"] == json!(2)).await;
    assert_eq!((&feed["set_aside"], &feed["off"]), (&json!(2), &json!(null)), "{feed}");
    assert_eq!((quarantine(&site.gateway, "acme").len(), requeued_files(&site.gateway, "acme")), (0, 0));
    let (is_done, text) = requeue(&site.gateway, &["acme"]);
    assert!(!is_done && text.contains("nothing of feed acme is quarantined"), "{text}");
    let (is_done, text) = requeue(&site.gateway, &["../journal"]);
    assert!(!is_done && text.contains("is not the name of a feed"), "{text}");
    site.undisturbed().await;
}

#[tokio::test]
async fn messages_are_published_once_the_broker_accepts_them() {
    // Where mosquitto refuses the heartbeats, and where it accepts them.
    const REFUSING: &str =
        "topic readwrite +/telemetry\ntopic write +/safety\ntopic write +/system/status\ntopic read #\n";
    const ACCEPTING: &str = "topic readwrite #\n";
    let folder = folder();
    let acl = folder.path().join("acl");
    std::fs::write(&acl, REFUSING).unwrap();
    let lines = [&*format!("acl_file {}", acl.display())];
    let (device, broker) = (Device::counting(), Broker::with(&BrokerSetup { lines: &lines, ..BrokerSetup::default() }));
    let gateway = speaking(&device, "5", broker.url()).run();
    gateway
        .wait_for_health("quarantined heartbeats", |health| health["feeds"]["default"]["set_aside"].as_u64() >= Some(2))
        .await;
    std::fs::write(&acl, ACCEPTING).unwrap();
    broker.reload();
    let subscription = Subscription { filter: "+/system/heartbeat".into(), ..Subscription::telemetry(broker.port, 1) };
    let mut subscriber = ReadingSubscriber::start(subscription).await;
    let entries = quarantine(&gateway, "default");
    let (is_done, text) = requeue(&gateway, &["default"]);
    assert!(is_done, "{text}");
    let stored = entries.iter().map(|entry| entry["sequence"].as_u64().unwrap());
    assert!(stored.clone().is_sorted() && stored.count() >= 2, "{entries:?}");
    let mut arrived = Vec::new();
    while arrived.len() < entries.len() {
        arrived.push(within("a heartbeat", subscriber.next()).await["ts"].clone());
    }
    let count = entries.len() as u64;
    let requeued = |health: &Value| health["feeds"]["default"]["requeued"].as_u64() >= Some(count);
    let health = gateway.wait_for_health("the end of the requeue", requeued).await;
    assert_eq!(health["feeds"]["default"]["broker_refuses"], json!([]), "{health}");
    // A heartbeat between the list and the requeue may still have been refused.
    let left = quarantine(&gateway, "default");
    assert!(!left.iter().any(|entry| entries.contains(entry)), "{left:?} of {entries:?}");
    assert_eq!(requeued_files(&gateway, "default"), 0);
}
