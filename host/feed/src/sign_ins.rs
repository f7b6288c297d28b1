//! When to sign in next, and what is logged about it.

use std::rc::Rc;
use std::time::Duration;

use bessai_domain::outage::{Reminders, outage_text};
use bessai_domain::refusal::CloseCause;
use bessai_domain::session::SignInRequest;
use tokio::time::Instant;

use crate::backoff::{Backoff, LONGEST};
use crate::context::TaskContext;
use crate::delivery::LostSession;
use crate::gates::Waiting;

/// Reasons that are remembered as logged: a broker with several addresses alternates between a few.
const MAX_LOGGED: usize = 8;
/// An outage up to this long is not mentioned when it is over.
const SHORT_OUTAGE: Duration = Duration::from_mins(1);

/// A session that lasted this long was a good one.
const LASTING: Duration = Duration::from_secs(30);
/// Longest pause after a session in which messages were acknowledged and that the broker ended, perhaps because of one:
/// those behind it must not wait long.
const LONGEST_WITH_PROGRESS: Duration = Duration::from_secs(4);

/// The sign-ins of a feed so far.
pub(crate) struct SignIns {
    context: Rc<TaskContext>,
    backoff: Backoff,
    /// Wait before the next sign-in.
    pub(crate) pause: Duration,
    /// Failed ones since the last session.
    pub(crate) attempt: u32,
    // A failure that repeats is logged once, and again by a reminder, until a session lasts.
    logged: Vec<String>,
    outage: Option<Outage>,
    /// The broker of the last attempt.
    broker: String,
}

/// The time without a session that lasts.
struct Outage {
    since: Instant,
    reminders: Reminders,
    /// The broker accepted a sign-in, and the session ended soon.
    had_session: bool,
}

impl SignIns {
    pub(crate) fn new(context: Rc<TaskContext>) -> Self {
        Self {
            context,
            backoff: Backoff::default(),
            pause: Duration::ZERO,
            attempt: 0,
            logged: Vec::new(),
            outage: None,
            broker: String::new(),
        }
    }

    /// A sign-in is about to be tried.
    pub(crate) fn begins(&mut self, request: &SignInRequest) {
        self.broker = format!("{}:{}", request.endpoint.host, request.endpoint.port);
        let (feed, broker, attempt) = (self.context.name(), &self.broker, self.attempt);
        tracing::debug!(%feed, attempt, "signing in to {broker}");
    }

    /// A sign-in failed.
    pub(crate) fn failed(&mut self, reason: &str) {
        self.context.health.borrow_mut().failed_sign_ins += 1;
        self.attempt = self.attempt.saturating_add(1);
        self.back_off(reason, LONGEST);
    }

    /// The broker cannot be reached, and another feed tries it.
    pub(crate) fn waits(&self, waiting: &Waiting) {
        let pause = waiting.until.saturating_duration_since(Instant::now());
        self.context.health.borrow_mut().connection_failed(&waiting.reason, pause);
        tracing::debug!(feed = %self.context.name(), "{}; another feed tries it in {pause:?}", waiting.reason);
    }

    /// A session begins.
    pub(crate) fn succeeded(&mut self) {
        let feed = self.context.name();
        let mut health = self.context.health.borrow_mut();
        // During a renewal the feed stays connected.
        if !health.connected {
            let outage = self.outage.as_ref().filter(|outage| !outage.had_session).map(|outage| outage.since.elapsed());
            match outage.filter(|lasted| *lasted > SHORT_OUTAGE) {
                Some(lasted) => tracing::info!(%feed, "signed in after {} without a session", outage_text(lasted)),
                None => tracing::info!(%feed, "signed in"),
            }
        }
        if let Some(outage) = &mut self.outage {
            outage.had_session = true;
        }
        health.connected = true;
        health.forget_failure();
        health.sign_ins += 1;
        (self.attempt, self.pause) = (0, Duration::ZERO);
    }

    /// A session ended unexpectedly. After one that lasted the back-off starts again from its shortest pause; an
    /// acknowledgement is not enough, since each session of two clients with the same client id has some.
    pub(crate) fn lost(&mut self, session: &LostSession) {
        let LostSession { closing, lasted, has_acknowledged } = session;
        if *lasted >= LASTING {
            self.logged.clear();
            self.outage = None;
            self.backoff.reset();
        }
        let may_be_a_message = matches!(closing.cause, CloseCause::Message(_));
        let longest = if *has_acknowledged && may_be_a_message { LONGEST_WITH_PROGRESS } else { LONGEST };
        self.back_off(&closing.reason, longest);
    }

    /// The feed has another plugin or another broker: earlier failures do not count.
    pub(crate) fn restart(&mut self) {
        self.disconnected();
        self.context.health.borrow_mut().forget_failure();
        self.backoff.reset();
        self.logged.clear();
        (self.attempt, self.pause, self.outage) = (0, Duration::ZERO, None);
    }

    pub(crate) fn disconnected(&self) {
        self.context.health.borrow_mut().connected = false;
    }

    fn back_off(&mut self, reason: &str, longest: Duration) {
        self.pause = self.backoff.next(longest);
        self.context.health.borrow_mut().connection_failed(reason, self.pause);
        let (feed, seconds) = (self.context.name(), self.pause.as_millis().div_ceil(1000));
        let outage = self.outage.get_or_insert_with(Outage::begin);
        let lasted = outage.since.elapsed();
        let is_reminder_due = outage.reminders.is_due(lasted);
        if !self.logged.iter().any(|logged| logged == reason) {
            tracing::warn!(%feed, "{reason}; retrying in {seconds} s");
            if self.logged.len() == MAX_LOGGED {
                self.logged.remove(0);
            }
            self.logged.push(reason.to_owned());
        } else if is_reminder_due {
            let (broker, lasted) = (&self.broker, outage_text(lasted));
            if outage.had_session {
                let session = format_args!("no lasting session with {broker} for {lasted}");
                tracing::warn!(%feed, "{session}; last error: {reason}; retrying in {seconds} s");
            } else {
                let session = format_args!("no session with {broker} for {lasted}");
                tracing::warn!(%feed, "{session}; last error: {reason}; retrying in {seconds} s");
            }
        } else {
            tracing::debug!(%feed, "{reason}; retrying in {seconds} s");
        }
    }
}

impl Outage {
    fn begin() -> Self {
        Self { since: Instant::now(), reminders: Reminders::default(), had_session: false }
    }
}
