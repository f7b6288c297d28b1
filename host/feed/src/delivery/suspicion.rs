//! Which messages the broker may end sessions over, or refuses.
//!
//! A broker that does not accept a message often says so only by ending the session, and then the same message would end the
//! next one too. So each message after which the broker ends the session gets a strike. With three strikes it is suspect: it
//! waits, and the messages behind it go first. If they are acknowledged and the session lasts, the suspect is sent alone; if
//! the broker ends the session over it once more, it is convicted. A message that had a strike and is then acknowledged
//! shows that sessions end without any message's fault; after that nothing is convicted for a while.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bessai_domain::message::Message;
use bessai_domain::refusal::Objection;
use tokio::time::Instant;

use super::learnt::SuspectTraits;
use crate::batches::{Lane, MessageId};

/// Strikes that make a message suspect.
const STRIKES: u32 = 3;
/// A session that ends this soon after a message was sent may have ended because of it.
pub(super) const SOON: Duration = Duration::from_secs(10);
/// A suspect is tried alone in a session that has lasted this long without it, so that a link which drops every few seconds
/// convicts nothing.
pub(super) const TRIAL_AFTER: Duration = Duration::from_secs(10);
/// Pause before a message that was refused is sent again.
const RETRY_REFUSED_AFTER: Duration = Duration::from_secs(1);
/// Nothing is convicted for this long after a session that ended without any message's fault.
const NO_CONVICTION_FOR: Duration = Duration::from_mins(10);
/// A message is convicted even so if the sessions that ended after it cannot have ended by chance: with this probability.
const NEVER_BY_CHANCE: f64 = 1e-9;
/// Acknowledgements over which chance is estimated.
const REMEMBERED: u32 = 10_000;
/// Longest pause between two trials.
const LONGEST_PAUSE: Duration = Duration::from_mins(10);
/// So many suspects without an acknowledgement between them: the broker or the login is to blame, not the messages.
const MAX_SUSPECTS: usize = 16;

/// Identifies a message over sessions. Those of a session are made again in each, and those without acknowledgement are
/// complete when they are written: they are known by their topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum MessageKey {
    OfBatch(MessageId),
    OfTopic(Rc<str>),
}

/// What to do with a message that is next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Send,
    /// It waits, and the messages behind it go first.
    Aside,
    /// The broker does not accept it.
    Convicted(Conviction),
}

/// How a message is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// Among others.
    Usual,
    /// While nothing else is in flight.
    Alone {
        /// It may be sent without its retain flag first.
        may_unretain: bool,
    },
}

/// What the broker has against a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Conviction {
    pub(super) objection: Objection,
    /// The broker's reason, for people.
    pub(super) reason: String,
}

#[derive(Debug)]
struct Suspect {
    strikes: u32,
    /// A session ended while it alone was in flight.
    ended_alone: bool,
    conviction: Conviction,
    is_convicted: bool,
    /// When it was last sent alone, until the session ends.
    on_trial: Option<Instant>,
    /// It was sent without its retain flag.
    is_unretained: bool,
    has_been_unretained: bool,
    not_before: Instant,
    pause: Duration,
    /// The broker does not acknowledge it, which delays no other message: it need not be sent alone.
    is_unanswered: bool,
    /// Messages like it wait for the verdict.
    traits: SuspectTraits,
}

impl Suspect {
    fn new(strikes: u32, conviction: Conviction, now: Instant) -> Self {
        Self {
            strikes,
            ended_alone: false,
            conviction,
            is_convicted: false,
            on_trial: None,
            is_unretained: false,
            has_been_unretained: false,
            not_before: now,
            pause: TRIAL_AFTER,
            is_unanswered: false,
            traits: SuspectTraits::default(),
        }
    }
}

/// The suspects of a feed, over all its sessions.
#[derive(Debug, Default)]
pub(super) struct Suspicion {
    suspects: BTreeMap<MessageKey, Suspect>,
    /// So many further messages are sent one at a time, to see which of them the broker ended the session over.
    careful: usize,
    /// When a session last ended without any message's fault.
    unexplained: Option<Instant>,
    /// A message was acknowledged since the last message became suspect.
    has_passed: bool,
    /// Messages that were acknowledged, and sessions that ended by themselves while one of them was in flight.
    passed: u32,
    innocent_ends: u32,
    /// A suspect was cleared.
    has_changed: bool,
}

impl Suspicion {
    /// A session begins: whatever was sent alone in an earlier one has not outlasted it.
    pub(super) fn session_begins(&mut self) {
        for suspect in self.suspects.values_mut() {
            (suspect.on_trial, suspect.is_unretained) = (None, false);
        }
    }

