//! Plugins that sign in themselves: token renewals, wrong keys, rights, messages at the start and end of a session, and
//! messages that are too large for the broker.

use serde_json::{Value, json};

use crate::support::broker::{Broker, BrokerSetup};
use crate::support::device::Device;
use crate::support::gateway::{Gateway, Setup};
use crate::support::guests;
use crate::support::hub::{self, Hub, HubEvent};
use crate::support::subscriber::Subscriber;
use crate::support::within;

/// The feed's file.
const FEED: &str = "plugins/signer.toml";
/// The file with the key that the plugin signs with.
const KEY_FILE: &str = "plugins/key";

/// The feed's file; `config`: further lines of `[config]`, then further tables.
fn feed(port: u16, config: &str) -> String {
    format!(
        "[broker]\nurl = \"mqtt://127.0.0.1:{port}\"\n\
         [secrets]\ndevice-key = {{ file = \"key\", encoding = \"base64\" }}\n\
         [config]\nhub = \"{}\"\n{config}\n",
        hub::NAME
    )
}

/// A gateway whose only feed is this one.
fn setup(device: &Device, feed: String, key: &[u8]) -> Setup {
    let setup = Setup::new().device(device.port()).file("plugins/default.toml", "enabled = false\n");
    setup.file(KEY_FILE, hub::encoded(key)).file(FEED, feed).file("plugins/signer.wasm", guests::signer())
}

/// The messages at the hub so far: the births, and the events, each of which must arrive once and in order.
#[derive(Default)]
struct EventSequence {
    last: Option<u64>,
    births: u64,
}

impl EventSequence {
    fn add(&mut self, message: &Value) {
        if let Some(sequence) = message["sequence"].as_u64() {
            if let Some(last) = self.last {
                assert_eq!(sequence, last + 1, "an event is missing or repeated");
            }
            self.last = Some(sequence);
        } else {
            self.births += 1;
            // The plugin counts its `connect` calls in its state.
            assert_eq!(*message, json!({ "says": "birth", "sign_ins": self.births }));
        }
    }

    async fn receive(&mut self, hub: &mut Hub) {
        let message = hub.message().await;
        self.add(&message);
    }
}

fn is_connect(event: &HubEvent) -> bool {
    matches!(event, HubEvent::Connect { .. })
}

#[tokio::test]
async fn token_renewals_lose_and_repeat_no_event() {
    // At least this many sessions after the first one.
    const RENEWALS: u64 = 10;
    let (device, mut hub) = (Device::huawei(), Hub::start().await);
    let setup = setup(&device, feed(hub.port, "valid_s = 10\nrenew_s = 2"), hub::KEY);
    let gateway = setup.with("LOG_LEVEL", "TRACE").run();
    let mut sequence = EventSequence::default();
    let will = Some(json!({ "says": "will" }));
    assert_eq!(hub.next().await, HubEvent::Connect { device: "device-1".into(), will: will.clone() });
    let mut is_begun = false;
    while sequence.births <= RENEWALS || sequence.last.is_none() {
        match hub.next().await {
            HubEvent::Message(message) => {
                // The birth is the first message of each session.
                assert_eq!(is_begun, message["says"].is_null(), "{message}");
                is_begun = true;
                sequence.add(&message);
            }
            HubEvent::Disconnect => {
                is_begun = false;
                assert_eq!(hub.next().await, HubEvent::Connect { device: "device-1".into(), will: will.clone() });
            }
            other => panic!("{other:?}\n{}", gateway.log()),
        }
    }
    let health = gateway.health().await["feeds"]["signer"].clone();
    assert_eq!((&health["failed_sign_ins"], &health["connected"]), (&json!(0), &json!(true)));
    assert!(health["sign_ins"].as_u64() > Some(RENEWALS), "{health}");
    assert_eq!(
        (gateway.log_count("retrying in"), gateway.log_count("SharedAccessSignature")),
        (0, 0),
        "{}",
        gateway.log()
    );
    assert_eq!(gateway.log_count(&hub::encoded(hub::KEY)), 0, "{}", gateway.log());
    assert!(gateway.stop().await.success());
    let rest = hub.remaining_events();
    let [events @ .., HubEvent::Message(farewell), HubEvent::Disconnect] = &rest[..] else { panic!("{rest:?}") };
    assert_eq!((&farewell["says"], farewell["sign_ins"].as_u64() >= Some(sequence.births)), (&json!("farewell"), true));
    for event in events {
        if let HubEvent::Message(message) = event {
            sequence.add(message);
        }
    }
}

