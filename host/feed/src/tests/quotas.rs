//! What a feed may use: its quarantine's rate and disk, and its share of the processor.

use std::time::Duration;

use bessai_domain::event::{Event, EventBody};
use tokio::time::Instant;

use super::fakes::*;
use super::running::*;
use crate::quarantine::ENTRIES_PER_S;

/// Events that the feed quarantines are those with this value, beside others.
fn half_poisoned(count: u64, value: f64) -> Vec<std::sync::Arc<Event>> {
    (1..=count).map(|sequence| frame(sequence, if sequence % 2 == 0 { value } else { 1.0 })).collect()
}

#[tokio::test(start_paused = true)]
async fn an_event_that_cannot_be_quarantined_waits_with_the_position() {
    on_one_thread(async {
        let feed = run(rule("a", fails_on_poison), 1, half_poisoned(4, 66.6));
        feed.outside.quarantine_fault.replace(Some("the disk is full".into()));
        feed.wait_a_minute().await;
        assert_eq!((feed.outside.position.get(), feed.quarantined()), (1, vec![]));
        let health = feed.health.borrow().clone();
        assert_eq!((health.quarantine_fault.as_deref(), health.off), (Some("the disk is full"), None));
        // The verdict stands: the plugin is not called again for it, however often the session ends.
        assert!(health.failures < 10, "{} failures", health.failures);
        feed.outside.closes_session.set(true);
        feed.outside.changed.notify_waiters();
        feed.wait_a_minute().await;
        assert_eq!(feed.health.borrow().failures, health.failures);
        feed.outside.quarantine_fault.replace(None);
        feed.delivers(4).await;
        assert_eq!((feed.quarantined(), feed.published()), (vec![2, 4], vec!["a/1".to_owned(), "a/3".to_owned()]));
        let health = feed.health.borrow().clone();
        assert_eq!((health.quarantined, health.quarantine_fault), (2, None));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_new_version_gets_the_event_that_waits_for_the_quarantine() {
    on_one_thread(async {
        let feed = run(rule("bad", fails_on_poison), 1, half_poisoned(4, 66.6));
        feed.outside.quarantine_fault.replace(Some("the disk is full".into()));
        feed.wait_a_minute().await;
        feed.replace(rule("good", |_| false)).await.unwrap();
        feed.delivers(4).await;
        assert_eq!(feed.published(), ["bad/1", "good/2", "good/3", "good/4"]);
        assert!(feed.quarantined().is_empty());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_message_that_cannot_be_quarantined_waits_with_the_position() {
    on_one_thread(async {
        let feed = run(rule("a", |_| false), 1, half_poisoned(4, TOO_LARGE));
        feed.outside.quarantine_fault.replace(Some("the disk is full".into()));
        feed.wait_a_minute().await;
        assert_eq!((feed.outside.position.get(), feed.health.borrow().quarantined), (1, 0));
        feed.outside.quarantine_fault.replace(None);
        feed.delivers(4).await;
        assert_eq!(*feed.outside.quarantined_messages.borrow(), [(2, 0, Some(1000)), (4, 0, Some(1000))]);
        assert_eq!(feed.published(), ["a/1", "a/3"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_while_a_message_waits_keeps_the_position_before_it() {
    on_one_thread(async {
        let feed = run(rule("a", |_| false), 1, half_poisoned(2, TOO_LARGE));
        feed.outside.quarantine_fault.replace(Some("the disk is full".into()));
        feed.wait_a_minute().await;
        assert_eq!(feed.stop().await.position.get(), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_quarantine_of_a_feed_has_a_rate() {
    on_one_thread(async {
        // A plugin that fails on more of its events than that is switched off.
        for (value, entries) in [(66.6, 20_u32), (TOO_LARGE, 100)] {
            let (start, events) = (Instant::now(), u64::from(2 * entries));
            let feed = run(rule("a", fails_on_poison), 1, half_poisoned(events, value));
            feed.delivers(events).await;
            assert_eq!(feed.health.borrow().quarantined, u64::from(entries));
            let least = Duration::from_secs(1) * (entries - 5) / ENTRIES_PER_S;
            assert!(start.elapsed() >= least, "{entries} entries in {:?}", start.elapsed());
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn calls_wait_when_the_plugin_uses_more_than_its_share_of_the_processor() {
    on_one_thread(async {
        let busy = RulePlugin { busy_per_call: Duration::from_millis(500), ..rule("a", |_| false) };
        let start = Instant::now();
        let feed = run(busy, 1, (1..=21).map(|sequence| frame(sequence, 1.0)).collect());
        feed.delivers(21).await;
        // 10.5 s of processor time, of which one second is free, at a quarter of a core.
        let took = start.elapsed();
        assert!((36..=42).contains(&took.as_secs()), "{took:?}");
        let health = feed.health.borrow().clone();
        assert!(health.throttled >= Duration::from_secs(25), "{:?}", health.throttled);
        assert!((0.2..0.4).contains(&health.processor_share()), "{}", health.processor_share());
        feed.wait_a_minute().await;
        assert!(feed.health.borrow().processor_share() < 0.01, "the average decays while nothing is called");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn failing_calls_use_up_the_share_too() {
    on_one_thread(async {
        let fails = |event: &Event| matches!(event.body, EventBody::Frame(_));
        let busy = RulePlugin { busy_per_call: Duration::from_millis(500), ..rule("a", fails) };
        let feed = run(busy, 1, (1..=40).map(|sequence| frame(sequence, 1.0)).collect());
        feed.wait_a_minute().await;
        assert!(feed.health.borrow().off.is_some() && feed.health.borrow().throttled > Duration::ZERO);
        assert!(feed.quarantined().is_empty());
    })
    .await;
}