    /// The broker ended a session, perhaps because of a message. `in_flight`: the messages that it had not acknowledged, and
    /// when they were sent, oldest first. Brokers handle messages in order, so the oldest is the likely cause.
    pub(super) fn session_ended(&mut self, in_flight: &[(MessageKey, Instant)], conviction: Conviction, now: Instant) {
        let Some((first, sent)) = in_flight.first() else {
            self.unexplained = Some(now);
            return;
        };
        self.careful = in_flight.len();
        if now.duration_since(*sent) <= SOON {
            self.strike(first, in_flight.len() == 1, conviction, now);
        }
    }

    /// The broker refused a message, and kept the session.
    pub(super) fn refused(&mut self, key: &MessageKey, conviction: Conviction, now: Instant) {
        self.strike(key, true, conviction, now);
        if let Some(suspect) = self.suspects.get_mut(key) {
            suspect.ended_alone = false;
            if suspect.strikes < STRIKES {
                suspect.not_before = now + RETRY_REFUSED_AFTER * suspect.strikes;
            }
        }
    }

    /// The broker acknowledged later messages, but not this one.
    pub(super) fn unanswered(&mut self, key: &MessageKey, conviction: Conviction, now: Instant) {
        self.strike(key, true, conviction, now);
        if let Some(suspect) = self.suspects.get_mut(key) {
            (suspect.ended_alone, suspect.is_unanswered) = (false, true);
            suspect.is_convicted = suspect.strikes > STRIKES;
        }
    }

    fn strike(&mut self, key: &MessageKey, was_alone: bool, conviction: Conviction, now: Instant) {
        let is_calm = self.unexplained.is_none_or(|at| now.duration_since(at) > NO_CONVICTION_FOR);
        let chance = self.chance_of_an_end();
        let new = || Suspect::new(0, conviction.clone(), now);
        let suspect = self.suspects.entry(key.clone()).or_insert_with(new);
        // With others in flight it is only the likely cause, which the next session finds out.
        if was_alone || suspect.strikes == 0 {
            suspect.strikes += 1;
        }
        suspect.ended_alone |= was_alone;
        suspect.conviction = conviction;
        if suspect.on_trial.take().is_some() {
            // Without the retain flag it was another message.
            if !std::mem::take(&mut suspect.is_unretained) {
                let by_chance = chance.powi(i32::try_from(suspect.strikes).unwrap_or(i32::MAX));
                suspect.is_convicted = was_alone && (is_calm || by_chance < NEVER_BY_CHANCE);
                suspect.pause = (suspect.pause * 2).min(LONGEST_PAUSE);
            }
        }
        if suspect.strikes == STRIKES {
            self.has_passed = false;
        }
        if suspect.strikes >= STRIKES {
            suspect.not_before = now + suspect.pause;
        }
        if self.suspect_count() > MAX_SUSPECTS && !self.has_passed {
            self.suspects.clear();
        }
    }

    /// How often a session ends by itself while a message is in flight: an estimate that is high while little is known.
    fn chance_of_an_end(&self) -> f64 {
        (f64::from(self.innocent_ends) + 1.0) / (f64::from(self.innocent_ends) + f64::from(self.passed) + 2.0)
    }

    fn suspect_count(&self) -> usize {
        self.suspects.values().filter(|suspect| suspect.strikes >= STRIKES).count()
    }

    /// The broker acknowledged a message.
    pub(super) fn acknowledged(&mut self, key: impl FnOnce() -> MessageKey, now: Instant) {
        self.careful = self.careful.saturating_sub(1);
        self.has_passed = true;
        self.passed = self.passed.saturating_add(1);
        if self.passed >= REMEMBERED {
            (self.passed, self.innocent_ends) = (self.passed / 2, self.innocent_ends / 2);
        }
        if self.suspects.is_empty() {
            return;
        }
        if let Some(suspect) = self.suspects.remove(&key()) {
            self.has_changed = true;
            if suspect.ended_alone && !suspect.is_unretained {
                self.unexplained = Some(now);
                self.innocent_ends = self.innocent_ends.saturating_add(suspect.strikes);
            }
        }
    }

    /// Clears the messages without acknowledgement that were sent alone and that the session has outlasted: there is no other
    /// proof. Returns whether one of them had been sent without its retain flag.
    pub(super) fn clear_outlasted(&mut self, now: Instant) -> bool {
        let is_outlasted = |key: &MessageKey, suspect: &Suspect| {
            matches!(key, MessageKey::OfTopic(_)) && suspect.on_trial.is_some_and(|at| now.duration_since(at) >= SOON)
        };
        let mut was_unretained = false;
        self.suspects.retain(|key, suspect| {
            let is_cleared = is_outlasted(key, suspect);
            was_unretained |= is_cleared && suspect.is_unretained;
            self.has_changed |= is_cleared;
            !is_cleared
        });
        was_unretained
    }

