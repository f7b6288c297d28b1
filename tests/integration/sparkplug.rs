//! The plugin sparkplug-b with mosquitto and a host application of other authors, who decode and encode every payload.

use bessai_simulator::server::Fault;
use serde_json::{Value, json};

use crate::support::broker::Broker;
use crate::support::component;
use crate::support::device::Device;
use crate::support::gateway::{Gateway, Setup};
use crate::support::peer::Peer;
use crate::support::root;

/// Milliseconds since 1970 in this and the next decades.
const PLAUSIBLE_MS: std::ops::Range<u64> = 1_750_000_000_000..4_000_000_000_000;

/// A host application, and the order of what it has received.
struct Host {
    peer: Peer,
    /// The sequence number that comes next; none before the first birth.
    due: Option<u64>,
}

impl Host {
    async fn start(port: u16) -> Self {
        let mut peer = Peer::start("sparkplug", "sparkplug_host.py", &[&port.to_string()]);
        assert_eq!(peer.next().await["kind"], "ready");
        Self { peer, due: None }
    }

    /// The next message, checked against what holds for all: quality of service, times and sequence numbers.
    async fn next(&mut self) -> Value {
        let message = self.peer.next().await;
        let kind = message["kind"].as_str().unwrap();
        assert_ne!(kind, "error", "{message}");
        assert_eq!(message["retain"], false, "{message}");
        assert!(PLAUSIBLE_MS.contains(&message["timestamp"].as_u64().unwrap()), "{message}");
        for metric in message["metrics"].as_array().unwrap() {
            assert!(PLAUSIBLE_MS.contains(&metric["timestamp"].as_u64().unwrap()), "{metric}");
            assert_eq!(metric["type"].is_null(), matches!(kind, "NDATA" | "DDATA"), "{metric}");
            assert_eq!(metric["null"], metric["value"].is_null(), "{metric}");
        }
        if kind == "NDEATH" {
            assert_eq!((&message["qos"], &message["seq"]), (&json!(1), &Value::Null), "{message}");
            self.due = None;
            return message;
        }
        let seq = message["seq"].as_u64().unwrap();
        let due = if kind == "NBIRTH" { 0 } else { self.due.expect("a birth first") };
        assert_eq!((&message["qos"], seq), (&json!(0), due), "{message}");
        self.due = Some((seq + 1) % 256);
        message
    }

    /// The next message of this kind; what comes before it is checked too.
    async fn wait_for(&mut self, kind: &str) -> Value {
        loop {
            let message = self.next().await;
            if message["kind"] == kind {
                return message;
            }
        }
    }

    /// The next message, which must be of this kind.
    async fn expect(&mut self, kind: &str) -> Value {
        let message = self.next().await;
        assert_eq!(message["kind"], kind, "{message}");
        message
    }
}

/// The metric of this name.
fn metric<'a>(message: &'a Value, name: &str) -> &'a Value {
    let metrics = message["metrics"].as_array().unwrap();
    metrics.iter().find(|metric| metric["name"] == name).unwrap_or_else(|| panic!("{name} is not in {message}"))
}

fn bd_seq(message: &Value) -> u64 {
    metric(message, "bdSeq")["value"].as_u64().unwrap()
}

/// A gateway whose only feed is the node's.
fn setup(device: &Device, broker: &Broker, config: &str) -> Setup {
    let port = broker.port;
    let feed = format!(
        "[broker]\nurl = \"mqtt://127.0.0.1:{port}\"\n[config]\ngroup_id = \"Solar Plants\"\n{config}\n\
         [rights]\ntopics = [\"spBv1.0/Solar Plants/#\"]\n\
         write = [\"battery/luna_charge_target_soc\"]\nsubscribe = [\"spBv1.0/Solar Plants/NCMD/#\", \"spBv1.0/Solar Plants/DCMD/#\", \"spBv1.0/STATE/#\"]\n"
    );
    let setup = Setup::new().device(device.port()).file("plugins/default.toml", "enabled = false\n");
    let wasm = std::fs::read(component("sparkplug-b")).unwrap();
    setup.file("plugins/scada.toml", feed).file("plugins/scada.wasm", wasm)
}

async fn subscribed(gateway: &Gateway) {
    let is_subscribed = |health: &Value| {
        let subscriptions = &health["feeds"]["scada"]["commands"]["subscriptions"];
        subscriptions["spBv1.0/Solar Plants/NCMD/SITE-CL-001"] == json!("QoS 1")
            && subscriptions["spBv1.0/Solar Plants/DCMD/SITE-CL-001/+"] == json!("QoS 1")
    };
    gateway.wait_for_health("the node's subscriptions", is_subscribed).await;
}

