//! Plugins that sign in themselves: tokens renewed without a loss, keys that are wrong for a while, rights, births and
//! farewells, and messages that are too large for their broker.

use serde_json::{Value, json};

use crate::support::broker::{Broker, Setup as BrokerSetup};
use crate::support::device::Device;
use crate::support::gateway::{Gateway, Setup};
use crate::support::guests;
use crate::support::hub::{self, Hub, Seen};
use crate::support::listener::Listener;
use crate::support::within;

const FEED: &str = "plugins/signer.toml";
const KEY_FILE: &str = "plugins/key";

/// The feed's file; `config` are further lines of `[config]`, and tables after it.
fn feed(port: u16, config: &str) -> String {
    format!(
        "[broker]\nurl = \"mqtt://127.0.0.1:{port}\"\n\
         [secrets]\ndevice-key = {{ file = \"key\", encoding = \"base64\" }}\n\
         [config]\nhub = \"{}\"\n{config}\n",
        hub::NAME
    )
}

/// A gateway with that feed alone.
fn setup(device: &Device, feed: String, key: &[u8]) -> Setup {
    let setup = Setup::new().device(device.port()).file("plugins/default.toml", "enabled = false\n");
    setup.file(KEY_FILE, hub::encoded(key)).file(FEED, feed).file("plugins/signer.wasm", guests::signer())
}

/// What the hub has seen: births, and the numbers of events, which come each once and in order.
#[derive(Default)]
struct Followed {
    last: Option<u64>,
    births: u64,
}

impl Followed {
    fn message(&mut self, message: &Value) {
        if let Some(sequence) = message["sequence"].as_u64() {
            if let Some(last) = self.last {
                assert_eq!(sequence, last + 1, "an event is missing, or comes twice");
            }
            self.last = Some(sequence);
        } else {
            self.births += 1;
            // What `connect` counted is in the state, sign-in by sign-in.
            assert_eq!(*message, json!({ "says": "birth", "sign_ins": self.births }));
        }
    }

    async fn event(&mut self, hub: &mut Hub) {
        let message = hub.message().await;
        self.message(&message);
    }
}

fn is_connect(seen: &Seen) -> bool {
    matches!(seen, Seen::Connect { .. })
}

#[tokio::test]
async fn a_token_is_renewed_again_and_again_and_no_event_is_lost_or_repeated() {
    const RENEWALS: u64 = 10;
    let (device, mut hub) = (Device::huawei(), Hub::start().await);
    let gateway = setup(&device, feed(hub.port, "valid_s = 10\nrenew_s = 2"), hub::KEY).run();
    let mut followed = Followed::default();
    let will = Some(json!({ "says": "will" }));
    assert_eq!(hub.next().await, Seen::Connect { device: "device-1".into(), will: will.clone() });
    let mut is_begun = false;
    while followed.births <= RENEWALS || followed.last.is_none() {
        match hub.next().await {
            Seen::Message(message) => {
                // The birth is the first thing in each session.
                assert_eq!(is_begun, message["says"].is_null(), "{message}");
                is_begun = true;
                followed.message(&message);
            }
            Seen::Goodbye => {
                is_begun = false;
                assert_eq!(hub.next().await, Seen::Connect { device: "device-1".into(), will: will.clone() });
            }
            seen => panic!("{seen:?}\n{}", gateway.log()),
        }
    }
    let health = gateway.health().await["feeds"]["signer"].clone();
    assert_eq!((&health["failed_sign_ins"], &health["connected"]), (&json!(0), &json!(true)));
    assert!(health["sign_ins"].as_u64() > Some(RENEWALS), "{health}");
    assert_eq!((gateway.said("not signed in"), gateway.said("SharedAccessSignature")), (0, 0), "{}", gateway.log());
    assert!(gateway.stop().await.success());
    let rest = hub.rest();
    let [said @ .., Seen::Message(farewell), Seen::Goodbye] = &rest[..] else { panic!("{rest:?}") };
    assert_eq!((&farewell["says"], farewell["sign_ins"].as_u64() >= Some(followed.births)), (&json!("farewell"), true));
    for message in said {
        if let Seen::Message(message) = message {
            followed.message(message);
        }
    }
}

