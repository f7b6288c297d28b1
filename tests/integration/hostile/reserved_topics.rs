//! A plugin on the site's broker publishes, or leaves as its last will, what only the default feed may say.

use serde_json::json;

use crate::support::broker::Broker;
use crate::support::device::Device;
use crate::support::gateway::Setup;
use crate::support::guests;
use crate::support::hub;
use crate::support::site::TestSite;
use crate::support::subscriber::Subscriber;

/// The topic that says whether the battery is safe.
const SAFETY: &str = "SITE-CL-001/safety";

/// A feed that publishes an empty message to a topic for each reading; `more`: further lines.
fn forger(topic: &str, more: &str) -> String {
    format!("component = \"hostile.wasm\"\n{more}\n[config]\ndo = \"qos2\"\ntopic = \"{topic}\"\n")
}

#[tokio::test]
async fn topics_of_the_default_feed_are_published_by_others_only_if_their_rights_list_them() {
    // Another name of the site's broker makes no difference.
    let broker = Broker::start();
    let by_name = format!("[broker]\nurl = \"mqtt://localhost:{}\"", broker.port);
    let mut all = Subscriber::start(broker.port).await;
    let setup = Setup::new().broker(broker.url()).file("plugins/hostile.wasm", guests::hostile());
    let device = Device::huawei();
    let gateway = setup
        .device(device.port())
        .file("plugins/none.toml", forger(SAFETY, ""))
        .file("plugins/wildcard.toml", forger("SITE-CL-001/battery/telemetry", "rights.topics = [\"#\"]"))
        .file("plugins/name.toml", forger("SITE-CL-001/system/status", &by_name))
        .file("plugins/listed.toml", forger("SITE-CL-001/ai/x", "rights.topics = [\"SITE-CL-001/ai/#\"]"))
        .run();
    all.wait_for("SITE-CL-001/ai/x", |message| message.payload.is_empty()).await;
    for (name, topic) in
        [("none", SAFETY), ("wildcard", "SITE-CL-001/battery/telemetry"), ("name", "SITE-CL-001/system/status")]
    {
        let refused = |health: &serde_json::Value| health["feeds"][name]["refused"].as_u64() >= Some(10);
        let health = gateway.wait_for_health("refused messages", refused).await;
        assert_eq!(health["feeds"][name]["delivered"], json!(0), "{name}");
        let sentence = format!("topic \"{topic}\" belongs to the default feed: to allow it all the same, add it to");
        gateway.assert_logged_once(&sentence).await;
        assert!(gateway.log().contains(&format!("[rights] topics, topics = [\"{topic}\"]")), "{}", gateway.log());
    }
    // Everything on the default feed's topics comes from the default feed.
    for _ in 0..20 {
        let message = all.next("").await;
        assert!(message.topic == "SITE-CL-001/ai/x" || !message.payload.is_empty(), "{message:?}");
    }
    let printed = gateway.output(&["check"]);
    let printed = String::from_utf8(printed.stdout).unwrap();
    assert_eq!(printed.matches("needs the default feed's topics listed in [rights] topics").count(), 4, "{printed}");
}

#[tokio::test]
async fn a_last_will_on_a_topic_of_the_default_feed_prevents_the_sign_in() {
    let (device, broker) = (Device::huawei(), Broker::start());
    let feed = |rights: &str| {
        format!(
            "{rights}\n[secrets]\ndevice-key = {{ file = \"key\", encoding = \"base64\" }}\n[config]\ndevice = \"ai\"\n"
        )
    };
    // The plugin's topic, also that of its will, is `devices/<device>/messages/events/`.
    let setup = Setup::new().with("SITE_ID", "devices").device(device.port()).broker(broker.url());
    let setup = setup.file("plugins/key", hub::encoded(hub::KEY)).file("plugins/signer.wasm", guests::signer());
    let gateway = setup.file("plugins/signer.toml", feed("")).run();
    gateway.wait_for_log("the last will: topic \"devices/ai/messages/events/\" belongs to the default feed").await;
    assert!(!broker.log().contains(" as ai "), "{}", broker.log());
    std::fs::write(gateway.path("plugins/signer.toml"), feed("rights.topics = [\"devices/ai/#\"]")).unwrap();
    let signed_in = |health: &serde_json::Value| health["feeds"]["signer"]["connected"] == json!(true);
    gateway.wait_for_health("a sign-in with the right", signed_in).await;
}

#[tokio::test]
async fn any_other_topic_of_the_site_is_free() {
    let mut site = TestSite::start(&[("own.toml", forger("SITE-CL-001/own", ""))]).await;
    site.customers.wait_for("SITE-CL-001/own", |message| message.payload.is_empty()).await;
    site.all_readings().await;
}
