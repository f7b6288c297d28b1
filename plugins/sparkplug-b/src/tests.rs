//! The rules of the specification for an edge node; docs/plugins/sparkplug-b.md lists which test shows which.

use bessai_plugin::testing::{Harness, START, logged, site, stored};
use bessai_plugin::{
    Action, DeviceStatus, EventBody, Frame, Inbound, Message, Protocol, Qos, Safety, Site, Value, Watchdog,
};
use prost::Message as _;

use crate::SparkplugB;
use crate::encode::millis;
use crate::proto::{Metric, MetricValue, Payload};

/// A metric as received.
#[derive(Debug, Default, PartialEq)]
struct Received {
    name: String,
    alias: Option<u64>,
    timestamp: Option<u64>,
    data_type: Option<u64>,
    is_historical: bool,
    is_null: bool,
    value: Option<f64>,
    text: Option<String>,
    has_unit: bool,
}

/// A payload as received: time, sequence number, metrics. It has no other fields, or it would be shorter when encoded again.
fn decoded(message: &Message) -> (u64, Option<u64>, Vec<Received>) {
    let payload = Payload::decode(message.payload.as_slice()).unwrap();
    assert_eq!(payload.encode_to_vec(), message.payload, "an unexpected field");
    (payload.timestamp.unwrap(), payload.seq, payload.metrics.into_iter().map(received).collect())
}

#[allow(clippy::cast_precision_loss, reason = "small numbers")]
fn received(metric: Metric) -> Received {
    let (value, text) = match metric.value {
        None => (None, None),
        Some(MetricValue::Long(value)) => (Some(value as f64), None),
        Some(MetricValue::Double(value)) => (Some(value), None),
        Some(MetricValue::Boolean(value)) => (Some(f64::from(u8::from(value))), None),
        Some(MetricValue::String(text)) => (None, Some(text)),
        Some(value) => panic!("an unexpected value {value:?}"),
    };
    Received {
        name: metric.name.unwrap_or_default(),
        alias: metric.alias,
        timestamp: metric.timestamp,
        data_type: metric.datatype.map(u64::from),
        is_historical: metric.is_historical == Some(true),
        is_null: metric.is_null == Some(true),
        value,
        text,
        has_unit: metric.properties.is_some(),
    }
}

fn plant() -> bessai_plugin::testing::SiteBuilder {
    site("S").device("battery", &[("soc_pct", "%"), ("power_kw", "kW")]).device("meter", &[("power_kw", "kW")])
}

fn with(config: &str) -> Harness<SparkplugB> {
    Harness::new(plant(), config).unwrap()
}

/// A node that is signed in, and its births.
fn born() -> (Harness<SparkplugB>, Vec<Message>) {
    let mut harness = with(r#"{"group_id":"G","edge_node_id":"n"}"#);
    harness.connect(0).unwrap();
    let births = harness.connected().unwrap();
    (harness, births)
}

fn topics(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| message.topic.as_str()).collect()
}

fn sequence_numbers(messages: &[Message]) -> Vec<Option<u64>> {
    messages.iter().map(|message| decoded(message).1).collect()
}

fn published(actions: Vec<Action>) -> Vec<Message> {
    let publish = |action| match action {
        Action::Publish(message) => Some(message),
        _ => None,
    };
    actions.into_iter().filter_map(publish).collect()
}

fn status(device: &str, online: bool) -> EventBody {
    EventBody::Device(DeviceStatus { device: device.into(), online, detail: String::new() })
}

/// NCMD with `Node Control/Rebirth` = true, as another encoder writes it.
const REBIRTH: &[u8] = b"\x08\x01\x12\x1a\x0a\x14Node Control/Rebirth\x20\x0b\x70\x01";

