//! Scripted brokers: wrong acknowledgements, low limits and broken sessions, each with a feed of its own.

use std::collections::BTreeSet;
use std::time::Duration;

use bessai_simulator::packet::{self, PacketKind};
use bessai_simulator::scripted::{Acknowledgements, HeldOrder, OnV5, Recording, Script, ScriptedBroker};
use tokio::time::Instant;

use super::counting;
use crate::support::device::Device;
use crate::support::gateway::Gateway;
use crate::support::guests::{hostile, hostile_feed};
use crate::support::readings::{DeliveredReadings, count};
use crate::support::{LIMIT, component, long_tests};

/// The most messages that the gateway sends without an acknowledgement.
const WINDOW: usize = 100;

/// Delayed acknowledgements: nearly always some messages are unacknowledged.
pub(super) const DELAYED: Acknowledgements = Acknowledgements::Held(4, HeldOrder::Reversed);

/// A gateway with a feed for each scripted broker; its default feed is off.
pub(super) struct ScriptedFeeds {
    device: Device,
    gateway: Gateway,
    brokers: Vec<(String, ScriptedBroker)>,
}

impl ScriptedFeeds {
    /// Feeds whose name ends in `-311` use 3.1.1, others 5.
    pub(super) async fn start(scripts: Vec<(String, Script)>) -> Self {
        Self::start_with("", scripts).await
    }

    /// The same with further settings of the broker.
    pub(super) async fn start_with(settings: &str, scripts: Vec<(String, Script)>) -> Self {
        let device = Device::counting();
        let wasm = std::fs::read(component("bessai-json")).unwrap();
        let mut setup = counting(&device).file("plugins/default.toml", "enabled = false\n");
        setup = setup.file("plugins/shared.wasm", wasm);
        let mut brokers = Vec::new();
        for (name, script) in scripts {
            let broker = ScriptedBroker::start(script).await.unwrap();
            let protocol = if name.ends_with("-311") { "3.1.1" } else { "5" };
            let feed = format!(
                "component = \"shared.wasm\"\nstart = \"oldest\"\n[broker]\nurl = \"mqtt://{}\"\nprotocol = \"{protocol}\"\n{settings}\n",
                broker.address()
            );
            setup = setup.file(&format!("plugins/{name}.toml"), feed);
            brokers.push((name, broker));
        }
        Self { device, gateway: setup.run(), brokers }
    }

    pub(super) fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    pub(super) fn brokers(&self) -> impl Iterator<Item = &ScriptedBroker> {
        self.brokers.iter().map(|(_, broker)| broker)
    }

    /// Gives all brokers this script.
    pub(super) fn set_script(&self, script: &Script) {
        self.brokers().for_each(|broker| broker.set_script(script.clone()));
    }

    /// Waits until the recording of each broker meets a condition.
    pub(super) async fn wait_until(&self, condition: impl Fn(&Recording) -> bool) {
        let deadline = Instant::now() + LIMIT;
        for (name, broker) in &self.brokers {
            if tokio::time::timeout_at(deadline, broker.wait_until(&condition)).await.is_err() {
                panic!("{name}: timed out waiting for a condition\n{}", self.gateway.log());
            }
        }
    }

    /// Checks that each broker received and acknowledged all readings so far and five more, in order and by the standard.
    pub(super) async fn check_all(&mut self) {
        let wanted = u64::from(self.device.readings()) + 5;
        let (mut failures, deadline) = (Vec::new(), Instant::now() + LIMIT);
        for (name, broker) in &self.brokers {
            if let Err(reason) = wait_for_readings(broker, wanted, deadline).await {
                failures.push(format!("{name}: {reason}"));
            }
            failures.extend(broker.inspect(check).err().map(|reason| format!("{name}: {reason}")));
        }
        assert!(failures.is_empty(), "{}\n{}", failures.join("\n"), self.gateway.log());
    }
}

