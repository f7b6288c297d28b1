//! Readings, Basic Ingest and the shadow.

use bessai_plugin::testing::{Harness, logged, site};
use bessai_plugin::{Action, DeviceStatus, EventBody, Message, Outcome, Safety, Value, Watchdog};

use crate::AwsIotCore;

fn harness(config: &str) -> Harness<AwsIotCore> {
    Harness::new(site("S").device("battery", &[("soc_pct", "%"), ("power_kw", "kW")]), config).unwrap()
}

fn check(messages: &[Message], topic: &str, payload: &str) {
    let found: Vec<_> = messages.iter().map(|m| (m.topic.as_str(), std::str::from_utf8(&m.payload).unwrap())).collect();
    assert_eq!(found, [(topic, payload)]);
}

#[test]
fn a_reading_is_a_message_of_the_thing() {
    let mut plain = harness(r#"{"thing":"edge-1"}"#);
    assert_eq!(plain.connect(0).unwrap().client_id.as_deref(), Some("edge-1"));
    assert_eq!((plain.connected().unwrap(), plain.subscriptions()), (vec![], vec![]));
    let payload = r#"{"ts":1740151200.0,"site_id":"S","device":"battery","soc_pct":50.0}"#;
    check(&plain.frame(&[50.0, f64::NAN]).unwrap(), "edge-1/battery/telemetry", payload);
    assert_eq!(plain.frame(&[f64::NAN, f64::NAN]).unwrap(), []);
    let mut ingest = harness(r#"{"thing":"edge-1","topic":"<SITE_ID>/<device>","basic_ingest":"store"}"#);
    check(&ingest.frame(&[50.0, f64::NAN]).unwrap(), "$aws/rules/store/S/battery", payload);
    assert_eq!(ingest.event(EventBody::Heartbeat).unwrap(), []);
}

const UPDATE: &str = "$aws/things/edge-1/shadow/update";

fn with_shadow() -> Harness<AwsIotCore> {
    let mut harness = harness(r#"{"thing":"edge-1","shadow":true}"#);
    check(&harness.connected().unwrap(), "$aws/things/edge-1/shadow/get", "");
    harness
}

#[test]
fn what_changed_is_reported_at_the_next_tick() {
    let mut harness = with_shadow();
    harness.frame(&[50.0, 1.0]).unwrap();
    harness.frame(&[50.0, 2.0]).unwrap();
    check(&tick(&mut harness), UPDATE, r#"{"state":{"reported":{"battery":{"soc_pct":50.0,"power_kw":2.0}}}}"#);
    assert_eq!(tick(&mut harness), []);
    harness.frame(&[50.0, f64::NAN]).unwrap();
    check(&tick(&mut harness), UPDATE, r#"{"state":{"reported":{"battery":{"power_kw":null}}}}"#);
    let safety = Safety { is_safe: true, watchdog: Watchdog::Ok, power_limit_kw: None, violations: Vec::new() };
    harness.event(EventBody::Safety(safety)).unwrap();
    let status = DeviceStatus { device: "battery".into(), online: false, detail: String::new() };
    harness.event(EventBody::Device(status)).unwrap();
    check(&tick(&mut harness), UPDATE, r#"{"state":{"reported":{"battery":{"online":false},"is_safe":true}}}"#);
    harness.historical(true).frame(&[1.0, 1.0]).unwrap();
    assert_eq!(tick(harness.historical(false)), []);
    // A new session reports everything again.
    harness.connected().unwrap();
    let all = r#"{"state":{"reported":{"battery":{"soc_pct":50.0,"power_kw":null,"online":false},"is_safe":true}}}"#;
    check(&tick(&mut harness), UPDATE, all);
    harness.receive(&format!("{UPDATE}/rejected"), r#"{"code":413,"message":"too large"}"#).unwrap();
    assert!(logged().last().unwrap().1.contains("AWS refused a change of the shadow"));
    check(&tick(&mut harness), UPDATE, all);
}

#[test]
fn what_is_desired_becomes_a_set_point() {
    let mut harness = with_shadow();
    let filters: Vec<_> = harness.subscriptions().into_iter().map(|wanted| wanted.filter).collect();
    let prefix = "$aws/things/edge-1/shadow";
    assert_eq!(filters, ["update/delta", "get/accepted", "update/rejected"].map(|tail| format!("{prefix}/{tail}")));
    let mut proposed = |topic: &str, payload: &str| {
        let actions = harness.receive(&format!("{prefix}/{topic}"), payload).unwrap();
        actions
            .into_iter()
            .map(|action| match action {
                Action::Write(proposal) => (proposal.reference, proposal.value),
                other => panic!("{other:?}"),
            })
            .collect::<Vec<_>>()
    };
    let wanted = |value| vec![("battery/power_kw".to_owned(), Some(Value::Number(value)))];
    assert_eq!(proposed("update/delta", r#"{"version":7,"state":{"battery":{"power_kw":20}}}"#), wanted(20.0));
    assert_eq!(proposed("update/delta", r#"{"version":6,"state":{"battery":{"power_kw":5}}}"#), []);
    let document = r#"{"version":8,"state":{"reported":{},"desired":{"battery":{"power_kw":3}},"delta":{"battery":{"power_kw":3}}}}"#;
    assert_eq!(proposed("get/accepted", document), wanted(3.0));
    assert_eq!(proposed("update/delta", r#"{"version":9,"state":{"battery":{"x":1},"y":2}}"#), []);
    assert!(logged().iter().any(|(_, line)| line.contains("battery/x is ignored: the site has no such channel")));
    assert_eq!(proposed("update/delta", r#"{"version":10,"state":{"battery":{"power_kw":true}}}"#), []);
    assert!(logged().iter().any(|(_, line)| line.contains("battery/power_kw is ignored: it is true; write a number")));
    // A shadow that was deleted begins with version 1 again.
    let document = r#"{"version":1,"state":{"delta":{"battery":{"power_kw":4}}}}"#;
    assert_eq!(proposed("get/accepted", document), wanted(4.0));
    assert_eq!(proposed("update/delta", r#"{"version":2,"state":{"battery":{"power_kw":5}}}"#), wanted(5.0));
    let refused = Outcome::Refused("not yet".into());
    let reports = harness.wrote("battery/power_kw", &refused).unwrap();
    check(&reports, UPDATE, r#"{"state":{"reported":{"refused":{"battery/power_kw":"not yet"}}}}"#);
    assert_eq!(logged().last().unwrap().1, "the desired battery/power_kw was refused: not yet");
    assert_eq!(harness.wrote("battery/power_kw", &refused).unwrap(), []);
    let reports = harness.wrote("battery/power_kw", &Outcome::Acknowledged).unwrap();
    check(&reports, UPDATE, r#"{"state":{"reported":{"refused":{"battery/power_kw":null}}}}"#);
    assert!(harness.receive(&format!("{prefix}/update/delta"), "{").is_err());
}

fn tick(harness: &mut Harness<AwsIotCore>) -> Vec<Message> {
    harness.event(EventBody::Heartbeat).unwrap()
}

#[test]
fn members_that_the_site_no_longer_has_are_removed() {
    let both =
        site("S").device("battery", &[("soc_pct", "%"), ("power_kw", "kW")]).device("meter", &[("power_kw", "kW")]);
    let mut harness = Harness::<AwsIotCore>::new(both, r#"{"thing":"edge-1","shadow":true}"#).unwrap();
    harness.connected().unwrap();
    harness.frame(&[50.0, 1.0]).unwrap();
    harness.frame_of(1, &[2.0]).unwrap();
    let status = |online| DeviceStatus { device: "meter".into(), online, detail: String::new() };
    harness.event(EventBody::Device(status(true))).unwrap();
    let all =
        r#"{"state":{"reported":{"battery":{"soc_pct":50.0,"power_kw":1.0},"meter":{"power_kw":2.0,"online":true}}}}"#;
    check(&tick(&mut harness), UPDATE, all);
    harness.wrote("battery/power_kw", &Outcome::Refused("not yet".into())).unwrap();
    // The readings of before belong to other positions: that of the state of charge is reported once it is read again.
    let less = || EventBody::Site(site("S").device("battery", &[("soc_pct", "%")]).build());
    assert_eq!(harness.event(less()).unwrap(), []);
    let removed =
        r#"{"state":{"reported":{"meter":null,"battery":{"power_kw":null},"refused":{"battery/power_kw":null}}}}"#;
    check(&tick(&mut harness), UPDATE, removed);
    assert_eq!(tick(&mut harness), []);
    harness.frame(&[51.0]).unwrap();
    check(&tick(&mut harness), UPDATE, r#"{"state":{"reported":{"battery":{"soc_pct":51.0}}}}"#);
    // A document that still has one of them, and one that has none.
    let answer = |harness: &mut Harness<AwsIotCore>, reported: &str| {
        harness.restart().unwrap().connected().unwrap();
        let document = format!(r#"{{"version":9,"state":{{"reported":{reported}}}}}"#);
        harness.receive("$aws/things/edge-1/shadow/get/accepted", document).unwrap();
        tick(harness)
    };
    let again = r#"{"state":{"reported":{"meter":null,"battery":{"soc_pct":51.0}}}}"#;
    check(&answer(&mut harness, r#"{"meter":{"online":true},"battery":{"soc_pct":50}}"#), UPDATE, again);
    let after = r#"{"state":{"reported":{"battery":{"soc_pct":51.0}}}}"#;
    check(&answer(&mut harness, r#"{"battery":{"soc_pct":50}}"#), UPDATE, after);
}

#[test]
fn members_that_come_back_are_kept() {
    let mut harness = with_shadow();
    harness.wrote("battery/power_kw", &Outcome::Refused("not yet".into())).unwrap();
    harness.event(EventBody::Site(site("S").build())).unwrap();
    harness
        .event(EventBody::Site(site("S").device("battery", &[("soc_pct", "%"), ("power_kw", "kW")]).build()))
        .unwrap();
    assert_eq!(tick(&mut harness), []);
    // A device whose channels are not known yet keeps them.
    let mut unknown = site("S").device("battery", &[]).build();
    unknown.sources.clear();
    harness.event(EventBody::Site(unknown)).unwrap();
    assert_eq!(tick(&mut harness), []);
    harness.event(EventBody::Site(site("S").device("battery", &[("soc_pct", "%")]).build())).unwrap();
    let removed = r#"{"state":{"reported":{"battery":{"power_kw":null},"refused":{"battery/power_kw":null}}}}"#;
    check(&tick(&mut harness), UPDATE, removed);
}

#[test]
fn a_site_that_is_too_large_is_refused() {
    let names: Vec<_> = (0..400).map(|index| format!("channel_{index}")).collect();
    let channels: Vec<_> = names.iter().map(|name| (name.as_str(), "kW")).collect();
    let built = || site("S").device("battery", &channels);
    let refused = Harness::<AwsIotCore>::new(built(), r#"{"thing":"a","shadow":true}"#).err().unwrap();
    assert!(refused.contains("AWS accepts 8192: write shadow = false"), "{refused}");
    assert!(Harness::<AwsIotCore>::new(built(), r#"{"thing":"a"}"#).is_ok());
    let many: Vec<_> = channels.iter().cycle().take(4000).copied().collect();
    let refused = Harness::<AwsIotCore>::new(site("S").device("b", &many), r#"{"thing":"a"}"#).err().unwrap();
    assert!(refused.contains("AWS accepts 131072: read its channels in several sources"), "{refused}");
}
