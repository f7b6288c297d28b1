//! What is logged about a broker that stays away, or that ends each session.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Once;
use std::time::Duration;

use bessai_domain::refusal::{CloseCause, Closing, Objection};
use bessai_domain::session::{Endpoint, Protocol, SignInRequest};

use super::fakes::*;
use super::running::policy;
use crate::context::TaskContext;
use crate::delivery::LostSession;
use crate::sign_ins::SignIns;
use crate::{BrokerGates, FeedSettings, SharedFeedHealth};

thread_local! {
    /// What this thread's test has logged.
    static LOGGED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

struct ThreadLog;

impl io::Write for ThreadLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOGGED.with_borrow_mut(|log| log.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The sign-ins of a feed `acme`, with one subscriber for all tests.
fn sign_ins() -> SignIns {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let subscriber =
            tracing_subscriber::fmt().without_time().with_target(false).with_ansi(false).with_writer(|| ThreadLog);
        tracing::subscriber::set_global_default(subscriber.finish()).unwrap();
    });
    let settings = FeedSettings {
        name: "acme".into(),
        status_topic: None,
        clock,
        arrival: clock,
        slow_call: Duration::from_millis(50),
        quarantine: Rc::new(TestQuarantine(Rc::default())),
        gates: BrokerGates::default(),
        record_write: record_in(&Rc::default()),
        propose: None,
    };
    SignIns::new(Rc::new(TaskContext::new(settings, SharedFeedHealth::default(), &policy())))
}

/// The lines so far, without what differs by chance: the pause until the next attempt.
fn lines() -> Vec<String> {
    let text = String::from_utf8(LOGGED.take()).unwrap();
    let without_pause = |line: &str| line.split("; retrying in").next().unwrap().trim_start().to_owned();
    text.lines().map(without_pause).collect()
}

/// Attempts until that much time is over; each takes a second.
async fn attempts(sign_ins: &mut SignIns, time: Duration, mut outcome: impl FnMut(&mut SignIns)) {
    let start = tokio::time::Instant::now();
    while start.elapsed() < time {
        tokio::time::sleep(sign_ins.pause + Duration::from_secs(1)).await;
        let endpoint = Endpoint { host: "broker.example".into(), port: 8883 };
        sign_ins.begins(&SignInRequest { endpoint, protocol: Protocol::V5, at: AT, attempt: sign_ins.attempt });
        outcome(sign_ins);
    }
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_stays_away_is_mentioned_with_growing_distance() {
    let mut sign_ins = sign_ins();
    let hours = Duration::from_secs(3 * 3600 + 120);
    attempts(&mut sign_ins, hours, |sign_ins| sign_ins.failed("broker.example:8883 refused the connection")).await;
    sign_ins.succeeded();
    let lines = lines();
    assert_eq!(lines[0], "WARN broker.example:8883 refused the connection", "{lines:?}");
    let reminders: Vec<_> = lines[1..lines.len() - 1].iter().map(String::as_str).collect();
    let lasted = ["1 min", "5 min", "15 min", "1 h", "2 h", "3 h"];
    assert_eq!(reminders.len(), lasted.len(), "{reminders:?}");
    for (reminder, lasted) in reminders.iter().zip(lasted) {
        let start = format!("WARN no session with broker.example:8883 for {lasted}");
        // Attempts have up to a minute between them.
        let is_near =
            reminder.starts_with(&start) || reminder.starts_with("WARN no session with broker.example:8883 for ");
        assert!(
            is_near && reminder.ends_with("; last error: broker.example:8883 refused the connection"),
            "{reminder}"
        );
    }
    assert_eq!(lines.last().unwrap(), "INFO signed in after 3 h without a session feed=acme");
}

#[tokio::test(start_paused = true)]
async fn two_reasons_that_alternate_are_logged_once_each() {
    let mut sign_ins = sign_ins();
    let mut count = 0;
    let alternating = |sign_ins: &mut SignIns| {
        count += 1;
        sign_ins.failed(if count % 2 == 0 { "even" } else { "odd" });
    };
    // Well before the first reminder, whatever the pauses between the attempts are.
    attempts(&mut sign_ins, Duration::from_secs(10), alternating).await;
    assert_eq!(lines(), ["WARN odd", "WARN even"]);
}

fn closed_after(lasted: Duration) -> LostSession {
    let reason = "connection closed by broker.example:8883".into();
    let closing = Closing { cause: CloseCause::Message(Objection::Unknown), reason };
    LostSession { closing, lasted, has_acknowledged: true }
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_ends_each_session_is_mentioned_as_well() {
    let mut sign_ins = sign_ins();
    attempts(&mut sign_ins, Duration::from_secs(400), |sign_ins| {
        sign_ins.succeeded();
        sign_ins.lost(&closed_after(Duration::ZERO));
    })
    .await;
    let mut lines = lines();
    lines.retain(|line| line != "INFO signed in feed=acme");
    assert_eq!(lines.len(), 3, "{lines:?}");
    for reminder in &lines[1..] {
        assert!(reminder.starts_with("WARN no lasting session with broker.example:8883 for "), "{reminder}");
    }
    // A session that lasted ends the outage.
    sign_ins.succeeded();
    sign_ins.lost(&closed_after(Duration::from_mins(1)));
    let lines = self::lines();
    assert_eq!(lines, ["INFO signed in feed=acme", "WARN connection closed by broker.example:8883"]);
}
