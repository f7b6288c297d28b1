//! Plugins that decide how to sign in, renewals, when state is saved, and brokers that close sessions.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bessai_domain::event::Event;
use bessai_domain::ports::{ConnectError, Processed};
use bessai_domain::session::{Endpoint, EndpointRight, Login, SignInRequest};

use super::fakes::*;
use super::running::*;
use crate::Policy;

/// What a plugin with a session does at its sign-ins.
#[derive(Clone)]
pub(super) struct SessionScript {
    pub(super) outside: Rc<Outside>,
    connect: fn(u8, &SignInRequest) -> Result<Login, ConnectError>,
}

impl RulePlugin {
    /// Counts its sign-ins in its state.
    pub(super) fn connect_as_scripted(&mut self, request: &SignInRequest) -> Result<Login, ConnectError> {
        let session = self.session.as_ref().unwrap();
        let nth = self.state.get("sign-ins").map_or(0, |count| count[0]) + 1;
        session.outside.note(format!("connect {}", request.attempt));
        let login = (session.connect)(nth, request);
        match &login {
            Ok(_) => self.state.set("sign-ins".into(), vec![nth]).unwrap(),
            Err(ConnectError::Broken(_)) => self.is_running = false,
            Err(ConnectError::Refused(_)) => {}
        }
        login
    }

    pub(super) fn publish_one(&self, name: &str) -> Processed {
        let messages = vec![message(format!("{}/{name}", self.version), 0)];
        Processed { messages, state: self.state.clone(), took: Duration::ZERO }
    }
}

pub(super) fn leaves_it_to_the_settings(_nth: u8, _request: &SignInRequest) -> Result<Login, ConnectError> {
    Ok(Login::default())
}

type ConnectScript = fn(u8, &SignInRequest) -> Result<Login, ConnectError>;

pub(super) fn connector(
    outside: &Rc<Outside>,
    version: &'static str,
    fails: fn(&Event) -> bool,
    connect: ConnectScript,
) -> RulePlugin {
    RulePlugin { session: Some(SessionScript { outside: Rc::clone(outside), connect }), ..rule(version, fails) }
}

fn frames(numbers: std::ops::RangeInclusive<u64>) -> Vec<Arc<Event>> {
    numbers.map(|number| frame(number, 1.0)).collect()
}

fn sign_ins(outside: &Outside) -> u8 {
    outside.saved.borrow().get("sign-ins").map_or(0, |count| count[0])
}

