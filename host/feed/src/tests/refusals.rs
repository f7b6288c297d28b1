//! Brokers that do not accept every message: each is delivered, in the quarantine or waiting, and none blocks the others.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bessai_domain::refusal::{CloseCause, Objection, Refusal};
use tokio::time::{Instant, sleep};

use picky::*;

use super::running::on_one_thread;
use crate::RefusedByBroker;

pub(super) mod picky;

#[tokio::test(start_paused = true)]
async fn a_topic_over_which_the_broker_ends_every_session_costs_the_others_little() {
    on_one_thread(async {
        let customer = closes_on(|message| message.topic == "bad");
        let feed = deliver(&customer, &[("a", false, 0), ("bad", false, 0), ("b", false, 0)], None, 120);
        feed.finishes().await;
        assert_eq!((customer.delivered("a"), customer.delivered("b")), (120, 120), "{}", feed.state());
        assert_eq!((customer.delivered("bad"), customer.quarantined("bad")), (0, 120), "{}", feed.state());
        let delay = feed.longest_delay("a").max(feed.longest_delay("b"));
        assert!(delay <= Duration::from_secs(10), "{delay:?}");
        assert!(customer.sign_ins.get() <= 8, "{}", feed.state());
        let health = feed.health.borrow();
        assert_eq!((health.delivered, health.quarantined, health.refused), (240, 120, 0));
        assert!(matches!(&health.lessons[..], [lesson] if lesson.refuses == RefusedByBroker::Topic("bad".into())));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_the_broker_refuses_by_code_waits_while_the_others_go_on() {
    on_one_thread(async {
        let customer = Customer::new(|message, _| {
            let refusal = Refusal::of(Objection::Topic, "0x87 not authorized");
            if message.topic == "bad" { Reaction::Refuse(refusal) } else { Reaction::Accept }
        });
        let feed = deliver(&customer, &[("bad", false, 0), ("a", false, 0)], None, 60);
        feed.finishes().await;
        assert_eq!((customer.delivered("a"), customer.quarantined("bad")), (60, 60), "{}", feed.state());
        assert!(feed.longest_delay("a") <= Duration::from_secs(2), "{:?}", feed.longest_delay("a"));
        assert_eq!(customer.sign_ins.get(), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_too_large_is_learnt_by_its_size() {
    on_one_thread(async {
        let customer = closes_on(|message| message.payload.len() > 5000);
        let feed = deliver(&customer, &[("small", false, 3000), ("large", false, 6000)], None, 60);
        feed.finishes().await;
        assert_eq!((customer.delivered("small"), customer.quarantined("large")), (60, 60), "{}", feed.state());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_retains_nothing_gets_the_messages_without_the_flag() {
    on_one_thread(async {
        for retained_only in [false, true] {
            let customer = closes_on(|message| message.retain);
            let topics = [("kept", true, 0), ("a", retained_only, 0)];
            let feed = deliver(&customer, &topics, Some("status"), 60);
            feed.at(200).await;
            if !retained_only {
                assert_eq!((customer.delivered("kept"), customer.delivered("a")), (60, 60), "{}", feed.state());
            }
            assert_eq!((customer.quarantined.borrow().len(), customer.retained.get()), (0, 0), "{}", feed.state());
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_status_topic_that_the_broker_does_not_accept_is_left_out() {
    on_one_thread(async {
        let customer = closes_on(|message| message.topic == "status");
        let feed = deliver(&customer, &[("a", false, 0)], Some("status"), 60);
        feed.finishes().await;
        assert_eq!((customer.delivered("a"), customer.quarantined.borrow().len()), (60, 0), "{}", feed.state());
        assert!(feed.longest_delay("a") <= Duration::from_secs(10), "{:?}", feed.longest_delay("a"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_topic_without_acknowledgement_is_no_suspect_once_a_session_outlasts_it() {
    on_one_thread(async {
        // Three sessions make a suspect.
        let ends = Cell::new(3);
        let customer = Customer::new(move |message, _| {
            let is_forbidden = message.topic == "quiet/bad" && ends.get() > 0;
            ends.set(ends.get() - u32::from(is_forbidden));
            if is_forbidden { Reaction::Close(CloseCause::Message(Objection::Unknown)) } else { Reaction::Accept }
        });
        let feed = deliver(&customer, &[("quiet/a", false, 0), ("quiet/bad", false, 0)], None, 200);
        while feed.health.borrow().suspects == 0 {
            sleep(Duration::from_millis(100)).await;
        }
        let seconds = feed.began.elapsed().as_secs();
        feed.at(seconds + 60).await;
        assert_eq!((feed.health.borrow().suspects, customer.quarantined("quiet/bad")), (0, 0), "{}", feed.state());
        let delivered = customer.delivered("quiet/bad");
        feed.finishes().await;
        assert!(customer.delivered("quiet/bad") >= delivered + 60, "{}", feed.state());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn if_no_message_passes_none_is_quarantined() {
    on_one_thread(async {
        let customer = closes_on(|_| true);
        let feed = deliver(&customer, &[("a", false, 0), ("b", false, 0)], Some("status"), 600);
        feed.at(7200).await;
        assert_eq!(customer.quarantined.borrow().len(), 0, "{}", feed.state());
        // It backs off all the same.
        assert!(customer.sign_ins.get() <= 7200 / 15, "{}", feed.state());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_used_up_quota_costs_time_and_no_message() {
    on_one_thread(async {
        let began = Instant::now();
        let customer = Customer::new(move |_, now| {
            let used_up = (10..20).contains(&now.duration_since(began).as_secs());
            if used_up { Reaction::Refuse(Refusal::temporary("0x97 quota exceeded")) } else { Reaction::Accept }
        });
        let feed = deliver(&customer, &[("a", false, 0), ("b", false, 0)], None, 60);
        feed.finishes().await;
        assert_eq!((customer.delivered("a"), customer.delivered("b")), (60, 60), "{}", feed.state());
        assert_eq!(customer.quarantined.borrow().len(), 0);
        assert_eq!(feed.health.borrow().refused, 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_never_acknowledged_is_quarantined_and_delays_no_other() {
    on_one_thread(async {
        let customer = Customer::new(|message, _| {
            let is_bad = message.payload.starts_with(b"a 000100 ");
            if is_bad { Reaction::Silence } else { Reaction::Accept }
        });
        let feed = deliver(&customer, &[("a", false, 0), ("b", false, 0)], None, 600);
        feed.finishes().await;
        assert_eq!((customer.delivered("a"), customer.delivered("b")), (599, 600), "{}", feed.state());
        assert_eq!(customer.quarantined.borrow().keys().collect::<Vec<_>>(), ["a 000100"]);
        assert!(feed.longest_delay("b") <= Duration::from_secs(10), "{:?}", feed.longest_delay("b"));
        assert!(customer.sign_ins.get() <= 6, "{}", feed.state());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn on_a_link_that_drops_every_few_seconds_nothing_is_ever_quarantined() {
    on_one_thread(async {
        for mean in [2, 5, 20] {
            let customer = Customer::new(|_, _| Reaction::Accept);
            customer.drops_after.set(Some(Duration::from_secs(mean)));
            let feed = deliver(&customer, &[("a", false, 0), ("b", true, 2000)], Some("status"), 3600);
            feed.finishes().await;
            assert_eq!((customer.delivered("a"), customer.delivered("b")), (3600, 3600), "{}", feed.state());
            assert_eq!(customer.quarantined.borrow().len(), 0, "{}", feed.state());
            assert_eq!(feed.health.borrow().lessons.len(), 0, "{}", feed.state());
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn whatever_a_broker_does_by_chance_every_message_is_accounted_for() {
    on_one_thread(async {
        for seed in 1..=20 {
            let random = Rc::new(Cell::new(seed * 0x9e37_79b9_u64));
            let next = move |bound: u64| {
                let mut seed = random.get() | 1;
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                random.set(seed);
                (seed >> 20) % bound
            };
            let refuses = next(4);
            let customer = Customer::new(move |message, _| match next(100) {
                _ if message.topic == "bad" && refuses > 0 => match refuses {
                    1 => Reaction::Close(CloseCause::Message(Objection::Unknown)),
                    2 => Reaction::Close(CloseCause::Message(Objection::Topic)),
                    _ => Reaction::Refuse(Refusal::of(Objection::Topic, "0x87 not authorized")),
                },
                0..5 => Reaction::Refuse(Refusal::temporary("0x97 quota exceeded")),
                5 => Reaction::Close(CloseCause::Message(Objection::Unknown)),
                6 => Reaction::AcceptAndClose,
                7 => Reaction::Close(CloseCause::Overload),
                8 => Reaction::Close(CloseCause::Other),
                9 => Reaction::Refuse(Refusal::of(Objection::Content, "0x99 payload format invalid")),
                _ => Reaction::Accept,
            });
            let feed =
                deliver(&customer, &[("a", false, 0), ("bad", false, 10), ("b", true, 3000)], Some("status"), 600);
            feed.at(3600).await;
            let (delivered, quarantined) = (customer.delivered.borrow(), customer.quarantined.borrow());
            for topic in ["a", "bad", "b"] {
                for number in 1..=feed.outside.position.get() {
                    let key = format!("{topic} {number:06}");
                    assert!(
                        delivered.contains_key(&key) || quarantined.contains_key(&key),
                        "seed {seed}: {key} is lost"
                    );
                }
            }
            // What is not forbidden as such is nearly always delivered in the end.
            let wrong = quarantined.keys().filter(|key| !key.starts_with("bad")).count();
            assert!(wrong <= 6 && delivered.len() >= 1150, "seed {seed}: {wrong} wrong, {}", feed.state());
        }
    })
    .await;
}
