//! Commands of Home Assistant for channels that can be written.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use bessai_plugin::testing::{Harness, logged, site};
use bessai_plugin::{Action, ChannelKind, EventBody, Inbound, Outcome, Proposal, Qos, Value};
use home_assistant::HomeAssistant;

const BASE: &str = "S/home-assistant/battery";

/// A battery with a number, a choice and a switch, after its first reading.
fn harness() -> Harness<HomeAssistant> {
    let channels = [("set_point_kw", "kW"), ("mode", "1"), ("enabled", "1"), ("soc_pct", "%")];
    let mut described = site("S").device("battery", &channels).build();
    let kinds = [ChannelKind::Gauge, ChannelKind::State, ChannelKind::Flag];
    for (channel, kind) in described.sources[0].channels.iter_mut().zip(kinds) {
        channel.kind = kind;
        channel.writable = true;
    }
    let attribute = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    described.sources[0].channels[0].attributes = vec![attribute("min", "-12"), attribute("max", "12")];
    described.sources[0].channels[1].attributes = vec![attribute("state.0", "off"), attribute("state.2", "external")];
    let mut harness = Harness::new(site("S").device("battery", &channels), "{}").unwrap();
    harness.event(EventBody::Site(described)).unwrap();
    harness.frame(&[1.0, 2.0, 0.0, 50.0]).unwrap();
    harness
}

#[test]
fn entities_that_can_be_set_are_announced_with_their_limits() {
    let mut harness = harness();
    let messages = harness.connected().unwrap();
    let battery = messages.iter().find(|message| message.topic == "homeassistant/device/S_battery/config").unwrap();
    let text = String::from_utf8(battery.payload.clone()).unwrap();
    for part in [
        r#""p":"number","uniq_id":"S_battery_set_point_kw","name":"Set-point""#,
        r#""dev_cla":"power","unit_of_meas":"kW","min":-12.0,"max":12.0,"step":0.01,"mode":"box","ent_cat":"config","cmd_t":"S/home-assistant/battery/set_point_kw/set""#,
        r#""p":"select","uniq_id":"S_battery_mode""#,
        r#""options":["off","external"]"#,
        r#""p":"switch","uniq_id":"S_battery_enabled""#,
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let filters: Vec<_> = harness.subscriptions().into_iter().map(|subscription| subscription.filter).collect();
    assert_eq!(filters, ["homeassistant/status", "S/home-assistant/+/+/set"]);
}

#[test]
fn limits_without_a_range_are_replaced() {
    let mut described = site("S").device("battery", &[("set_point_kw", "kW"), ("reserve", "%")]).build();
    for channel in &mut described.sources[0].channels {
        channel.writable = true;
        channel.attributes = ["min", "max"].map(|key| (key.to_owned(), "5".to_owned())).into();
    }
    let mut harness = Harness::<HomeAssistant>::new(site("S"), "{}").unwrap();
    harness.event(EventBody::Site(described)).unwrap();
    let messages = harness.connected().unwrap();
    let text: String = messages.iter().map(|message| String::from_utf8_lossy(&message.payload)).collect();
    for part in [r#""min":-1000000.0,"max":1000000.0,"step":0.01"#, r#""min":0.0,"max":100.0,"step":0.1"#] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_command_becomes_a_proposal_and_a_refusal_shows_the_real_value_again() {
    let mut harness = harness();
    for (entity, payload, value) in [("set_point_kw", "-5.5", -5.5), ("mode", "off", 0.0), ("enabled", "ON", 1.0)] {
        let proposal = Proposal {
            device: "battery".into(),
            channel: entity.into(),
            value: Some(Value::Number(value)),
            until: None,
            reference: format!("battery/{entity}"),
        };
        let actions = harness.receive(&format!("{BASE}/{entity}/set"), payload).unwrap();
        assert_eq!(actions, [Action::Write(proposal)]);
        let messages = harness.wrote(&format!("battery/{entity}"), &Outcome::Refused("not yet".into())).unwrap();
        assert_eq!(messages.len(), 1);
        assert_eq!((messages[0].topic.as_str(), messages[0].retain), ("S/home-assistant/battery/state", true));
        let state = String::from_utf8(messages[0].payload.clone()).unwrap();
        assert_eq!(state, r#"{"set_point_kw":1.0,"mode":"external","enabled":"OFF","soc_pct":50.0}"#);
        let line = format!("Home Assistant's command for battery {entity} is not carried out: not yet");
        assert_eq!(logged().last().unwrap().1, line);
    }
    assert_eq!(harness.wrote("battery/mode", &Outcome::Acknowledged), Ok(Vec::new()));
}

#[test]
fn a_command_that_makes_no_sense_is_logged_and_answered_with_the_real_value() {
    let mut harness = harness();
    for (entity, payload, reason) in [
        ("set_point_kw", "20", "20 is not within -12 to 12"),
        ("set_point_kw", "much", "\"much\" is not a number"),
        ("mode", "on", "\"on\" is none of its values"),
        ("enabled", "maybe", "\"maybe\" is neither ON nor OFF"),
    ] {
        let actions = harness.receive(&format!("{BASE}/{entity}/set"), payload).unwrap();
        assert!(matches!(actions.as_slice(), [Action::Publish(message)] if message.topic == format!("{BASE}/state")));
        let line = format!("Home Assistant's command for battery {entity} is refused: {reason}");
        assert_eq!(logged().last().unwrap().1, line);
    }
}

#[test]
fn old_commands_and_those_for_nothing_are_rejected() {
    let mut harness = harness();
    assert!(harness.receive(&format!("{BASE}/soc_pct/set"), "1").is_err());
    let message = |retained, historical| Inbound {
        at: 0,
        topic: format!("{BASE}/mode/set"),
        payload: b"off".to_vec(),
        qos: Qos::AtLeastOnce,
        retained,
        historical,
        properties: None,
    };
    assert!(harness.receive_message(&message(true, false)).is_err());
    assert!(harness.receive_message(&message(false, true)).is_err());
}
