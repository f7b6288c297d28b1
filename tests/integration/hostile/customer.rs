//! A customer who owns the plugin and the broker: whatever the two do together, every other feed receives every event in
//! order, the main loop never waits, and the gateway's memory stays bounded.

use bessai_simulator::scripted::{Acknowledgements, Script, ScriptedBroker};
use serde_json::json;

use crate::support::guests::hostile_feed;
use crate::support::site::{EchoStream, TestSite};
use crate::support::small_disk::SmallDisk;
use crate::support::within;

/// Readings of the neighbours that a test looks at: twenty seconds of a device that is read ten times a second.
const READINGS: usize = 200;
/// The most memory that a hostile broker may cost the gateway.
const MEMORY_MARGIN_KB: u64 = 24 << 10;

/// A feed of the hostile plugin with a broker of its own.
async fn feed(behaviour: &str, script: Script, more: &str) -> (ScriptedBroker, String) {
    let broker = ScriptedBroker::start(script).await.unwrap();
    let settings = format!("[broker]\nurl = \"mqtt://{}\"\n{more}", broker.address());
    (broker, hostile_feed(behaviour, &settings))
}

/// A gateway with these feeds, beside the default feed and a working customer's, whose events are returned too.
async fn site(feeds: &[(&str, &str)]) -> (TestSite, EchoStream) {
    let mut files: Vec<_> = feeds.iter().map(|(name, file)| (format!("{name}.toml"), (*file).to_owned())).collect();
    files.push(("working.toml".into(), hostile_feed("echo", "")));
    let files: Vec<_> = files.iter().map(|(name, content)| (name.as_str(), content.clone())).collect();
    let site = TestSite::start(&files).await;
    let echoes = site.echoes("echo").await;
    (site, echoes)
}

/// Both neighbours receive every reading, in order.
async fn neighbours_receive_everything(site: &mut TestSite, echoes: &mut EchoStream) {
    site.readings(READINGS).await;
    let now = site.reading().await;
    echoes.wait_for(|echo| echo.reading == Some(now)).await;
    site.undisturbed().await;
}

#[tokio::test]
async fn a_thousand_messages_a_call_that_the_broker_does_not_take_delay_nobody() {
    let script = Script { maximum_packet: Some(20), ..Script::default() };
    let (_broker, file) = feed("thousand", script, "").await;
    let (mut site, mut echoes) = site(&[("acme", &file)]).await;
    site.feed("acme", |feed| feed["set_aside"].as_u64() >= Some(1)).await;
    neighbours_receive_everything(&mut site, &mut echoes).await;
    let acme = site.feed("acme", |_| true).await;
    let files = std::fs::read_dir(site.gateway.path("quarantine/acme")).unwrap().count() as u64;
    let stored = acme["set_aside"].as_u64().unwrap();
    // One more may be on its way to the disk, or be there and not counted yet.
    assert!(files.abs_diff(stored) <= 10 && stored < 1000, "{files} files: {acme}");
    assert_eq!((&acme["delivered"], &acme["off"]), (&json!(0), &json!(null)), "{acme}");
    // The feed slows itself down: what it cannot store yet waits in the journal.
    assert!(acme["lag"].as_u64() >= Some(READINGS as u64), "{acme}");
    site.gateway.assert_logged_once("quarantined a message in").await;
}

#[tokio::test]
async fn brokers_that_hardly_take_anything_delay_nobody() {
    let never = Script::with_acknowledgements(Acknowledgements::Never);
    let one = Script { receive_maximum: Some(1), ..Script::default() };
    let closing = Script { disconnect_after_message: Some(0x80), ..Script::default() };
    let mut brokers = Vec::new();
    let mut files = Vec::new();
    for (name, script) in [("never", never), ("one", one), ("closing", closing), ("willing", Script::default())] {
        let (broker, file) = feed("thousand", script, "").await;
        brokers.push(broker);
        files.push((name, file));
    }
    let files: Vec<_> = files.iter().map(|(name, file)| (*name, file.as_str())).collect();
    let (mut site, mut echoes) = site(&files).await;
    for broker in &brokers {
        within("a message", broker.wait_until(|recording| !recording.messages.is_empty())).await;
    }
    neighbours_receive_everything(&mut site, &mut echoes).await;
    for (name, _) in &files {
        let feed = site.feed(name, |_| true).await;
        assert_eq!((&feed["off"], &feed["set_aside"]), (&json!(null), &json!(0)), "{name}: {feed}");
    }
}

/// Packets that no broker may send to a client that never subscribes, and what the log says about each.
fn forbidden() -> [(&'static str, Vec<u8>, &'static str); 6] {
    let aliases: Vec<u8> = (1..=u16::MAX)
        .flat_map(|alias| {
            let [high, low] = alias.to_be_bytes();
            [[0x30, 8, 0, 1, b'a', 3, 35].as_slice(), &[high, low, b'p']].concat()
        })
        .collect();
    let suback = [&[0x90, 0xc3, 0x9a, 0x0c, 0, 1, 0][..], &[0x80; 200_000]].concat();
    let large = [&[0x40, 0xc0, 0x9a, 0x0c, 0, 1, 0][..], &[0; 200_000]].concat();
    [
        ("aliases", aliases, "a PUBLISH with a topic alias, and this client accepts none"),
        ("suback", suback, "a SUBACK, and this client never subscribes"),
        ("large", large, "a PUBACK of 200000 bytes; at most 16384 are accepted"),
        ("cut", vec![0x40, 4, 0, 1, 0, 0x80], "a PUBACK that is cut off"),
        ("huge", vec![0x30, 0xff, 0xff, 0xff, 0x7f], "a PUBLISH of 268435455 bytes; at most 1052672 are accepted"),
        ("unknown", vec![0x40, 2, 0xff, 0xfe], "an acknowledgement of packet id 65534, which is not in use"),
    ]
}