#[tokio::test]
async fn another_implementation_decodes_every_message_of_a_session() {
    let (device, broker) = (Device::huawei(), Broker::start());
    let mut host = Host::start(broker.port).await;
    let gateway = setup(&device, &broker, "").run();
    let birth = host.expect("NBIRTH").await;
    assert_eq!(birth["topic"], "spBv1.0/Solar Plants/NBIRTH/SITE-CL-001");
    assert_eq!((&metric(&birth, "bdSeq")["type"], bd_seq(&birth)), (&json!("INT64"), 0));
    let rebirth = metric(&birth, "Node Control/Rebirth");
    assert_eq!(
        (&rebirth["type"], &rebirth["value"], &rebirth["alias"]),
        (&json!("BOOLEAN"), &json!(false), &Value::Null)
    );
    let described = host.expect("DBIRTH").await;
    assert_eq!(described["topic"], "spBv1.0/Solar Plants/DBIRTH/SITE-CL-001/battery");
    assert_eq!(
        (&metric(&described, "soc_pct")["type"], &metric(&described, "soc_pct")["unit"]),
        (&json!("DOUBLE"), &json!("%"))
    );
    let mut aliases: Vec<_> = [&birth, &described]
        .iter()
        .flat_map(|birth| birth["metrics"].as_array().unwrap())
        .filter_map(|metric| metric["alias"].as_u64())
        .collect();
    let count = aliases.len();
    aliases.sort_unstable();
    aliases.dedup();
    assert_eq!(aliases.len(), count);

    // Every channel that the device has, with its value; the births may contain the first of them already.
    let mut values = std::collections::BTreeMap::new();
    let mut note = |message: &Value| {
        for metric in message["metrics"].as_array().unwrap() {
            values.insert(metric["name"].as_str().unwrap().to_owned(), metric["value"].clone());
        }
        let known = |name: &str| values.get(name).and_then(Value::as_f64);
        let expected = [("soc_pct", 72.3), ("power_kw", -85.5), ("temp_c", 28.1)];
        expected.iter().all(|(name, value)| known(name).is_some_and(|known| (known - value).abs() < 1e-9))
    };
    let mut is_complete = note(&described);
    while !is_complete {
        let data = host.next().await;
        is_complete = data["kind"] == "DDATA" && note(&data);
    }

    changes_are_published_and_commands_answered(&mut host, &device, &gateway).await;
    a_lost_device_dies_and_is_born_again(&mut host, &device).await;

    // A stop publishes the death of this session, once: the will is not published as well.
    assert!(gateway.stop().await.success());
    assert_eq!(bd_seq(&host.wait_for("NDEATH").await), 0);
    drop(host);
    let deaths = broker.log().matches("'spBv1.0/Solar Plants/NDEATH/SITE-CL-001'").count();
    assert_eq!(deaths, 2, "received once, sent once: {}", broker.log());
}

async fn changes_are_published_and_commands_answered(host: &mut Host, device: &Device, gateway: &Gateway) {
    // Only what changes is published, by alias alone.
    device.set("soc_pct", 71.0);
    let changed = loop {
        let data = host.wait_for("DDATA").await;
        if data["metrics"].as_array().unwrap().iter().any(|metric| metric["name"] == "soc_pct") {
            break data;
        }
    };
    assert_eq!(
        (&metric(&changed, "soc_pct")["value"], changed["metrics"].as_array().unwrap().len()),
        (&json!(71.0), 1)
    );

    // A rebirth repeats the births with the last values and the session's bdSeq.
    subscribed(gateway).await;
    host.peer.send("rebirth\tSolar Plants\tSITE-CL-001");
    let again = host.wait_for("NBIRTH").await;
    assert_eq!(bd_seq(&again), 0);
    let described = host.expect("DBIRTH").await;
    assert_eq!(metric(&described, "soc_pct")["value"], json!(71.0));

    // A command for a writable channel is a proposal, which the host refuses.
    host.peer.send("dcmd\tSolar Plants\tSITE-CL-001\tbattery\tluna_charge_target_soc\t80");
    gateway.wait_for_log("a DCMD for battery/luna_charge_target_soc was refused: [control] is off").await;
    host.peer.send("dcmd\tSolar Plants\tSITE-CL-001\tbattery\tnothing\t80");
    gateway.wait_for_log("battery has no metric nothing").await;
}

/// It is born before its data.
async fn a_lost_device_dies_and_is_born_again(host: &mut Host, device: &Device) {
    device.server.set_fault(Some(Fault::Reset));
    let death = host.wait_for("DDEATH").await;
    assert_eq!(death["topic"], "spBv1.0/Solar Plants/DDEATH/SITE-CL-001/battery");
    device.server.set_fault(None);
    // The node may report the missing readings first.
    let mut back = host.next().await;
    while back["kind"] == "NDATA" {
        back = host.next().await;
    }
    assert_eq!(back["kind"], "DBIRTH", "{back}");
    // It may be born before its first reading.
    while metric(&back, "soc_pct")["value"].is_null() {
        back = host.expect("DDATA").await;
    }
    assert_eq!(metric(&back, "soc_pct")["value"], json!(71.0));
}

