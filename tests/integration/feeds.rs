//! Customers' plugins beside the site's own feed.

use serde_json::json;

use crate::support::broker::Broker;
use crate::support::component;
use crate::support::device::Device;
use crate::support::gateway::Setup;
use crate::support::listener::Listener;
use crate::support::within;

/// A component to drop in: the shipped one serves as anybody's.
fn wasm() -> Vec<u8> {
    std::fs::read(component("bessai-json")).unwrap()
}

#[tokio::test]
async fn a_dropped_in_plugin_runs_beside_the_sites_own() {
    let (device, ours, theirs) = (Device::huawei(), Broker::start(), Broker::start());
    let settings = format!("[broker]\nurl = \"{}\"\n[config]\nchannels = \"all\"\n", theirs.url());
    let setup = Setup::new().device(device.port()).broker(ours.url());
    let setup = setup.file("plugins/acme.wasm", wasm()).file("plugins/acme.toml", settings);
    let mut at_ours = Listener::start(ours.port).await;
    let mut at_theirs = Listener::start(theirs.port).await;
    let _gateway = setup.run();
    let standard = at_ours.next("/telemetry").await.json();
    assert!(standard.get("ac_voltage").is_none());
    let all = at_theirs.next("/telemetry").await.json();
    assert_eq!(all["ac_voltage"], json!(0.0));
    assert!(theirs.log().contains("bessai-SITE-CL-001-acme"), "{}", theirs.log());
    assert!(!theirs.log().contains("system/status"), "the status topic belongs to the site's own feed");
}

#[tokio::test]
async fn a_feed_publishes_only_where_it_has_the_right() {
    let (device, broker) = (Device::huawei(), Broker::start());
    let own = Broker::start();
    let settings = format!("[broker]\nurl = \"{}\"\n[rights]\ntopics = [\"SITE-CL-001/safety\"]\n", own.url());
    let setup = Setup::new().device(device.port()).broker(broker.url());
    let mut listener = Listener::start(own.port).await;
    let gateway = setup.file("plugins/acme.wasm", wasm()).file("plugins/acme.toml", settings).run();
    let first = listener.next("").await;
    let second = listener.next("").await;
    assert_eq!((first.topic.as_str(), second.topic.as_str()), ("SITE-CL-001/safety", "SITE-CL-001/safety"));
    assert_eq!(gateway.said("add it to [rights] topics"), 1, "{}", gateway.log());
}

#[tokio::test]
async fn a_feed_sees_only_the_devices_that_it_may_read() {
    let (first, second, broker) = (Device::huawei(), Device::huawei(), Broker::start());
    second.set("soc_pct", 33.3);
    let device = |name: &str, port: u16| {
        format!("[[device]]\nname = \"{name}\"\naddress = \"tcp://127.0.0.1:{port}\"\nperiod = \"100ms\"\n")
    };
    let settings = device("one", first.port()) + &device("two", second.port());
    let setup = Setup::new().broker(broker.url()).file("bessai.toml", settings);
    let setup = setup.file("plugins/default.toml", "[rights]\nread = [\"two\"]\n");
    let mut listener = Listener::start(broker.port).await;
    let _gateway = setup.run();
    // The only device that the feed knows of is its first.
    for _ in 0..5 {
        assert_eq!(listener.next("SITE-CL-001/telemetry").await.json()["soc_pct"], json!(33.3));
    }
}

#[tokio::test]
async fn files_that_are_no_plugins_are_named_and_the_rest_runs() {
    let (device, broker) = (Device::huawei(), Broker::start());
    let truncated = wasm()[..5000].to_vec();
    let setup = Setup::new().device(device.port()).broker(broker.url());
    let setup = setup.file("plugins/text.wasm", "hello, world").file("plugins/core.wasm", b"\0asm\x01\0\0\0");
    let mut listener = Listener::start(broker.port).await;
    let gateway = setup.file("plugins/cut.wasm", truncated).run();
    listener.next("/telemetry").await;
    for said in
        ["text.wasm is a text file", "core.wasm is a core WebAssembly module", "cut.wasm is cut off after 5000 bytes"]
    {
        gateway.says(said).await;
    }
}

#[tokio::test]
async fn a_plugin_that_refuses_its_settings_is_switched_off_visibly() {
    let (device, broker) = (Device::huawei(), Broker::start());
    let setup = Setup::new().device(device.port()).broker(broker.url()).file("plugins/acme.wasm", wasm());
    let gateway = setup.file("plugins/acme.toml", "[config]\ncolour = \"blue\"\n").run();
    gateway.says("config.colour is unknown: write channels").await;
    gateway.says("switched off").await;
    let off = gateway.health().await["feeds"]["acme"]["off"].clone();
    assert!(off.as_str().unwrap().contains("colour"), "{off}");
}

#[tokio::test]
async fn a_start_counts_when_the_file_is_mended_that_names_it() {
    let (device, broker) = (Device::huawei(), Broker::start());
    // Nobody is there: all that it is to get waits.
    let nowhere = format!("mqtt://127.0.0.1:{}", crate::support::free_port());
    let settings = |start: &str| {
        format!("component = \"../elsewhere/a.wasm\"\n{start} = \"oldest\"\n[broker]\nurl = \"{nowhere}\"\n")
    };
    let setup = Setup::new().device(device.port()).broker(broker.url()).file("elsewhere/a.wasm", wasm());
    let gateway = setup.file("plugins/default.toml", "").run();
    gateway.until("a reading", |health| health["frames"].as_u64() > Some(0)).await;
    std::fs::write(gateway.path("plugins/a.toml"), settings("strat")).unwrap();
    gateway.says("did you mean `start`").await;
    gateway.until("a few readings", |health| health["frames"].as_u64() > Some(30)).await;
    std::fs::write(gateway.path("plugins/a.toml"), settings("start")).unwrap();
    let is_behind = |health: &serde_json::Value| health["feeds"]["a"]["lag"].as_u64() > Some(30);
    let health = gateway.until("the feed", is_behind).await;
    assert_eq!(health["journal"]["trouble"], json!(null));
    assert_eq!(health["feeds"]["a"]["lost"], json!(0));
}

#[tokio::test]
async fn the_gateway_ends_also_while_a_plugin_is_being_read() {
    let (device, broker) = (Device::huawei(), Broker::start());
    let setup = Setup::new().device(device.port()).broker(broker.url()).file("plugins/slow.toml", "");
    // Reading it waits for ever, as on a network drive that is gone.
    let pipe = setup.folder().join("plugins/slow.wasm");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
    let mut listener = Listener::start(broker.port).await;
    let gateway = setup.run();
    within("the site's own feed", listener.next("/telemetry")).await;
    assert!(gateway.stop().await.success());
}