#[tokio::test]
async fn packets_that_no_broker_may_send_end_the_session_at_once_and_cost_no_memory() {
    let mut feeds = Vec::new();
    for (name, packets, expected) in forbidden() {
        let (broker, file) = feed("echo", Script::default(), "protocol = \"5\"\n").await;
        feeds.push((name, packets, expected, broker, file));
    }
    let files: Vec<_> = feeds.iter().map(|(name, _, _, _, file)| (*name, file.as_str())).collect();
    let (mut site, mut echoes) = site(&files).await;
    for (name, ..) in &feeds {
        site.feed(name, |feed| feed["delivered"].as_u64() >= Some(1)).await;
    }
    let before = site.gateway.peak_memory_kb();
    for (name, packets, expected, broker, _) in &feeds {
        for _ in 0..2 {
            let sign_ins = site.feed(name, |feed| feed["connected"] == json!(true)).await["sign_ins"].clone();
            broker.send_to_all(packets);
            let again = site.feed(name, |feed| feed["sign_ins"].as_u64() > sign_ins.as_u64()).await;
            assert_eq!(again["off"], json!(null), "{again}");
        }
        let line = format!("ended the session with {}, which sent {expected}", broker.address());
        site.gateway.wait_for_log(&line).await;
    }
    let grown = site.gateway.peak_memory_kb().saturating_sub(before);
    assert!(grown < MEMORY_MARGIN_KB, "the gateway needed {grown} KiB more");
    // A few lines for each end of a session, and none for each part of a packet.
    let lines = site.gateway.log().lines().count();
    assert!(lines < 100, "{}", site.gateway.log());
    neighbours_receive_everything(&mut site, &mut echoes).await;
}

#[tokio::test]
async fn a_flood_of_packets_without_meaning_delays_nobody() {
    let (broker, file) = feed("echo", Script::default(), "").await;
    let (mut site, mut echoes) = site(&[("acme", &file)]).await;
    site.feed("acme", |feed| feed["delivered"].as_u64() >= Some(1)).await;
    let before = site.gateway.peak_memory_kb();
    for _ in 0..8 {
        broker.send_to_all(&[0xd0, 0].repeat(128 << 10));
    }
    neighbours_receive_everything(&mut site, &mut echoes).await;
    let grown = site.gateway.peak_memory_kb().saturating_sub(before);
    assert!(grown < MEMORY_MARGIN_KB, "the gateway needed {grown} KiB more");
    let acme = site.feed("acme", |feed| feed["lag"].as_u64() < Some(20)).await;
    assert_eq!((&acme["sign_ins"], &acme["lost"]), (&json!(1), &json!(0)), "{acme}");
}

#[tokio::test]
async fn a_plugin_that_uses_more_than_its_share_of_the_processor_waits() {
    let (_broker, file) = feed("busy", Script::default(), "[limits]\nprocessor = \"10%\"\ncall = \"30s\"\n").await;
    let (mut site, mut echoes) = site(&[("acme", &file)]).await;
    let acme = site.feed("acme", |feed| feed["throttled_s"].as_f64() > Some(0.0)).await;
    assert!(acme["cpu_share"].as_f64() > Some(0.0) && acme["off"].is_null(), "{acme}");
    neighbours_receive_everything(&mut site, &mut echoes).await;
    let working = site.feed("working", |_| true).await;
    assert_eq!(working["throttled_s"], json!(0.0), "{working}");
    let acme = site.feed("acme", |_| true).await;
    assert!(acme["lag"].as_u64() > Some(0) && acme["lost"] == json!(0), "{acme}");
}

#[tokio::test]
async fn a_full_quarantine_disk_makes_its_feed_wait_and_loses_nothing() {
    let folder = crate::support::folder();
    let Some(disk) = SmallDisk::mount(&folder.path().join("data"), 32) else { return };
    let quarantine = disk.path().join("quarantine");
    std::fs::create_dir(&quarantine).unwrap();
    disk.fill();
    let (_broker, file) = feed("trap-on", Script::default(), "").await;
    let file = file.replace("[broker]", "value = 0.02\n[broker]");
    let mut site = TestSite::with(|setup| {
        std::os::unix::fs::symlink(&quarantine, setup.folder().join("quarantine")).unwrap();
        setup.file("plugins/hostile.wasm", crate::support::guests::hostile()).file("plugins/acme.toml", file)
    })
    .await;
    let acme = site.feed("acme", |feed| feed["quarantine_trouble"].is_string()).await;
    assert_eq!((&acme["set_aside"], &acme["off"]), (&json!(0), &json!(null)), "{acme}");
    assert_eq!(site.gateway.health().await["status"], "degraded");
    site.undisturbed().await;
    site.gateway.assert_logged_once("failed to write to the quarantine").await;
    disk.free();
    let acme = site.feed("acme", |feed| feed["set_aside"] == json!(1) && feed["lag"].as_u64() < Some(20)).await;
    assert_eq!((&acme["quarantine_trouble"], &acme["lost"]), (&json!(null), &json!(0)), "{acme}");
    assert_eq!(std::fs::read_dir(quarantine.join("acme")).unwrap().count(), 1);
    site.undisturbed().await;
    drop(site);
    drop(disk);
}
