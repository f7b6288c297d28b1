//! Devices that do not answer one block: the others are read, the bad one is split, named and found again.

use std::collections::BTreeMap;

use bessai_simulator::server::{Fault, FaultRule, Server, Transport};
use serde_json::Value;

use super::{device, expected, registers, serve, site, values};
use crate::support::broker::Broker;
use crate::support::gateway::Gateway;
use crate::support::subscriber::Subscriber;

/// Readings in which more than the bad point may be missing, until the gateway has found it.
const LEARNING: usize = 3;
/// Readings that must be right after that.
const READINGS: usize = 10;

/// What devices do instead of answering the block of `energy`, and how the gateway names it.
const FAULTS: [(&str, Fault, &str); 9] = [
    ("silent", Fault::Silence, "no reply"),
    ("function", Fault::Exception(1), "exception 1"),
    ("address", Fault::Exception(2), "exception 2"),
    ("failure", Fault::Exception(4), "exception 4"),
    ("busy", Fault::Exception(6), "exception 6"),
    ("path", Fault::Exception(10), "exception 10"),
    ("target", Fault::Exception(11), "exception 11"),
    ("short", Fault::ShortReply, "expected"),
    ("other", Fault::WrongFunction, "expected"),
];

/// Waits until each device has had so many further readings that `check` has seen.
async fn watch(subscriber: &mut Subscriber, readings: usize, mut check: impl FnMut(&str, usize, &Value)) {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    while counts.len() < FAULTS.len() || counts.values().any(|count| *count < readings) {
        let message = subscriber.next("/telemetry").await;
        // The first device has no name in its topic.
        let name = message.topic.split('/').rev().nth(1).unwrap_or_default();
        let name = if name == "SITE-CL-001" { FAULTS[0].0 } else { name };
        let count = counts.entry(name.to_owned()).or_default();
        check(name, *count, &message.json());
        *count += 1;
    }
}

/// Whether a reading has all values but these, each as expected.
fn has_all_but(missing: &[&str], telemetry: &Value) -> bool {
    let (got, expected) = (values(telemetry), expected(7));
    let is_right = |(name, value): (&String, &Value)| match got.get(name) {
        Some(got) => got.as_f64() == value.as_f64() && !missing.contains(&name.as_str()),
        None => missing.contains(&name.as_str()),
    };
    expected.as_object().unwrap().iter().all(is_right)
}

/// How often the log names the point of a device.
fn mentions(gateway: &Gateway, device: &str) -> usize {
    let is_about = |line: &&str| line.contains("energy at 20") && line.contains(&format!("device={device}"));
    gateway.log().lines().filter(is_about).count()
}

#[tokio::test]
async fn a_point_that_is_not_answered_costs_the_others_nothing() {
    let broker = Broker::start();
    let mut subscriber = Subscriber::start(broker.port).await;
    let servers: Vec<Server> = FAULTS.iter().map(|_| serve(Transport::Tcp, registers([7]))).collect();
    let named = FAULTS.iter().zip(&servers);
    let devices: String =
        named.map(|((name, ..), server)| device(name, &format!("tcp://{}", server.address()), 7, "")).collect();
    let gateway = site(&broker, &devices).run();
    watch(&mut subscriber, READINGS, |name, _, telemetry| {
        assert!(has_all_but(&[], telemetry), "{name}: {telemetry}");
    })
    .await;
    for ((_, fault, _), server) in FAULTS.iter().zip(&servers) {
        server.set_fault_rules([FaultRule::new(*fault).registers(20, 23)]);
    }
    watch(&mut subscriber, 2 * LEARNING, |_, _, _| ()).await;
    watch(&mut subscriber, READINGS, |name, reading, telemetry| {
        assert!(has_all_but(&["energy"], telemetry), "{name}, reading {reading}: {telemetry}: {}", gateway.log());
    })
    .await;
    let health = gateway.health().await;
    for ((name, _, cause), server) in FAULTS.iter().zip(&servers) {
        let shown = &health["devices"][name];
        assert_eq!((&shown["online"], &shown["missing_points"]), (&true.into(), &1.into()), "{name}: {shown}");
        let block = &shown["missing"][0];
        assert_eq!((&block["points"][0], &block["first"]), (&"energy".into(), &20.into()), "{name}: {shown}");
        assert!(block["cause"].as_str().unwrap().contains(cause), "{name}: {shown}");
        assert_eq!(mentions(&gateway, name), 1, "{name}: {}", gateway.log());
        assert!(server.accepted() <= 2, "{name}: {} connections: {}", server.accepted(), gateway.log());
    }
    servers.iter().for_each(|server| server.set_fault(None));
    let healed = |health: &Value| FAULTS.iter().all(|(name, ..)| health["devices"][name]["missing_points"] == 0);
    gateway.wait_for_health("all points", healed).await;
    // The messages from before are still queued.
    let mut complete: BTreeMap<String, usize> = BTreeMap::new();
    while complete.len() < FAULTS.len() || complete.values().any(|count| *count < READINGS) {
        let message = subscriber.next("/telemetry").await;
        let count = complete.entry(message.topic.clone()).or_default();
        *count = if has_all_but(&[], &message.json()) { *count + 1 } else { 0 };
    }
}

#[tokio::test]
async fn points_that_were_never_answered_do_not_keep_the_others_from_being_read() {
    let broker = Broker::start();
    let mut subscriber = Subscriber::start(broker.port).await;
    let server = serve(Transport::Tcp, registers([7]));
    server.set_fault_rules([
        FaultRule::new(Fault::Silence).registers(0, 0),
        FaultRule::new(Fault::Silence).registers(20, 23),
    ]);
    let gateway = site(&broker, &device("box", &format!("tcp://{}", server.address()), 7, "")).run();
    let dead = ["soc_pct", "energy"];
    subscriber.wait_for("SITE-CL-001/telemetry", |message| has_all_but(&dead, &message.json())).await;
    for _ in 0..READINGS {
        let telemetry = subscriber.next("SITE-CL-001/telemetry").await.json();
        assert!(has_all_but(&dead, &telemetry), "{telemetry}: {}", gateway.log());
    }
    let health = gateway.health().await;
    assert_eq!(health["devices"]["box"]["missing_points"], 2, "{health}");
}

#[tokio::test]
async fn a_block_that_is_answered_every_second_time_is_named_once_and_shown_until_it_is_steady() {
    let broker = Broker::start();
    let server = serve(Transport::Tcp, registers([7]));
    let gateway = site(&broker, &device("box", &format!("tcp://{}", server.address()), 7, "")).run();
    gateway.wait_for_log("answers").await;
    server.set_fault_rules([FaultRule::new(Fault::Silence).registers(20, 23).every(2)]);
    let shown = |health: &Value| health["devices"]["box"]["missing"][0].clone();
    let health = gateway.wait_for_health("the block", |health| shown(health)["state"] == "intermittent").await;
    let block = shown(&health);
    let cause = block["cause"].as_str().unwrap();
    assert!(cause.starts_with("answered only sometimes (") && cause.contains("last error: no reply"), "{block}");
    assert!(block["next_try_s"].is_null() && health["devices"]["box"]["online"] == true, "{health}");
    gateway.wait_for_log("energy at 20 is answered only sometimes (").await;
    server.set_fault(None);
    gateway.wait_for_health("all points", |health| health["devices"]["box"]["missing_points"] == 0).await;
    gateway.wait_for_log("answers each read of energy at 20 again").await;
    assert_eq!(mentions(&gateway, "box"), 2, "{}", gateway.log());
    assert!(!gateway.log().contains("between requests"), "{}", gateway.log());
}
