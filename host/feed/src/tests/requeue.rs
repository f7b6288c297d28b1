//! What a person requeued is delivered beside the newest events, and its file is deleted afterwards.

use std::time::Duration;

use tokio::time::sleep;

use super::fakes::*;
use super::running::*;

impl TestFeed {
    fn requeue(&self, names: &[&str]) {
        self.outside.requeued.borrow_mut().extend(names.iter().map(|name| (*name).to_owned()));
        self.outside.requeue.notify_one();
    }

    async fn all_requeued(&self) {
        let all = async {
            while !self.outside.requeued.borrow().is_empty() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(5), all).await.expect("the requeued entries to be handled");
    }
}

fn feed_with(fails: fn(&bessai_domain::event::Event) -> bool) -> TestFeed {
    run_in(std::rc::Rc::default(), rule("a", fails), 1, (1..=5).map(|n| frame(n, 1.0)).collect(), Duration::ZERO)
}

#[tokio::test(start_paused = true)]
async fn entries_are_delivered_in_order_and_leave_no_trace_in_the_state() {
    on_one_thread(async {
        let feed = feed_with(|_| false);
        feed.delivers(5).await;
        feed.requeue(&["event-2-", "message-3-", "event-4-"]);
        feed.all_requeued().await;
        assert_eq!(feed.published()[5..], ["a/2", "again/3", "a/4"]);
        assert_eq!((feed.seen(), feed.outside.position.get(), feed.health.borrow().requeued), (5, 5, 3));
        // A second time.
        feed.requeue(&["event-1-"]);
        feed.all_requeued().await;
        assert_eq!(feed.published()[8..], ["a/1"]);
        feed.stop().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_entry_is_deleted_only_when_it_is_acknowledged_whatever_happens_to_the_session() {
    on_one_thread(async {
        let feed = feed_with(|_| false);
        feed.delivers(5).await;
        feed.outside.holds_acknowledgements.set(true);
        feed.requeue(&["message-3-", "event-4-"]);
        sleep(Duration::from_secs(5)).await;
        assert_eq!((feed.published()[5..].to_vec(), feed.count("delete message-3-")), (vec!["again/3".to_owned()], 0));
        feed.outside.holds_acknowledgements.set(false);
        feed.outside.closes_session.set(true);
        feed.outside.changed.notify_waiters();
        feed.all_requeued().await;
        assert_eq!(feed.published()[6..], ["again/3", "a/4"]);
        assert_eq!((feed.count("delete message-3-"), feed.count("delete event-4-")), (1, 1));
        feed.stop().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_fails_again_returns_to_the_quarantine() {
    on_one_thread(async {
        let feed = feed_with(fails_on_poison);
        feed.delivers(5).await;
        feed.requeue(&["event-2-poison", "event-3-"]);
        feed.all_requeued().await;
        assert_eq!((feed.quarantined(), feed.published()[5..].to_vec()), (vec![2], vec!["a/3".to_owned()]));
        assert_eq!(feed.health.borrow().off, None);
        // A new version gets what is requeued from then on.
        feed.replace(rule("b", |_| false)).await.unwrap();
        feed.requeue(&["event-2-poison"]);
        feed.all_requeued().await;
        assert_eq!(feed.published()[6..], ["b/2"]);
        feed.stop().await;
    })
    .await;
}
