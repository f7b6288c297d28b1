//! A feed with a plugin of a few rules, a broker that acknowledges on command, and a list of events.

use std::rc::Rc;
use std::time::Duration;

use bessai_domain::event::{DeviceStatus, Event, EventBody, Sequence};

use fakes::*;
use running::*;

use crate::Replacement;

mod commands;
mod fakes;
mod kinds;
mod live_first;
mod outage;
mod quotas;
mod refusals;
mod requeue;
mod running;
mod sessions;

#[tokio::test(start_paused = true)]
async fn the_poisonous_event_is_quarantined_and_the_others_are_delivered() {
    on_one_thread(async {
        for batch_size in [1, 3, 64] {
            for poisoned in 1..=6 {
                let value = |sequence| if sequence == poisoned { 66.6 } else { 1.0 };
                let events = (1..=6).map(|sequence| frame(sequence, value(sequence))).collect();
                let feed = run(rule("a", fails_on_poison), batch_size, events);
                feed.delivers(6).await;
                let expected: Vec<_> = (1..=6).filter(|n| *n != poisoned).map(|n| format!("a/{n}")).collect();
                assert_eq!(feed.published(), expected, "{poisoned} of 6, batches of {batch_size}");
                assert_eq!(feed.quarantined(), [poisoned]);
                // The comparisons with other events have left nothing in the state.
                assert_eq!(feed.seen(), 5);
                assert_eq!(feed.health.borrow().off, None);
            }
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_fails_on_everything_keeps_its_position_until_it_is_fixed() {
    on_one_thread(async {
        let feed = run(rule("bad", |_| true), 2, (1..=20).map(|sequence| frame(sequence, 1.0)).collect());
        feed.wait_a_minute().await;
        assert!(feed.health.borrow().off.as_ref().unwrap().contains("10 times in a row"));
        assert_eq!((feed.quarantined(), feed.outside.position.get()), (vec![], 0));
        feed.replace(rule("good", |_| false)).await.unwrap();
        feed.delivers(20).await;
        let expected: Vec<_> = (1..=20).map(|n| format!("good/{n}")).collect();
        assert_eq!(feed.published(), expected);
        assert_eq!(feed.health.borrow().off, None);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn processed_heartbeats_do_not_put_readings_at_fault() {
    on_one_thread(async {
        let fails = |event: &Event| matches!(event.body, EventBody::Frame(_));
        let events = (1..=40).map(|n| if n % 2 == 1 { heartbeat(n) } else { frame(n, 1.0) }).collect();
        let feed = run(rule("bad", fails), 1, events);
        feed.wait_a_minute().await;
        assert_eq!((feed.quarantined(), feed.outside.position.get()), (vec![], 1));
        assert!(feed.health.borrow().off.is_some());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn frames_that_a_plugin_ignores_do_not_put_those_of_another_device_at_fault() {
    on_one_thread(async {
        let fails = |event: &Event| matches!(&event.body, EventBody::Frame(frame) if frame.source == 0);
        let alternating =
            |first: u64, last: u64| (first..=last).map(|n| frame_of(u32::try_from(n % 2).unwrap(), n, 1.0));
        let plugin = RulePlugin {
            ignores: |event| matches!(&event.body, EventBody::Frame(frame) if frame.source == 1),
            ..rule("bad", fails)
        };
        let feed = run(plugin, 1, alternating(1, 60).collect());
        feed.wait_a_minute().await;
        assert_eq!((feed.quarantined(), feed.outside.position.get()), (vec![], 1));
        assert!(feed.health.borrow().off.is_some());
        // One that publishes the other device's frames works.
        let feed = run(rule("bad", fails), 1, alternating(1, 12).collect());
        feed.wait_a_minute().await;
        assert_eq!(feed.quarantined(), [2, 4, 6, 8, 10, 12]);
        assert_eq!(feed.health.borrow().off, None);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_fails_on_many_events_is_switched_off_before_it_has_lost_much() {
    on_one_thread(async {
        let events = (1..=240).map(|n| frame(n, if n % 3 == 0 { 66.6 } else { 1.0 })).collect();
        let feed = run(rule("bad", fails_on_poison), 1, events);
        feed.wait_a_minute().await;
        let off = feed.health.borrow().off.clone().unwrap();
        assert!(off.contains("failed on 21 of its last 63 events"), "{off}");
        assert_eq!((feed.quarantined().len(), feed.outside.position.get()), (21, 63));
        feed.replace(rule("good", |_| false)).await.unwrap();
        feed.delivers(240).await;
        assert_eq!(feed.quarantined().len(), 21);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_fails_on_everything_is_switched_off_whatever_kinds_of_events_there_are() {
    on_one_thread(async {
        let device = DeviceStatus { device: "battery".into(), online: true, detail: String::new() };
        let first = Event { sequence: Sequence(1), at: AT, body: EventBody::Device(device) };
        let events = std::iter::once(first.into()).chain((2..=20).map(|n| frame(n, 1.0))).collect();
        let feed = run(rule("bad", |_| true), 1, events);
        feed.wait_a_minute().await;
        assert!(feed.health.borrow().off.is_some(), "{:?}", feed.health.borrow());
        assert_eq!((feed.quarantined(), feed.outside.position.get()), (vec![], 0));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_configuration_is_tried_once_until_something_changes() {
    on_one_thread(async {
        for session in [false, true] {
            let outside = Rc::default();
            let plugin = rule("refuses", |_| false);
            let connects = sessions::connector(&outside, "refuses", |_| false, sessions::leaves_it_to_the_settings);
            let feed = run(if session { connects } else { plugin }, 1, (1..=3).map(|n| frame(n, 1.0)).collect());
            feed.wait_a_minute().await;
            let health = feed.health.borrow().clone();
            let expected = Some("the plugin refuses its configuration: no topic".to_owned());
            assert_eq!((health.off, health.failures, health.starts), (expected, 1, 1), "session: {session}");
            feed.replace(rule("good", |_| false)).await.unwrap();
            feed.delivers(3).await;
            assert_eq!(feed.health.borrow().off, None);
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn heartbeats_do_not_switch_a_plugin_off_that_fails_on_one_reading() {
    on_one_thread(async {
        let mut events: Vec<_> = (1..=40).map(|n| if n == 2 { frame(n, 66.6) } else { heartbeat(n) }).collect();
        events.push(frame(41, 1.0));
        let feed = run(rule("a", fails_on_poison), 1, events);
        feed.delivers(41).await;
        assert_eq!((feed.quarantined(), feed.published().len()), (vec![2], 40));
        assert_eq!(feed.health.borrow().off, None);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_new_version_is_tried_before_it_replaces_the_old_one() {
    on_one_thread(async {
        let feed = run(rule("old", |_| false), 1, (1..=3).map(|sequence| frame(sequence, 1.0)).collect());
        feed.delivers(3).await;
        assert_eq!(feed.replace(rule("refuses", |_| false)).await.unwrap_err(), "refuses its configuration: no topic");
        let error = feed.replace(rule("traps", |_| true)).await.unwrap_err();
        assert!(error.contains("fails on an event that the old version processed"), "{error}");
        assert_eq!(feed.health.borrow().version, "old");
        assert!(feed.health.borrow().update_error.is_some());
        feed.replace(rule("new", |_| false)).await.unwrap();
        assert_eq!((feed.health.borrow().version.as_str(), feed.health.borrow().update_error.is_none()), ("new", true));
        // Trying a version changes no state and publishes nothing.
        assert_eq!((feed.seen(), feed.published().len()), (3, 3));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_new_version_that_fails_before_its_first_acknowledgement_is_rolled_back() {
    on_one_thread(async {
        // There is no processed event yet to try the new version with.
        let feed = run(rule("old", |_| false), 1, vec![frame(1, 66.6), frame(2, 1.0)]);
        feed.outside.holds_acknowledgements.set(true);
        feed.replace(rule("new", fails_on_poison)).await.unwrap();
        feed.wait_a_minute().await;
        assert_eq!(feed.published(), ["old/1", "old/2"]);
        assert_eq!(feed.health.borrow().version, "old");
        assert!(feed.health.borrow().update_error.as_ref().unwrap().contains("trapped"));
        assert_eq!((feed.quarantined(), feed.health.borrow().off.clone()), (vec![], None));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_acknowledged_batch_proves_a_new_version() {
    on_one_thread(async {
        let feed = run(rule("old", |_| false), 1, vec![frame(1, 1.0), frame(2, 66.6), frame(3, 1.0)]);
        feed.replace(rule("new", fails_on_poison)).await.unwrap();
        feed.delivers(3).await;
        assert_eq!(feed.published(), ["new/1", "new/3"]);
        assert_eq!((feed.quarantined(), feed.health.borrow().version.clone()), (vec![2], "new".into()));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_failing_version_is_rolled_back_to_the_last_version_that_delivered() {
    on_one_thread(async {
        let events = vec![frame(1, 1.0), frame(2, 66.6)];
        // The pause leaves time for the third version between the delivery of event 1 and event 2.
        let feed = run_in(Rc::default(), rule("first", |_| false), 1, events, Duration::from_secs(1));
        feed.replace(rule("second", |_| false)).await.unwrap();
        feed.delivers(1).await;
        feed.replace(rule("third", fails_on_poison)).await.unwrap();
        feed.delivers(2).await;
        assert_eq!(feed.published(), ["second/1", "second/2"]);
        assert_eq!(feed.health.borrow().version, "second");
        assert!(feed.health.borrow().update_error.as_ref().unwrap().contains("trapped"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn unacknowledged_batches_hold_the_position() {
    on_one_thread(async {
        let feed = run(rule("a", |_| false), 1, (1..=5).map(|sequence| frame(sequence, 1.0)).collect());
        feed.outside.holds_acknowledgements.set(true);
        feed.wait_a_minute().await;
        assert_eq!(feed.outside.position.get(), 0);
        feed.outside.holds_acknowledgements.set(false);
        feed.outside.changed.notify_waiters();
        feed.delivers(5).await;
        assert_eq!((feed.seen(), feed.published().len()), (5, 5));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_cannot_run_the_plugin_is_not_the_plugins_fault() {
    on_one_thread(async {
        // More often than a plugin may fail.
        let refused_often = 20;
        let plugin = RulePlugin { refusals_by_host: refused_often, ..rule("v1", |_| false) };
        let feed = run(plugin, 1, (1..=3).map(|sequence| frame(sequence, 1.0)).collect());
        // The pauses grow, so this takes a quarter of an hour.
        for _ in 0..30 {
            feed.wait_a_minute().await;
        }
        feed.delivers(3).await;
        let health = feed.health.borrow().clone();
        assert_eq!((health.failures, health.off, health.starts), (0, None, u64::from(refused_often) + 1));
        assert_eq!(feed.quarantined(), Vec::<u64>::new());
        feed.stop().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_new_version_that_this_machine_cannot_try_is_offered_again() {
    on_one_thread(async {
        let feed = run(rule("v1", |_| false), 1, (1..=2).map(|sequence| frame(sequence, 1.0)).collect());
        feed.delivers(2).await;
        let refused = RulePlugin { refusals_by_host: 1, ..rule("v2", |_| false) };
        let (reply, replied) = tokio::sync::oneshot::channel();
        let replacement = Replacement { policy: policy(), plugin: refused, broker: None, reply };
        feed.replacements.send(Box::new(replacement)).await.ok().unwrap();
        assert!(replied.await.is_err(), "no answer means that it is to be offered again");
        assert_eq!(feed.health.borrow().update_error, None);
        assert_eq!(feed.health.borrow().version, "v1");
        feed.replace(rule("v2", |_| false)).await.unwrap();
        feed.stop().await;
    })
    .await;
}