#[tokio::test]
async fn a_killed_gateway_leaves_its_death_and_is_born_with_the_next_number() {
    let (device, broker) = (Device::counting(), Broker::start());
    let mut host = Host::start(broker.port).await;
    let mut setup = setup(&device, &broker, "");
    for session in 0..3 {
        let gateway = setup.run();
        assert_eq!(bd_seq(&host.wait_for("NBIRTH").await), session);
        host.expect("DBIRTH").await;
        host.wait_for("DDATA").await;
        setup = gateway.kill();
        let death = host.wait_for("NDEATH").await;
        assert_eq!((bd_seq(&death), death["metrics"].as_array().unwrap().len()), (session, 1));
        assert_eq!(metric(&death, "bdSeq")["type"], "INT64");
    }
}

#[tokio::test]
async fn sequence_numbers_begin_again_after_255() {
    let (device, broker) = (Device::counting(), Broker::start());
    let mut host = Host::start(broker.port).await;
    let gateway = setup(&device, &broker, "").with("WATCHDOG_TIMEOUT", "0.01").run();
    host.expect("NBIRTH").await;
    // Host::next checks each number.
    for _ in 0..300 {
        host.wait_for("DDATA").await;
    }
    drop(gateway);
}

#[tokio::test]
async fn a_primary_host_decides_when_the_node_is_born_and_signs_off() {
    let (device, broker) = (Device::counting(), Broker::start());
    let mut host = Host::start(broker.port).await;
    host.peer.send("state\tother\ttrue\t1000");
    host.peer.send("state\tscada\tfalse\t1000");
    let gateway = setup(&device, &broker, "primary_host = \"scada\"").run();
    gateway.wait_for_log("the primary host \"scada\" is not online").await;
    host.peer.send("state\tscada\ttrue\t2000");
    assert_eq!(bd_seq(&host.expect("NBIRTH").await), 0);
    host.expect("DBIRTH").await;
    host.wait_for("DDATA").await;
    // Older news changes nothing.
    host.peer.send("state\tscada\tfalse\t1999");
    gateway.wait_for_log("is older than that of 2000: it is ignored").await;
    host.wait_for("DDATA").await;
    host.peer.send("state\tscada\tfalse\t2000");
    assert_eq!(bd_seq(&host.wait_for("NDEATH").await), 0);
    // It signs in again, and waits.
    gateway.wait_for_log("the primary host is offline: the node signs off and waits for it").await;
    host.peer.send("state\tscada\ttrue\t3000");
    let birth = loop {
        let message = host.next().await;
        if message["kind"] == "NBIRTH" {
            break message;
        }
        assert_eq!(message["kind"], "NDEATH", "{message}");
    };
    assert_eq!(bd_seq(&birth), 1);
}

#[tokio::test]
async fn the_backlog_of_an_outage_is_historical() {
    let (device, mut broker) = (Device::counting(), Broker::start());
    broker.kill();
    let gateway = setup(&device, &broker, "").run();
    // The host calls what is older than 10 s historical.
    let is_old = |health: &Value| health["feeds"]["scada"]["lag_s"].as_f64().is_some_and(|age| age > 11.0);
    gateway.wait_for_health("old readings", is_old).await;
    broker.restart();
    let mut host = Host::start(broker.port).await;
    gateway.wait_for_log("signed in").await;
    let (mut counts, mut historical) = (Vec::new(), Vec::new());
    while historical.last() != Some(&false) || !historical.contains(&true) {
        let data = host.wait_for("DDATA").await;
        let count = metric(&data, "power_kw");
        counts.push((count["value"].as_f64().unwrap() * 1000.0).round());
        historical.push(count["historical"].as_bool().unwrap());
        assert_eq!(count["timestamp"], data["timestamp"]);
    }
    // In order, none missing: first all of the outage, then the present.
    assert!(counts.windows(2).all(|pair| pair[1] == pair[0] + 1.0), "{counts:?}");
    assert!(historical.is_sorted_by_key(|is_historical| !is_historical), "{historical:?}");
}

#[test]
fn every_test_that_the_page_names_exists() {
    let page = std::fs::read_to_string(root().join("docs/plugins/sparkplug-b.md")).unwrap();
    let (_, rules) = page.split_once("| assertions | tests |").unwrap();
    let (rules, _) = rules.split_once("\nNot met").unwrap();
    let sources = std::fs::read_dir(root().join("plugins/sparkplug-b/src")).unwrap().map(|entry| entry.unwrap().path());
    let sources = sources.chain([root().join("tests/integration/sparkplug.rs")]);
    let code: String = sources.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let rows = rules.lines().filter_map(|row| row.trim().strip_suffix('|')?.rsplit_once('|')).skip(1);
    let mut count = 0;
    for (assertions, tests) in rows {
        for test in tests.split(',').map(|test| test.trim().trim_matches('`')) {
            assert!(code.contains(&format!("fn {test}()")), "{test}, which is said to show {assertions}");
            count += 1;
        }
    }
    assert!(count > 20, "{count}");
}
