//! Sign-ins, readings, batches, methods, the twin and provisioning, with a plugin that runs natively.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use azure_iot_hub::AzureIotHub;
use bessai_plugin::json::{self, Value};
use bessai_plugin::testing::{Harness, START, SiteBuilder, secret, site, stored};
use bessai_plugin::{Action, DeviceStatus, EventBody, Failure, Message, Outcome, Password};

const SECOND: u64 = 1_000_000_000;
/// Seconds since 1970 of the first event.
const START_S: u64 = START / SECOND;

fn battery() -> SiteBuilder {
    site("SITE-1").device("battery", &[("soc_pct", "%"), ("power_kw", "kW")])
}

fn device(config: &str) -> Harness<AzureIotHub> {
    Harness::new(battery(), &format!(r#"{{"device_id":"site001","hub":"hub.azure-devices.net"{config}}}"#)).unwrap()
}

fn text(message: &Message) -> String {
    String::from_utf8(message.payload.clone()).unwrap()
}

#[test]
fn it_signs_in_with_a_token_that_is_renewed_before_it_expires() {
    for (lifetime, seconds, renewed_after) in [("", 3600, 3480), (r#","token_lifetime":"8s""#, 8, 6)] {
        let mut device = device(lifetime);
        secret("device-key", b"", &[0; 32]);
        let to_sign = format!("hub.azure-devices.net%2Fdevices%2Fsite001\n{}", START_S + seconds);
        secret("device-key", to_sign.as_bytes(), &[0xff; 32]);
        let login = device.connect(0).unwrap();
        assert_eq!(login.client_id.as_deref(), Some("site001"));
        let user = "hub.azure-devices.net/site001/?api-version=2021-04-12&DeviceClientType=bessai-edge%2F0.1.0";
        assert_eq!(login.username.as_deref(), Some(user));
        let signature = format!("{}8%3D", "%2F".repeat(42));
        let token = format!(
            "SharedAccessSignature sr=hub.azure-devices.net%2Fdevices%2Fsite001&sig={signature}&se={}",
            START_S + seconds
        );
        assert_eq!(login.password, Some(Password::Text(token)));
        assert_eq!(login.renew_at, Some(START + renewed_after * SECOND));
        assert!(login.will.is_none() && login.endpoint.is_none() && !login.provisioning);
    }
}

#[test]
fn without_a_key_the_certificate_signs_in_and_is_not_renewed() {
    let login = device("").connect(0).unwrap();
    assert_eq!((login.password, login.renew_at, login.client_id.as_deref()), (None, None, Some("site001")));
}

#[test]
fn nothing_is_signed_while_the_clock_is_not_set() {
    let mut device = device("");
    let error = device.at(86_400 * SECOND).connect(0).unwrap_err();
    assert_eq!(
        error,
        "the clock shows 1970-01-02T00:00:00.000Z, so no token can be signed; set it, for example by NTP"
    );
}

#[test]
fn a_reading_is_a_message_with_its_properties() {
    let mut device = device(r#","properties":{"plant":"north + south"}"#);
    let messages = device.frame(&[72.3, f64::NAN]).unwrap();
    assert_eq!(
        messages[0].topic,
        "devices/site001/messages/events/%24.ct=application%2Fjson&%24.ce=utf-8&plant=north%20%2B%20south"
    );
    assert_eq!(text(&messages[0]), r#"{"ts":1740151200.0,"device":"battery","soc_pct":72.3}"#);
    assert!(!messages[0].retain);
    assert_eq!(device.frame(&[f64::NAN, f64::NAN]), Ok(vec![]));
}

fn readings(message: &Message) -> Vec<f64> {
    let Value::Table(members) = json::read(&text(message)).unwrap() else { panic!("{}", text(message)) };
    let Some((_, Value::List(rows))) = members.into_iter().find(|(key, _)| key == "readings") else { panic!() };
    let time = |row: &Value| match row {
        Value::List(values) => match values[0] {
            Value::Number(ts) => ts,
            _ => panic!("{row:?}"),
        },
        _ => panic!("{row:?}"),
    };
    rows.iter().map(time).collect()
}

#[test]
fn batches_lose_and_repeat_nothing_across_restarts() {
    const READINGS: u32 = 500;
    let mut device = device(r#","format":"batch","batch_age":"1h""#);
    let mut seen = Vec::new();
    for nth in 0..READINGS {
        for message in device.frame(&[72.3, f64::from(nth)]).unwrap() {
            let bag = message.topic.strip_prefix("devices/site001/messages/events/").unwrap();
            let size = message.payload.len() + bag.len();
            assert!((3900..=4000).contains(&size), "{size}");
            seen.extend(readings(&message));
        }
        if nth % 7 == 0 {
            device.restart().unwrap();
        }
    }
    let open = stored("batches").unwrap();
    assert!(!open.is_empty());
    device.at(START + 3600 * 2 * SECOND);
    for message in device.event(EventBody::Heartbeat).unwrap() {
        if message.topic.starts_with("devices/") {
            seen.extend(readings(&message));
        }
    }
    let expected: Vec<f64> = (0..READINGS).map(|nth| json::seconds(START) + f64::from(nth)).collect();
    assert_eq!(seen, expected);
    assert_eq!(stored("batches").unwrap(), b"");
}

#[test]
fn a_batch_is_sent_when_it_is_old_enough() {
    let mut device = device(r#","format":"batch","batch_age":"3s""#);
    for _ in 0..3 {
        assert_eq!(device.frame(&[1.0, 2.0]), Ok(vec![]));
    }
    let messages = device.frame(&[1.0, 2.0]).unwrap();
    let rows = "[1740151200.0,1.0,2.0],[1740151201.0,1.0,2.0],[1740151202.0,1.0,2.0]";
    let expected = format!(r#"{{"device":"battery","columns":["ts","soc_pct","power_kw"],"readings":[{rows}]}}"#);
    assert_eq!(text(&messages[0]), expected);
}

#[test]
fn late_readings_do_not_touch_the_open_batch() {
    let mut device = device(r#","format":"batch""#);
    assert_eq!(device.frame(&[1.0, 2.0]), Ok(vec![]));
    let open = stored("batch/0").unwrap();
    device.historical(true).at(START - 3600 * SECOND);
    let late = device.frame(&[3.0, 4.0]).unwrap();
    assert_eq!(readings(&late[0]), [json::seconds(START) - 3600.0]);
    assert_eq!(stored("batch/0").unwrap(), open);
}

/// Blocks of 4 KiB that the hub bills for ten minutes of readings each second, payload and properties counted.
fn billed(format: &str, channels: usize) -> usize {
    let names: Vec<String> = (0..channels).map(|nth| format!("measured_value_{nth}")).collect();
    let channels: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "kW")).collect();
    let config = format!(r#"{{"device_id":"site001","format":"{format}"}}"#);
    let mut device = Harness::<AzureIotHub>::new(site("S").device("battery", &channels), &config).unwrap();
    let values: Vec<f64> = (0_u32..).take(channels.len()).map(|nth| f64::from(nth) * 17.3 - 50.0).collect();
    let mut blocks = 0;
    for _ in 0..600 {
        for message in device.frame(&values).unwrap() {
            let bag = message.topic.rsplit('/').next().unwrap();
            blocks += (message.payload.len() + bag.len()).div_ceil(4096);
        }
    }
    blocks
}

#[test]
fn batches_are_billed_twelve_times_less() {
    for channels in [1, 4, 20] {
        let (single, batched) = (billed("readings", channels), billed("batch", channels));
        assert!(single >= 12 * batched, "{channels} channels: {single} and {batched} blocks");
    }
}

#[test]
fn a_reading_that_no_hub_takes_is_set_aside_with_the_reason() {
    let names: Vec<String> = (0..20_000).map(|nth| format!("channel_{nth}")).collect();
    let channels: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "kW")).collect();
    for format in ["readings", "batch"] {
        let config = format!(r#"{{"device_id":"site001","format":"{format}"}}"#);
        let mut device = Harness::<AzureIotHub>::new(site("S").device("battery", &channels), &config).unwrap();
        let Err(Failure::Reject(why)) = device.frame(&vec![0.1; names.len()]) else { panic!("{format}") };
        assert!(why.starts_with("the reading has ") && why.contains("IoT Hub takes 262144: choose fewer"), "{why}");
    }
}

fn published(actions: &[Action]) -> Vec<(String, String)> {
    let message = |action: &Action| match action {
        Action::Publish(message) => (message.topic.clone(), text(message)),
        other => panic!("{other:?}"),
    };
    actions.iter().map(message).collect()
}

#[test]
fn direct_methods_are_answered() {
    let mut device = device("");
    let answers = published(&device.receive("$iothub/methods/POST/status/?$rid=1a", "null").unwrap());
    assert_eq!(answers[0].0, "$iothub/methods/res/200/?$rid=1a");
    assert!(answers[0].1.contains(r#""site_id":"SITE-1""#), "{}", answers[0].1);
    let answers = published(&device.receive("$iothub/methods/POST/reboot/?$rid=2", "{}").unwrap());
    let why = r#"{"outcome":"refused","reason":"there is no method \"reboot\": call one of status, write"}"#;
    assert_eq!(answers, [("$iothub/methods/res/404/?$rid=2".into(), why.into())]);
    let answers = published(&device.receive("$iothub/methods/POST/write/?$rid=3", r#"{"device":"battery"}"#).unwrap());
    assert_eq!(answers[0].0, "$iothub/methods/res/400/?$rid=3");
    assert!(answers[0].1.contains("device, channel or value is missing"), "{}", answers[0].1);
    let payload = r#"{"device":"battery","channel":"power_kw","value":20,"until_s":60}"#;
    let actions = device.receive("$iothub/methods/POST/write/?$rid=4", payload).unwrap();
    let [Action::Write(proposal)] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!((proposal.channel.as_str(), proposal.until), ("power_kw", Some(START + 60 * SECOND)));
    let answers = device.wrote(&proposal.reference, &Outcome::Refused("not yet".into())).unwrap();
    assert_eq!(answers[0].topic, "$iothub/methods/res/403/?$rid=4");
    assert_eq!(text(&answers[0]), r#"{"outcome":"refused","reason":"not yet"}"#);
}

#[test]
fn messages_from_the_cloud_are_answered_by_telemetry_and_old_ones_refused() {
    let mut device = device("");
    let topic = "devices/site001/messages/devicebound/%24.mid=m%201&%24.to=%2Fdevices%2Fsite001";
    let payload = r#"{"device":"battery","channel":"power_kw","value":null}"#;
    let actions = device.receive(topic, payload).unwrap();
    let [Action::Write(proposal)] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!(proposal.value, None);
    let answer = device.wrote(&proposal.reference, &Outcome::Acknowledged).unwrap();
    assert_eq!(answer[0].topic, "devices/site001/messages/events/%24.cid=m%201&%24.ct=application%2Fjson&%24.ce=utf-8");
    device.historical(true);
    let answers = published(&device.receive(topic, payload).unwrap());
    assert!(answers[0].1.contains("the message may be old"), "{}", answers[0].1);
    let refused = device.receive("devices/other/messages/devicebound/", "{}").unwrap_err();
    assert!(matches!(refused, Failure::Reject(_)), "{refused:?}");
}

const REPORT: &str = "$iothub/twin/PATCH/properties/reported/?$rid=2";

#[test]
fn the_twin_is_read_after_each_sign_in_and_reported_on_change() {
    let mut device = device("");
    for _ in 0..2 {
        let topics: Vec<_> = device.connected().unwrap().into_iter().map(|message| message.topic).collect();
        assert_eq!(topics, ["$iothub/twin/GET/?$rid=1", REPORT]);
    }
    let status = |online| DeviceStatus { device: "battery".into(), online, detail: String::new() };
    let reports = device.event(EventBody::Device(status(true))).unwrap();
    assert_eq!(reports[0].topic, REPORT);
    assert!(text(&reports[0]).contains(r#""devices":[{"name":"battery","online":true}]"#), "{}", text(&reports[0]));
    assert_eq!(device.event(EventBody::Device(status(true))), Ok(vec![]));
    assert_eq!(device.restart().unwrap().event(EventBody::Heartbeat), Ok(vec![]));
    assert_eq!(device.event(EventBody::Device(status(false))).unwrap().len(), 1);
    // What the hub had no time for is repeated.
    assert_eq!(device.receive("$iothub/twin/res/429/?$rid=2", ""), Ok(vec![]));
    assert_eq!(device.receive("$iothub/twin/res/500/?$rid=1", ""), Ok(vec![]));
    let again: Vec<_> = device.event(EventBody::Heartbeat).unwrap().into_iter().map(|message| message.topic).collect();
    assert_eq!(again, ["$iothub/twin/GET/?$rid=1", REPORT]);
    assert_eq!(device.receive("$iothub/twin/res/400/?$rid=2", ""), Ok(vec![]));
    assert_eq!(device.event(EventBody::Heartbeat), Ok(vec![]));
}

#[test]
fn the_twin_chooses_interval_and_channels() {
    let mut device = device("");
    let twin = r#"{"desired":{"interval":"10s","channels":["power_kw"],"$version":4},"reported":{"$version":1}}"#;
    let answers = published(&device.receive("$iothub/twin/res/200/?$rid=1", twin).unwrap());
    assert!(answers[0].1.contains(r#""interval":"10s","channels":["power_kw"],"rejected":null"#), "{}", answers[0].1);
    let mut sent = Vec::new();
    for nth in 0..25 {
        if nth % 4 == 0 {
            device.restart().unwrap();
        }
        sent.extend(device.frame(&[1.0, f64::from(nth)]).unwrap());
    }
    let texts: Vec<_> = sent.iter().map(text).collect();
    assert_eq!(texts.len(), 3, "{texts:?}");
    assert_eq!(texts[1], r#"{"ts":1740151210.0,"device":"battery","power_kw":10.0}"#);
    let change = r#"{"interval":"soon","channels":null,"$version":5}"#;
    let answers = published(&device.receive("$iothub/twin/PATCH/properties/desired/?$version=5", change).unwrap());
    assert!(
        answers[0].1.contains(r#""interval":"10s","channels":null,"rejected":"desired.interval = \"soon\""#),
        "{}",
        answers[0].1
    );
    let removed = r#"{"interval":null,"$version":6}"#;
    device.receive("$iothub/twin/PATCH/properties/desired/?$version=6", removed).unwrap();
    assert_eq!(device.frame(&[1.0, 2.0]).unwrap().len(), 1);
    assert_eq!(device.frame(&[1.0, 2.0]).unwrap().len(), 1);
}

fn provisioned() -> Harness<AzureIotHub> {
    let config = r#"{"provisioning":{"id_scope":"0ne1","registration_id":"reg-1"}}"#;
    Harness::new(battery(), config).unwrap()
}

#[test]
fn a_hub_is_found_by_provisioning_and_kept() {
    let mut device = provisioned();
    let signed = |resource: &str| {
        secret("device-key", format!("{resource}\n{}", START_S + 3600).as_bytes(), &[1; 32]);
    };
    secret("device-key", b"", &[0; 32]);
    signed("0ne1%2Fregistrations%2Freg-1");
    signed("hub-7.azure-devices.net%2Fdevices%2Fdev-1");
    let login = device.connect(0).unwrap();
    assert!(login.provisioning);
    assert_eq!(login.client_id.as_deref(), Some("reg-1"));
    let user = "0ne1/registrations/reg-1/api-version=2019-03-31&ClientVersion=bessai-edge%2F0.1.0";
    assert_eq!(login.username.as_deref(), Some(user));
    let Some(Password::Text(token)) = login.password else { panic!() };
    assert!(token.ends_with("&skn=registration"), "{token}");
    assert_eq!(device.subscriptions()[0].filter, "$dps/registrations/res/#");
    let register = device.connected().unwrap();
    assert_eq!(register[0].topic, "$dps/registrations/PUT/iotdps-register/?$rid=1");
    assert_eq!(text(&register[0]), r#"{"registrationId":"reg-1"}"#);
    let waiting = "$dps/registrations/res/202/?$rid=1&retry-after=3";
    let assigning = r#"{"operationId":"4.d0a671905ea5b2c8.42d78160","status":"assigning"}"#;
    for _ in 0..3 {
        let postponed = device.receive(waiting, assigning).unwrap_err();
        assert!(matches!(postponed, Failure::Retry(_)), "{postponed:?}");
    }
    let asked = published(&device.receive(waiting, assigning).unwrap());
    let operation = "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=2&operationId=4.d0a671905ea5b2c8.42d78160";
    assert_eq!(asked, [(operation.to_owned(), String::new())]);
    let assigned =
        r#"{"status":"assigned","registrationState":{"assignedHub":"hub-7.azure-devices.net","deviceId":"dev-1"}}"#;
    let actions = device.receive("$dps/registrations/res/200/?$rid=2", assigned).unwrap();
    assert_eq!(actions, [Action::SignInAgain]);
    for attempt in [0, 1, 2, 4] {
        let login = device.restart().unwrap().connect(attempt).unwrap();
        let endpoint = login.endpoint.unwrap();
        assert_eq!((endpoint.host.as_str(), endpoint.port), ("hub-7.azure-devices.net", 8883));
        assert!(login.username.unwrap().starts_with("hub-7.azure-devices.net/dev-1/?api-version="));
    }
    assert_eq!(device.frame(&[1.0, 2.0]).unwrap()[0].topic.split('/').nth(1), Some("dev-1"));
    // The hub refuses: the provisioning service is asked again.
    assert!(device.at(START).connect(3).unwrap().provisioning);
}

#[test]
fn a_refused_registration_names_the_reason() {
    let mut device = provisioned();
    assert!(device.connect(0).unwrap().provisioning);
    let body = r#"{"errorCode":404201,"message":"The device registration was not found."}"#;
    assert_eq!(device.receive("$dps/registrations/res/404/?$rid=1", body), Ok(vec![]));
    let log = bessai_plugin::testing::logged();
    assert!(log.last().unwrap().1.contains("\"reg-1\" with 404: The device registration was not found."), "{log:?}");
    assert!(device.connect(0).unwrap().provisioning);
}
