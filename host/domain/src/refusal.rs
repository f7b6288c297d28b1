//! Why a broker did not take a message, and why a session ended: what a feed decides by, and the words for people.

pub mod reason_codes;

/// What of a message a broker does not accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Objection {
    /// It may not be published to this topic.
    Topic,
    /// It is too large.
    Size,
    /// The broker retains no message.
    Retain,
    /// The broker does not support the quality of service.
    Qos,
    /// The payload or a property.
    Content,
    /// The broker does not say.
    Unknown,
}

/// Whether the broker may take the same message later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// It may: it is busy, a quota is used up, or the reason does not concern the message.
    Temporary,
    /// It does not accept such a message.
    Final(Objection),
}

/// Why a broker did not take a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Whether a retry may succeed.
    pub kind: RefusalKind,
    /// The code and its name, and what a person can do, for people.
    pub reason: String,
}

/// What ended a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseCause {
    /// The broker ended it, perhaps because of a message.
    Message(Objection),
    /// The broker cannot take as many messages as it gets.
    Overload,
    /// Anything that no message causes: the network, another client with the same id, a shutdown of the broker.
    Other,
}

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closing {
    /// What ended it.
    pub cause: CloseCause,
    /// For people.
    pub reason: String,
}

impl Refusal {
    /// A refusal that a retry does not change.
    pub fn of(objection: Objection, reason: impl Into<String>) -> Self {
        Self { kind: RefusalKind::Final(objection), reason: reason.into() }
    }

    /// A refusal that a retry may change.
    pub fn temporary(reason: impl Into<String>) -> Self {
        Self { kind: RefusalKind::Temporary, reason: reason.into() }
    }
}

impl Closing {
    /// An end that no message causes.
    pub fn other(reason: impl Into<String>) -> Self {
        Self { cause: CloseCause::Other, reason: reason.into() }
    }
}
