//! The journal of a running site: restarts, feeds that start in the past, export and inspection.

use std::collections::BTreeMap;
use std::process::Output;

use serde_json::{Value, json};

use crate::support::broker::Broker;
use crate::support::component;
use crate::support::device::Device;
use crate::support::gateway::{Gateway, Setup};
use crate::support::guests;
use crate::support::hub::{self, Hub, HubEvent};
use crate::support::readings::count;
use crate::support::site::TestSite;
use crate::support::subscriber::Subscriber;
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
async fn a_restart_continues_where_the_last_run_ended() {
    let (device, broker) = (Device::counting(), Broker::start());
    let mut subscriber = Subscriber::with(broker.port, "SITE-CL-001/telemetry", None).await;
    let mut setup = Setup::new().device(device.port()).broker(broker.url());
    let mut counts = Vec::new();
    for _ in 0..3 {
        let gateway = setup.run();
        for _ in 0..5 {
            counts.push(count(&subscriber.next("/telemetry").await.json()).unwrap());
        }
        let (status, stopped) = gateway.stop_and_keep_setup().await;
        assert_eq!(status.code(), Some(0));
        setup = stopped;
        let feeds = json_of(&setup.output(&["journal", "feeds", "--json"]));
        assert_eq!((&feeds["default"]["lag"], &feeds["default"]["lost"]), (&json!(0), &json!(0)), "{feeds}");
    }
    assert!(counts.is_sorted_by(|a, b| a < b), "{counts:?}");
    // Sequence numbers continue without a gap over all three runs.
    let events = exported(&setup, &[]);
    let numbers: Vec<_> = events.iter().map(|event| event["sequence"].as_u64().unwrap()).collect();
    assert!(numbers.is_sorted_by(|a, b| a + 1 == *b), "{numbers:?}");
    // Each start records the site's description, with the same revision as long as it does not change.
    let sites: Vec<_> = events.iter().filter_map(|event| event.get("site")).collect();
    assert_eq!(sites.len(), 3);
    assert!(sites.iter().all(|site| *site == sites[0] && site["revision"] == json!(1)));
    let frames = events.iter().filter(|event| event.get("frame").is_some()).count();
    assert!(frames >= counts.len());
}

#[tokio::test]
async fn a_new_feed_starts_with_the_oldest_event_while_others_continue() {
    let mut site = TestSite::start(&[]).await;
    site.readings(20).await;
    let mut late = site.echoes("late").await;
    let echoes_as =
        |topic: &str| guests::hostile_feed("echo", "").replace("topic = \"echo\"", &format!("topic = \"{topic}\""));
    site.move_in("late.toml", format!("start = \"oldest\"\n{}", echoes_as("late")));
    let first = late.next().await;
    let newest = site.reading().await;
    let present = late.wait_for(|echo| echo.reading == Some(newest)).await;
    // All events between these two arrived, one by one.
    assert!(first.sequence <= 3 && present.sequence > 20, "{first:?} {present:?}");
    site.all_readings().await;
    // `start` as a time: no earlier event is delivered.
    let now = text(&site.gateway.output(&["journal", "ls", "--json"]));
    let now: Value = serde_json::from_str(&now).unwrap();
    let mut since = site.echoes("since").await;
    site.move_in("since.toml", format!("start = {}\n{}", now["extent"]["latest"], echoes_as("since")));
    let first = since.next().await;
    assert!(first.sequence >= now["extent"]["last"].as_u64().unwrap(), "{first:?} {now}");
}

#[tokio::test]
async fn exported_events_replay_to_the_published_messages() {
    let (device, broker) = (Device::counting(), Broker::start());
    let mut subscriber = Subscriber::with(broker.port, "SITE-CL-001/telemetry", None).await;
    let gateway = Setup::new().device(device.port()).broker(broker.url()).run();
    let mut published = BTreeMap::new();
    for _ in 0..10 {
        let message = subscriber.next("/telemetry").await;
        published.insert(count(&message.json()).unwrap(), message.payload);
    }
    let events = gateway.path("events.jsonl");
    let events = events.to_str().unwrap();
    // Cursors are saved once a second.
    within("the feed's cursor", async {
        while json_of(&gateway.output(&["journal", "feeds", "--json"]))["default"]["passed"].is_null() {
            subscriber.next("/telemetry").await;
        }
    })
    .await;
    let ls = text(&gateway.output(&["journal", "ls"]));
    assert!(ls.contains("being written"), "{ls}");
    assert!(gateway.output(&["journal", "export", "--last", "1h", "--out", events]).status.success());
    let wasm = component("bessai-json");
    let replayed = text(&gateway.output(&["plugin", "replay", wasm.to_str().unwrap(), "--events", events]));
    for (reading, payload) in &published {
        let payload: Value = serde_json::from_str(payload).unwrap();
        let is_it = |line: &str| {
            let line: Value = serde_json::from_str(line).unwrap_or_default();
            line["json"] == payload
        };
        assert!(replayed.lines().any(is_it), "reading {reading} is missing in {replayed}");
    }
    // A range of sequence numbers, preceded by the site's description.
    let some = text(&gateway.output(&["journal", "export", "--from", "5", "--to", "8"]));
    let numbers: Vec<_> =
        some.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["sequence"].clone()).collect();
    assert_eq!(numbers, [4, 5, 6, 7, 8], "the description, then the range");
}