#[tokio::test]
async fn a_session_that_is_cut_at_its_expiry_costs_no_event() {
    let (device, mut hub) = (Device::huawei(), Hub::start().await);
    let _gateway = setup(&device, feed(hub.port, "valid_s = 2"), hub::KEY).run();
    let (mut numbers, mut expiries) = (Vec::new(), 0);
    while expiries < 2 || numbers.len() < 30 {
        match hub.next().await {
            Seen::Message(message) => numbers.extend(message["sequence"].as_u64()),
            Seen::Expired => expiries += 1,
            seen => assert!(is_connect(&seen), "{seen:?}"),
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
async fn a_wrong_key_is_refused_until_its_file_is_mended() {
    let (device, mut hub) = (Device::huawei(), Hub::start().await);
    let gateway = setup(&device, feed(hub.port, ""), b"another key").run();
    for _ in 0..2 {
        assert_eq!(hub.next().await, Seen::Refused("another key"));
    }
    gateway.says("not signed in").await;
    let before = gateway.health().await["feeds"]["signer"].clone();
    assert!(before["failed_sign_ins"].as_u64() >= Some(2) && before["connected"] == json!(false), "{before}");
    std::fs::write(gateway.path(KEY_FILE), hub::encoded(hub::KEY)).unwrap();
    within("the mended key", async { while !is_connect(&hub.next().await) {} }).await;
    // The counter in the state rose with each try, and every event since the start is there.
    let birth = hub.message().await;
    assert!(birth["sign_ins"].as_u64() >= Some(3), "{birth}");
    let mut followed = Followed::default();
    for _ in 0..20 {
        followed.event(&mut hub).await;
    }
    assert_eq!(gateway.said("not signed in"), 1, "{}", gateway.log());
}

#[tokio::test]
async fn a_plugin_that_fails_at_its_sign_ins_is_asked_again() {
    for (fails, said, failures) in [("error", "no token yet: error", 0), ("trap", "trapped: ", 2)] {
        let (device, mut hub) = (Device::huawei(), Hub::start().await);
        let config = format!("fails = \"{fails}\"\ntimes = 2");
        let gateway = setup(&device, feed(hub.port, &config), hub::KEY).run();
        gateway.says(said).await;
        assert!(is_connect(&hub.next().await));
        let mut followed = Followed::default();
        for _ in 0..20 {
            followed.event(&mut hub).await;
        }
        let health = gateway.health().await["feeds"]["signer"].clone();
        let counted = (&health["failed_sign_ins"], &health["failures"], &health["sign_ins"]);
        assert_eq!(counted, (&json!(2), &json!(failures), &json!(1)));
        // What a failed call set is gone.
        assert_eq!(followed.births, 1);
    }
}

#[tokio::test]
async fn a_plugin_signs_in_elsewhere_only_with_the_right() {
    let (device, mut here, mut elsewhere) = (Device::huawei(), Hub::start().await, Hub::start().await);
    let config = format!("host = \"localhost\"\nport = {}", elsewhere.port);
    let gateway = setup(&device, feed(here.port, &config), hub::KEY).run();
    gateway.says("no right to sign in at \"localhost\": add it to [rights] connect").await;
    let with_right = feed(here.port, &format!("{config}\n[rights]\nconnect = [\"localhost\"]"));
    replace(&gateway, FEED, &with_right);
    assert!(is_connect(&elsewhere.next().await));
    let mut followed = Followed::default();
    for _ in 0..10 {
        followed.event(&mut elsewhere).await;
    }
    assert_eq!(here.rest(), []);
}

fn replace(gateway: &Gateway, name: &str, content: &str) {
    let part = gateway.path("part");
    std::fs::write(&part, content).unwrap();
    std::fs::rename(part, gateway.path(name)).unwrap();
}

#[tokio::test]
async fn a_removed_feed_takes_its_leave_and_comes_back_with_its_state() {
    let (device, mut hub) = (Device::huawei(), Hub::start().await);
    let gateway = setup(&device, feed(hub.port, ""), hub::KEY).run();
    let mut followed = Followed::default();
    assert!(is_connect(&hub.next().await));
    for _ in 0..10 {
        followed.event(&mut hub).await;
    }
    std::fs::remove_file(gateway.path("plugins/signer.wasm")).unwrap();
    std::fs::remove_file(gateway.path(FEED)).unwrap();
    let farewell = loop {
        let message = hub.message().await;
        if message["says"] == json!("farewell") {
            break message;
        }
        followed.message(&message);
    };
    assert_eq!(farewell["sign_ins"], json!(1));
    assert_eq!(hub.next().await, Seen::Goodbye);
    std::fs::write(gateway.path(FEED), feed(hub.port, "")).unwrap();
    std::fs::write(gateway.path("plugins/signer.wasm"), guests::signer()).unwrap();
    assert!(is_connect(&hub.next().await));
    // The second birth says so, and the events go on where they were.
    for _ in 0..10 {
        followed.event(&mut hub).await;
    }
    assert_eq!(followed.births, 2);
}

#[tokio::test]
async fn the_sites_own_feed_says_nothing_beside_a_plugin_that_signs_in() {
    let (device, mut hub) = (Device::huawei(), Hub::start().await);
    let own = format!("component = \"signer.wasm\"\n{}", feed(hub.port, ""));
    let setup = Setup::new().device(device.port()).file(KEY_FILE, hub::encoded(hub::KEY));
    let setup = setup.file("plugins/default.toml", own).file("plugins/signer.wasm", guests::signer());
    let gateway = setup.file("plugins/signer.toml", "enabled = false\n").run();
    // The hub would end the session at a status message.
    assert_eq!(hub.next().await, Seen::Connect { device: "device-1".into(), will: Some(json!({ "says": "will" })) });
    let mut followed = Followed::default();
    for _ in 0..10 {
        followed.event(&mut hub).await;
    }
    assert!(gateway.stop().await.success());
    let rest = hub.rest();
    assert!(
        matches!(&rest[..], [.., Seen::Message(last), Seen::Goodbye] if last["says"] == json!("farewell")),
        "{rest:?}"
    );
    assert!(!rest.iter().any(|seen| matches!(seen, Seen::Violation(_))), "{rest:?}");
}

#[tokio::test]
async fn a_message_too_large_for_its_broker_is_set_aside_and_the_feed_goes_on() {
    let limit = BrokerSetup { lines: &["max_packet_size 2000"], ..BrokerSetup::default() };
    let (device, broker) = (Device::huawei(), Broker::with(&limit));
    let mut listener = Listener::start(broker.port).await;
    let config = "protocol = \"5\"\npadding = 3000";
    let gateway = setup(&device, feed(broker.port, config), hub::KEY).run();
    // The frames between them are too large; what comes after them comes through.
    for _ in 0..3 {
        let heard = listener.wait("", |heard| !heard.json()["sequence"].is_null()).await;
        assert_eq!(heard.json()["padding"], json!(""));
    }
    gateway.says("is set aside, kept in ").await;
    let health =
        gateway.until("messages set aside", |health| health["feeds"]["signer"]["set_aside"].as_u64() >= Some(5));
    let health = health.await["feeds"]["signer"].clone();
    assert_eq!((&health["refused"], &health["connected"], &health["sign_ins"]), (&json!(0), &json!(true), &json!(1)));
    assert_eq!(gateway.said("is set aside"), 1, "{}", gateway.log());
    let mut kept: Vec<_> = std::fs::read_dir(gateway.path("quarantine/signer")).unwrap().flatten().collect();
    kept.sort_by_key(std::fs::DirEntry::path);
    let kept: Value = serde_json::from_slice(&std::fs::read(kept[0].path()).unwrap()).unwrap();
    let reason = kept["set_aside"].as_str().unwrap();
    assert!(reason.contains("and the broker takes"), "{reason}");
    assert_eq!((&kept["topic"], &kept["qos"]), (&json!("devices/device-1/messages/events/"), &json!(1)));
    assert!(kept["text"].as_str().unwrap().ends_with("xxx\"}"));
}
