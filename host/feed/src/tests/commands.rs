//! Plugins that receive messages from their broker.

use std::rc::Rc;
use std::time::Duration;

use bessai_domain::command::{Action, ArrivedMessage};
use bessai_domain::message::Qos;
use bessai_domain::ports::{CallError, ConnectError};
use bessai_domain::proposal::{Proposal, SetValue, WRITES_REFUSED, WriteOutcome};
use bessai_domain::session::{Login, SignInRequest};

use super::fakes::*;
use super::running::*;
use super::sessions::connector;
use crate::SubscriptionState;

/// A message whose payload is its receipt.
fn arrived(topic: &str, receipt: u8) -> ArrivedMessage {
    let (topic, payload) = (topic.to_owned(), vec![receipt]);
    ArrivedMessage { topic, payload, qos: Qos::AtLeastOnce, retained: false, repeated: false, properties: None }
}

/// A feed of a plugin that receives so, with these messages at its broker.
fn commander(receive: Receive, messages: Vec<ArrivedMessage>) -> TestFeed {
    let plugin = RulePlugin { receive: Some(receive), ..rule("a", |_| false) };
    let feed = run(plugin, 1, vec![frame(1, 1.0)]);
    feed.outside.arriving.borrow_mut().extend(messages);
    feed
}

impl TestFeed {
    /// Waits until this was done.
    async fn does(&self, action: &str) {
        let done = async {
            while self.count(action) == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_mins(3), done).await;
        assert!(waited.is_ok(), "{action} in {:?}", self.actions());
    }