#[tokio::test]
async fn a_session_closed_at_token_expiry_loses_no_event() {
    let (device, mut hub) = (Device::huawei(), Hub::start().await);
    let _gateway = setup(&device, feed(hub.port, "valid_s = 2"), hub::KEY).run();
    let (mut numbers, mut expiries) = (Vec::new(), 0);
    while expiries < 2 || numbers.len() < 30 {
        match hub.next().await {
            HubEvent::Message(message) => numbers.extend(message["sequence"].as_u64()),
            HubEvent::Expired => expiries += 1,
            other => assert!(is_connect(&other), "{other:?}"),
        }
    }
    let first = numbers[0];
    let mut due = first;
    for number in numbers {
        assert!(number <= due, "event {due} is missing before {number}");
        due = due.max(number + 1);
    }
}

#[tokio::test]
async fn a_feed_signs_in_once_its_wrong_key_is_corrected() {
    let (device, mut hub) = (Device::huawei(), Hub::start().await);
    let gateway = setup(&device, feed(hub.port, ""), b"another key").run();
    for _ in 0..2 {
        assert_eq!(hub.next().await, HubEvent::Refused("another key"));
    }
    gateway.wait_for_log("(0x05 not authorized)").await;
    let before = gateway.health().await["feeds"]["signer"].clone();
    assert!(before["failed_sign_ins"].as_u64() >= Some(2) && before["connected"] == json!(false), "{before}");
    std::fs::write(gateway.path(KEY_FILE), hub::encoded(hub::KEY)).unwrap();
    within("a sign-in with the corrected key", async { while !is_connect(&hub.next().await) {} }).await;
    // The counter in the state rose with each attempt, and every event since the start arrives.
    let birth = hub.message().await;
    assert!(birth["sign_ins"].as_u64() >= Some(3), "{birth}");
    let mut sequence = EventSequence::default();
    for _ in 0..20 {
        sequence.receive(&mut hub).await;
    }
    gateway.assert_logged_once("retrying in").await;
}

#[tokio::test]
async fn a_failed_sign_in_call_is_retried() {
    for (fails, logged, failures) in [("error", "no token yet: error", 0), ("trap", "trapped: ", 2)] {
        let (device, mut hub) = (Device::huawei(), Hub::start().await);
        let config = format!("fails = \"{fails}\"\ntimes = 2");
        let gateway = setup(&device, feed(hub.port, &config), hub::KEY).run();
        gateway.wait_for_log(logged).await;
        assert!(is_connect(&hub.next().await));
        let mut sequence = EventSequence::default();
        for _ in 0..20 {
            sequence.receive(&mut hub).await;
        }
        let health = gateway.health().await["feeds"]["signer"].clone();
        let counted = (&health["failed_sign_ins"], &health["failures"], &health["sign_ins"]);
        assert_eq!(counted, (&json!(2), &json!(failures), &json!(1)));
        // State that a failed call set is discarded.
        assert_eq!(sequence.births, 1);
    }
}

#[tokio::test]
async fn a_plugin_signs_in_at_another_host_only_with_the_right() {
    let (device, mut here, mut elsewhere) = (Device::huawei(), Hub::start().await, Hub::start().await);
    let config = format!("host = \"localhost\"\nport = {}", elsewhere.port);
    let gateway = setup(&device, feed(here.port, &config), hub::KEY).run();
    let refusal = format!("no right to sign in at \"localhost:{}\": add it to [rights] connect", elsewhere.port);
    gateway.wait_for_log(&refusal).await;
    let right = |entry: &str| feed(here.port, &format!("{config}\n[rights]\nconnect = [\"{entry}\"]"));
    // Another port is another broker.
    replace(&gateway, FEED, &right(&format!("localhost:{}", here.port)));
    gateway.wait_for_health("refused sign-ins", |health| health["feeds"]["signer"]["starts"].as_u64() >= Some(2)).await;
    assert_eq!(elsewhere.remaining_events(), []);
    replace(&gateway, FEED, &right(&format!("localhost:{}", elsewhere.port)));
    assert!(is_connect(&elsewhere.next().await));
    let mut sequence = EventSequence::default();
    for _ in 0..10 {
        sequence.receive(&mut elsewhere).await;
    }
    assert_eq!(here.remaining_events(), []);
}

fn replace(gateway: &Gateway, name: &str, content: &str) {
    let part = gateway.path("part");
    std::fs::write(&part, content).unwrap();
    std::fs::rename(part, gateway.path(name)).unwrap();
}

