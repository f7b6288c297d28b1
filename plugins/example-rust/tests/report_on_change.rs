//! What the cases in `cases/` cannot check: the log, the stored text, and a full state.
#![allow(missing_docs, clippy::unwrap_used)]

use bessai_plugin::testing::{Harness, SiteBuilder, logged, site, stored};
use bessai_plugin::{EventBody, Failure, Frame, Gap, log, state};
use example_rust::ReportOnChange;

fn battery() -> SiteBuilder {
    site("SITE-CL-001").device("battery", &[("soc_pct", "%"), ("power_kw", "kW")])
}

fn harness() -> Harness<ReportOnChange> {
    Harness::new(battery(), r#"{"topic":"acme"}"#).unwrap()
}

#[test]
fn the_last_published_value_is_stored_unrounded() {
    let mut harness = harness();
    assert_eq!(harness.frame(&[50.0, 10.123_456]).unwrap().len(), 1);
    assert_eq!(harness.frame(&[50.0, 10.2]).unwrap(), []);
    assert_eq!(stored("power/battery").as_deref(), Some(b"10.123456".as_slice()));
}

#[test]
fn a_gap_is_logged_with_the_number_of_lost_events() {
    let mut harness = harness();
    for (lost, line) in [(Some(3), "3 events lost: full"), (None, "an unknown number of events lost: full")] {
        assert_eq!(harness.event(EventBody::Gap(Gap { lost, reason: "full".into() })), Ok(Vec::new()));
        assert_eq!(logged().last(), Some(&(log::Level::Warn, line.to_owned())));
    }
}

#[test]
fn an_event_is_rejected_if_the_state_is_full() {
    let mut harness = harness();
    state::set("other", &[0; (1 << 20) - 10]).unwrap();
    let refused = harness.frame(&[50.0, 10.0]);
    assert_eq!(refused, Err(Failure::Reject("state is full: power/battery cannot be stored".into())));
}

#[test]
fn a_frame_of_an_unknown_source_is_rejected() {
    let frame = Frame { source: 1, values: vec![1.0], faults: Vec::new(), texts: Vec::new() };
    let refused = harness().event(EventBody::Frame(frame));
    assert_eq!(refused, Err(Failure::Reject("the site has no source 1".into())));
}
