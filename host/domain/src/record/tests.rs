//! Reading returns what was written, and every mistake is reported with its line and key.

use std::time::Duration;

use super::*;
use crate::event::{Anomaly, DeviceStatus, Dispatch, Fault, FaultKind, Frame, Gap, Safety, Text, Violation, Watchdog};
use crate::exchange::Exchange;
use crate::proposal::{Proposal, SetValue, WriteOutcome, WriteStep};
use crate::site::{Channel, ChannelKind, Device, Site, Source};

const SITE: &str = r#"{"at":0,"site":{"id":"S","devices":[{"name":"battery"}],"sources":[{"device":"battery","period_ms":1000,"channels":[{"name":"soc_pct","unit":"%"},{"name":"power_kw","unit":"kW"},{"name":"serial","unit":"1","kind":"text"}]}]}}"#;

fn anomaly(exchange: Option<Exchange>) -> EventBody {
    let (model, device) = ("ids".into(), "battery".into());
    EventBody::Anomaly(Anomaly {
        model,
        device,
        score: 0.7123,
        alert_count: u32::MAX,
        trained: true,
        alarm: false,
        exchange,
    })
}

fn site() -> Site {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let channel = |name: &str, kind, writable| Channel {
        name: name.into(),
        unit: "%".into(),
        kind,
        writable,
        attributes: vec![pair("state.0", "off"), pair("state.1", "\"on\" \u{1}")],
    };
    let source = |period| Source {
        device: "battery".into(),
        period,
        channels: [channel("a", ChannelKind::Gauge, true), channel("b", ChannelKind::State, false)].into(),
        attributes: vec![pair("twice", "a"), pair("twice", "b")],
    };
    Site {
        id: "SITE-CL-001".into(),
        revision: 7,
        devices: vec![Device { name: "battery".into(), attributes: vec![pair("model", "x"), pair("a", "b")] }],
        sources: vec![source(Duration::from_secs(1)), source(Duration::from_nanos(1_000_100))],
        attributes: vec![pair("z", ""), pair("a", "ü")],
    }
}

fn frame(values: &[f64], faults: &[(u32, FaultKind)], texts: &[(u32, &str)]) -> EventBody {
    EventBody::Frame(Frame {
        source: 0,
        values: values.to_vec(),
        faults: faults.iter().map(|&(channel, kind)| Fault { channel, kind }).collect(),
        texts: texts.iter().map(|&(channel, value)| Text { channel, value: value.into() }).collect(),
    })
}

fn bodies() -> Vec<EventBody> {
    use FaultKind::{Missing, Other, OutOfRange, Stale, Unavailable};
    let nan = f64::NAN;
    let violation =
        |value, limit| Violation { rule: "max".into(), device: "battery".into(), channel: "a".into(), value, limit };
    let safety = |watchdog, power_limit_kw, violations| {
        EventBody::Safety(Safety { is_safe: true, watchdog, power_limit_kw, violations })
    };
    let dispatch = |target_kw, refusal: Option<&str>| {
        let refusal = refusal.map(str::to_owned);
        let (model, device) = ("m".into(), "battery".into());
        EventBody::Dispatch(Dispatch {
            model,
            device,
            target_kw,
            applied: refusal.is_none(),
            refusal,
            inference_ms: 0.1,
        })
    };
    vec![
        EventBody::Site(Arc::new(site())),
        frame(&[0.1 + 0.2, -0.0], &[], &[]),
        frame(&[f64::MIN_POSITIVE / 3.0, f64::MAX], &[(0, Stale), (1, OutOfRange)], &[]),
        frame(&[9_007_199_254_740_993.0, 1e23], &[(1, Other)], &[]),
        frame(&[nan, 3.0], &[(0, Missing)], &[]),
        frame(&[nan, nan], &[(0, Missing), (1, Unavailable)], &[]),
        frame(&[nan, nan], &[(1, Missing), (0, Missing)], &[]),
        frame(&[nan, nan], &[(0, Missing), (0, Stale), (1, Missing)], &[]),
        frame(&[nan, 1.0], &[], &[]),
        frame(&[nan, f64::INFINITY], &[], &[(0, "x")]),
        frame(&[nan, f64::NEG_INFINITY], &[(0, Missing), (1, Missing)], &[(0, "x")]),
        safety(Watchdog::Late, None, Vec::new()),
        safety(Watchdog::Ok, Some(12.5), vec![violation(nan, 3.0), violation(1.0, f64::INFINITY)]),
        safety(Watchdog::Failed, Some(nan), Vec::new()),
        safety(Watchdog::Absent, Some(f64::INFINITY), Vec::new()),
        anomaly(None),
        anomaly(Some(Exchange::default())),
        anomaly(Some(Exchange { requests: 9, failed: 1, reply_ms: Some(3.25), writes: 2, irregular: u32::MAX })),
        dispatch(Some(-42.5), None),
        dispatch(Some(nan), Some("void")),
        dispatch(None, Some("no reading")),
        EventBody::Device(DeviceStatus { device: "battery".into(), online: true, detail: "a\nb".into() }),
        EventBody::Gap(Gap { lost: Some(u64::MAX), reason: "trimmed".into() }),
        EventBody::Gap(Gap { lost: None, reason: String::new() }),
        EventBody::Heartbeat,
        write(None, None),
        write(Some(SetValue::Text("auto".into())), Some(WriteOutcome::Verified(SetValue::Text("auto".into())))),
        write(Some(SetValue::Number(-0.1)), Some(WriteOutcome::Verified(SetValue::Number(-0.1)))),
        write(None, Some(WriteOutcome::Acknowledged)),
        write(None, Some(WriteOutcome::Refused("not yet".into()))),
        write(None, Some(WriteOutcome::Failed("still 20 %".into()))),
        write(None, Some(WriteOutcome::Superseded("operator".into()))),
        write(None, Some(WriteOutcome::Expired)),
        write(None, Some(WriteOutcome::Released(String::new()))),
    ]
}

