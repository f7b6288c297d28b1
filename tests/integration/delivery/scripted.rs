//! Brokers that acknowledge badly, grant little or break off, each with a feed of its own.

use std::collections::BTreeSet;
use std::time::Duration;

use bessai_simulator::packet::{self, Kind};
use bessai_simulator::scripted::{Acknowledging, Broker, OnV5, Order, Script, Seen};
use serde_json::Value;
use tokio::time::Instant;

use super::counting;
use crate::support::device::Device;
use crate::support::gateway::Gateway;
use crate::support::guests::{doing, hostile};
use crate::support::readings::Readings;
use crate::support::{LIMIT, component, long_tests};

/// Messages that the gateway sends at most before one is acknowledged.
const WINDOW: usize = 100;

/// There are nearly always messages that wait for their acknowledgement.
pub(super) const HESITANT: Acknowledging = Acknowledging::Held(4, Order::Reversed);

/// One gateway with a feed for each scripted broker; the site's own feed is off.
pub(super) struct Customers {
    device: Device,
    gateway: Gateway,
    brokers: Vec<(String, Broker)>,
}

impl Customers {
    /// Names that end in `-311` speak 3.1.1, others 5.
    pub(super) async fn start(scripts: Vec<(String, Script)>) -> Self {
        let device = Device::counting();
        let wasm = std::fs::read(component("bessai-json")).unwrap();
        let mut setup = counting(&device).file("plugins/default.toml", "enabled = false\n");
        setup = setup.file("plugins/shared.wasm", wasm);
        let mut brokers = Vec::new();
        for (name, script) in scripts {
            let broker = Broker::start(script).await.unwrap();
            let protocol = if name.ends_with("-311") { "3.1.1" } else { "5" };
            let feed = format!(
                "component = \"shared.wasm\"\nstart = \"oldest\"\n[broker]\nurl = \"mqtt://{}\"\nprotocol = \"{protocol}\"\n",
                broker.address()
            );
            setup = setup.file(&format!("plugins/{name}.toml"), feed);
            brokers.push((name, broker));
        }
        Self { device, gateway: setup.run(), brokers }
    }

    pub(super) fn brokers(&self) -> impl Iterator<Item = &Broker> {
        self.brokers.iter().map(|(_, broker)| broker)
    }

    /// All brokers behave so from now on.
    pub(super) fn follow(&self, script: &Script) {
        self.brokers().for_each(|broker| broker.follow(script.clone()));
    }

    /// Waits until that has happened at each broker.
    pub(super) async fn each_had(&self, wanted: impl Fn(&Seen) -> bool) {
        let deadline = Instant::now() + LIMIT;
        for (name, broker) in &self.brokers {
            if tokio::time::timeout_at(deadline, broker.until(&wanted)).await.is_err() {
                panic!("{name}: it never happened\n{}", self.gateway.log());
            }
        }
    }

    /// Every reading by now, and some more, has come to each broker as promised, within the rules, and was acknowledged.
    pub(super) async fn all(&mut self) {
        let wanted = u64::from(self.device.readings()) + 5;
        let (mut broken, deadline) = (Vec::new(), Instant::now() + LIMIT);
        for (name, broker) in &self.brokers {
            if let Err(reason) = arrives(broker, wanted, deadline).await {
                broken.push(format!("{name}: {reason}"));
            }
            broken.extend(broker.look(check).err().map(|reason| format!("{name}: {reason}")));
        }
        assert!(broken.is_empty(), "{}\n{}", broken.join("\n"), self.gateway.log());
    }
}

