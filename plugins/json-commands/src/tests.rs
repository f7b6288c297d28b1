//! Commands and their answers.

use bessai_plugin::testing::{Harness, START, site, stored};
use bessai_plugin::{Action, EventBody, Inbound, Message, Outcome, Properties, Proposal, Qos, Value, Write};

use crate::{JsonCommands, OPEN};

fn harness() -> Harness<JsonCommands> {
    Harness::new(site("S").device("battery", &[("power_kw", "kW")]), "{}").unwrap()
}

const TOPIC: &str = "S/cmd/battery/power_kw";

fn check(message: &Message, topic: &str, payload: &str) {
    assert_eq!((message.topic.as_str(), String::from_utf8_lossy(&message.payload).as_ref()), (topic, payload));
    assert!(!message.retain);
}

fn proposal(actions: &[Action]) -> Proposal {
    let [Action::Write(proposal)] = actions else { panic!("{actions:?}") };
    proposal.clone()
}

fn refused(harness: &mut Harness<JsonCommands>, topic: &str, payload: &str) -> Message {
    let actions = harness.receive(topic, payload).unwrap();
    let [Action::Publish(message)] = actions.as_slice() else { panic!("{actions:?}") };
    message.clone()
}

#[test]
fn each_outcome_is_answered() {
    for (outcome, answer) in [
        (Outcome::Verified(Value::Number(20.0)), r#""outcome":"verified","value":20.0}"#),
        (Outcome::Acknowledged, r#""outcome":"acknowledged"}"#),
        (Outcome::Refused("not yet".into()), r#""outcome":"refused","reason":"not yet"}"#),
        (Outcome::Failed("still 0 kW".into()), r#""outcome":"failed","reason":"still 0 kW"}"#),
        (Outcome::Superseded("operator".into()), r#""outcome":"superseded","reason":"operator"}"#),
        (Outcome::Expired, r#""outcome":"expired"}"#),
        (Outcome::Released("operator".into()), r#""outcome":"released","reason":"operator"}"#),
    ] {
        let mut harness = harness();
        let proposed = proposal(&harness.receive(TOPIC, r#"{"value": 20.0, "until_s": 60, "ref": "a1"}"#).unwrap());
        assert_eq!((proposed.device.as_str(), proposed.channel.as_str()), ("battery", "power_kw"));
        assert_eq!((proposed.value, proposed.until), (Some(Value::Number(20.0)), Some(START + 60_000_000_000)));
        assert_eq!(proposed.reference, "1:a1");
        let answers = harness.restart().unwrap().wrote(&proposed.reference, &outcome).unwrap();
        check(&answers[0], "S/answer/battery/power_kw", &format!(r#"{{"ref":"a1",{answer}"#));
        assert_eq!(stored("open/1"), None);
    }
}

#[test]
fn what_cannot_be_proposed_is_refused_with_the_reason() {
    let mut harness = harness();
    for (topic, payload, answer) in [
        (
            "S/cmd/battery/power_kw",
            "{\"value\":20",
            r#"{"ref":null,"outcome":"refused","reason":"the payload is not JSON: invalid JSON at byte 11: expected a comma or }"}"#,
        ),
        (
            "S/cmd/battery/power_kw",
            r#"{"valu":20,"ref":"a1"}"#,
            r#"{"ref":"a1","outcome":"refused","reason":"valu is unknown: write value, until_s or ref"}"#,
        ),
        (
            "S/cmd/batery/power_kw",
            r#"{"value":20,"ref":"a1"}"#,
            r#"{"ref":"a1","outcome":"refused","reason":"the site has no device \"batery\", or this feed has no right to read it"}"#,
        ),
        (
            "S/cmd/battery/power",
            r#"{"value":20,"ref":"a1"}"#,
            r#"{"ref":"a1","outcome":"refused","reason":"battery has no channel \"power\""}"#,
        ),
    ] {
        check(&refused(&mut harness, topic, payload), &topic.replace("cmd", "answer"), answer);
    }
    assert!(harness.receive("S/other", "{}").is_err());
    assert_eq!(harness.receive(TOPIC, "").unwrap(), []);
}

#[test]
fn the_power_and_its_limits_can_be_set_without_being_read() {
    for channel in ["set_point_kw", "charge_limit_kw", "discharge_limit_kw"] {
        let mut harness = harness();
        let actions = harness.receive(&format!("S/cmd/battery/{channel}"), r#"{"value":20,"ref":"a1"}"#).unwrap();
        assert!(matches!(&actions[..], [Action::Write(proposal)] if proposal.channel == channel), "{actions:?}");
    }
}

#[test]
fn a_command_that_may_be_old_is_refused() {
    let inbound = |retained, historical| Inbound {
        at: START,
        topic: TOPIC.into(),
        payload: br#"{"value":20,"ref":"a1"}"#.to_vec(),
        qos: Qos::AtLeastOnce,
        retained,
        historical,
        properties: None,
    };
    for (message, reason) in [
        (inbound(true, true), "the command is retained, so it may be of any age: publish it without the retain flag"),
        (inbound(false, true), "the command is old: the broker or the gateway kept it for a while; publish it again"),
    ] {
        let actions = harness().receive_message(&message).unwrap();
        let [Action::Publish(answer)] = actions.as_slice() else { panic!("{actions:?}") };
        let expected = format!(r#"{{"ref":"a1","outcome":"refused","reason":"{reason}"}}"#);
        check(answer, "S/answer/battery/power_kw", &expected);
    }
}

/// A command whose answer is to go to a topic.
fn asking_for_an_answer(response_topic: String, correlation_data: Option<Vec<u8>>) -> Inbound {
    let properties = Properties {
        content_type: None,
        expiry_s: None,
        response_topic: Some(response_topic),
        correlation_data,
        payload_utf8: false,
        user: Vec::new(),
    };
    Inbound {
        at: START,
        topic: TOPIC.into(),
        payload: br#"{"value":20}"#.to_vec(),
        qos: Qos::AtLeastOnce,
        retained: false,
        historical: false,
        properties: Some(properties),
    }
}

#[test]
fn with_mqtt_5_the_answer_goes_where_it_is_expected() {
    let mut harness = harness();
    let message = asking_for_an_answer("acme/answers".into(), Some(vec![7, 0, 255]));
    let reference = proposal(&harness.receive_message(&message).unwrap()).reference;
    let answers = harness.wrote(&reference, &Outcome::Expired).unwrap();
    check(&answers[0], "acme/answers", r#"{"ref":null,"outcome":"expired"}"#);
    assert_eq!(answers[0].properties.as_ref().unwrap().correlation_data, Some(vec![7, 0, 255]));
}

#[test]
fn every_command_is_answered_however_many_are_open() {
    let mut harness = harness();
    let payload = |number: u64| format!(r#"{{"value":1,"ref":"a{number}"}}"#);
    // 30 s of 50 commands each, after a burst of 100, all on a device that takes that long.
    let references: Vec<_> =
        (0..1600).map(|number| proposal(&harness.receive(TOPIC, payload(number)).unwrap()).reference).collect();
    for (number, reference) in references.iter().enumerate() {
        let answers = harness.wrote(reference, &Outcome::Acknowledged).unwrap();
        let expected = format!(r#"{{"ref":"a{number}","outcome":"acknowledged"}}"#);
        check(&answers[0], "S/answer/battery/power_kw", &expected);
    }
}

#[test]
fn what_is_kept_for_answers_is_bounded() {
    let mut harness = harness();
    let references: Vec<_> =
        (0..=OPEN).map(|_| proposal(&harness.receive(TOPIC, r#"{"value":1}"#).unwrap()).reference).collect();
    assert_eq!(references[0], "1:");
    // The last one has taken the place of the first.
    assert_eq!(harness.wrote(&references[0], &Outcome::Expired).unwrap(), []);
    assert_eq!(harness.wrote(references.last().unwrap(), &Outcome::Expired).unwrap().len(), 1);
    assert_eq!(harness.wrote(&references[1], &Outcome::Expired).unwrap().len(), 1);
}

/// The event of an outcome.
fn event(proposal: &Proposal, outcome: Option<Outcome>) -> EventBody {
    let proposer = "feed/customer".to_owned();
    EventBody::Write(Write { proposed: 7, proposer, proposal: proposal.clone(), unit: "kW".into(), outcome })
}

#[test]
fn later_outcomes_are_published_where_the_settings_say() {
    let site = || site("S").device("battery", &[("power_kw", "kW")]);
    let config = r#"{"outcome_topic":"<SITE_ID>/outcome/<device>/<channel>"}"#;
    let mut harness = Harness::<JsonCommands>::new(site(), config).unwrap();
    let command =
        |harness: &mut Harness<JsonCommands>, payload: &str| proposal(&harness.receive(TOPIC, payload).unwrap());
    let first = command(&mut harness, r#"{"value":20,"ref":"a1"}"#);
    let second = command(&mut harness, r#"{"value":30}"#);
    assert_ne!(first.reference, "1:a1", "another feed's proposals may have the same reference");
    let answers = harness.wrote(&first.reference, &Outcome::Verified(Value::Number(20.0))).unwrap();
    check(&answers[0], "S/answer/battery/power_kw", r#"{"ref":"a1","outcome":"verified","value":20.0}"#);
    let harness = harness.restart().unwrap();
    let topic = "S/outcome/battery/power_kw";
    let published = harness.event(event(&first, Some(Outcome::Expired))).unwrap();
    check(&published[0], topic, r#"{"ref":"a1","outcome":"expired"}"#);
    let published = harness.event(event(&second, Some(Outcome::Released("operator".into())))).unwrap();
    check(&published[0], topic, r#"{"ref":null,"outcome":"released","reason":"operator"}"#);
    // The proposal itself, one of another feed, and a write of the gateway.
    for (reference, outcome) in [
        (first.reference.as_str(), None),
        ("1:a1", Some(Outcome::Expired)),
        ("abc-1:a1", Some(Outcome::Expired)),
        ("register-write/17", Some(Outcome::Acknowledged)),
    ] {
        let other = Proposal { reference: reference.into(), ..first.clone() };
        assert_eq!(harness.event(event(&other, outcome)).unwrap(), [], "{reference}");
    }
}

#[test]
fn without_a_topic_later_outcomes_are_not_published() {
    let mut harness = harness();
    let proposal = proposal(&harness.receive(TOPIC, r#"{"value":20,"ref":"a1"}"#).unwrap());
    assert_eq!(harness.event(event(&proposal, Some(Outcome::Expired))).unwrap(), []);
}

#[test]
fn a_command_that_cannot_be_remembered_is_refused() {
    let mut harness = harness();
    let message = asking_for_an_answer("a".repeat(60_000), None);
    let refusal = (0..100).find_map(|_| match &harness.receive_message(&message).unwrap()[..] {
        [Action::Publish(answer)] => Some(answer.payload.clone()),
        _ => None,
    });
    let reason = "too many commands wait for their outcome; send it again later";
    assert!(String::from_utf8(refusal.unwrap()).unwrap().contains(reason));
}
