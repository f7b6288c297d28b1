//! `kind` of a broker: what it sets, and settings that it does not go with.

use super::*;

/// A site whose broker has these settings.
fn site(kind: &str, settings: &str) -> Case {
    let text = format!("[broker]\nkind = \"{kind}\"\n{settings}\n");
    Case::new().set("MQTT_BROKER_URL", "").file("bessai.toml", &text)
}

fn broker(kind: &str, settings: &str) -> BrokerConfig {
    site(kind, settings).config().broker.unwrap()
}

/// The warnings about a site's broker.
fn warnings(kind: &str, settings: &str) -> Vec<String> {
    let warnings = site(kind, settings).file("plugins/default.toml", "enabled = false").config().warnings;
    warnings.into_iter().filter(|warning| warning.starts_with("broker.")).collect()
}

#[test]
fn a_kind_sets_what_nothing_else_sets() {
    let url = "url = \"mqtts://b.example\"";
    let of = |kind| {
        let BrokerConfig { habits, in_flight, protocol, .. } = broker(kind, url);
        let status = habits.status_topic_of(Some("S/system/status".into()));
        assert_eq!(status, habits.will_of(Some("S/system/status".into())));
        (habits.retain, habits.max_packet, in_flight, protocol, status.is_some())
    };
    let auto = ProtocolChoice::Auto;
    assert_eq!(of("aws-iot"), (true, None, 100, auto, true));
    assert_eq!(of("azure-iot-hub"), (false, None, 16, ProtocolChoice::Only(Protocol::V311), false));
    assert_eq!(of("event-grid"), (false, Some(524_288), 100, auto, true));
    assert_eq!(of("hivemq-cloud"), (true, None, 100, auto, true));
    assert_eq!(of("mosquitto"), (true, None, 20, auto, true));
}

#[test]
fn a_kind_applies_to_a_url_in_a_variable() {
    let case = Case::new().file("bessai.toml", "[broker]\nkind = \"mosquitto\"");
    assert_eq!(case.config().broker.unwrap().in_flight, 20);
    let case = Case::new().file("bessai.toml", "[broker]\nkind = \"aws-iot\"").set("MQTT_CLIENT_ID", &"x".repeat(129));
    let mistakes = case.mistakes();
    assert!(mistakes[0].starts_with("MQTT_CLIENT_ID = \"xxx") && mistakes.len() == 1, "{mistakes:?}");
}

#[test]
fn explicit_settings_apply_instead() {
    let settings =
        "url = \"mqtts://b.example\"\nretain = true\nmax_packet = 1048576\nin_flight = 7\nstatus_topic = \"a\"";
    let broker = broker("event-grid", settings);
    assert_eq!((broker.habits.retain, broker.habits.max_packet, broker.in_flight), (true, Some(1_048_576), 7));
    assert_eq!(broker.habits.status_topic_of(None).as_deref(), Some("a"));
}

#[test]
fn aws_on_port_443_is_asked_for_by_alpn() {
    let alpn = |url: &str, more: &str| {
        let case = site("aws-iot", &format!("url = \"{url}\"\n{more}")).file("c", "x").file("k", "x");
        case.config().broker.unwrap().tls.unwrap().alpn
    };
    let with_certificate = "cert = \"c\"\nkey = \"k\"";
    assert_eq!(alpn("mqtts://a.example:443", with_certificate).as_deref(), Some("x-amzn-mqtt-ca"));
    assert_eq!(alpn("mqtts://a.example:443", "").as_deref(), Some("mqtt"));
    assert_eq!(alpn("mqtts://a.example:443", "alpn = \"mqtt\"\ncert = \"c\"\nkey = \"k\"").as_deref(), Some("mqtt"));
    assert_eq!(alpn("mqtts://a.example:8883", with_certificate), None);
    assert_eq!(alpn("wss://a.example:443", ""), None);
}