fn write(value: Option<SetValue>, outcome: Option<WriteOutcome>) -> EventBody {
    let (device, channel, reference) = ("battery".into(), "power_kw".into(), "a1".into());
    let until = value.is_some().then_some(Timestamp::from_nanos(1_740_151_220_250_000_001));
    let proposal = Proposal { device, channel, value, until, reference };
    let proposed = outcome.is_some().then_some(Sequence(7));
    EventBody::Write(Box::new(WriteStep {
        proposed,
        proposer: "feed/acme".into(),
        proposal,
        unit: "kW".into(),
        outcome,
    }))
}

/// The debug form, because NaN is not equal to itself.
fn shown(events: &[Event]) -> Vec<String> {
    events.iter().map(|event| format!("{event:?}")).collect()
}

#[test]
fn reading_returns_exactly_what_was_written() {
    let event = |(i, body): (u64, EventBody)| Event {
        sequence: Sequence(3 * i),
        at: Timestamp::from_nanos(i * 1_000_000_007),
        body,
    };
    let events: Vec<_> = (1..).zip(bodies()).map(event).collect();
    let text: String = events.iter().map(|event| write_event(event, Some("for people")) + "\n").collect();
    let read = read_events(&text).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
    assert_eq!(shown(&read), shown(&events));
    for (event, line) in events.iter().zip(text.lines()) {
        assert_eq!(write_event(event, Some("for people")), line);
    }
}

