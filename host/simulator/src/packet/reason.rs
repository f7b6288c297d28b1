//! Reason codes of MQTT 5 (§2.4), and the return codes of 3.1.1 nearest to them.

/// The request was carried out; in DISCONNECT: the will is to be discarded.
pub(crate) const SUCCESS: u8 = 0x00;
/// A client's DISCONNECT that has the broker publish the will.
pub(crate) const DISCONNECT_WITH_WILL: u8 = 0x04;
/// UNSUBACK for a filter that the client was not subscribed to.
pub(crate) const NO_SUBSCRIPTION: u8 = 0x11;
/// From here on a reason code stands for a failure.
pub(crate) const FAILURES: u8 = 0x80;
/// The packet cannot be decoded.
pub(crate) const MALFORMED_PACKET: u8 = 0x81;
/// The packet breaks the protocol.
pub(crate) const PROTOCOL_ERROR: u8 = 0x82;
/// The broker does not speak this protocol level.
pub(crate) const UNSUPPORTED_PROTOCOL_VERSION: u8 = 0x84;
/// The broker does not accept this client id.
pub(crate) const CLIENT_IDENTIFIER_NOT_VALID: u8 = 0x85;
/// The broker does not know this authentication method.
pub(crate) const BAD_AUTHENTICATION_METHOD: u8 = 0x8c;
/// The client was silent for longer than its keep alive.
pub(crate) const KEEP_ALIVE_TIMEOUT: u8 = 0x8d;
/// Another connection took the session over.
pub(crate) const SESSION_TAKEN_OVER: u8 = 0x8e;
/// The filter is malformed.
pub(crate) const TOPIC_FILTER_INVALID: u8 = 0x8f;
/// The topic is malformed.
pub(crate) const TOPIC_NAME_INVALID: u8 = 0x90;
/// PUBCOMP for a packet id that no QoS 2 message has.
pub(crate) const PACKET_IDENTIFIER_NOT_FOUND: u8 = 0x92;
/// The client sent more messages at once than the broker's receive maximum.
pub(crate) const RECEIVE_MAXIMUM_EXCEEDED: u8 = 0x93;
/// The topic alias is unknown, or larger than allowed.
pub(crate) const TOPIC_ALIAS_INVALID: u8 = 0x94;
/// The packet is larger than the broker's maximum.
pub(crate) const PACKET_TOO_LARGE: u8 = 0x95;
/// A limit of the broker is reached.
pub(crate) const QUOTA_EXCEEDED: u8 = 0x97;
/// The broker has no shared subscriptions.
pub(crate) const SHARED_SUBSCRIPTIONS_NOT_SUPPORTED: u8 = 0x9e;
/// The broker has no subscription identifiers.
pub(crate) const SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED: u8 = 0xa1;

/// The code of a SUBACK of 3.1.1 for a filter that was refused, whatever the reason.
pub(crate) const SUBSCRIPTION_FAILED_V311: u8 = 0x80;

/// The return code of a CONNACK of 3.1.1 that is nearest to a reason code of 5; return codes stay as they are.
pub(crate) fn v311_return_code(reason: u8) -> u8 {
    match reason {
        SUCCESS => 0,
        // A return code of 3.1.1 itself, or AWS's own 7.
        1..=7 => reason,
        UNSUPPORTED_PROTOCOL_VERSION => 1,
        CLIENT_IDENTIFIER_NOT_VALID => 2,
        // Bad user name or password.
        0x86 => 4,
        // Not authorized, banned, bad authentication method.
        0x87 | 0x8a | BAD_AUTHENTICATION_METHOD => 5,
        // Server unavailable.
        _ => 3,
    }
}