#[test]
fn settings_that_a_kind_does_not_accept_are_mistakes() {
    let check = |kind: &str, setting: &str, expected: &str| {
        let mistakes = site(kind, &format!("url = \"mqtts://a.example\"\n{setting}")).mistakes();
        assert_eq!(mistakes, [expected], "{kind} {setting}");
    };
    let name = "AWS IoT Core allows at most";
    check(
        "aws-iot",
        "keep_alive = \"1201s\"",
        &format!("broker.keep_alive = \"1201s\": {name} \"1200s\"; write that or less"),
    );
    check(
        "aws-iot",
        "session_expiry = \"8d\"",
        &format!("broker.session_expiry = \"691200s\": {name} \"604800s\"; write that or less"),
    );
    check("aws-iot", "in_flight = 101", &format!("broker.in_flight = 101: {name} 100; write that or less"));
    let id = "x".repeat(129);
    check(
        "aws-iot",
        &format!("client_id = \"{id}\""),
        &format!("broker.client_id = \"{id}\": has 129 bytes, and AWS IoT Core allows 128; write a shorter one"),
    );
    check(
        "aws-iot",
        "status_topic = \"$SYS/status\"",
        "broker.status_topic = \"$SYS/status\": AWS IoT Core takes no messages to topics that begin with $, except $aws/; write \
         another topic, or false",
    );
    check(
        "aws-iot",
        "alpn = \"h2\"",
        "broker.alpn = \"h2\": AWS IoT Core knows \"x-amzn-mqtt-ca\" or \"mqtt\" only; write one of them",
    );
    check(
        "azure-iot-hub",
        "protocol = \"5\"",
        "broker.protocol = \"5\": Azure IoT Hub speaks MQTT 3.1.1 only; remove it",
    );
    check(
        "azure-iot-hub",
        "will = \"S/lost\"",
        "broker.will = \"S/lost\": Azure IoT Hub takes messages to its own topics only, such as devices/+/messages/events/; write \
         another topic, or false",
    );
    check(
        "azure-iot-hub",
        "keep_alive = \"20m\"",
        "broker.keep_alive = \"1200s\": Azure IoT Hub allows at most \"1177s\"; write that or less",
    );
    check(
        "event-grid",
        "max_packet = 1048577",
        "broker.max_packet = 1048577: Azure Event Grid allows at most 1048576 bytes; write that or less",
    );
    let mistakes = site("aws", "url = \"mqtts://a.example\"").mistakes();
    assert!(mistakes[0].starts_with("broker.kind = \"aws\": write \"aws-iot\" or \"azure-iot-hub\""), "{mistakes:?}");
}

#[test]
fn what_a_kind_only_does_without_is_warned_of() {
    let check =
        |kind: &str, settings: &str, expected: &[&str]| assert_eq!(warnings(kind, settings), expected, "{kind}");
    check("aws-iot", "url = \"mqtts://a.example\"", &[]);
    check(
        "aws-iot",
        "url = \"mqtt://192.168.1.2\"",
        &[
            "broker.url: AWS IoT Core accepts TLS only; write mqtts:// or wss://",
            "broker.url: AWS IoT Core needs its host name in the TLS handshake; write the name, not the address, or set server_name",
        ],
    );
    check(
        "azure-iot-hub",
        "url = \"mqtts://a.example:443\"\nretain = true\nclient_id = \"d\"",
        &[
            "broker.retain: Azure IoT Hub retains no message; remove it",
            "broker.url: Azure IoT Hub's port 443 is for WebSockets; write wss://a.example:443/$iothub/websocket",
        ],
    );
    check(
        "azure-iot-hub",
        "url = \"wss://a.example/mqtt\"\nusername = \"a.example/d/?api-version=2021-04-12\"",
        &[
            "broker.client_id: for Azure IoT Hub it is the name of the device there; set it",
            "broker.url: the path of Azure IoT Hub's WebSocket is /$iothub/websocket",
        ],
    );
    check(
        "hivemq-cloud",
        "url = \"mqtts://a.example\"\nusername = \"u\"",
        &["broker.username: HiveMQ Cloud accepts no anonymous clients; set user name and password"],
    );
    check("hivemq-cloud", "url = \"mqtts://u:p@a.example\"", &[]);
    let warnings = site("azure-iot-hub", "url = \"mqtts://a.example\"\nclient_id = \"d\"").config().warnings;
    assert!(warnings.iter().any(|warning| warning.contains("write `enabled = false` in default.toml")), "{warnings:?}");
}

#[test]
fn a_feeds_own_limits_are_compared_with_the_kind_of_its_broker() {
    let feed = |limits: &str| {
        let text = format!("[broker]\nkind = \"aws-iot\"\nurl = \"mqtts://a.example\"\n[limits]\n{limits}");
        Case::new().file("plugins/a.wasm", "").file("plugins/a.toml", &text)
    };
    assert_eq!(feed("qos = 2").mistakes(), ["a.toml: limits.qos = 2: AWS IoT Core accepts QoS 1 at most; write 1"]);
    assert_eq!(
        feed("rate = \"200/s\"").config().warnings,
        [
            "a.toml: limits.rate: AWS IoT Core takes 100 messages/s, so no more than 90/s are sent; write \"90/s\" or less"
        ]
    );
    assert_eq!(feed("rate = \"50/s\"\nqos = 1").config().warnings, Vec::<String>::new());
}