    /// When the next message can be cleared by [`Self::clear_outlasted`].
    pub(super) fn next_outlasted(&self) -> Option<Instant> {
        let topics = self.suspects.iter().filter(|(key, _)| matches!(key, MessageKey::OfTopic(_)));
        topics.filter_map(|(_, suspect)| suspect.on_trial.map(|at| at + SOON)).min()
    }

    /// The messages of a lane are made again.
    pub(super) fn forget_lane(&mut self, lane: Lane) {
        self.suspects.retain(|key, _| !matches!(key, MessageKey::OfBatch(id) if id.lane == lane));
    }

    /// A message does not concern this feed any more.
    pub(super) fn forget(&mut self, key: &MessageKey) {
        self.suspects.remove(key);
    }

    /// A message of a kind that was refused an hour ago: it is tried alone.
    pub(super) fn presume(&mut self, key: MessageKey, conviction: Conviction, now: Instant) {
        self.suspects.insert(key, Suspect::new(STRIKES, conviction, now));
    }

    /// What the messages that wait for the verdict about a suspect have in common with it.
    pub(super) fn set_traits(&mut self, key: &MessageKey, traits: SuspectTraits) {
        if let Some(suspect) = self.suspects.get_mut(key) {
            suspect.traits = traits;
        }
    }

    /// Whether another message waits for the verdict about a suspect that it resembles.
    pub(super) fn resembles_suspect(&self, message: &Message, size: usize) -> bool {
        let mut suspects = self.suspects.values().filter(|suspect| suspect.strikes >= STRIKES);
        suspects.any(|suspect| suspect.traits.are_shared_by(message, size))
    }

    /// Whether there is any suspect.
    pub(super) fn is_empty(&self) -> bool {
        self.suspects.is_empty()
    }

    /// What to do with a message that is next.
    pub(super) fn admit(&self, key: impl FnOnce() -> MessageKey, now: Instant) -> Admission {
        if self.suspects.is_empty() {
            return Admission::Send;
        }
        match self.suspects.get(&key()) {
            Some(suspect) if suspect.is_convicted => Admission::Convicted(suspect.conviction.clone()),
            Some(suspect) if suspect.strikes >= STRIKES || suspect.not_before > now => Admission::Aside,
            _ => Admission::Send,
        }
    }

    /// When a message that was put aside may be sent, in a session that began then; none before another one has passed.
    pub(super) fn next_try(&self, key: &MessageKey, session_began: Instant, has_acknowledged: bool) -> Option<Instant> {
        match self.suspects.get(key) {
            Some(suspect) if suspect.strikes < STRIKES => Some(suspect.not_before),
            // One of its topic was sent: it is cleared or convicted first.
            Some(suspect) if suspect.on_trial.is_some() => None,
            Some(suspect) => has_acknowledged.then(|| suspect.not_before.max(session_began + TRIAL_AFTER)),
            None => None,
        }
    }

    /// How a message that was put aside has to be sent.
    pub(super) fn attempt(&self, key: &MessageKey) -> Attempt {
        match self.suspects.get(key) {
            Some(suspect) if suspect.strikes >= STRIKES && !suspect.is_unanswered => {
                Attempt::Alone { may_unretain: !suspect.has_been_unretained }
            }
            _ => Attempt::Usual,
        }
    }

    /// A suspect is sent alone.
    pub(super) fn begin_trial(&mut self, key: &MessageKey, is_unretained: bool, now: Instant) {
        if let Some(suspect) = self.suspects.get_mut(key) {
            suspect.on_trial = Some(now);
            suspect.is_unretained = is_unretained;
            suspect.has_been_unretained |= is_unretained;
        }
    }

    /// What the broker has against a suspect.
    pub(super) fn objection(&self, key: &MessageKey) -> Option<Objection> {
        self.suspects.get(key).map(|suspect| suspect.conviction.objection)
    }

    /// Whether a suspect was cleared since the last call.
    pub(super) fn has_changed(&mut self) -> bool {
        std::mem::take(&mut self.has_changed)
    }

    /// Whether messages are sent one at a time.
    pub(super) fn is_careful(&self) -> bool {
        self.careful > 0
    }

