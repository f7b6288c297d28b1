//! Lines as they reach the queue.

use std::sync::atomic::Ordering;

use tracing_subscriber::prelude::*;

use super::*;
use crate::logging::limiter::Limiter;
use crate::logging::of_feed;
use crate::logging::queue::LineQueue;

/// The lines that are logged by `statements`, without their times.
fn logged(statements: impl FnOnce()) -> (Vec<String>, Arc<Log>) {
    let log = Arc::new(Log { limiter: Limiter::default(), queue: LineQueue::default() });
    let subscriber = tracing_subscriber::registry().with(LogLayer::new(Arc::clone(&log), false));
    tracing::subscriber::with_default(subscriber, statements);
    log.queue.wake_at(Instant::now());
    let mut bytes = Vec::new();
    log.queue.take(&mut bytes);
    let text = String::from_utf8(bytes).unwrap();
    let without_time = |line: &str| line.split_once(' ').unwrap().1.to_owned();
    (text.lines().map(without_time).collect(), log)
}

#[test]
fn a_line_has_its_fields_in_their_order() {
    let (lines, _) = logged(|| {
        let (feed, seconds) = ("acme", 8);
        tracing::warn!(%feed, seconds, text = "two words", "the broker is away; retrying in {seconds} s");
        tracing::info!(feed = tracing::field::Empty, "no feed");
        tracing::error!(id = None::<u16>, reason = Some(tracing::field::debug("x")), "options");
    });
    let expected = [
        " WARN the broker is away; retrying in 8 s feed=acme seconds=8 text=\"two words\"",
        " INFO no feed",
        "ERROR options reason=\"x\"",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_value_that_a_customer_chose_forges_nothing() {
    let topic = "a\n2026-01-01T00:00:00Z ERROR the battery burns\u{1b}[2J";
    let (lines, _) = logged(|| {
        tracing::warn!(%topic, "quarantined {topic}");
        tracing::warn!(feed = %topic, "feed is off");
    });
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines.iter().all(|line| line.starts_with(" WARN ") && !line.contains('\u{1b}')), "{lines:?}");
}

#[test]
fn the_lines_of_a_feeds_task_are_the_feeds() {
    let library = |feed: &'static str| {
        let logging = of_feed(feed, async {
            for _ in 0..1000 {
                tracing::warn!(library = "rumqttc::v5::state:244", "SubAck");
            }
        });
        futures_poll_once(logging);
    };
    let (lines, log) = logged(|| {
        library("acme");
        library("other");
        tracing::error!("of the site");
    });
    let of_acme = lines.iter().filter(|line| line.ends_with(" feed=acme")).count();
    let of_other = lines.iter().filter(|line| line.ends_with(" feed=other")).count();
    assert_eq!((of_acme, of_other), (100, 100));
    assert_eq!(lines.last().unwrap(), "ERROR of the site");
    let reports = log.limiter.take_reports(Instant::now(), true);
    let reports: Vec<_> =
        reports.iter().map(|report| (report.lines, report.feed.as_deref(), report.example.as_str())).collect();
    assert!(reports.contains(&(900, Some("acme"), "SubAck")) && reports.len() == 2, "{reports:?}");
    assert_eq!(log.queue.dropped.load(Ordering::Relaxed), 0, "what is suppressed does not count as dropped");
}

/// Polls a future that does not wait.
fn futures_poll_once(future: impl Future<Output = ()>) {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(std::pin::pin!(future).poll(&mut context).is_ready());
}
