//! Plugins that decide how to sign in, renewals, what is kept when, and brokers that end sessions.

use bessai_domain::session::Endpoint;

use super::*;

/// What a plugin with a session does at its sign-ins.
pub(super) struct Script {
    pub(super) world: Rc<World>,
    connect: fn(u8, &Request) -> Result<Login, ConnectError>,
}

impl Rule {
    /// Counts its sign-ins in its state.
    pub(super) fn connect_as_scripted(&mut self, request: &Request) -> Result<Login, ConnectError> {
        let session = self.session.as_ref().unwrap();
        let nth = self.state.get("sign-ins").map_or(0, |count| count[0]) + 1;
        session.world.note(format!("connect {}", request.attempt));
        let login = (session.connect)(nth, request);
        match &login {
            Ok(_) => self.state.set("sign-ins".into(), vec![nth]).unwrap(),
            Err(ConnectError::Broken(_)) => self.is_running = false,
            Err(ConnectError::Refused(_)) => {}
        }
        login
    }

    pub(super) fn tell(&self, what: &str) -> Processed {
        let messages = vec![message(format!("{}/{what}", self.version), 0)];
        Processed { messages, state: self.state.clone(), took: Duration::ZERO }
    }
}

fn agrees(_nth: u8, _request: &Request) -> Result<Login, ConnectError> {
    Ok(Login::default())
}

type Connect = fn(u8, &Request) -> Result<Login, ConnectError>;

fn connector(world: &Rc<World>, version: &'static str, fails: fn(&Event) -> bool, connect: Connect) -> Rule {
    Rule { session: Some(Script { world: Rc::clone(world), connect }), ..rule(version, fails) }
}

fn frames(numbers: std::ops::RangeInclusive<u64>) -> Vec<Arc<Event>> {
    numbers.map(|number| frame(number, 1.0)).collect()
}

fn sign_ins(world: &World) -> u8 {
    world.kept.borrow().get("sign-ins").map_or(0, |count| count[0])
}