#[test]
fn births_precede_data_and_contain_every_metric() {
    let (_, births) = born();
    assert_eq!(topics(&births), ["spBv1.0/G/NBIRTH/n", "spBv1.0/G/DBIRTH/n/battery", "spBv1.0/G/DBIRTH/n/meter"]);
    assert_eq!(sequence_numbers(&births), [Some(0), Some(1), Some(2)]);
    assert!(births.iter().all(|birth| birth.qos == Qos::AtMostOnce && !birth.retain));
    let (at, _, metrics) = decoded(&births[0]);
    assert_eq!(at, millis(START));
    let bd_seq = &metrics[0];
    assert_eq!(
        (bd_seq.name.as_str(), bd_seq.data_type, bd_seq.value, bd_seq.alias),
        ("bdSeq", Some(4), Some(0.0), None)
    );
    let rebirth = &metrics[1];
    assert_eq!((rebirth.name.as_str(), rebirth.data_type), ("Node Control/Rebirth", Some(11)));
    assert_eq!((rebirth.value, rebirth.alias), (Some(0.0), None));
    let mut aliases = Vec::new();
    for metric in births.iter().flat_map(|birth| decoded(birth).2) {
        assert!(!metric.name.is_empty() && metric.timestamp.is_some() && metric.data_type.is_some(), "{metric:?}");
        assert!(metric.is_null || metric.value.is_some() || metric.text.is_some(), "{metric:?}");
        aliases.extend(metric.alias);
    }
    let count = aliases.len();
    aliases.sort_unstable();
    aliases.dedup();
    assert_eq!((aliases.len(), count), (5, 5));
    assert!(decoded(&births[1]).2.iter().all(|metric| metric.has_unit));
}