#[test]
fn defaults_are_not_written() {
    let check = |body: EventBody, expected: &str| {
        let event = Event { sequence: Sequence(7), at: Timestamp::from_nanos(1_740_151_220_250_000_000), body };
        assert_eq!(write_event(&event, None), format!(r#"{{"sequence":7,"at":"2025-02-21T15:20:20.25Z",{expected}}}"#));
    };
    check(frame(&[72.3, 4.0], &[], &[]), r#""frame":{"source":0,"values":[72.3,4.0]}"#);
    check(frame(&[f64::NAN, 4.0], &[(0, FaultKind::Missing)], &[]), r#""frame":{"source":0,"values":[null,4.0]}"#);
    check(frame(&[f64::NAN, 4.0], &[], &[]), r#""frame":{"source":0,"values":["NaN",4.0]}"#);
    check(EventBody::Heartbeat, r#""heartbeat":{}"#);
    let (device, channel, reference) = ("battery".into(), "power_kw".into(), String::new());
    let proposal = Proposal { device, channel, value: None, until: None, reference };
    let (proposer, unit) = ("operator".into(), String::new());
    let step = WriteStep { proposed: None, proposer, proposal, unit, outcome: None };
    let expected = r#""write":{"proposer":"operator","device":"battery","channel":"power_kw"}"#;
    check(EventBody::Write(Box::new(step)), expected);
    check(EventBody::Gap(Gap { lost: None, reason: "x".into() }), r#""gap":{"lost":null,"reason":"x"}"#);
}

#[test]
fn missing_fields_get_their_defaults() {
    let line = r#"{"at":"2025-02-21T15:20:00Z","note":"n","frame":{"source":0,"values":[1,null,null],"faults":[{"channel":0,"kind":"stale"}],"texts":[{"channel":2,"value":"x"}]}}"#;
    let events =
        read_events(&format!("{SITE}\n\n{line}\r\n{{\"sequence\":9,\"at\":1,\"heartbeat\":{{}}}}\n{SITE}")).unwrap();
    assert_eq!(events.iter().map(|event| event.sequence.0).collect::<Vec<_>>(), [1, 2, 9, 10]);
    let expected = frame(&[1.0, f64::NAN, f64::NAN], &[(0, FaultKind::Stale), (1, FaultKind::Missing)], &[(2, "x")]);
    assert_eq!(format!("{:?}", events[1].body), format!("{expected:?}"));
    let revisions = [0, 3].map(|i: usize| match &events[i].body {
        EventBody::Site(site) => site.revision,
        other => panic!("{other:?}"),
    });
    assert_eq!(revisions, [1, 2]);
}

fn mistakes(text: &str) -> Vec<String> {
    read_events(text).expect_err("no mistake").iter().map(ToString::to_string).collect()
}

/// The mistake in a line after the site's.
fn check(line: &str, expected: &str) {
    assert_eq!(mistakes(&format!("{SITE}\n{line}")), [format!("line 2{expected}")], "{line}");
}

#[test]
fn lines_that_are_not_an_event_are_reported() {
    check("5", ": is not an object; write {…}");
    check("{", ": is not JSON: EOF while parsing an object at column 1");
    check(
        r#"{"at":1}"#,
        ": has no event; write one of site, gap, frame, safety, anomaly, dispatch, device, heartbeat, write",
    );
    check(r#"{"at":1,"fraem":{}}"#, ": fraem: is unknown; did you mean `frame`?");
    check(r#"{"at":1,"heartbeat":{},"gap":{"reason":""}}"#, ": has `gap` and `heartbeat`; write one event per line");
    check(r#"{"at":1,"heartbeat":{},"heartbeat":{}}"#, ": is not JSON: the key `heartbeat` occurs twice at column 34");
    check(r#"{"heartbeat":{}}"#, ": at: is missing; write it");
    let hint = "write a time in UTC, such as \"2026-01-02T03:04:05.25Z\", or nanoseconds since 1970";
    check(r#"{"at":"soon","heartbeat":{}}"#, &format!(": at = \"soon\": {hint}"));
    check(r#"{"at":1.5,"heartbeat":{}}"#, &format!(": at = 1.5: {hint}"));
    check(r#"{"at":1,"sequence":1,"heartbeat":{}}"#, ": sequence = 1: write a number above 1, that of the line before");
    check(r#"{"at":1,"heartbeat":{"x":1}}"#, ": heartbeat.x: is unknown; remove it");
    check(r#"{"at":1,"heartbeat":[]}"#, ": heartbeat = []: write an object, {…}");
    check(r#"{"at":1,"note":5,"heartbeat":{}}"#, ": note = 5: write a text in quotes");
}

#[test]
fn invalid_proposals_are_reported() {
    let write = |more: &str, expected: &str| {
        let step = format!(r#"{{"proposer":"operator","device":"battery","channel":"power_kw"{more}}}"#);
        check(&format!(r#"{{"at":1,"write":{step}}}"#), &format!(": write.{expected}"));
    };
    let outcomes = "write \"acknowledged\", \"expired\", {\"verified\": VALUE}, or {\"refused\": \"why\"}, likewise failed, \
                    superseded or released";
    write(r#","outcome":"verified""#, &format!("outcome = \"verified\": {outcomes}"));
    write(r#","outcome":{}"#, &format!("outcome = {{}}: {outcomes}"));
    let two = r#"{"refused":"a","failed":"b"}"#;
    write(&format!(r#","outcome":{two}"#), &format!("outcome = {two}: {outcomes}"));
    write(r#","value":[1]"#, "value = [1]: write a number, or null where there is none");
    write(r#","refrence":"a1""#, "refrence: is unknown; did you mean `reference`?");
}

#[test]
fn invalid_values_are_reported() {
    let frame =
        |frame: &str, expected: &str| check(&format!(r#"{{"at":1,"frame":{frame}}}"#), &format!(": frame.{expected}"));
    frame(r#"{"source":1,"values":[1]}"#, "source = 1: the site has 1 sources; write a number below that");
    frame(r#"{"source":-1,"values":[1]}"#, "source = -1: write a whole number from 0 to 4294967295");
    frame(r#"{"source":0}"#, "values: is missing; write it");
    frame(r#"{"source":0,"values":[1]}"#, "values: has 1 values for 3 channels; write one for each, or null");
    frame(r#"{"source":0,"values":[1,true,3]}"#, "values[1] = true: write a number, or null where there is none");
    let faults = |faults: &str, expected: &str| {
        frame(&format!(r#"{{"source":0,"values":[1,2,3],"faults":{faults}}}"#), &format!("faults{expected}"));
    };
    faults("{}", " = {}: write a list, […]");
    faults("[5]", "[0] = 5: write an object, {…}");
    let words = "write one of missing, unavailable, stale, out-of-range, other";
    faults(r#"[{"channel":0,"kind":"stael"}]"#, "[0].kind = \"stael\": is unknown; did you mean `stale`?");
    faults(r#"[{"channel":0,"kind":1}]"#, &format!("[0].kind = 1: {words}"));
    faults(
        r#"[{"channel":3,"kind":"other"}]"#,
        "[0].channel = 3: the source has 3 channels; write a number below that",
    );
}

#[test]
fn all_mistakes_are_reported_at_once_except_consequences_of_others() {
    let frame = r#"{"at":1,"frame":{"source":8,"values":[1]}}"#;
    assert_eq!(
        mistakes(frame),
        ["line 1: frame.source = 8: there is no `site` line above it that describes the source; write one"]
    );
    let wrong = SITE.replace(r#""device":"battery""#, r#""device":"batery""#).replace("\"kW\"", "1");
    assert_eq!(
        mistakes(&format!("{wrong}\n{frame}\n{{\"at\":1,\"device\":{{\"device\":\"x\",\"onlin\":true}}}}")),
        [
            "line 1: site.sources[0].device = \"batery\": the device is unknown; did you mean `battery`?",
            "line 1: site.sources[0].channels[1].unit = 1: write a text in quotes",
            "line 3: device.online: is missing; write it",
            "line 3: device.detail: is missing; write it",
            "line 3: device.onlin: is unknown; did you mean `online`?",
        ]
    );
}

#[test]
fn a_description_is_read_source_by_source() {
    let written = write_body(&EventBody::Site(Arc::new(site())));
    let Some(EventBody::Site(read)) = read_body(&written) else { panic!("cannot read {written}") };
    assert_eq!(*read, site());
    assert!(Arc::ptr_eq(&read.sources[0].channels, &read.sources[1].channels), "equal lists are shared");
    let empty = Site { devices: vec![], sources: vec![], attributes: vec![], ..site() };
    let body = EventBody::Site(Arc::new(empty));
    assert_eq!(read_body(&write_body(&body)), Some(body));
    let invalid = [
        written.replace("\"device\":\"battery\"", "\"device\":\"other\""),
        written.replace("\"revision\":7", "\"revision\":-7"),
        written.replace("\"kind\":\"state\"", "\"kind\":\"stat\""),
        written.replace("\"period_ms\"", "\"period\""),
        written.replace("\"id\"", "\"name\""),
        written.replace("\"sources\":", "\"source\":"),
        format!("{written}}}"),
        written[..written.len() - 1].to_owned(),
    ];
    for text in invalid {
        assert_ne!(text, written);
        assert_eq!(read_body(&text), None, "{text}");
    }
}

#[test]
fn a_body_has_each_channel_list_once_and_an_event_those_of_each_source() {
    let site = site();
    let (first, other) = (Arc::clone(&site.sources[0].channels), site.sources[0].channels[..1].into());
    let source = |channels: &Arc<[Channel]>| Source { channels: Arc::clone(channels), ..site.sources[0].clone() };
    let sources = vec![source(&first), source(&first), source(&other), source(&first), source(&other)];
    let body = EventBody::Site(Arc::new(Site { sources, ..site }));
    let written = write_body(&body);
    assert_eq!((written.matches("\"channels\":").count(), written.matches("\"channel_list\":").count()), (2, 3));
    assert_eq!(read_body(&written), Some(body.clone()));
    let wrong = written.replace("\"channel_list\":1", "\"channel_list\":2");
    assert_eq!(read_body(&wrong), None, "there are two lists");
    let line = write_event(&Event { sequence: Sequence(1), at: Timestamp::default(), body }, None);
    assert_eq!((line.matches("\"channels\":").count(), line.matches("\"channel_list\":").count()), (5, 0));
}