#[tokio::test(start_paused = true)]
async fn a_session_has_its_order() {
    locally(async {
        let world = Rc::new(World::default());
        let feed =
            run_in(Rc::clone(&world), connector(&world, "a", |_| false, agrees), 1, frames(1..=2), Duration::ZERO);
        feed.passes(2).await;
        let world = feed.stop().await;
        // What `connect` left is kept before its packet goes out.
        let expected =
            ["configure", "connect 0", "keep", "CONNECT", "a/birth", "a/1", "a/2", "a/farewell", "DISCONNECT"];
        assert_eq!(*world.acts.borrow(), expected);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_renewal_loses_and_repeats_nothing() {
    locally(async {
        let world = Rc::new(World::default());
        let renews: Connect = |_, request| {
            let renew_at = Some(request.at.plus(Duration::from_secs(2)));
            Ok(Login { renew_at, ..Login::default() })
        };
        let plugin = connector(&world, "a", |_| false, renews);
        let feed = run_in(Rc::clone(&world), plugin, 1, frames(1..=250), Duration::from_millis(100));
        feed.passes(250).await;
        let (sign_ins, failed) = (feed.health.borrow().sign_ins, feed.health.borrow().failed_sign_ins);
        assert!((11..=13).contains(&sign_ins), "{sign_ins} sign-ins in 25 s");
        assert_eq!(failed, 0);
        // Every renewal says DISCONNECT, and no farewell.
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
    locally(async {
        let world = Rc::new(World::default());
        let past: Connect = |_, _| Ok(Login { renew_at: Some(AT), ..Login::default() });
        let feed = run_in(Rc::clone(&world), connector(&world, "a", |_| false, past), 1, vec![], Duration::ZERO);
        feed.settles().await;
        assert!((55..=61).contains(&feed.count("CONNECT")), "{} in a minute", feed.count("CONNECT"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_gives_no_login_is_asked_again_later() {
    locally(async {
        let world = Rc::new(World::default());
        let third: Connect = |_, request| match request.attempt {
            0 | 1 => Err(ConnectError::Refused("no key yet".into())),
            _ => Ok(Login::default()),
        };
        let feed =
            run_in(Rc::clone(&world), connector(&world, "a", |_| false, third), 1, frames(1..=1), Duration::ZERO);
        feed.passes(1).await;
        assert_eq!(feed.acts()[..6], ["configure", "connect 0", "connect 1", "connect 2", "keep", "CONNECT"]);
        let health = feed.health.borrow();
        assert_eq!((health.failed_sign_ins, health.sign_ins, health.failures), (2, 1, 0));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_traps_at_every_sign_in_is_switched_off_until_it_is_mended() {
    locally(async {
        let world = Rc::new(World::default());
        let traps: Connect = |_, _| Err(ConnectError::Broken("trapped: unreachable".into()));
        let bad = connector(&world, "bad", |_| false, traps);
        let feed = run_in(Rc::clone(&world), bad, 1, frames(1..=3), Duration::ZERO);
        for _ in 0..15 {
            feed.settles().await;
        }
        assert_eq!((feed.health.borrow().failures, feed.count("CONNECT"), feed.world.place.get()), (10, 0, 0));
        assert!(feed.health.borrow().off.as_ref().unwrap().contains("10 times in a row"));
        feed.replace(connector(&world, "good", |_| false, agrees)).await.unwrap();
        feed.passes(3).await;
        assert_eq!(feed.published(), ["good/birth", "good/1", "good/2", "good/3"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_host_without_the_right_to_it_is_not_signed_in_at() {
    locally(async {
        let world = Rc::new(World::default());
        let elsewhere: Connect = |_, _| {
            let endpoint = Some(Endpoint { host: "other.example.com".into(), port: 8883 });
            Ok(Login { endpoint, ..Login::default() })
        };
        let feed = run_in(Rc::clone(&world), connector(&world, "a", |_| false, elsewhere), 1, vec![], Duration::ZERO);
        feed.settles().await;
        assert_eq!(feed.count("CONNECT"), 0);
        assert!(feed.health.borrow().failed_sign_ins > 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn logins_keep_to_the_rights() {
    let will = |topic: &str| Some(message(topic.into(), 0));
    let rights = Policy { connect: vec!["Hub.example.com".into()], topics: Some(vec!["a/#".into()]), ..policy() };
    let at = |host: &str| Login { endpoint: Some(Endpoint { host: host.into(), port: 1 }), ..Login::default() };
    assert!(rights.admit_login(at("hub.example.com")).is_ok());
    let refusal = rights.admit_login(at("hub.example.org")).unwrap_err();
    assert!(refusal.contains("\"hub.example.org\": add it to [rights] connect"), "{refusal}");
    assert!(rights.admit_login(Login { will: will("a/b"), ..Login::default() }).is_ok());
    let refusal = rights.admit_login(Login { will: will("b"), ..Login::default() }).unwrap_err();
    assert!(refusal.contains("the last will: the feed has no right to topic \"b\""), "{refusal}");
}

#[tokio::test(start_paused = true)]
async fn a_fresh_instance_within_a_session_is_told_of_it() {
    locally(async {
        let world = Rc::new(World::default());
        let events = vec![frame(1, 1.0), frame(2, 66.6), frame(3, 1.0)];
        let feed = run_in(Rc::clone(&world), connector(&world, "a", poison, agrees), 1, events, Duration::ZERO);
        feed.passes(3).await;
        assert_eq!(feed.aside(), [2]);
        assert_eq!(feed.published(), ["a/birth", "a/1", "a/birth", "a/3"]);
        assert_eq!(feed.count("CONNECT"), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_ends_each_session_at_once_is_not_run_after() {
    locally(async {
        for plugin in [rule("a", |_| false), connector(&Rc::default(), "a", |_| false, agrees)] {
            let world = Rc::new(World::default());
            world.kicks.set(true);
            let feed = run_in(Rc::clone(&world), plugin, 1, frames(1..=1), Duration::ZERO);
            for _ in 0..5 {
                feed.settles().await;
            }
            // 1 + 2 + 4 + 8 + 16 + 32 s, or half of that, then every minute, or half of it.
            assert!((8..=16).contains(&feed.count("CONNECT")), "{} in five minutes", feed.count("CONNECT"));
            world.kicks.set(false);
            feed.passes(1).await;
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_connect_keeps_is_not_undone_by_an_older_call() {
    locally(async {
        let world = Rc::new(World::default());
        world.holds_acknowledgements.set(true);
        let feed =
            run_in(Rc::clone(&world), connector(&world, "a", |_| false, agrees), 1, frames(1..=2), Duration::ZERO);
        feed.settles().await;
        assert_eq!((sign_ins(&world), feed.seen(), world.place.get()), (1, 0, 0));
        world.cuts.set(true);
        world.changed.notify_waiters();
        feed.settles().await;
        // Kept for the second sign-in, beside what belongs to no acknowledged call.
        assert!(sign_ins(&world) >= 2);
        assert_eq!((feed.seen(), world.place.get()), (0, 0));
        world.holds_acknowledgements.set(false);
        world.changed.notify_waiters();
        feed.passes(2).await;
        assert!(sign_ins(&world) >= 2);
        assert_eq!(feed.seen(), 2);
        // The same bytes again, after the greeting.
        assert!(feed.published().ends_with(&["a/birth".into(), "a/1".into(), "a/2".into()]), "{:?}", feed.published());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_message_that_no_broker_takes_is_set_aside_and_the_feed_goes_on() {
    locally(async {
        let feed = run(rule("a", |_| false), 2, vec![frame(1, 1.0), frame(2, LARGE), frame(3, LARGE), frame(4, 1.0)]);
        feed.passes(4).await;
        assert_eq!(feed.published(), ["a/1", "a/4"]);
        assert_eq!(*feed.world.messages_aside.borrow(), [(2, 1, 1000), (4, 0, 1000)]);
        assert_eq!((feed.health.borrow().set_aside, feed.health.borrow().refused), (2, 0));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_version_with_a_session_signs_in_itself() {
    locally(async {
        let world = Rc::new(World::default());
        let old = connector(&world, "old", |_| false, agrees);
        let feed = run_in(Rc::clone(&world), old, 1, frames(1..=1), Duration::ZERO);
        feed.passes(1).await;
        feed.replace(connector(&world, "new", |_| false, agrees)).await.unwrap();
        feed.settles().await;
        assert_eq!(feed.published(), ["old/birth", "old/1", "old/farewell", "new/birth"]);
        assert_eq!((feed.count("CONNECT"), feed.count("DISCONNECT"), sign_ins(&world)), (2, 1, 2));
        // Without a session the settings sign in.
        feed.replace(rule("plain", |_| false)).await.unwrap();
        feed.settles().await;
        assert_eq!(feed.published().last().unwrap(), "new/farewell");
        assert_eq!(feed.count("CONNECT"), 3);
    })
    .await;
}
