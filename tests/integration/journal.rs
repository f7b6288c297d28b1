//! The journal over the life of a site: restarts, new customers that want its past, and people who look into it.

use std::collections::BTreeMap;
use std::process::Output;

use serde_json::{Value, json};

use crate::support::broker::Broker;
use crate::support::component;
use crate::support::device::Device;
use crate::support::gateway::Setup;
use crate::support::guests;
use crate::support::hub::{self, Hub, Seen};
use crate::support::listener::Listener;
use crate::support::plant::Plant;
use crate::support::within;

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn json_of(output: &Output) -> Value {
    serde_json::from_str(&text(output)).unwrap()
}

/// A stopped gateway's journal, as lines of JSON.
fn exported(setup: &Setup, arguments: &[&str]) -> Vec<Value> {
    let output = setup.output(&[&["journal", "export"], arguments].concat());
    text(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_start_goes_on_where_the_last_run_ended() {
    let (device, broker) = (Device::counting(), Broker::start());
    let mut listener = Listener::with(broker.port, "SITE-CL-001/telemetry", None).await;
    let mut setup = Setup::new().device(device.port()).broker(broker.url());
    let mut heard = Vec::new();
    for _ in 0..3 {
        let gateway = setup.run();
        for _ in 0..5 {
            heard.push(listener.next("/telemetry").await.json()["cycle_count"].as_u64().unwrap());
        }
        let (status, stopped) = gateway.stop_for_now().await;
        assert_eq!(status.code(), Some(0));
        setup = stopped;
        let feeds = json_of(&setup.output(&["journal", "feeds", "--json"]));
        assert_eq!((&feeds["default"]["lag"], &feeds["default"]["lost"]), (&json!(0), &json!(0)), "{feeds}");
    }
    assert!(heard.is_sorted_by(|a, b| a < b), "{heard:?}");
    // Every number once, over all three runs, and no gap.
    let events = exported(&setup, &[]);
    let numbers: Vec<_> = events.iter().map(|event| event["sequence"].as_u64().unwrap()).collect();
    assert!(numbers.is_sorted_by(|a, b| a + 1 == *b), "{numbers:?}");
    // The description is told at each start, under the revision that it has.
    let sites: Vec<_> = events.iter().filter_map(|event| event.get("site")).collect();
    assert_eq!(sites.len(), 3);
    assert!(sites.iter().all(|site| *site == sites[0] && site["revision"] == json!(1)));
    let frames = events.iter().filter(|event| event.get("frame").is_some()).count();
    assert!(frames >= heard.len());
}

#[tokio::test]
async fn a_new_customer_gets_everything_that_is_kept_and_the_others_go_on() {
    let mut plant = Plant::start(&[]).await;
    plant.readings(20).await;
    let mut late = plant.echoes("late").await;
    let echoes_as =
        |topic: &str| guests::doing("echo", "").replace("topic = \"echo\"", &format!("topic = \"{topic}\""));
    plant.move_in("late.toml", format!("start = \"oldest\"\n{}", echoes_as("late")));
    let first = late.next().await;
    let until = plant.reading().await;
    let present = late.until(|echo| echo.reading == Some(until)).await;
    // Which was the first event that it echoes: all after it were there, one by one.
    assert!(first.sequence <= 3 && present.sequence > 20, "{first:?} {present:?}");
    plant.all_readings().await;
    // From a time on: nothing that was before.
    let now = text(&plant.gateway.output(&["journal", "ls", "--json"]));
    let now: Value = serde_json::from_str(&now).unwrap();
    let mut since = plant.echoes("since").await;
    plant.move_in("since.toml", format!("start = {}\n{}", now["extent"]["latest"], echoes_as("since")));
    let first = since.next().await;
    assert!(first.sequence >= now["extent"]["last"].as_u64().unwrap(), "{first:?} {now}");
}

#[tokio::test]
async fn an_hour_of_a_site_becomes_a_test_case() {
    let (device, broker) = (Device::counting(), Broker::start());
    let mut listener = Listener::with(broker.port, "SITE-CL-001/telemetry", None).await;
    let gateway = Setup::new().device(device.port()).broker(broker.url()).run();
    let mut heard = BTreeMap::new();
    for _ in 0..10 {
        let message = listener.next("/telemetry").await;
        heard.insert(message.json()["cycle_count"].as_u64().unwrap(), message.payload);
    }
    // While it runs.
    let events = gateway.path("events.jsonl");
    let events = events.to_str().unwrap();
    // Places are saved once a second.
    within("the feed's place", async {
        while json_of(&gateway.output(&["journal", "feeds", "--json"]))["default"]["passed"].is_null() {
            listener.next("/telemetry").await;
        }
    })
    .await;
    let ls = text(&gateway.output(&["journal", "ls"]));
    assert!(ls.contains("being written"), "{ls}");
    assert!(gateway.output(&["journal", "export", "--last", "1h", "--out", events]).status.success());
    let wasm = component("bessai-json");
    let replayed = text(&gateway.output(&["plugin", "replay", wasm.to_str().unwrap(), "--events", events]));
    // The very bytes that the customer got.
    for (reading, payload) in &heard {
        let payload: Value = serde_json::from_str(payload).unwrap();
        let is_it = |line: &str| {
            let line: Value = serde_json::from_str(line).unwrap_or_default();
            line["json"] == payload
        };
        assert!(replayed.lines().any(is_it), "reading {reading} is missing in {replayed}");
    }
    // And a part of it, by numbers.
    let some = text(&gateway.output(&["journal", "export", "--from", "5", "--to", "8"]));
    let numbers: Vec<_> =
        some.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["sequence"].clone()).collect();
    assert_eq!(numbers, [4, 5, 6, 7, 8], "a description in front");
}

#[tokio::test]
async fn what_a_plugin_keeps_outlives_a_kill() {
    let (device, mut hub) = (Device::huawei(), Hub::start().await);
    let settings = format!(
        "[broker]\nurl = \"mqtt://127.0.0.1:{}\"\n[secrets]\ndevice-key = {{ file = \"key\", encoding = \"base64\" }}\n\
         [config]\nhub = \"{}\"\n",
        hub.port,
        hub::NAME
    );
    let setup = Setup::new().device(device.port()).file("plugins/default.toml", "enabled = false\n");
    let setup = setup.file("plugins/key", hub::encoded(hub::KEY)).file("plugins/signer.toml", settings);
    let mut setup = setup.file("plugins/signer.wasm", guests::signer());
    for nth in 1..=4 {
        let gateway = setup.run();
        // What `connect` set is on disk before its CONNECT: the count rises by one with each, however the run ended.
        while !matches!(hub.next().await, Seen::Connect { .. }) {}
        assert_eq!(hub.message().await, json!({ "says": "birth", "sign_ins": nth }), "{}", gateway.log());
        setup = gateway.kill();
    }
}

#[tokio::test]
async fn a_journal_of_a_later_version_is_refused_and_two_gateways_do_not_share_one() {
    let (device, broker) = (Device::huawei(), Broker::start());
    let mut listener = Listener::with(broker.port, "#", None).await;
    let gateway = Setup::new().device(device.port()).broker(broker.url()).run();
    listener.next("/telemetry").await;
    let second = gateway.output(&["run"]);
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(said.contains("in use by another gateway"), "{said}");
    let (_, setup) = gateway.stop_for_now().await;
    let folder = setup.folder().join("journal");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let path = files.filter(|path| path.extension().is_some_and(|ending| ending == "events")).min().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[8] += 1;
    std::fs::write(&path, &bytes).unwrap();
    let refused = setup.output(&["run"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("install the later version again"), "{said}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

#[test]
fn check_says_how_far_back_the_journal_reaches() {
    let setup = Setup::new().device(502).broker("mqtt://localhost");
    let said = text(&setup.output(&["check"]));
    assert!(said.contains("reaches back 3 days (by max_age"), "{said}");
    let setup = setup.file("bessai.toml", "[journal]\nmax_size = \"1MiB\"\nmax_age = \"30d\"\n");
    let said = text(&setup.output(&["check"]));
    assert!(said.contains("h (by max_size"), "{said}");
    let setup = setup.file("bessai.toml", "[journal]\nsync = \"memory\"\n");
    assert!(text(&setup.output(&["check"])).contains("journal: in memory, lost with the process"));
}
