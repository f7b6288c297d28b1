//! The payloads are byte for byte those that existing subscribers parse.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use bessai_json::BessaiJson;
use bessai_plugin::testing::{Harness, SiteBuilder, site};
use bessai_plugin::{Anomaly, Dispatch, EventBody, FaultKind, Frame, Message, Safety, Watchdog};

const CHANNELS: [(&str, &str); 5] =
    [("voltage", "V"), ("soc_pct", "%"), ("power_kw", "kW"), ("temp_c", "Cel"), ("cycle_count", "1")];

fn battery() -> SiteBuilder {
    site("SITE-CL-001").device("battery", &CHANNELS)
}

fn harness() -> Harness<BessaiJson> {
    Harness::new(battery(), "{}").unwrap()
}

fn check(messages: &[Message], topic: &str, payload: &str) {
    let found: Vec<_> = messages.iter().map(|m| (m.topic.as_str(), std::str::from_utf8(&m.payload).unwrap())).collect();
    assert_eq!(found, [(topic, payload)]);
}

#[test]
fn telemetry() {
    let messages = harness().frame(&[230.0, 72.3, -85.5, 28.1, 312.0]).unwrap();
    let payload = r#"{"ts":1740151200.0,"site_id":"SITE-CL-001","soc_pct":72.3,"power_kw":-85.5,"temp_c":28.1,"cycle_count":312}"#;
    check(&messages, "SITE-CL-001/telemetry", payload);
    assert!(!messages[0].retain);
}

#[test]
fn telemetry_omits_channels_without_a_good_value() {
    let messages = harness().frame(&[230.0, 72.3, f64::NAN, 28.14, f64::NAN]).unwrap();
    check(
        &messages,
        "SITE-CL-001/telemetry",
        r#"{"ts":1740151200.0,"site_id":"SITE-CL-001","soc_pct":72.3,"temp_c":28.1}"#,
    );
    let none = harness().frame(&[230.0, f64::NAN, f64::NAN, f64::NAN, f64::NAN]).unwrap();
    assert_eq!(none, []);
}

#[test]
fn stale_values_are_omitted_and_values_out_of_range_published() {
    let fault = |channel, kind| bessai_plugin::Fault { channel, kind };
    let frame = Frame {
        source: 0,
        values: vec![230.0, 101.0, 5.0, 28.0, 312.0],
        faults: vec![fault(1, FaultKind::OutOfRange), fault(2, FaultKind::Stale), fault(4, FaultKind::Stale)],
        texts: Vec::new(),
    };
    let messages = harness().event(EventBody::Frame(frame)).unwrap();
    check(
        &messages,
        "SITE-CL-001/telemetry",
        r#"{"ts":1740151200.0,"site_id":"SITE-CL-001","soc_pct":101.0,"temp_c":28.0}"#,
    );
}

