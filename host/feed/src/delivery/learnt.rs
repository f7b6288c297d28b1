//! What a feed has learnt about its broker: what it refuses, so that it is not sent again and again, and how many messages it
//! takes in a second.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use std::time::Duration;

use bessai_domain::message::{Message, Qos};
use bessai_domain::refusal::Objection;
use tokio::time::Instant;

use super::suspicion::Conviction;

/// What was learnt is tried again after this time.
const FORGOTTEN_AFTER: Duration = Duration::from_hours(1);
/// Entries that are kept; beyond this the oldest are forgotten.
const MAX_ENTRIES: usize = 64;
/// Topics that are known to be accepted; beyond this all are forgotten.
const MAX_TOPICS: usize = 1024;
/// No broker refuses a message for its size if it is smaller than this.
const NEVER_TOO_LARGE: usize = 1 << 10;

/// What a broker refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefusedByBroker {
    /// Every message to this topic.
    Topic(String),
    /// Messages of so many bytes and more.
    Size(usize),
    /// The retain flag; messages are published without it.
    Retain,
    /// A quality of service above this one; messages are published with it.
    QosAbove(Qos),
}

/// What was learnt, and when.
#[derive(Clone, Debug)]
pub struct Lesson {
    /// What the broker refuses.
    pub refuses: RefusedByBroker,
    /// Its reason, for people.
    pub reason: String,
    /// When it was learnt.
    pub learnt: Instant,
}

/// Whether a message is refused for what was learnt.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum KnownRefusal {
    /// It is.
    Refused(Conviction),
    /// It was refused an hour ago.
    Doubtful(Conviction),
}

/// What a suspect has in common with messages that wait for its verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SuspectTraits {
    topic: Option<Rc<str>>,
    /// Messages of so many bytes and more.
    size: Option<usize>,
    retain: bool,
}

impl SuspectTraits {
    /// Whether the broker may object to this message for the same reason.
    pub(super) fn are_shared_by(&self, message: &Message, size: usize) -> bool {
        self.topic.as_ref().is_some_and(|topic| **topic == *message.topic)
            || self.size.is_some_and(|refused| size >= refused)
            || (self.retain && message.retain)
    }
}

/// What is known about the broker.
#[derive(Debug, Default)]
pub(super) struct BrokerLessons {
    lessons: Vec<Lesson>,
    hasher: RandomState,
    /// Hashes of topics to which a message was acknowledged.
    accepted_topics: HashSet<u64>,
    largest_accepted: usize,
    has_accepted_retained: bool,
}

impl BrokerLessons {
    /// The broker acknowledged a message of that size.
    pub(super) fn accepted(&mut self, message: &Message, size: usize, is_unretained: bool) {
        self.largest_accepted = self.largest_accepted.max(size);
        self.has_accepted_retained |= message.retain && !is_unretained && !self.refuses(&RefusedByBroker::Retain);
        let hash = self.hasher.hash_one(message.topic.as_str());
        if !self.accepted_topics.contains(&hash) {
            if self.accepted_topics.len() >= MAX_TOPICS {
                self.accepted_topics.clear();
            }
            self.accepted_topics.insert(hash);
        }
    }

    /// Whether the retain flag may be what the broker objects to.
    pub(super) fn may_object_to_retain(&self, message: &Message, objection: Objection) -> bool {
        match objection {
            Objection::Retain => message.retain,
            Objection::Unknown => message.retain && !self.has_accepted_retained,
            Objection::Topic | Objection::Size | Objection::Qos | Objection::Content => false,
        }
    }

    /// What messages have in common with a suspect that the broker may object to.
    pub(super) fn traits(&self, message: &Message, size: usize, objection: Objection) -> SuspectTraits {
        let may_be = |possible: Objection| objection == possible || objection == Objection::Unknown;
        let is_known_topic = self.is_known_topic(message);
        SuspectTraits {
            topic: (may_be(Objection::Topic) && !is_known_topic).then(|| message.topic.as_str().into()),
            size: (may_be(Objection::Size) && self.is_unusually_large(size)).then_some(size),
            retain: self.may_object_to_retain(message, objection),
        }
    }