    /// The index of what was done first.
    fn index(&self, action: &str) -> usize {
        self.actions().iter().position(|known| known == action).unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_is_acknowledged_after_it_was_handled_and_its_answer_is_sent() {
    on_one_thread(async {
        let answers: Receive = |_| Ok(vec![Action::Publish(message("answer".into(), 0))]);
        let feed = commander(answers, vec![arrived("cmd/a", 7), arrived("other", 8)]);
        feed.does("answer").await;
        feed.does("PUBACK 7").await;
        // No subscription matches the second one.
        feed.does("PUBACK 8").await;
        assert_eq!(feed.actions()[..2], ["CONNECT", "SUBSCRIBE cmd/#"]);
        let commands = feed.health.borrow().commands.clone();
        assert_eq!((commands.received, commands.dropped), (1, 1));
        assert_eq!(commands.last_dropped.unwrap().0, "other");
        feed.delivers(1).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_brokers_answer_is_shown_and_a_refusal_changes_nothing_else() {
    on_one_thread(async {
        for (granted, state) in [
            (Ok(Qos::AtLeastOnce), SubscriptionState::Granted(1)),
            (
                Err("0x87 not authorized".to_owned()),
                SubscriptionState::Refused("the broker: 0x87 not authorized".into()),
            ),
        ] {
            let feed = commander(|_| Ok(Vec::new()), Vec::new());
            feed.outside.answer.replace(Some(vec![("cmd/#".into(), granted)]));
            feed.delivers(1).await;
            assert_eq!(feed.health.borrow().commands.subscriptions, [("cmd/#".into(), state)]);
            assert_eq!((feed.count("CONNECT"), feed.health.borrow().connected), (1, true));
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_message_that_traps_is_tried_three_times_and_then_dropped() {
    on_one_thread(async {
        let traps: Receive = |message| match message.payload[0] {
            1 => Err(CallError::Broken("trapped".into())),
            _ => Ok(vec![Action::Publish(message_named("answer"))]),
        };
        let feed = commander(traps, vec![arrived("cmd/a", 1), arrived("cmd/a", 2)]);
        feed.does("answer").await;
        feed.does("PUBACK 2").await;
        assert!(feed.index("PUBACK 1") < feed.index("PUBACK 2"));
        feed.delivers(1).await;
        let health = feed.health.borrow();
        assert_eq!((health.failures, health.commands.received, health.commands.dropped), (3, 1, 1));
        assert_eq!(health.off, None);
        assert_eq!(health.commands.last_dropped, Some(("cmd/a".into(), "the plugin trapped (3 tries)".into())));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn many_messages_that_trap_do_not_switch_the_plugin_off() {
    on_one_thread(async {
        let traps: Receive = |_| Err(CallError::Broken("trapped".into()));
        let feed = commander(traps, (1..=20).map(|number| arrived("cmd/a", number)).collect());
        feed.does("PUBACK 20").await;
        feed.delivers(1).await;
        let health = feed.health.borrow();
        assert_eq!((&health.off, health.failures, health.commands.dropped), (&None, 60, 20));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_message_waits_while_the_plugin_wants_it_later_but_not_for_ever() {
    on_one_thread(async {
        let later: Receive = |message| match message.payload[0] {
            1 => Err(CallError::Retry("not ready".into())),
            2 => Err(CallError::Reject("unknown".into())),
            _ => Ok(Vec::new()),
        };
        let feed = commander(later, (1..=3).map(|number| arrived("cmd/a", number)).collect());
        let start = tokio::time::Instant::now();
        feed.delivers(1).await;
        assert!(start.elapsed() < Duration::from_secs(1), "events do not wait for messages");
        feed.does("PUBACK 3").await;
        assert!((55..65).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
        let health = feed.health.borrow();
        assert_eq!((health.failures, health.commands.received, health.commands.dropped), (0, 1, 2));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_is_off_subscribes_to_nothing_and_stays_signed_in() {
    on_one_thread(async {
        let plugin = RulePlugin { receive: Some(|_| Ok(Vec::new())), ..rule("refuses", |_| false) };
        let feed = run(plugin, 1, vec![frame(1, 1.0)]);
        for _ in 0..10 {
            feed.wait_a_minute().await;
        }
        assert!(feed.health.borrow().off.as_ref().unwrap().contains("refuses its configuration"));
        let sign_ins = feed.count("CONNECT");
        feed.wait_a_minute().await;
        assert_eq!((feed.count("CONNECT"), feed.health.borrow().connected), (sign_ins, true));
        assert_eq!(feed.count("SUBSCRIBE cmd/#"), 0);
    })
    .await;
}

fn write(reference: &str, value: f64) -> Action {
    let (device, channel) = ("battery".into(), "power_kw".into());
    let value = Some(SetValue::Number(value));
    Action::Write(Proposal { device, channel, value, until: None, reference: reference.into() })
}

#[tokio::test(start_paused = true)]
async fn a_write_is_refused_with_a_reason_and_both_are_events() {
    on_one_thread(async {
        let feed = commander(|_| Ok(vec![write("a1", 20.0), write("a2", 30.0)]), vec![arrived("cmd/a", 1)]);
        feed.does("a/a2 Refused(\"[control] is off: this gateway writes no set-points\")").await;
        assert_eq!(feed.health.borrow().commands.refused_writes, 2);
        let writes = feed.outside.writes.borrow();
        let steps: Vec<_> = writes
            .iter()
            .map(|step| (step.proposal.reference.as_str(), step.proposed.map(|number| number.0), &step.outcome))
            .collect();
        let refused = Some(WriteOutcome::Refused(WRITES_REFUSED.into()));
        let expected =
            [("a1", None, &None), ("a1", Some(101), &refused), ("a2", None, &None), ("a2", Some(103), &refused)];
        assert_eq!(steps, expected);
        assert!(writes.iter().all(|step| step.proposer == "feed/acme"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_proposes_in_a_loop_makes_few_events() {
    on_one_thread(async {
        let many: Receive = |_| Ok((0..300).map(|number| write(&format!("a{number}"), 1.0)).collect());
        let feed = commander(many, vec![arrived("cmd/a", 1)]);
        feed.does("a/a299 Refused(\"more than 50 proposals a second\")").await;
        // The proposal and its outcome, of 100.
        assert_eq!((feed.outside.writes.borrow().len(), feed.health.borrow().commands.refused_writes), (200, 300));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_proposal_that_is_too_long_or_no_number_is_no_event() {
    on_one_thread(async {
        let wrong: Receive = |_| Ok(vec![write("a1", f64::NAN), write(&"x".repeat(257), 1.0)]);
        let feed = commander(wrong, vec![arrived("cmd/a", 1)]);
        feed.does("a/a1 Refused(\"its value is NaN\")").await;
        feed.does("PUBACK 1").await;
        assert_eq!((feed.outside.writes.borrow().len(), feed.health.borrow().commands.refused_writes), (0, 2));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_message_can_ask_for_another_sign_in_but_not_all_the_time() {
    on_one_thread(async {
        let again: Receive = |_| Ok(vec![Action::SignInAgain]);
        let feed = commander(again, vec![arrived("cmd/a", 1)]);
        feed.does("PUBACK 1").await;
        let start = tokio::time::Instant::now();
        while feed.count("CONNECT") < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(start.elapsed() >= Duration::from_secs(9), "{:?}", start.elapsed());
        assert_eq!(feed.count("DISCONNECT"), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_session_for_provisioning_gets_no_events() {
    on_one_thread(async {
        let outside = Rc::<Outside>::default();
        let provisions: fn(u8, &SignInRequest) -> Result<Login, ConnectError> =
            |nth, _| Ok(Login { provisioning: nth == 1, ..Login::default() });
        let again: Receive = |_| Ok(vec![Action::SignInAgain]);
        let plugin = RulePlugin { receive: Some(again), ..connector(&outside, "a", |_| false, provisions) };
        let feed = run_in(Rc::clone(&outside), plugin, 1, vec![frame(1, 1.0)], Duration::ZERO);
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!((feed.count("a/birth"), feed.count("a/1"), feed.count("SUBSCRIBE cmd/#")), (1, 0, 1));
        outside.arriving.borrow_mut().push_back(arrived("cmd/assigned", 1));
        outside.changed.notify_waiters();
        feed.delivers(1).await;
        assert_eq!((feed.count("CONNECT"), feed.count("a/birth")), (2, 2));
        assert!(feed.index("DISCONNECT") < feed.index("a/1"));
    })
    .await;
}

fn message_named(topic: &str) -> bessai_domain::message::Message {
    message(topic.into(), 0)
}

/// A gateway that takes a minute to set anything.
fn slow(outside: &Outside) {
    let propose: crate::Propose = Rc::new(|proposal, _, _| {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_mins(1)).await;
            proposal.value.map_or(WriteOutcome::Expired, WriteOutcome::Verified)
        })
    });
    outside.propose.replace(Some(propose));
}

#[tokio::test(start_paused = true)]
async fn a_device_that_takes_its_time_keeps_nothing_from_being_delivered() {
    on_one_thread(async {
        let outside: Rc<Outside> = Rc::default();
        slow(&outside);
        outside.arriving.borrow_mut().push_back(arrived("cmd/a", 1));
        let plugin = RulePlugin { receive: Some(|_| Ok(vec![write("a1", 20.0)])), ..rule("a", |_| false) };
        let events = vec![frame(1, 1.0), frame(2, 2.0)];
        let feed = run_in(outside, plugin, 1, events, Duration::from_secs(5));
        feed.does("PUBACK 1").await;
        feed.delivers(2).await;
        assert_eq!(feed.count("a/a1 Verified(Number(20.0))"), 0);
        feed.does("a/a1 Verified(Number(20.0))").await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_retained_command_sets_nothing() {
    on_one_thread(async {
        let outside: Rc<Outside> = Rc::default();
        slow(&outside);
        outside.arriving.borrow_mut().push_back(ArrivedMessage { retained: true, ..arrived("cmd/a", 1) });
        let plugin = RulePlugin { receive: Some(|_| Ok(vec![write("a1", 20.0)])), ..rule("a", |_| false) };
        let feed = run_in(outside, plugin, 1, vec![frame(1, 1.0)], Duration::ZERO);
        let reason = "the command is old: it was retained, repeated, or waited too long; send it again";
        feed.does(&format!("a/a1 Refused(\"{reason}\")")).await;
        assert_eq!(feed.outside.writes.borrow().len(), 2);
    })
    .await;
}
