//! What Home Assistant gets of the backlog of an outage.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use bessai_plugin::testing::{Harness, START, site, stored};
use bessai_plugin::{DeviceStatus, EventBody, Message};
use home_assistant::HomeAssistant;

const BASE: &str = "S/home-assistant";
const SECOND: u64 = 1_000_000_000;

fn harness() -> Harness<HomeAssistant> {
    Harness::new(site("S").device("battery", &[("temp_c", "Cel")]).device("meter", &[("voltage", "V")]), "{}").unwrap()
}

fn check(messages: &[Message], expected: &[(&str, &str)]) {
    let found: Vec<_> = messages
        .iter()
        .map(|message| {
            assert!(message.retain);
            (message.topic.strip_prefix(BASE).unwrap(), std::str::from_utf8(&message.payload).unwrap())
        })
        .collect();
    assert_eq!(found, expected);
}

fn heartbeat(harness: &mut Harness<HomeAssistant>) -> Vec<Message> {
    harness.event(EventBody::Heartbeat).unwrap()
}

#[test]
fn at_the_end_of_a_backlog_each_source_has_its_last_reading() {
    let mut harness = harness();
    harness.historical(true);
    for value in [20.0, 21.0] {
        check(&harness.frame(&[value]).unwrap(), &[]);
        check(&harness.frame_of(1, &[230.0 + value]).unwrap(), &[]);
    }
    // A reading without a value is no newer state.
    check(&harness.frame(&[f64::NAN]).unwrap(), &[]);
    check(&heartbeat(&mut harness), &[]);
    // A fresh instance knows of it, too.
    harness.restart().unwrap().historical(false);
    let expected = [
        ("/meter/availability", "online"),
        ("/meter/state", r#"{"voltage":252.0}"#),
        ("/battery/availability", "online"),
        ("/battery/state", r#"{"temp_c":21.0}"#),
    ];
    // The source that is of the present first.
    check(&harness.frame_of(1, &[252.0]).unwrap(), &expected);
    check(&heartbeat(&mut harness), &[]);
    assert_eq!(stored(&format!("late/{BASE}/battery/state")), None);
}

#[test]
fn an_old_reading_does_not_replace_a_newer_one() {
    let mut harness = harness();
    harness.at(START + 60 * SECOND).frame(&[30.0]).unwrap();
    // With `live-first` the backlog follows.
    harness.restart().unwrap().historical(true).at(START);
    check(&harness.frame(&[20.0]).unwrap(), &[]);
    check(&heartbeat(harness.historical(false)), &[]);
}

#[test]
fn a_device_that_went_offline_in_the_backlog_stays_offline() {
    let mut harness = harness();
    harness.historical(true).frame(&[20.0]).unwrap();
    let status = DeviceStatus { device: "battery".into(), online: false, detail: String::new() };
    check(&harness.event(EventBody::Device(status)).unwrap(), &[("/battery/availability", "offline")]);
    check(&heartbeat(harness.historical(false)), &[("/battery/state", r#"{"temp_c":20.0}"#)]);
}