    fn is_known_topic(&self, message: &Message) -> bool {
        self.accepted_topics.contains(&self.hasher.hash_one(message.topic.as_str()))
    }

    fn is_unusually_large(&self, size: usize) -> bool {
        size > self.largest_accepted && size > NEVER_TOO_LARGE
    }

    /// The broker accepted a message only without its retain flag, or says that it retains nothing.
    pub(super) fn refuses_retain(&mut self, reason: &str, now: Instant) {
        self.learn(RefusedByBroker::Retain, reason, now);
    }

    /// The broker does not support this quality of service.
    pub(super) fn refuses_qos(&mut self, qos: Qos, reason: &str, now: Instant) {
        let below = if qos == Qos::ExactlyOnce { Qos::AtLeastOnce } else { Qos::AtMostOnce };
        self.learn(RefusedByBroker::QosAbove(below), reason, now);
    }

    /// The broker does not accept a message of that size: learns what it has against it, where that can be known.
    pub(super) fn convicted(&mut self, message: &Message, size: usize, conviction: &Conviction, now: Instant) {
        let is_known_topic = self.is_known_topic(message);
        let is_largest = self.is_unusually_large(size);
        let refuses = match conviction.objection {
            Objection::Topic => RefusedByBroker::Topic(message.topic.clone()),
            Objection::Size => RefusedByBroker::Size(size),
            Objection::Unknown if is_largest && is_known_topic => RefusedByBroker::Size(size),
            Objection::Unknown if !is_known_topic => RefusedByBroker::Topic(message.topic.clone()),
            // A message of which the topic and the size were accepted before: only this one is refused.
            Objection::Unknown | Objection::Content | Objection::Retain | Objection::Qos => return,
        };
        self.learn(refuses, &conviction.reason, now);
    }

    fn refuses(&self, what: &RefusedByBroker) -> bool {
        self.lessons.iter().any(|lesson| lesson.refuses == *what)
    }

    /// Whether nothing was learnt.
    pub(super) fn is_empty(&self) -> bool {
        self.lessons.is_empty()
    }

    fn learn(&mut self, refuses: RefusedByBroker, reason: &str, now: Instant) {
        self.lessons.retain(|lesson| !lesson.refuses.is_covered_by(&refuses));
        if self.lessons.len() >= MAX_ENTRIES {
            self.lessons.remove(0);
        }
        self.lessons.push(Lesson { refuses, reason: reason.to_owned(), learnt: now });
    }

    /// Reduces a message to what the broker supports.
    pub(super) fn adapt(&mut self, message: &mut Message, now: Instant) {
        if self.lessons.is_empty() {
            return;
        }
        self.lessons
            .retain(|lesson| !lesson.refuses.is_adapted() || now.duration_since(lesson.learnt) < FORGOTTEN_AFTER);
        for lesson in &self.lessons {
            match lesson.refuses {
                RefusedByBroker::Retain => message.retain = false,
                RefusedByBroker::QosAbove(qos) => message.qos = message.qos.min(qos),
                RefusedByBroker::Topic(_) | RefusedByBroker::Size(_) => {}
            }
        }
    }

    /// Whether the broker refuses a message of that size for what was learnt.
    pub(super) fn judge(&mut self, message: &Message, size: usize, now: Instant) -> Option<KnownRefusal> {
        if self.lessons.is_empty() {
            return None;
        }
        let index = self.lessons.iter().position(|lesson| match &lesson.refuses {
            RefusedByBroker::Topic(topic) => *topic == message.topic,
            RefusedByBroker::Size(refused) => size >= *refused,
            RefusedByBroker::Retain | RefusedByBroker::QosAbove(_) => false,
        })?;
        let lesson = self.lessons.get(index)?;
        let objection = match lesson.refuses {
            RefusedByBroker::Size(_) => Objection::Size,
            _ => Objection::Topic,
        };
        let conviction = Conviction { objection, reason: lesson.reason.clone() };
        if now.duration_since(lesson.learnt) < FORGOTTEN_AFTER {
            return Some(KnownRefusal::Refused(conviction));
        }
        self.lessons.remove(index);
        Some(KnownRefusal::Doubtful(conviction))
    }