#[tokio::test(start_paused = true)]
async fn a_session_follows_its_order() {
    on_one_thread(async {
        let outside = Rc::new(Outside::default());
        let feed = run_in(
            Rc::clone(&outside),
            connector(&outside, "a", |_| false, leaves_it_to_the_settings),
            1,
            frames(1..=2),
            Duration::ZERO,
        );
        feed.delivers(2).await;
        let outside = feed.stop().await;
        // What `connect` changed is saved before CONNECT is sent.
        let expected =
            ["configure", "connect 0", "save", "CONNECT", "a/birth", "a/1", "a/2", "a/farewell", "DISCONNECT"];
        assert_eq!(*outside.actions.borrow(), expected);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_renewal_loses_and_repeats_nothing() {
    on_one_thread(async {
        let outside = Rc::new(Outside::default());
        let renews: ConnectScript = |_, request| {
            let renew_at = Some(request.at.plus(Duration::from_secs(2)));
            Ok(Login { renew_at, ..Login::default() })
        };
        let plugin = connector(&outside, "a", |_| false, renews);
        let feed = run_in(Rc::clone(&outside), plugin, 1, frames(1..=250), Duration::from_millis(100));
        feed.delivers(250).await;
        let (sign_ins, failed) = (feed.health.borrow().sign_ins, feed.health.borrow().failed_sign_ins);
        assert!((11..=13).contains(&sign_ins), "{sign_ins} sign-ins in 25 s");
        assert_eq!(failed, 0);
        // Every renewal sends DISCONNECT, and no farewell.
        assert_eq!((feed.count("DISCONNECT"), feed.count("a/farewell")), (feed.count("CONNECT") - 1, 0));
        let mut published = feed.published();
        published.retain(|topic| topic != "a/birth");
        let expected: Vec<_> = (1..=250).map(|n| format!("a/{n}")).collect();
        assert_eq!(published, expected);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_renewal_at_a_past_time_does_not_spin() {
    on_one_thread(async {
        let outside = Rc::new(Outside::default());
        let past: ConnectScript = |_, _| Ok(Login { renew_at: Some(AT), ..Login::default() });
        let feed = run_in(Rc::clone(&outside), connector(&outside, "a", |_| false, past), 1, vec![], Duration::ZERO);
        feed.wait_a_minute().await;
        assert!((55..=61).contains(&feed.count("CONNECT")), "{} in a minute", feed.count("CONNECT"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_plugin_without_a_login_is_asked_again_later() {
    on_one_thread(async {
        let outside = Rc::new(Outside::default());
        let third: ConnectScript = |_, request| match request.attempt {
            0 | 1 => Err(ConnectError::Refused("no key yet".into())),
            _ => Ok(Login::default()),
        };
        let feed =
            run_in(Rc::clone(&outside), connector(&outside, "a", |_| false, third), 1, frames(1..=1), Duration::ZERO);
        feed.delivers(1).await;
        assert_eq!(feed.actions()[..6], ["configure", "connect 0", "connect 1", "connect 2", "save", "CONNECT"]);
        let health = feed.health.borrow();
        assert_eq!((health.failed_sign_ins, health.sign_ins, health.failures), (2, 1, 0));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_traps_at_every_sign_in_is_switched_off_until_it_is_fixed() {
    on_one_thread(async {
        let outside = Rc::new(Outside::default());
        let traps: ConnectScript = |_, _| Err(ConnectError::Broken("trapped: unreachable".into()));
        let bad = connector(&outside, "bad", |_| false, traps);
        let feed = run_in(Rc::clone(&outside), bad, 1, frames(1..=3), Duration::ZERO);
        for _ in 0..15 {
            feed.wait_a_minute().await;
        }
        assert_eq!((feed.health.borrow().failures, feed.count("CONNECT"), feed.outside.position.get()), (10, 0, 0));
        assert!(feed.health.borrow().off.as_ref().unwrap().contains("10 times in a row"));
        feed.replace(connector(&outside, "good", |_| false, leaves_it_to_the_settings)).await.unwrap();
        feed.delivers(3).await;
        assert_eq!(feed.published(), ["good/birth", "good/1", "good/2", "good/3"]);
        // A version that arrived while there was no session closes its own session like any other.
        let outside = feed.stop().await;
        assert_eq!(outside.published.borrow().last().unwrap(), "good/farewell");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_feed_does_not_sign_in_at_a_host_without_the_right() {
    on_one_thread(async {
        let outside = Rc::new(Outside::default());
        let elsewhere: ConnectScript = |_, _| {
            let endpoint = Some(Endpoint { host: "other.example.com".into(), port: 8883 });
            Ok(Login { endpoint, ..Login::default() })
        };
        let feed =
            run_in(Rc::clone(&outside), connector(&outside, "a", |_| false, elsewhere), 1, vec![], Duration::ZERO);
        feed.wait_a_minute().await;
        assert_eq!(feed.count("CONNECT"), 0);
        assert!(feed.health.borrow().failed_sign_ins > 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn logins_are_checked_against_the_rights() {
    let will = |topic: &str| Some(message(topic.into(), 0));
    let hub = EndpointRight { host: "Hub.example.com".into(), port: None };
    let rights = Policy { connect: vec![hub], topics: Some(vec!["a/#".into()]), ..policy() };
    let at = |host: &str| Login { endpoint: Some(Endpoint { host: host.into(), port: 1 }), ..Login::default() };
    assert!(rights.admit_login(at("hub.example.com")).is_ok());
    let refusal = rights.admit_login(at("hub.example.org")).unwrap_err();
    assert!(refusal.contains("\"hub.example.org:1\": add it to [rights] connect"), "{refusal}");
    assert!(rights.admit_login(Login { will: will("a/b"), ..Login::default() }).is_ok());
    let refusal = rights.admit_login(Login { will: will("b"), ..Login::default() }).unwrap_err();
    assert!(refusal.contains("the last will: the feed has no right to topic \"b\""), "{refusal}");
    let reserved = Policy { reserved: vec!["S/safety".into()], ..policy() };
    let refusal = reserved.admit_login(Login { will: will("S/safety"), ..Login::default() }).unwrap_err();
    assert!(refusal.contains("the last will: topic \"S/safety\" belongs to the default feed"), "{refusal}");
}

#[tokio::test(start_paused = true)]
async fn a_fresh_instance_within_a_session_gets_connected() {
    on_one_thread(async {
        let outside = Rc::new(Outside::default());
        let events = vec![frame(1, 1.0), frame(2, 66.6), frame(3, 1.0)];
        let feed = run_in(
            Rc::clone(&outside),
            connector(&outside, "a", fails_on_poison, leaves_it_to_the_settings),
            1,
            events,
            Duration::ZERO,
        );
        feed.delivers(3).await;
        assert_eq!(feed.quarantined(), [2]);
        assert_eq!(feed.published(), ["a/birth", "a/1", "a/birth", "a/3"]);
        assert_eq!(feed.count("CONNECT"), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_closes_each_session_at_once_is_tried_with_back_off() {
    on_one_thread(async {
        for plugin in [rule("a", |_| false), connector(&Rc::default(), "a", |_| false, leaves_it_to_the_settings)] {
            let outside = Rc::new(Outside::default());
            outside.closes_sessions.set(true);
            let feed = run_in(Rc::clone(&outside), plugin, 1, frames(1..=1), Duration::ZERO);
            for _ in 0..5 {
                feed.wait_a_minute().await;
            }
            // Random parts of 1 + 2 + 4 + 8 + 16 + 32 s, then of a minute.
            assert!((8..=40).contains(&feed.count("CONNECT")), "{} in five minutes", feed.count("CONNECT"));
            outside.closes_sessions.set(false);
            feed.delivers(1).await;
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_connect_saved_is_not_undone_by_an_older_batch() {
    on_one_thread(async {
        let outside = Rc::new(Outside::default());
        outside.holds_acknowledgements.set(true);
        let feed = run_in(
            Rc::clone(&outside),
            connector(&outside, "a", |_| false, leaves_it_to_the_settings),
            1,
            frames(1..=2),
            Duration::ZERO,
        );
        feed.wait_a_minute().await;
        assert_eq!((sign_ins(&outside), feed.seen(), outside.position.get()), (1, 0, 0));
        outside.closes_session.set(true);
        outside.changed.notify_waiters();
        feed.wait_a_minute().await;
        // Saved for the second sign-in, without the state of unacknowledged batches.
        assert!(sign_ins(&outside) >= 2);
        assert_eq!((feed.seen(), outside.position.get()), (0, 0));
        outside.holds_acknowledgements.set(false);
        outside.changed.notify_waiters();
        feed.delivers(2).await;
        assert!(sign_ins(&outside) >= 2);
        assert_eq!(feed.seen(), 2);
        // The same messages again, after the birth.
        assert!(feed.published().ends_with(&["a/birth".into(), "a/1".into(), "a/2".into()]), "{:?}", feed.published());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_message_too_large_for_the_broker_is_quarantined_and_the_feed_continues() {
    on_one_thread(async {
        let feed =
            run(rule("a", |_| false), 2, vec![frame(1, 1.0), frame(2, TOO_LARGE), frame(3, TOO_LARGE), frame(4, 1.0)]);
        feed.delivers(4).await;
        assert_eq!(feed.published(), ["a/1", "a/4"]);
        assert_eq!(*feed.outside.quarantined_messages.borrow(), [(2, 1, Some(1000)), (4, 0, Some(1000))]);
        assert_eq!((feed.health.borrow().quarantined, feed.health.borrow().refused), (2, 0));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_version_with_a_session_signs_in_itself() {
    on_one_thread(async {
        let outside = Rc::new(Outside::default());
        let old = connector(&outside, "old", |_| false, leaves_it_to_the_settings);
        let feed = run_in(Rc::clone(&outside), old, 1, frames(1..=1), Duration::ZERO);
        feed.delivers(1).await;
        feed.replace(connector(&outside, "new", |_| false, leaves_it_to_the_settings)).await.unwrap();
        feed.wait_a_minute().await;
        assert_eq!(feed.published(), ["old/birth", "old/1", "old/farewell", "new/birth"]);
        assert_eq!((feed.count("CONNECT"), feed.count("DISCONNECT"), sign_ins(&outside)), (2, 1, 2));
        // A plugin without a session signs in as the settings define.
        feed.replace(rule("plain", |_| false)).await.unwrap();
        feed.wait_a_minute().await;
        assert_eq!(feed.published().last().unwrap(), "new/farewell");
        assert_eq!(feed.count("CONNECT"), 3);
    })
    .await;
}
