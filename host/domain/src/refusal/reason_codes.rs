//! Every code with which a broker answers or ends a session (MQTT 5.0 §2.4, 3.1.1 §3.2.2.3), and what follows from it.

use super::{CloseCause, Objection, Refusal, RefusalKind};

/// A code of one kind of packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReasonCode {
    /// The number in the packet.
    pub code: u8,
    /// The standard's name in lower case.
    pub name: &'static str,
    /// What follows from it.
    pub effect: Effect,
    /// What a person can do.
    pub hint: Option<&'static str>,
}

/// What a feed does about a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing: it is a success.
    Accepted,
    /// The message is sent again.
    Retry,
    /// The message is a suspect: the broker has this against it.
    Suspect(Objection),
    /// The session has ended, for this cause.
    Ended(CloseCause),
    /// The next sign-in comes later.
    BackOff,
    /// The sign-in is tried in another version of MQTT.
    OtherVersion,
    /// The sign-in is tried with a reduced last will.
    OtherWill,
    /// The subscription does not exist; `/health` shows it.
    NotSubscribed,
}

impl ReasonCode {
    /// Code and name, and the hint if there is one.
    pub fn reason(&self) -> String {
        let hint = self.hint.map(|hint| format!("; {hint}")).unwrap_or_default();
        format!("{}{hint}", self.label())
    }

    /// Code and name.
    pub fn label(&self) -> String {
        format!("{:#04x} {}", self.code, self.name)
    }

    /// Why the broker refused a message, if it did.
    pub fn refusal(&self) -> Option<Refusal> {
        let kind = match self.effect {
            Effect::Retry => RefusalKind::Temporary,
            Effect::Suspect(objection) => RefusalKind::Final(objection),
            _ => return None,
        };
        Some(Refusal { kind, reason: self.reason() })
    }
}