/// Waits until every reading below this count was acknowledged.
async fn arrives(broker: &Broker, wanted: u64, deadline: Instant) -> Result<(), String> {
    let mut missing = Vec::new();
    let acknowledged = async {
        broker.until(|seen| last_reading(seen) >= Some(wanted)).await;
        loop {
            let here = broker.look(acknowledged_readings);
            missing = (0..wanted).filter(|reading| !here.contains(reading)).collect();
            if missing.is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let arrived = tokio::time::timeout_at(deadline, acknowledged).await;
    let last = broker.look(last_reading);
    arrived.map_err(|_| format!("{last:?} is the last reading, {wanted} was due; never acknowledged: {missing:?}"))
}

/// What a gateway need not send again.
fn acknowledged_readings(seen: &Seen) -> BTreeSet<u64> {
    seen.taken.iter().filter(|taken| taken.is_acknowledged).filter_map(|taken| reading(&taken.payload)).collect()
}

fn reading(payload: &[u8]) -> Option<u64> {
    serde_json::from_slice::<Value>(payload).ok()?["cycle_count"].as_u64()
}

/// The count in the last telemetry message.
pub(super) fn last_reading(seen: &Seen) -> Option<u64> {
    seen.taken.iter().rev().find_map(|taken| reading(&taken.payload))
}

/// The promise, with a seam for each connection after the first; and the standard.
fn check(seen: &Seen) -> Result<(), String> {
    check_with(seen, Readings::default())
}

/// The same, where kills excuse something.
pub(super) fn check_with(seen: &Seen, mut readings: Readings) -> Result<(), String> {
    readings.seams(seen.connections.saturating_sub(1));
    for taken in seen.taken.iter().filter(|taken| taken.topic.ends_with("/telemetry")) {
        readings.arrived(&serde_json::from_slice(&taken.payload).unwrap())?;
    }
    if seen.violations.is_empty() { Ok(()) } else { Err(seen.violations.join("; ")) }
}

/// Each of these, in both versions.
fn in_both_versions(scripts: Vec<(&str, Script)>) -> Vec<(String, Script)> {
    let both =
        |(name, script): (&str, Script)| ["5", "311"].map(|version| (format!("{name}-{version}"), script.clone()));
    scripts.into_iter().flat_map(both).collect()
}

#[tokio::test]
async fn acknowledgements_out_of_order() {
    let held = |count, order| Script::acknowledging(Acknowledging::Held(count, order));
    let mut customers = Customers::start(in_both_versions(vec![
        ("reversed", held(5, Order::Reversed)),
        ("all-reversed", held(150, Order::Reversed)),
        ("shuffled", held(7, Order::Shuffled)),
    ]))
    .await;
    for _ in 0..3 {
        customers.all().await;
        // In the middle of whatever is held.
        customers.brokers().for_each(Broker::cut);
    }
    customers.all().await;
}

#[tokio::test]
async fn acknowledgements_of_what_is_not_under_way() {
    let mut customers = Customers::start(in_both_versions(vec![
        ("twice", Script::acknowledging(Acknowledging::Twice)),
        ("strangers", Script::acknowledging(Acknowledging::WithStrangers)),
    ]))
    .await;
    customers.all().await;
}

#[tokio::test]
async fn brokers_that_never_acknowledge() {
    let never = Script::acknowledging(Acknowledging::Never);
    let mut customers = Customers::start(in_both_versions(vec![("never", never)])).await;
    customers.each_had(|seen| seen.taken.len() >= 20).await;
    if long_tests() {
        // The gateway itself has enough after a minute.
        tokio::time::sleep(Duration::from_secs(90)).await;
        customers.each_had(|seen| seen.connections >= 2).await;
    }
    for broker in customers.brokers() {
        let first = |seen: &Seen| seen.taken.iter().filter(|taken| taken.connection == 1).count();
        assert!(broker.look(first) <= WINDOW, "{} messages were sent without an acknowledgement", broker.look(first));
    }
    customers.follow(&Script::default());
    customers.brokers().for_each(Broker::cut);
    customers.all().await;
}

#[tokio::test]
async fn what_the_broker_grants_is_kept() {
    let held = Acknowledging::Held(8, Order::Reversed);
    let mut customers = Customers::start(vec![
        ("one-5".into(), Script { receive_maximum: Some(1), ..Script::default() }),
        ("three-5".into(), Script { receive_maximum: Some(3), ..Script::acknowledging(held) }),
        ("more-5".into(), Script { receive_maximum: Some(1000), ..Script::acknowledging(held) }),
        ("qos-5".into(), Script { maximum_qos: Some(0), ..Script::default() }),
        ("aliases-5".into(), Script { topic_alias_maximum: Some(1), ..Script::default() }),
        ("packet-5".into(), Script { maximum_packet: Some(400), ..Script::default() }),
        ("retain-5".into(), Script { refuses_retain: true, ..Script::default() }),
    ])
    .await;
    customers.all().await;
    customers.brokers().for_each(Broker::cut);
    customers.all().await;
}

#[tokio::test]
async fn sessions_that_break_off() {
    let names = ["garbage", "stranger", "taken-over", "cut"];
    let scripts = names.map(|name| (name, Script::acknowledging(HESITANT))).to_vec();
    let mut customers = Customers::start(in_both_versions(scripts)).await;
    for _ in 0..2 {
        customers.all().await;
        for (name, broker) in &customers.brokers {
            match name.split('-').next().unwrap() {
                "garbage" => broker.send(&[0x00, 0xff, 0xff, 0xff]),
                "stranger" => broker.send(&packet::acknowledgement(Kind::Puback, 0xfffe, 0)),
                "taken" => broker.take_over(),
                _ => broker.cut(),
            }
        }
    }
    customers.all().await;
}

#[tokio::test]
async fn a_broker_without_mqtt_5_that_restarts() {
    let on_v5 = [OnV5::Refuse, OnV5::RefuseInOldForm, OnV5::Close];
    let mut brokers = Vec::new();
    let device = Device::counting();
    let mut setup = counting(&device).file("plugins/default.toml", "enabled = false\n");
    setup = setup.file("plugins/shared.wasm", std::fs::read(component("bessai-json")).unwrap());
    for on_v5 in on_v5 {
        let broker = Broker::start(Script { on_v5, ..Script::default() }).await.unwrap();
        let feed = format!(
            "component = \"shared.wasm\"\nstart = \"oldest\"\n[broker]\nurl = \"mqtt://{}\"\n",
            broker.address()
        );
        setup = setup.file(&format!("plugins/{on_v5:?}.toml").to_lowercase(), feed);
        brokers.push((format!("{on_v5:?}"), broker));
    }
    let mut customers = Customers { device, gateway: setup.run(), brokers };
    customers.all().await;
    customers.brokers().for_each(Broker::cut);
    customers.all().await;
    for broker in customers.brokers() {
        let levels = broker.look(|seen| seen.signed_in.iter().map(|sign_in| sign_in.level).collect::<Vec<_>>());
        assert!(levels.starts_with(&[5]) && levels.ends_with(&[4, 4]), "what worked is remembered: {levels:?}");
    }
}

#[tokio::test]
async fn the_handshake_of_qos_2_is_kept() {
    let device = Device::counting();
    let mut setup = counting(&device).file("plugins/default.toml", "enabled = false\n");
    setup = setup.file("plugins/hostile.wasm", hostile());
    let held = Acknowledging::Held(5, Order::Shuffled);
    let mut brokers = Vec::new();
    for (name, script) in in_both_versions(vec![("plain", Script::default()), ("held", Script::acknowledging(held))]) {
        let broker = Broker::start(script).await.unwrap();
        let protocol = if name.ends_with("-311") { "3.1.1" } else { "5" };
        let url =
            format!("[broker]\nurl = \"mqtt://{}\"\nprotocol = \"{protocol}\"\n[limits]\nqos = 2", broker.address());
        setup = setup.file(&format!("plugins/{name}.toml"), doing("qos2", &url));
        brokers.push((name, broker));
    }
    let customers = Customers { device, gateway: setup.run(), brokers };
    for wanted in [30, 60] {
        customers.each_had(|seen| seen.acknowledged >= wanted).await;
        customers.brokers().for_each(Broker::cut);
    }
    customers.each_had(|seen| seen.acknowledged >= 90).await;
    for (name, broker) in &customers.brokers {
        let (violations, all_qos_2) =
            broker.look(|seen| (seen.violations.clone(), seen.taken.iter().all(|taken| taken.qos == 2)));
        assert!(violations.is_empty() && all_qos_2, "{name}: {violations:?}");
    }
}