#[tokio::test]
async fn a_removed_feed_closes_its_session_and_resumes_with_its_state() {
    let (device, mut hub) = (Device::huawei(), Hub::start().await);
    let gateway = setup(&device, feed(hub.port, ""), hub::KEY).run();
    let mut sequence = EventSequence::default();
    assert!(is_connect(&hub.next().await));
    for _ in 0..10 {
        sequence.receive(&mut hub).await;
    }
    std::fs::remove_file(gateway.path("plugins/signer.wasm")).unwrap();
    std::fs::remove_file(gateway.path(FEED)).unwrap();
    let farewell = loop {
        let message = hub.message().await;
        if message["says"] == json!("farewell") {
            break message;
        }
        sequence.add(&message);
    };
    assert_eq!(farewell["sign_ins"], json!(1));
    assert_eq!(hub.next().await, HubEvent::Disconnect);
    std::fs::write(gateway.path(FEED), feed(hub.port, "")).unwrap();
    std::fs::write(gateway.path("plugins/signer.wasm"), guests::signer()).unwrap();
    assert!(is_connect(&hub.next().await));
    // The second birth counts two sign-ins, and the events continue at the cursor.
    for _ in 0..10 {
        sequence.receive(&mut hub).await;
    }
    assert_eq!(sequence.births, 2);
}

#[tokio::test]
async fn the_default_feed_publishes_no_status_when_its_plugin_signs_in() {
    let (device, mut hub) = (Device::huawei(), Hub::start().await);
    let own = format!("component = \"signer.wasm\"\n{}", feed(hub.port, ""));
    let setup = Setup::new().device(device.port()).file(KEY_FILE, hub::encoded(hub::KEY));
    let setup = setup.file("plugins/default.toml", own).file("plugins/signer.wasm", guests::signer());
    let gateway = setup.file("plugins/signer.toml", "enabled = false\n").run();
    // A status message would be a violation at the hub.
    assert_eq!(
        hub.next().await,
        HubEvent::Connect { device: "device-1".into(), will: Some(json!({ "says": "will" })) }
    );
    let mut sequence = EventSequence::default();
    for _ in 0..10 {
        sequence.receive(&mut hub).await;
    }
    assert!(gateway.stop().await.success());
    let rest = hub.remaining_events();
    assert!(
        matches!(&rest[..], [.., HubEvent::Message(last), HubEvent::Disconnect] if last["says"] == json!("farewell")),
        "{rest:?}"
    );
    assert!(!rest.iter().any(|seen| matches!(seen, HubEvent::Violation(_))), "{rest:?}");
}

#[tokio::test]
async fn a_message_too_large_for_the_broker_is_quarantined_and_the_feed_continues() {
    let limit = BrokerSetup { lines: &["max_packet_size 2000"], ..BrokerSetup::default() };
    let (device, broker) = (Device::huawei(), Broker::with(&limit));
    let mut subscriber = Subscriber::start(broker.port).await;
    let config = "protocol = \"5\"\npadding = 3000";
    let gateway = setup(&device, feed(broker.port, config), hub::KEY).run();
    // Frames are too large; other events between them are delivered.
    for _ in 0..3 {
        let message = subscriber.wait_for("", |message| !message.json()["sequence"].is_null()).await;
        assert_eq!(message.json()["padding"], json!(""));
    }
    gateway.wait_for_log("quarantined a message in ").await;
    let health = gateway
        .wait_for_health("quarantined messages", |health| health["feeds"]["signer"]["set_aside"].as_u64() >= Some(5));
    let health = health.await["feeds"]["signer"].clone();
    assert_eq!((&health["refused"], &health["connected"], &health["sign_ins"]), (&json!(0), &json!(true), &json!(1)));
    gateway.assert_logged_once("quarantined a message in ").await;
    let mut files: Vec<_> = std::fs::read_dir(gateway.path("quarantine/signer")).unwrap().flatten().collect();
    files.sort_by_key(std::fs::DirEntry::path);
    let stored: Value = serde_json::from_slice(&std::fs::read(files[0].path()).unwrap()).unwrap();
    let reason = stored["set_aside"].as_str().unwrap();
    assert!(reason.contains("and the broker takes"), "{reason}");
    assert_eq!((&stored["topic"], &stored["qos"]), (&json!("devices/device-1/messages/events/"), &json!(1)));
    assert!(stored["text"].as_str().unwrap().ends_with("xxx\"}"));
}

#[tokio::test]
async fn a_removed_secret_is_reported_once_and_again_when_it_is_back() {
    let (device, mut hub) = (Device::huawei(), Hub::start().await);
    let gateway = setup(&device, feed(hub.port, "valid_s = 2"), hub::KEY).run();
    assert!(is_connect(&hub.next().await));
    std::fs::remove_file(gateway.path(KEY_FILE)).unwrap();
    let failed = |count| move |health: &Value| health["feeds"]["signer"]["failed_sign_ins"].as_u64() >= Some(count);
    gateway.wait_for_health("sign-ins without the key", failed(3)).await;
    gateway.assert_logged_once("failed to read a secret: ").await;
    std::fs::write(gateway.path(KEY_FILE), hub::encoded(hub::KEY)).unwrap();
    gateway.wait_for_log("the secret can be read again").await;
    within("a sign-in with the restored key", async { while !is_connect(&hub.next().await) {} }).await;
}