/// The entry of a code; none if the standard has none for that packet.
pub fn find(table: &'static [ReasonCode], code: u8) -> Option<&'static ReasonCode> {
    table.iter().find(|entry| entry.code == code)
}

const fn entry(code: u8, name: &'static str, effect: Effect) -> ReasonCode {
    ReasonCode { code, name, effect, hint: None }
}

const fn hinted(code: u8, name: &'static str, effect: Effect, hint: &'static str) -> ReasonCode {
    ReasonCode { code, name, effect, hint: Some(hint) }
}

/// A session that ended because of a message.
const fn over(objection: Objection) -> Effect {
    Effect::Ended(CloseCause::Message(objection))
}

/// A session that no message ended.
const ENDED: Effect = Effect::Ended(CloseCause::Other);
/// A session that ended because of too many messages.
const OVERLOADED: Effect = Effect::Ended(CloseCause::Overload);
/// Where the broker's own words are.
const LOG: &str = "the broker's log says why";
/// Another address.
const MOVED: &str = "ask the broker's operator for its new address";
/// The last will is to blame.
const WILL: &str = "that is the last will's; set another `will`, or will = false";

/// CONNACK of 3.1.1 (§3.2.2.3), and AWS's own code for a client that its policy does not allow.
pub static CONNACK_V311: [ReasonCode; 7] = [
    entry(0x00, "connection accepted", Effect::Accepted),
    entry(0x01, "unacceptable protocol version", Effect::OtherVersion),
    hinted(0x02, "identifier rejected", Effect::BackOff, "set another client_id"),
    hinted(0x03, "server unavailable", Effect::BackOff, "it may be starting, or its quota is used up"),
    hinted(0x04, "bad user name or password", Effect::BackOff, "check user name and password"),
    hinted(0x05, "not authorized", Effect::BackOff, "check user name, password and the broker's policy"),
    hinted(0x07, "not authorized", Effect::BackOff, "check user name, password and the broker's policy"),
];

/// CONNACK of MQTT 5 (§3.2.2.2).
pub static CONNACK: [ReasonCode; 22] = [
    entry(0x00, "success", Effect::Accepted),
    hinted(0x80, "unspecified error", Effect::BackOff, LOG),
    hinted(0x81, "malformed packet", Effect::BackOff, "set protocol = \"3.1.1\" if its MQTT 5 is incomplete"),
    hinted(0x82, "protocol error", Effect::BackOff, "set protocol = \"3.1.1\" if its MQTT 5 is incomplete"),
    hinted(0x83, "implementation specific error", Effect::BackOff, LOG),
    entry(0x84, "unsupported protocol version", Effect::OtherVersion),
    hinted(0x85, "client identifier not valid", Effect::BackOff, "set another client_id"),
    hinted(0x86, "bad user name or password", Effect::BackOff, "check user name and password"),
    hinted(0x87, "not authorized", Effect::BackOff, "check user name, password and the broker's policy"),
    hinted(0x88, "server unavailable", Effect::BackOff, "it may be starting or in maintenance"),
    hinted(0x89, "server busy", Effect::BackOff, "it has too many clients at the moment"),
    hinted(0x8a, "banned", Effect::BackOff, "ask the broker's operator to admit this client again"),
    hinted(
        0x8c,
        "bad authentication method",
        Effect::BackOff,
        "it wants enhanced authentication, which is not supported; ask its operator for a user name and password",
    ),
    hinted(0x90, "topic name invalid", Effect::BackOff, WILL),
    hinted(0x95, "packet too large", Effect::BackOff, "the sign-in is larger than it accepts; shorten the last will"),
    hinted(0x97, "quota exceeded", Effect::BackOff, "raise the broker's quota of connections or messages"),
    hinted(0x99, "payload format invalid", Effect::BackOff, WILL),
    entry(0x9a, "retain not supported", Effect::OtherWill),
    entry(0x9b, "QoS not supported", Effect::OtherWill),
    hinted(0x9c, "use another server", Effect::BackOff, MOVED),
    hinted(0x9d, "server moved", Effect::BackOff, MOVED),
    hinted(0x9f, "connection rate exceeded", Effect::BackOff, "the broker limits how often clients sign in"),
];

/// PUBACK and PUBREC (§3.4.2.1, §3.5.2.1).
pub static ACKNOWLEDGEMENT: [ReasonCode; 9] = [
    entry(0x00, "success", Effect::Accepted),
    entry(0x10, "no matching subscribers", Effect::Accepted),
    hinted(0x80, "unspecified error", Effect::Retry, LOG),
    hinted(0x83, "implementation specific error", Effect::Retry, LOG),
    hinted(
        0x87,
        "not authorized",
        Effect::Suspect(Objection::Topic),
        "allow this client to publish to that topic in the broker's policy",
    ),
    hinted(0x90, "topic name invalid", Effect::Suspect(Objection::Topic), "publish to another topic"),
    // The broker still has an earlier message with this packet id.
    entry(0x91, "packet identifier in use", Effect::Retry),
    hinted(0x97, "quota exceeded", Effect::Retry, "raise the broker's quota, or set a rate in [limits]"),
    hinted(
        0x99,
        "payload format invalid",
        Effect::Suspect(Objection::Content),
        "the payload is not what its properties or the broker's schema say",
    ),
];

/// PUBCOMP (§3.7.2.1). The broker received the message in either case (§4.13.2).
pub static COMPLETION: [ReasonCode; 2] =
    [entry(0x00, "success", Effect::Accepted), entry(0x92, "packet identifier not found", Effect::Accepted)];

/// SUBACK of MQTT 5 (§3.9.3); 3.1.1 has 0x00 to 0x02 and 0x80.
pub static SUBSCRIPTION: [ReasonCode; 12] = [
    entry(0x00, "granted QoS 0", Effect::Accepted),
    entry(0x01, "granted QoS 1", Effect::Accepted),
    entry(0x02, "granted QoS 2", Effect::Accepted),
    hinted(0x80, "unspecified error", Effect::NotSubscribed, LOG),
    hinted(0x83, "implementation specific error", Effect::NotSubscribed, LOG),
    hinted(
        0x87,
        "not authorized",
        Effect::NotSubscribed,
        "allow this client to subscribe to that filter in the broker's policy",
    ),
    hinted(0x8f, "topic filter invalid", Effect::NotSubscribed, "the broker does not support that filter"),
    entry(0x91, "packet identifier in use", Effect::NotSubscribed),
    hinted(0x97, "quota exceeded", Effect::NotSubscribed, "raise the broker's quota of subscriptions"),
    entry(0x9e, "shared subscriptions not supported", Effect::NotSubscribed),
    entry(0xa1, "subscription identifiers not supported", Effect::NotSubscribed),
    entry(0xa2, "wildcard subscriptions not supported", Effect::NotSubscribed),
];

/// DISCONNECT of a broker (§3.14.2.1); 0x04 is a client's, but means the same from a broker that sends it.
pub static DISCONNECT: [ReasonCode; 29] = [
    entry(0x00, "normal disconnection", ENDED),
    entry(0x04, "disconnect with will message", ENDED),
    hinted(0x80, "unspecified error", over(Objection::Unknown), LOG),
    hinted(0x81, "malformed packet", over(Objection::Unknown), LOG),
    hinted(0x82, "protocol error", over(Objection::Unknown), LOG),
    hinted(0x83, "implementation specific error", over(Objection::Unknown), LOG),
    hinted(0x87, "not authorized", over(Objection::Topic), "check what the broker's policy allows this client"),
    hinted(0x89, "server busy", ENDED, "it has too many clients at the moment"),
    hinted(0x8b, "server shutting down", ENDED, "it is restarting or in maintenance"),
    hinted(
        0x8d,
        "keep alive timeout",
        ENDED,
        "it heard nothing for too long; check the network, or set a shorter keep_alive",
    ),
    hinted(0x8e, "session taken over", ENDED, "another client uses this client id"),
    entry(0x8f, "topic filter invalid", ENDED),
    hinted(0x90, "topic name invalid", over(Objection::Topic), "publish to another topic"),
    hinted(0x93, "receive maximum exceeded", OVERLOADED, "set a lower in_flight"),
    hinted(0x94, "topic alias invalid", over(Objection::Unknown), LOG),
    hinted(0x95, "packet too large", over(Objection::Size), "set a lower max_packet"),
    hinted(0x96, "message rate too high", OVERLOADED, "set a rate in [limits]"),
    hinted(0x97, "quota exceeded", OVERLOADED, "set a rate in [limits], or raise the broker's quota"),
    hinted(0x98, "administrative action", ENDED, "the broker's operator ended it"),
    hinted(
        0x99,
        "payload format invalid",
        over(Objection::Content),
        "the payload is not what its properties or the broker's schema say",
    ),
    hinted(0x9a, "retain not supported", over(Objection::Retain), "set retain = false"),
    hinted(0x9b, "QoS not supported", over(Objection::Qos), "set a lower qos in [limits]"),
    hinted(0x9c, "use another server", ENDED, MOVED),
    hinted(0x9d, "server moved", ENDED, MOVED),
    entry(0x9e, "shared subscriptions not supported", ENDED),
    hinted(0x9f, "connection rate exceeded", ENDED, "the broker limits how often clients sign in"),
    hinted(0xa0, "maximum connect time", ENDED, "the broker ends every session after some time"),
    entry(0xa1, "subscription identifiers not supported", ENDED),
    entry(0xa2, "wildcard subscriptions not supported", ENDED),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// A table, and whether its packet can have an effect.
    type Table = (&'static [ReasonCode], fn(Effect) -> bool);

    fn tables() -> [Table; 6] {
        let is_sign_in: fn(Effect) -> bool =
            |effect| matches!(effect, Effect::Accepted | Effect::BackOff | Effect::OtherVersion | Effect::OtherWill);
        [
            (&CONNACK_V311, is_sign_in),
            (&CONNACK, is_sign_in),
            (&ACKNOWLEDGEMENT, |effect| matches!(effect, Effect::Accepted | Effect::Retry | Effect::Suspect(_))),
            (&COMPLETION, |effect| effect == Effect::Accepted),
            (&SUBSCRIPTION, |effect| matches!(effect, Effect::Accepted | Effect::NotSubscribed)),
            (&DISCONNECT, |effect| matches!(effect, Effect::Ended(_))),
        ]
    }

    #[test]
    fn codes_are_in_order_and_have_an_effect_of_their_packet() {
        for (table, is_possible) in tables() {
            assert!(table.is_sorted_by(|a, b| a.code < b.code), "{table:?}");
            for entry in table {
                assert!(is_possible(entry.effect), "{entry:?}");
                assert_eq!(find(table, entry.code), Some(entry));
            }
            assert_eq!(find(table, 0xff), None);
        }
    }

    #[test]
    fn a_reason_has_code_name_and_hint() {
        let entry = find(&ACKNOWLEDGEMENT, 0x97).unwrap();
        assert_eq!(entry.reason(), "0x97 quota exceeded; raise the broker's quota, or set a rate in [limits]");
        assert_eq!(entry.refusal().map(|refusal| refusal.kind), Some(RefusalKind::Temporary));
        assert_eq!(find(&ACKNOWLEDGEMENT, 0x10).unwrap().refusal(), None);
    }
}