    /// How many messages wait because of the broker.
    pub(super) fn waiting(&self) -> usize {
        self.suspect_count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> MessageKey {
        MessageKey::OfTopic(name.into())
    }

    fn conviction() -> Conviction {
        Conviction { objection: Objection::Unknown, reason: "connection closed".into() }
    }

    const SECOND: Duration = Duration::from_secs(1);

    struct Court {
        suspicion: Suspicion,
        now: Instant,
    }

    impl Court {
        fn new() -> Self {
            Self { suspicion: Suspicion::default(), now: Instant::now() }
        }

        fn pass(&mut self, time: Duration) {
            self.now += time;
        }

        fn ends(&mut self, in_flight: &[&str]) {
            let in_flight: Vec<_> = in_flight.iter().map(|name| (key(name), self.now)).collect();
            self.suspicion.session_ended(&in_flight, conviction(), self.now);
        }

        fn admit(&self, name: &str) -> Admission {
            self.suspicion.admit(|| key(name), self.now)
        }

        fn passes(&mut self, name: &str) {
            self.suspicion.acknowledged(|| key(name), self.now);
        }
    }

    #[test]
    fn a_message_after_which_every_session_ends_waits_and_is_convicted_by_the_next_end() {
        let mut court = Court::new();
        court.ends(&["bad", "a", "b"]);
        assert!(court.suspicion.is_careful());
        for _ in 0..2 {
            assert_eq!(court.admit("bad"), Admission::Send);
            court.pass(SECOND);
            court.ends(&["bad"]);
        }
        assert_eq!(court.admit("bad"), Admission::Aside);
        let began = court.now;
        assert_eq!(court.suspicion.next_try(&key("bad"), began, false), None);
        court.passes("a");
        let at = court.suspicion.next_try(&key("bad"), began, true).unwrap();
        assert_eq!(at, began + TRIAL_AFTER);
        court.now = at;
        assert_eq!(court.suspicion.attempt(&key("bad")), Attempt::Alone { may_unretain: true });
        court.suspicion.begin_trial(&key("bad"), false, court.now);
        court.ends(&["bad"]);
        assert_eq!(court.admit("bad"), Admission::Convicted(conviction()));
    }

    #[test]
    fn an_innocent_message_is_cleared_and_nothing_is_convicted_on_a_link_that_drops_by_itself() {
        let mut court = Court::new();
        court.ends(&["innocent"]);
        court.passes("innocent");
        for _ in 0..3 {
            court.ends(&["bad"]);
        }
        court.passes("a");
        assert_eq!(court.suspicion.attempt(&key("bad")), Attempt::Alone { may_unretain: true });
        court.suspicion.begin_trial(&key("bad"), false, court.now);
        court.ends(&["bad"]);
        assert_eq!(court.admit("bad"), Admission::Aside);
        court.pass(NO_CONVICTION_FOR + SECOND);
        assert_eq!(court.suspicion.attempt(&key("bad")), Attempt::Alone { may_unretain: true });
        court.suspicion.begin_trial(&key("bad"), false, court.now);
        court.ends(&["bad"]);
        assert_eq!(court.admit("bad"), Admission::Convicted(conviction()));
    }

    #[test]
    fn a_suspect_without_acknowledgement_is_cleared_by_the_session_that_outlasts_it() {
        for is_unretained in [false, true] {
            let mut court = Court::new();
            for _ in 0..3 {
                court.ends(&["quiet"]);
            }
            court.suspicion.begin_trial(&key("quiet"), is_unretained, court.now);
            assert_eq!(court.suspicion.next_outlasted(), Some(court.now + SOON));
            court.pass(SOON - SECOND);
            assert!(!court.suspicion.clear_outlasted(court.now) && !court.suspicion.has_changed());
            assert_eq!((court.admit("quiet"), court.suspicion.waiting()), (Admission::Aside, 1));
            court.pass(SECOND);
            assert_eq!(court.suspicion.clear_outlasted(court.now), is_unretained);
            assert_eq!((court.admit("quiet"), court.suspicion.waiting()), (Admission::Send, 0));
            assert!(court.suspicion.has_changed() && court.suspicion.next_outlasted().is_none());
        }
    }

    #[test]
    fn if_nothing_passes_the_broker_is_to_blame() {
        let mut court = Court::new();
        for round in 0..3 {
            for number in 0..=MAX_SUSPECTS {
                let name = format!("{round}-{number}");
                for _ in 0..3 {
                    court.ends(&[&name]);
                }
            }
            assert_eq!(court.suspicion.waiting(), 0);
        }
    }

    #[test]
    fn an_end_long_after_the_last_message_is_nobodys_fault() {
        let mut court = Court::new();
        let sent = court.now;
        court.pass(SOON + SECOND);
        for _ in 0..10 {
            court.suspicion.session_ended(&[(key("a"), sent)], conviction(), court.now);
        }
        assert_eq!(court.admit("a"), Admission::Send);
    }
}