#[tokio::test]
async fn a_plugins_state_survives_a_kill() {
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
        // State that `connect` sets is on disk before CONNECT is sent, so the count rises by one with every kill.
        while !matches!(hub.next().await, HubEvent::Connect { .. }) {}
        assert_eq!(hub.message().await, json!({ "says": "birth", "sign_ins": nth }), "{}", gateway.log());
        setup = gateway.kill();
    }
}

#[tokio::test]
async fn a_journal_that_is_in_use_or_of_a_later_format_is_refused() {
    let (device, broker) = (Device::huawei(), Broker::start());
    let mut subscriber = Subscriber::with(broker.port, "#", None).await;
    let gateway = Setup::new().device(device.port()).broker(broker.url()).run();
    subscriber.next("/telemetry").await;
    let second = gateway.output(&["run"]);
    let error = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(1), "{error}");
    assert!(error.contains("in use by another gateway"), "{error}");
    // Nothing is logged behind a fatal error.
    let last = error.lines().last().unwrap();
    assert!(last.contains("Z ERROR ") && last.ends_with("; exiting with code 1"), "{error}");
    assert_eq!(error.matches("in use by another gateway").count(), 1, "{error}");
    let (_, setup) = gateway.stop_and_keep_setup().await;
    let folder = setup.folder().join("journal");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let path = files.filter(|path| path.extension().is_some_and(|ending| ending == "events")).min().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[8] += 1;
    std::fs::write(&path, &bytes).unwrap();
    let refused = setup.output(&["run"]);
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{error}");
    assert!(error.contains("install the later version again"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

#[test]
fn check_prints_how_far_back_the_journal_reaches() {
    let setup = Setup::new().device(502).broker("mqtt://localhost");
    let printed = text(&setup.output(&["check"]));
    assert!(printed.contains("reaches back 3 days (by max_age"), "{printed}");
    let setup = setup.file("bessai.toml", "[journal]\nmax_size = \"1MiB\"\nmax_age = \"30d\"\n");
    let printed = text(&setup.output(&["check"]));
    assert!(printed.contains("h (by max_size"), "{printed}");
    let setup = setup.file("bessai.toml", "[journal]\nsync = \"memory\"\n");
    assert!(text(&setup.output(&["check"])).contains("journal: in memory, lost with the process"));
}

#[tokio::test]
async fn a_removed_feed_is_shown_as_such_and_can_be_forgotten() {
    let mut site = TestSite::with(|setup| setup.file("plugins/acme.wasm", guests::hostile())).await;
    site.feed("acme", |feed| feed["delivered"].as_u64() >= Some(5)).await;
    let forget = |gateway: &Gateway, arguments: &[&str]| {
        let output = gateway.output(&[&["journal", "forget"], arguments].concat());
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, told) = forget(&site.gateway, &["acme"]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("the feed acme is not removed: delete its files in "), "{told}");
    let feeds = |gateway: &Gateway| json_of(&gateway.output(&["journal", "feeds", "--json"]));
    within("the feed's cursor", async {
        while feeds(&site.gateway)["acme"]["passed"].is_null() {
            site.readings(1).await;
        }
    })
    .await;
    assert_eq!(feeds(&site.gateway)["acme"]["removed"], json!(false));
    std::fs::remove_file(site.plugin_file("acme.wasm")).unwrap();
    site.feed("acme", |feed| feed.is_null()).await;
    site.readings(10).await;
    let listed = feeds(&site.gateway);
    assert_eq!((&listed["acme"]["removed"], &listed["acme"]["lag"]), (&json!(true), &json!(0)), "{listed}");
    assert_eq!(listed["default"]["removed"], json!(false), "{listed}");
    let table = text(&site.gateway.output(&["journal", "feeds"]));
    assert!(table.contains("removed; delete its cursor with `bessai-edge journal forget acme`"), "{table}");
    let (code, told) = forget(&site.gateway, &["acme"]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("a gateway uses ") && told.contains("stop it, forget the feed"), "{told}");
    site.all_readings().await;

    let (_, setup) = site.gateway.stop_and_keep_setup().await;
    let output = setup.output(&["journal", "forget", "acmee"]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("acmee: the journal keeps nothing of a feed of that name; it has acme, default"), "{told}");
    let done = text(&setup.output(&["journal", "forget", "acme"]));
    assert_eq!(done, "the cursor of feed acme and the state of its plugin are deleted\n");
    let listed = json_of(&setup.output(&["journal", "feeds", "--json"]));
    assert!(listed["acme"].is_null() && listed["default"].is_object(), "{listed}");
    // A file of the same name is a new feed, which starts with the next event.
    let gateway = setup.file("plugins/acme.wasm", guests::hostile()).run();
    let is_new = |health: &Value| health["feeds"]["acme"]["delivered"].as_u64() > Some(0);
    gateway.wait_for_health("the new feed", is_new).await;
    assert!(gateway.stop().await.success());
}
