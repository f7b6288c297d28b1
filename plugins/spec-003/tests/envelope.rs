//! The envelope and the payloads, as SPEC-003 describes them.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use bessai_plugin::testing::{Harness, SiteBuilder, logged, metric, site};
use bessai_plugin::{Anomaly, Dispatch, EventBody, Message, Safety, Violation, Watchdog};
use spec_003::Spec003;

fn battery() -> SiteBuilder {
    site("SITE-CL-001")
        .device("battery", &[("soc_pct", "%"), ("power_kw", "kW"), ("temp_c", "Cel"), ("cycle_count", "1")])
}

fn harness() -> Harness<Spec003> {
    Harness::new(battery(), "{}").unwrap()
}

fn check(messages: &[Message], message_type: &str, time: &str, payload: &str) {
    let found: Vec<_> = messages.iter().map(|m| (m.topic.as_str(), std::str::from_utf8(&m.payload).unwrap())).collect();
    let envelope = format!(
        r#"{{"schema_version":"1.0","message_type":"{message_type}","site_id":"SITE-CL-001","timestamp":"2025-02-21T15:20:{time}.000Z","payload":{payload}}}"#
    );
    assert_eq!(found, [(format!("bessai/SITE-CL-001/{message_type}").as_str(), envelope.as_str())]);
}

fn safety(violations: &[(&str, f64)]) -> EventBody {
    let violation = |&(rule, value): &(&str, f64)| Violation {
        rule: rule.into(),
        device: "battery".into(),
        channel: "temp_c".into(),
        value,
        limit: 45.0,
    };
    let (is_safe, violations) = (violations.is_empty(), violations.iter().map(violation).collect());
    EventBody::Safety(Safety { is_safe, watchdog: Watchdog::Ok, power_limit_kw: None, violations })
}

#[test]
fn telemetry_has_all_required_fields() {
    let mut harness = harness();
    let payload = r#"{"soc_pct":72.3,"power_kw":-85.5,"temperature_c":28.1,"mode":1,"alarm_code":0,"cycle_number":312,"driver_source":"battery"}"#;
    check(&harness.frame(&[72.3, -85.5, 28.1, 312.0]).unwrap(), "telemetry", "00", payload);
    let payload =
        r#"{"soc_pct":72.3,"power_kw":0.0,"temperature_c":28.1,"mode":0,"alarm_code":0,"driver_source":"battery"}"#;
    check(&harness.frame(&[72.3, 0.0, 28.1, f64::NAN]).unwrap(), "telemetry", "01", payload);
}

#[test]
fn a_reading_that_is_incomplete_or_out_of_range_is_counted_and_not_published() {
    let mut harness = harness();
    for values in
        [[f64::NAN, 1.0, 28.0, 1.0], [101.0, 1.0, 28.0, 1.0], [50.0, f64::NAN, 28.0, 1.0], [50.0, 1.0, 101.0, 1.0]]
    {
        assert_eq!(harness.frame(&values).unwrap(), []);
    }
    assert_eq!(metric("incomplete_readings_total", &[]), Some(4.0));
    let mut meter = Harness::<Spec003>::new(site("S").device("meter", &[("power_kw", "kW")]), "{}").unwrap();
    assert_eq!(meter.frame(&[1.0]).unwrap(), []);
    assert!(logged()[0].1.contains("SPEC-003 wants a site id such as ABCD-EF-001: SITE_ID = \"S\" is not one"));
}

#[test]
fn the_channels_of_the_device_itself_come_first() {
    let names = [
        ("soc_pct", "%"),
        ("power_kw", "kW"),
        ("temp_c", "Cel"),
        ("mode", "1"),
        ("alarm_code", "1"),
        ("voltage_v", "V"),
    ];
    let mut harness = Harness::<Spec003>::new(site("SITE-CL-001").device("b", &names), "{}").unwrap();
    let payload = r#"{"soc_pct":50.0,"power_kw":5.0,"temperature_c":20.0,"mode":3,"alarm_code":17,"voltage_v":null,"driver_source":"b"}"#;
    check(&harness.frame(&[50.0, 5.0, 20.0, 3.0, 17.0, f64::NAN]).unwrap(), "telemetry", "00", payload);
}