#[test]
fn the_will_and_the_birth_have_the_same_number_which_rises_with_every_sign_in() {
    let mut harness = with(r#"{"group_id":"G"}"#);
    for expected in (0..=255).chain([0, 1]) {
        let login = harness.connect(0).unwrap();
        assert_eq!((login.clean_start, login.session_expiry_s), (Some(true), Some(0)));
        assert_eq!(login.protocol, Some(Protocol::V311));
        let will = login.will.unwrap();
        assert_eq!((will.topic.as_str(), will.qos, will.retain), ("spBv1.0/G/NDEATH/S", Qos::AtLeastOnce, false));
        let (_, seq, metrics) = decoded(&will);
        assert_eq!((seq, metrics.len(), metrics[0].name.as_str()), (None, 1, "bdSeq"));
        assert_eq!((metrics[0].value, metrics[0].data_type), (Some(f64::from(expected)), Some(4)));
        harness.restart().unwrap();
        let birth = &harness.connected().unwrap()[0];
        assert_eq!(decoded(birth).2[0].value, Some(f64::from(expected)));
        let death = &harness.closing()[0];
        assert_eq!((death.topic.as_str(), decoded(death).1), ("spBv1.0/G/NDEATH/S", None));
        assert_eq!(decoded(death).2[0].value, Some(f64::from(expected)));
    }
}

#[test]
fn every_message_has_the_next_sequence_number_up_to_255_and_0() {
    let (mut harness, births) = born();
    for (expected, reading) in (births.len() as u64..).zip(0..600_u32) {
        let data = harness.frame(&[f64::from(reading), 1.0]).unwrap();
        assert_eq!(sequence_numbers(&data), [Some(expected % 256)]);
        harness.restart().unwrap();
    }
}

#[test]
fn data_has_aliases_and_only_what_changed() {
    let (mut harness, births) = born();
    let aliases: Vec<_> = decoded(&births[1]).2.into_iter().map(|metric| metric.alias.unwrap()).collect();
    let data = harness.frame(&[50.0, 10.0]).unwrap();
    assert_eq!(topics(&data), ["spBv1.0/G/DDATA/n/battery"]);
    assert_eq!((data[0].qos, data[0].retain), (Qos::AtMostOnce, false));
    let (_, _, metrics) = decoded(&data[0]);
    assert_eq!(metrics.iter().map(|metric| metric.alias.unwrap()).collect::<Vec<_>>(), aliases);
    for metric in &metrics {
        assert_eq!((metric.name.as_str(), metric.data_type, metric.is_historical), ("", None, false));
        assert_eq!(metric.timestamp, Some(millis(START)));
    }
    assert_eq!(harness.frame(&[50.0, 10.0]).unwrap(), []);
    let (_, _, changed) = decoded(&harness.frame(&[50.0, f64::NAN]).unwrap()[0]);
    assert_eq!((changed.len(), changed[0].alias, changed[0].is_null), (1, Some(aliases[1]), true));
    let (_, _, back) = decoded(&harness.frame(&[50.0, 10.0]).unwrap()[0]);
    assert_eq!((back.len(), back[0].value), (1, Some(10.0)));
}

#[test]
fn a_backlog_is_marked_and_changes_no_present_value() {
    let (mut harness, _) = born();
    harness.frame(&[50.0, 10.0]).unwrap();
    for _ in 0..2 {
        let (_, _, metrics) = decoded(&harness.historical(true).frame(&[49.0, 10.0]).unwrap()[0]);
        assert_eq!(metrics.len(), 2);
        assert!(metrics.iter().all(|metric| metric.is_historical));
    }
    assert_eq!(harness.historical(false).frame(&[50.0, 10.0]).unwrap(), []);
}

#[test]
fn a_rebirth_is_answered_with_the_last_values() {
    let (mut harness, _) = born();
    harness.frame(&[50.0, 10.0]).unwrap();
    let births = published(harness.receive("spBv1.0/G/NCMD/n", REBIRTH).unwrap());
    assert_eq!(topics(&births)[0], "spBv1.0/G/NBIRTH/n");
    assert_eq!(sequence_numbers(&births), [Some(0), Some(1), Some(2)]);
    assert_eq!(decoded(&births[0]).2[0].value, Some(0.0));
    let (_, _, battery) = decoded(&births[1]);
    let values: Vec<_> = battery.iter().map(|metric| (metric.name.as_str(), metric.value)).collect();
    assert_eq!(values, [("soc_pct", Some(50.0)), ("power_kw", Some(10.0))]);
    assert_eq!(battery[0].timestamp, Some(millis(START)));
    assert_eq!(sequence_numbers(&harness.frame(&[51.0, 10.0]).unwrap()), [Some(3)]);
    let inbound = |retained, historical| Inbound {
        at: START,
        topic: "spBv1.0/G/NCMD/n".into(),
        payload: REBIRTH.to_vec(),
        qos: Qos::AtLeastOnce,
        retained,
        historical,
        properties: None,
    };
    assert!(harness.receive_message(&inbound(true, false)).is_err());
    assert!(harness.receive_message(&inbound(false, true)).is_err());
    assert!(harness.receive("spBv1.0/G/NCMD/n", b"\xff".as_slice()).is_err());
}

#[test]
fn a_device_dies_and_is_born_again() {
    let (mut harness, _) = born();
    assert_eq!(harness.event(status("battery", true)).unwrap(), []);
    let death = harness.event(status("battery", false)).unwrap();
    assert_eq!(topics(&death), ["spBv1.0/G/DDEATH/n/battery"]);
    let (at, seq, metrics) = decoded(&death[0]);
    assert_eq!((at > 0, seq, metrics.len(), death[0].qos), (true, Some(3), 0, Qos::AtMostOnce));
    assert_eq!(harness.event(status("battery", false)).unwrap(), []);
    assert_eq!(harness.frame(&[f64::NAN, f64::NAN]).unwrap(), []);
    // A dead device has no place among the births.
    let births = published(harness.receive("spBv1.0/G/NCMD/n", REBIRTH).unwrap());
    assert_eq!(topics(&births), ["spBv1.0/G/NBIRTH/n", "spBv1.0/G/DBIRTH/n/meter"]);
    let back = harness.frame(&[50.0, 1.0]).unwrap();
    assert_eq!(topics(&back), ["spBv1.0/G/DBIRTH/n/battery", "spBv1.0/G/DDATA/n/battery"]);
    assert_eq!(sequence_numbers(&back), [Some(2), Some(3)]);
    assert_eq!(harness.event(status("stranger", false)).unwrap(), []);
}

#[test]
fn a_changed_site_is_born_before_its_data() {
    let (mut harness, _) = born();
    let site = Site { revision: 2, ..site("S").device("meter", &[("voltage_v", "V")]).build() };
    assert_eq!(harness.event(EventBody::Site(site)).unwrap(), []);
    let messages = harness.frame(&[230.0]).unwrap();
    assert_eq!(topics(&messages), ["spBv1.0/G/NBIRTH/n", "spBv1.0/G/DBIRTH/n/meter", "spBv1.0/G/DDATA/n/meter"]);
    assert_eq!(sequence_numbers(&messages), [Some(0), Some(1), Some(2)]);
    assert_eq!(decoded(&messages[1]).2[0].name, "voltage_v");
}

#[test]
fn a_failed_call_counts_nothing() {
    let (mut harness, _) = born();
    let site = Site { revision: 2, ..plant().build() };
    harness.event(EventBody::Site(site)).unwrap();
    let unknown = Frame { source: 9, values: vec![1.0], faults: Vec::new(), texts: Vec::new() };
    assert!(format!("{:?}", harness.event(EventBody::Frame(unknown))).contains("the site has no source 9"));
    // The births of the failed call were discarded, so they come with the next one.
    let messages = harness.frame(&[50.0, 10.0]).unwrap();
    assert_eq!(sequence_numbers(&messages), [Some(0), Some(1), Some(2), Some(3)]);
    assert_eq!(topics(&messages)[0], "spBv1.0/G/NBIRTH/n");
}

#[test]
fn what_is_known_of_a_device_is_in_its_birth() {
    let mut site = plant().build();
    let attributes = [("serial", "A1"), ("firmware", "2.0")];
    site.devices[0].attributes = attributes.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
    site.revision = 2;
    let (mut harness, _) = born();
    harness.event(EventBody::Site(site)).unwrap();
    let births = harness.frame(&[50.0, 10.0]).unwrap();
    let (_, _, metrics) = decoded(&births[1]);
    let texts: Vec<_> = metrics.iter().map(|metric| (metric.name.as_str(), metric.text.as_deref())).collect();
    assert_eq!(texts[..2], [("Properties/serial", Some("A1")), ("Properties/firmware", Some("2.0"))]);
    let mut aliases: Vec<_> =
        births[1..].iter().flat_map(|birth| decoded(birth).2).map(|metric| metric.alias).collect();
    aliases.truncate(5);
    assert_eq!(aliases, [100, 101, 102, 103, 104].map(Some));
}

#[test]
fn names_that_differ_in_case_alone_are_logged() {
    let plant = site("S").device("a", &[("p", "kW"), ("P", "kW")]).device("A", &[("p", "kW")]);
    Harness::<SparkplugB>::new(plant, r#"{"group_id":"G"}"#).unwrap();
    let lines: Vec<_> = logged().into_iter().map(|(_, line)| line).collect();
    let ending = "differ in upper and lower case alone: a host may take them for one";
    assert_eq!(lines, [format!("a and A {ending}"), format!("p and P {ending}")]);
}

#[test]
fn the_verdict_of_safety_is_data_of_the_node() {
    let (mut harness, births) = born();
    let names: Vec<_> = decoded(&births[0]).2.into_iter().skip(2).map(|metric| (metric.name, metric.is_null)).collect();
    assert_eq!(names, [("Safety/is_safe".to_owned(), true), ("Safety/watchdog".to_owned(), true)]);
    let verdict = |is_safe| {
        EventBody::Safety(Safety { is_safe, watchdog: Watchdog::Ok, power_limit_kw: None, violations: Vec::new() })
    };
    let data = harness.event(verdict(false)).unwrap();
    assert_eq!((topics(&data), data[0].qos), (vec!["spBv1.0/G/NDATA/n"], Qos::AtMostOnce));
    let (_, seq, metrics) = decoded(&data[0]);
    assert_eq!((seq, metrics[0].value, metrics[1].text.as_deref()), (Some(3), Some(0.0), Some("ok")));
    assert_eq!(harness.event(verdict(false)).unwrap(), []);
    assert_eq!(harness.event(verdict(true)).unwrap().len(), 1);
}

#[test]
fn without_the_primary_host_nothing_is_published_and_events_wait() {
    let mut harness = with(r#"{"group_id":"G","edge_node_id":"n","primary_host":"scada"}"#);
    harness.connect(0).unwrap();
    let filters: Vec<_> = harness.subscriptions().into_iter().map(|wanted| (wanted.filter, wanted.qos)).collect();
    let expected = ["spBv1.0/G/NCMD/n", "spBv1.0/G/DCMD/n/+", "spBv1.0/STATE/scada"];
    assert_eq!(filters, expected.map(|filter| (filter.to_owned(), Qos::AtLeastOnce)));
    assert_eq!(harness.connected().unwrap(), []);
    assert!(format!("{:?}", harness.frame(&[1.0, 2.0])).contains("the primary host \\\"scada\\\" is not online"));
    assert_eq!(published(harness.receive("spBv1.0/G/NCMD/n", REBIRTH).unwrap()), []);
    let state = |harness: &mut Harness<SparkplugB>, online, at: u64| {
        harness.receive("spBv1.0/STATE/scada", format!(r#"{{"online":{online},"timestamp":{at}}}"#)).unwrap()
    };
    assert_eq!(published(state(&mut harness, true, 1000)).len(), 3);
    assert_eq!(harness.frame(&[1.0, 2.0]).unwrap().len(), 1);
    // Older news is no news.
    assert_eq!(state(&mut harness, false, 999), []);
    assert!(logged().last().unwrap().1.contains("the message of 999 is older than that of 1000: it is ignored"));
    assert_eq!(state(&mut harness, true, 1001), []);
    let actions = state(&mut harness, false, 1001);
    assert_eq!(actions.last(), Some(&Action::SignInAgain));
    assert_eq!(topics(&published(actions)), ["spBv1.0/G/NDEATH/n"]);
    // Nothing follows the death in this session, though the host is back.
    assert_eq!(state(&mut harness, true, 1002), []);
    assert!(harness.frame(&[2.0, 3.0]).is_err());
    assert_eq!(published(harness.receive("spBv1.0/G/NCMD/n", REBIRTH).unwrap()), []);
    harness.connect(0).unwrap();
    assert_eq!(harness.connected().unwrap(), []);
    assert_eq!(published(state(&mut harness, true, 1002)).len(), 3);
    assert!(harness.receive("spBv1.0/STATE/scada", "ONLINE").is_err());
}

#[test]
fn a_command_becomes_a_proposal_which_the_host_decides() {
    let mut site = plant();
    site = site.device("inverter", &[("target_kw", "kW")]);
    let mut harness = Harness::<SparkplugB>::new(site, r#"{"group_id":"G","edge_node_id":"n"}"#).unwrap();
    harness.connect(0).unwrap();
    harness.connected().unwrap();
    // DCMD {target_kw = 2.5}.
    let mut payload = b"\x08\x01\x12\x16\x0a\x09target_kw\x20\x0a\x69".to_vec();
    payload.extend_from_slice(&2.5_f64.to_le_bytes());
    let actions = harness.receive("spBv1.0/G/DCMD/n/inverter", payload.clone()).unwrap();
    let [Action::Write(proposal)] = actions.as_slice() else { panic!("{actions:?}") };
    assert_eq!((proposal.device.as_str(), proposal.channel.as_str()), ("inverter", "target_kw"));
    assert_eq!((&proposal.value, proposal.reference.as_str()), (&Some(Value::Number(2.5)), "inverter/target_kw"));
    let refused = bessai_plugin::Outcome::Refused("not yet".into());
    assert_eq!(harness.wrote(&proposal.reference, &refused).unwrap(), []);
    assert_eq!(logged().last().unwrap().1, "a DCMD for inverter/target_kw was refused: not yet");
    assert!(harness.receive("spBv1.0/G/DCMD/n/stranger", payload).is_err());
    assert_eq!(stored("node").map(|node| node.len()), Some(19));
}