#[test]
fn further_devices_have_their_own_topics_and_sources_without_channels_none() {
    let site = battery().device("meter", &[("power_kw", "kW")]).device("door", &[("open", "1")]);
    let mut harness = Harness::<BessaiJson>::new(site, "{}").unwrap();
    let messages = harness.frame_of(1, &[1.5]).unwrap();
    check(&messages, "SITE-CL-001/meter/telemetry", r#"{"ts":1740151200.0,"site_id":"SITE-CL-001","power_kw":1.5}"#);
    assert_eq!(harness.frame_of(2, &[1.0]).unwrap(), []);
    assert_eq!(harness.frame_of(9, &[1.0]).unwrap(), []);
}

#[test]
fn all_channels_if_configured() {
    let mut harness = Harness::<BessaiJson>::new(battery(), r#"{"channels":"all"}"#).unwrap();
    let messages = harness.frame(&[230.12345, 72.3, -85.5, 28.1, 312.0]).unwrap();
    let payload = r#"{"ts":1740151200.0,"site_id":"SITE-CL-001","soc_pct":72.3,"power_kw":-85.5,"temp_c":28.1,"cycle_count":312,"voltage":230.12345}"#;
    check(&messages, "SITE-CL-001/telemetry", payload);
}

#[test]
fn texts_are_published_with_all_channels() {
    let frame = |text: Option<&str>| Frame {
        source: 0,
        values: vec![f64::NAN, f64::NAN, f64::NAN, f64::NAN, f64::NAN],
        faults: Vec::new(),
        texts: text.into_iter().map(|text| bessai_plugin::Text { channel: 0, value: text.to_owned() }).collect(),
    };
    let published = |config: &str, text| {
        let mut harness = Harness::<BessaiJson>::new(battery(), config).unwrap();
        harness.event(EventBody::Frame(frame(text))).unwrap()
    };
    let messages = published(r#"{"channels":"all"}"#, Some("SN-7 \"A\""));
    let payload = r#"{"ts":1740151200.0,"site_id":"SITE-CL-001","voltage":"SN-7 \"A\""}"#;
    check(&messages, "SITE-CL-001/telemetry", payload);
    assert_eq!(published(r#"{"channels":"all"}"#, None), []);
    assert_eq!(published("{}", Some("SN-7")), []);
}

#[test]
fn safety() {
    let event =
        |is_safe, watchdog| EventBody::Safety(Safety { is_safe, watchdog, power_limit_kw: None, violations: vec![] });
    let messages = harness().event(event(true, Watchdog::Ok)).unwrap();
    check(
        &messages,
        "SITE-CL-001/safety",
        r#"{"ts":1740151200.0,"site_id":"SITE-CL-001","is_safe":true,"watchdog":"ok"}"#,
    );
    let messages = harness().event(event(false, Watchdog::Failed)).unwrap();
    check(
        &messages,
        "SITE-CL-001/safety",
        r#"{"ts":1740151200.0,"site_id":"SITE-CL-001","is_safe":false,"watchdog":"failed"}"#,
    );
}

#[test]
fn anomaly() {
    let anomaly = Anomaly {
        model: "ids".into(),
        device: "battery".into(),
        score: 0.712_35,
        alert_count: 3,
        trained: true,
        alarm: true,
    };
    let messages = harness().event(EventBody::Anomaly(anomaly)).unwrap();
    let payload =
        r#"{"ts":1740151200.0,"site_id":"SITE-CL-001","score":0.7124,"alert_count":3,"trained":true,"status":"alarm"}"#;
    check(&messages, "SITE-CL-001/ai/ids", payload);
}

#[test]
fn dispatch() {
    let event = |target_kw, refusal: Option<&str>| {
        EventBody::Dispatch(Dispatch {
            model: "dispatch".into(),
            device: "battery".into(),
            target_kw,
            applied: false,
            refusal: refusal.map(str::to_owned),
            inference_ms: 0.123_4,
        })
    };
    let published = |target_kw, refusal, members: &str| {
        let payload = format!(r#"{{"ts":1740151200.0,"site_id":"SITE-CL-001",{members}}}"#);
        check(&harness().event(event(target_kw, refusal)).unwrap(), "SITE-CL-001/ai/dispatch", &payload);
    };
    published(Some(-42.5), None, r#""dispatch_kw":-42.5,"inference_ms":0.12,"model":"dispatch","shadow":false"#);
    let no_value = Some("power_kw has no good value");
    published(None, no_value, r#""dispatch_kw":null,"inference_ms":0.12,"model":"dispatch","shadow":false"#);
    let shadow = Some("shadow mode: published, never written");
    published(Some(5.0), shadow, r#""dispatch_kw":5.0,"inference_ms":0.12,"model":"dispatch","shadow":true"#);
}

#[test]
fn historical_heartbeats_are_not_published() {
    let mut harness = harness();
    let messages = harness.event(EventBody::Heartbeat).unwrap();
    check(&messages, "SITE-CL-001/system/heartbeat", r#"{"ts":1740151200.0,"site_id":"SITE-CL-001"}"#);
    assert_eq!(harness.historical(true).event(EventBody::Heartbeat).unwrap(), []);
}