    /// What is refused now.
    pub(super) fn current(&self) -> &[Lesson] {
        &self.lessons
    }
}

impl RefusedByBroker {
    /// Messages are changed rather than quarantined.
    fn is_adapted(&self) -> bool {
        matches!(self, Self::Retain | Self::QosAbove(_))
    }

    fn is_covered_by(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Size(known), Self::Size(new)) => new <= known,
            (Self::QosAbove(known), Self::QosAbove(new)) => new <= known,
            _ => self == other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(topic: &str, retain: bool) -> Message {
        Message { topic: topic.into(), payload: Vec::new(), qos: Qos::AtLeastOnce, retain, properties: None }
    }

    fn conviction(objection: Objection) -> Conviction {
        Conviction { objection, reason: "closed".into() }
    }

    #[test]
    fn what_was_never_accepted_is_to_blame() {
        let now = Instant::now();
        let mut lessons = BrokerLessons::default();
        lessons.accepted(&message("a", false), 5000, false);
        let learnt =
            |lessons: &BrokerLessons| lessons.current().iter().map(|lesson| lesson.refuses.clone()).collect::<Vec<_>>();
        lessons.convicted(&message("a", false), 4000, &conviction(Objection::Unknown), now);
        assert_eq!(learnt(&lessons), []);
        lessons.convicted(&message("a", false), 9000, &conviction(Objection::Unknown), now);
        lessons.convicted(&message("a", false), 8000, &conviction(Objection::Unknown), now);
        lessons.convicted(&message("b", false), 100, &conviction(Objection::Unknown), now);
        assert_eq!(learnt(&lessons), [RefusedByBroker::Size(8000), RefusedByBroker::Topic("b".into())]);
        assert!(matches!(lessons.judge(&message("b", false), 1, now), Some(KnownRefusal::Refused(_))));
        assert!(matches!(lessons.judge(&message("a", false), 8000, now), Some(KnownRefusal::Refused(_))));
        assert_eq!(lessons.judge(&message("a", false), 7999, now), None);
    }

    #[test]
    fn what_was_learnt_is_doubted_after_an_hour() {
        let now = Instant::now();
        let mut lessons = BrokerLessons::default();
        lessons.convicted(&message("b", false), 100, &conviction(Objection::Topic), now);
        lessons.refuses_retain("closed", now);
        let later = now + FORGOTTEN_AFTER;
        assert!(matches!(lessons.judge(&message("b", false), 1, later), Some(KnownRefusal::Doubtful(_))));
        assert_eq!(lessons.judge(&message("b", false), 1, later), None);
        let mut retained = message("c", true);
        lessons.adapt(&mut retained, later);
        assert!(retained.retain && lessons.current().is_empty());
    }

    #[test]
    fn messages_are_reduced_to_what_the_broker_supports() {
        let now = Instant::now();
        let mut lessons = BrokerLessons::default();
        assert!(lessons.may_object_to_retain(&message("a", true), Objection::Unknown));
        lessons.refuses_retain("closed", now);
        lessons.refuses_qos(Qos::AtLeastOnce, "0x9b", now);
        let mut retained = message("c", true);
        lessons.adapt(&mut retained, now);
        assert_eq!((retained.retain, retained.qos), (false, Qos::AtMostOnce));
        let mut lessons = BrokerLessons::default();
        lessons.accepted(&message("a", true), 1, false);
        assert!(!lessons.may_object_to_retain(&message("a", true), Objection::Unknown));
    }
}