#[test]
fn a_block_and_its_end_are_safety_events() {
    let mut harness = harness();
    assert_eq!(harness.event(safety(&[])).unwrap(), []);
    harness.frame(&[72.3, 1.0, 46.2, 312.0]).unwrap();
    let payload = r#"{"event_type":"DISPATCH_BLOCKED","trigger_condition":"battery temp_c max: 46.2, limit 45","soc_pct":72.3,"temperature_c":46.2,"action_taken":"set-points are refused","alarm_code":1,"resolution_required":true}"#;
    check(&harness.event(safety(&[("max", 46.2)])).unwrap(), "safety_event", "02", payload);
    assert_eq!(harness.restart().unwrap().event(safety(&[("max", 46.3)])).unwrap(), []);
    let alarm = &harness.frame(&[72.3, 1.0, 46.2, 312.0]).unwrap()[0];
    assert!(String::from_utf8_lossy(&alarm.payload).contains(r#""alarm_code":1"#));
    let payload = r#"{"event_type":"SAFE_STATE_CLEARED","trigger_condition":"no rule is violated","soc_pct":72.3,"temperature_c":46.2,"action_taken":"set-points are allowed again","alarm_code":0,"resolution_required":false}"#;
    check(&harness.event(safety(&[])).unwrap(), "safety_event", "05", payload);
    let stale = harness.event(safety(&[("stale", 31.0)])).unwrap();
    assert!(String::from_utf8_lossy(&stale[0].payload).contains("STALE_DATA_BLOCK"));
}

fn text(message: &Message) -> String {
    String::from_utf8(message.payload.clone()).unwrap()
}

#[test]
fn safety_events_wait_for_the_first_reading() {
    let mut harness = harness();
    assert_eq!(harness.event(safety(&[("unread", f64::NAN)])).unwrap(), []);
    assert!(logged().last().unwrap().1.starts_with("STALE_DATA_BLOCK is published after the first reading"));
    assert_eq!(harness.event(safety(&[])).unwrap(), []);
    // Without a temperature it does not count; without a power it does.
    assert_eq!(harness.frame(&[72.3, 1.0, f64::NAN, 312.0]).unwrap(), []);
    let events = harness.restart().unwrap().frame(&[72.3, f64::NAN, 28.1, 312.0]).unwrap();
    let payload = r#"{"event_type":"STALE_DATA_BLOCK","trigger_condition":"battery temp_c unread","soc_pct":72.3,"temperature_c":28.1,"action_taken":"set-points are refused","alarm_code":1,"resolution_required":true}"#;
    check(&events[..1], "safety_event", "00", payload);
    let payload = r#"{"event_type":"SAFE_STATE_CLEARED","trigger_condition":"no rule is violated","soc_pct":72.3,"temperature_c":28.1,"action_taken":"set-points are allowed again","alarm_code":0,"resolution_required":false}"#;
    check(&events[1..], "safety_event", "01", payload);
    assert_eq!(harness.restart().unwrap().frame(&[72.3, f64::NAN, 28.1, 312.0]).unwrap(), []);
}

#[test]
fn only_the_newest_events_wait() {
    let mut harness = harness();
    for _ in 0..20 {
        harness.event(safety(&[("unread", f64::NAN)])).unwrap();
        harness.event(safety(&[])).unwrap();
    }
    assert_eq!(metric("dropped_safety_events_total", &[]), Some(8.0));
    let events = harness.frame(&[72.3, f64::NAN, 28.1, 312.0]).unwrap();
    assert_eq!(events.len(), 32);
    assert!(text(&events[0]).contains("15:20:08.000Z") && text(&events[31]).contains("15:20:39.000Z"));
}

#[test]
fn a_critical_temperature_enters_the_safe_state() {
    let mut harness = harness();
    harness.frame(&[72.3, 1.0, 46.2, 312.0]).unwrap();
    let mut kind = |violations: &[(&str, f64)]| {
        let messages = harness.event(safety(violations)).unwrap();
        messages.first().map(|message| text(message).split('"').nth(21).unwrap().to_owned())
    };
    assert_eq!(kind(&[("max", 60.0)]).as_deref(), Some("DISPATCH_BLOCKED"));
    assert_eq!(kind(&[("max", 60.1)]).as_deref(), Some("SAFE_STATE_ENTERED"));
    // It lasts until the site is safe.
    assert_eq!(kind(&[("max", 46.0)]), None);
    assert_eq!(kind(&[("max", 61.0)]), None);
    assert_eq!(kind(&[]).as_deref(), Some("SAFE_STATE_CLEARED"));
    assert_eq!(kind(&[("min", -20.1)]).as_deref(), Some("SAFE_STATE_ENTERED"));
    assert_eq!(kind(&[]).as_deref(), Some("SAFE_STATE_CLEARED"));
    // A trip lasts when the temperature is back.
    assert_eq!(kind(&[("max", 61.0), ("trip", 61.0)]).as_deref(), Some("SAFE_STATE_ENTERED"));
    assert_eq!(kind(&[("trip", 61.0)]), None);
    assert_eq!(kind(&[]).as_deref(), Some("SAFE_STATE_CLEARED"));
    assert_eq!(kind(&[("trip", 51.0)]).as_deref(), Some("SAFE_STATE_ENTERED"));
    assert_eq!(kind(&[]).as_deref(), Some("SAFE_STATE_CLEARED"));
    // Its value is an age.
    assert_eq!(kind(&[("stale", 90.0)]).as_deref(), Some("STALE_DATA_BLOCK"));
    let payload = r#"{"event_type":"SAFE_STATE_ENTERED","trigger_condition":"battery temp_c max: 61, limit 45","soc_pct":72.3,"temperature_c":46.2,"action_taken":"set-points are refused","alarm_code":2,"resolution_required":true}"#;
    let events = harness.event(safety(&[("stale", 90.0), ("max", 61.0)])).unwrap();
    check(&events, "safety_event", "14", payload);
}

#[test]
fn scores() {
    let mut harness = harness();
    let dispatch = || Dispatch {
        model: "d".into(),
        device: "battery".into(),
        target_kw: Some(-42.5),
        applied: false,
        refusal: None,
        inference_ms: 0.123,
    };
    let payload = r#"{"ids_anomaly_score":0.0,"inference_source":"onnx_local","onnx_dispatch_kw":-42.5,"onnx_inference_ms":0.12}"#;
    check(&harness.event(EventBody::Dispatch(dispatch())).unwrap(), "ai_score", "00", payload);
    let anomaly = Anomaly {
        model: "i".into(),
        device: "battery".into(),
        score: 0.71,
        alert_count: 1,
        trained: true,
        alarm: true,
    };
    let payload = r#"{"ids_anomaly_score":0.71,"inference_source":"onnx_local","ids_alert":true}"#;
    check(&harness.event(EventBody::Anomaly(anomaly)).unwrap(), "ai_score", "01", payload);
    let scored = harness.event(EventBody::Dispatch(dispatch())).unwrap();
    assert!(String::from_utf8_lossy(&scored[0].payload).contains(r#""ids_anomaly_score":0.71"#));
}