/// Waits until every reading below this count was acknowledged.
async fn wait_for_readings(broker: &ScriptedBroker, wanted: u64, deadline: Instant) -> Result<(), String> {
    let mut missing = Vec::new();
    let acknowledged = async {
        broker.wait_until(|recording| last_reading(recording) >= Some(wanted)).await;
        loop {
            let acknowledged = broker.inspect(acknowledged_readings);
            missing = (0..wanted).filter(|reading| !acknowledged.contains(reading)).collect();
            if missing.is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let arrived = tokio::time::timeout_at(deadline, acknowledged).await;
    let last = broker.inspect(last_reading);
    arrived.map_err(|_| format!("{last:?} is the last reading, {wanted} was due; never acknowledged: {missing:?}"))
}

/// The readings that need not be sent again.
fn acknowledged_readings(recording: &Recording) -> BTreeSet<u64> {
    recording
        .messages
        .iter()
        .filter(|message| message.is_acknowledged)
        .filter_map(|message| reading(&message.payload))
        .collect()
}

fn reading(payload: &[u8]) -> Option<u64> {
    count(&serde_json::from_slice(payload).ok()?)
}

/// The count in the last telemetry message.
pub(super) fn last_reading(recording: &Recording) -> Option<u64> {
    recording.messages.iter().rev().find_map(|message| reading(&message.payload))
}

/// Checks delivery, with a redelivery allowed for each connection after the first, and the standard.
fn check(recording: &Recording) -> Result<(), String> {
    check_with(recording, DeliveredReadings::default())
}

/// As [`check`], with `readings` that know of kills.
pub(super) fn check_with(recording: &Recording, mut readings: DeliveredReadings) -> Result<(), String> {
    readings.allow_redeliveries(recording.connections.saturating_sub(1));
    for message in recording.messages.iter().filter(|message| message.topic.ends_with("/telemetry")) {
        readings.add_message(&serde_json::from_slice(&message.payload).unwrap())?;
    }
    if recording.violations.is_empty() { Ok(()) } else { Err(recording.violations.join("; ")) }
}

/// Each script in both versions.
fn in_both_versions(scripts: Vec<(&str, Script)>) -> Vec<(String, Script)> {
    let both =
        |(name, script): (&str, Script)| ["5", "311"].map(|version| (format!("{name}-{version}"), script.clone()));
    scripts.into_iter().flat_map(both).collect()
}

#[tokio::test]
async fn acknowledgements_out_of_order_lose_no_reading() {
    let held = |count, order| Script::with_acknowledgements(Acknowledgements::Held(count, order));
    let mut feeds = ScriptedFeeds::start(in_both_versions(vec![
        ("reversed", held(5, HeldOrder::Reversed)),
        ("all-reversed", held(150, HeldOrder::Reversed)),
        ("shuffled", held(7, HeldOrder::Shuffled)),
    ]))
    .await;
    for _ in 0..3 {
        feeds.check_all().await;
        // Some acknowledgements are held back at this time.
        feeds.brokers().for_each(ScriptedBroker::close_connections);
    }
    feeds.check_all().await;
}

#[tokio::test]
async fn duplicate_and_unknown_acknowledgements_are_ignored() {
    let mut feeds = ScriptedFeeds::start(in_both_versions(vec![
        ("twice", Script::with_acknowledgements(Acknowledgements::Twice)),
        ("unknown-ids", Script::with_acknowledgements(Acknowledgements::WithUnknownIds)),
    ]))
    .await;
    feeds.check_all().await;
}

#[tokio::test]
async fn the_window_limits_messages_to_a_broker_that_never_acknowledges() {
    let never = Script::with_acknowledgements(Acknowledgements::Never);
    let mut feeds = ScriptedFeeds::start(in_both_versions(vec![("never", never)])).await;
    feeds.wait_until(|recording| recording.messages.len() >= 20).await;
    if long_tests() {
        // The gateway ends a session after a minute without an acknowledgement.
        tokio::time::sleep(Duration::from_secs(90)).await;
        feeds.wait_until(|recording| recording.connections >= 2).await;
    }
    for broker in feeds.brokers() {
        let first = |recording: &Recording| recording.messages.iter().filter(|message| message.connection == 1).count();
        assert!(
            broker.inspect(first) <= WINDOW,
            "{} messages were sent without an acknowledgement",
            broker.inspect(first)
        );
    }
    feeds.set_script(&Script::default());
    feeds.brokers().for_each(ScriptedBroker::close_connections);
    feeds.check_all().await;
}

#[tokio::test]
async fn the_limits_that_a_broker_announces_are_kept() {
    let held = Acknowledgements::Held(8, HeldOrder::Reversed);
    let mut feeds = ScriptedFeeds::start(vec![
        ("one-5".into(), Script { receive_maximum: Some(1), ..Script::default() }),
        ("three-5".into(), Script { receive_maximum: Some(3), ..Script::with_acknowledgements(held) }),
        ("more-5".into(), Script { receive_maximum: Some(1000), ..Script::with_acknowledgements(held) }),
        ("qos-5".into(), Script { maximum_qos: Some(0), ..Script::default() }),
        ("aliases-5".into(), Script { topic_alias_maximum: Some(1), ..Script::default() }),
        ("packet-5".into(), Script { maximum_packet: Some(400), ..Script::default() }),
        ("retain-5".into(), Script { refuses_retain: true, ..Script::default() }),
    ])
    .await;
    feeds.check_all().await;
    // What was sent with QoS 0 and is still in a socket is lost with the connection.
    let acknowledging = feeds.brokers.iter().filter(|(name, _)| name != "qos-5");
    acknowledging.for_each(|(_, broker)| broker.close_connections());
    feeds.check_all().await;
}

#[tokio::test]
async fn sessions_that_break_off_lose_no_reading() {
    let names = ["garbage", "unknown", "takeover", "closed"];
    let scripts = names.map(|name| (name, Script::with_acknowledgements(DELAYED))).to_vec();
    let mut feeds = ScriptedFeeds::start(in_both_versions(scripts)).await;
    for _ in 0..2 {
        feeds.check_all().await;
        for (name, broker) in &feeds.brokers {
            match name.split('-').next().unwrap() {
                "garbage" => broker.send_to_all(&[0x00, 0xff, 0xff, 0xff]),
                "unknown" => broker.send_to_all(&packet::acknowledgement(PacketKind::Puback, 0xfffe, 0)),
                "takeover" => broker.take_over_sessions(),
                _ => broker.close_connections(),
            }
        }
    }
    feeds.check_all().await;
}

#[tokio::test]
async fn the_version_of_a_broker_without_mqtt_5_is_remembered() {
    let on_v5 = [OnV5::Refuse, OnV5::RefuseAsV311, OnV5::Close];
    let mut brokers = Vec::new();
    let device = Device::counting();
    let mut setup = counting(&device).file("plugins/default.toml", "enabled = false\n");
    setup = setup.file("plugins/shared.wasm", std::fs::read(component("bessai-json")).unwrap());
    for on_v5 in on_v5 {
        let broker = ScriptedBroker::start(Script { on_v5, ..Script::default() }).await.unwrap();
        let feed = format!(
            "component = \"shared.wasm\"\nstart = \"oldest\"\n[broker]\nurl = \"mqtt://{}\"\n",
            broker.address()
        );
        setup = setup.file(&format!("plugins/{on_v5:?}.toml").to_lowercase(), feed);
        brokers.push((format!("{on_v5:?}"), broker));
    }
    let mut feeds = ScriptedFeeds { device, gateway: setup.run(), brokers };
    feeds.check_all().await;
    feeds.brokers().for_each(ScriptedBroker::close_connections);
    feeds.check_all().await;
    for broker in feeds.brokers() {
        let levels =
            broker.inspect(|recording| recording.connects.iter().map(|connect| connect.level).collect::<Vec<_>>());
        assert!(
            levels.starts_with(&[5]) && levels.ends_with(&[4, 4]),
            "the version that worked is remembered: {levels:?}"
        );
    }
}

#[tokio::test]
async fn qos_2_handshakes_follow_the_standard_across_reconnects() {
    let device = Device::counting();
    let mut setup = counting(&device).file("plugins/default.toml", "enabled = false\n");
    setup = setup.file("plugins/hostile.wasm", hostile());
    let held = Acknowledgements::Held(5, HeldOrder::Shuffled);
    let mut brokers = Vec::new();
    for (name, script) in
        in_both_versions(vec![("plain", Script::default()), ("held", Script::with_acknowledgements(held))])
    {
        let broker = ScriptedBroker::start(script).await.unwrap();
        let protocol = if name.ends_with("-311") { "3.1.1" } else { "5" };
        let url =
            format!("[broker]\nurl = \"mqtt://{}\"\nprotocol = \"{protocol}\"\n[limits]\nqos = 2", broker.address());
        setup = setup.file(&format!("plugins/{name}.toml"), hostile_feed("qos2", &url));
        brokers.push((name, broker));
    }
    let feeds = ScriptedFeeds { device, gateway: setup.run(), brokers };
    for wanted in [30, 60] {
        feeds.wait_until(|recording| recording.acknowledged >= wanted).await;
        feeds.brokers().for_each(ScriptedBroker::close_connections);
    }
    feeds.wait_until(|recording| recording.acknowledged >= 90).await;
    for (name, broker) in &feeds.brokers {
        let (violations, all_qos_2) = broker.inspect(|recording| {
            (recording.violations.clone(), recording.messages.iter().all(|message| message.qos == 2))
        });
        assert!(violations.is_empty() && all_qos_2, "{name}: {violations:?}");
    }
}
