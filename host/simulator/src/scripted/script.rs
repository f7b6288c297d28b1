//! How a scripted broker behaves.

use std::collections::BTreeSet;

/// The behaviour of a broker; by default it keeps to the standard and sets no limits of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// How clients that speak MQTT 5 are received.
    pub on_v5: OnV5,
    /// How a CONNECT is answered.
    pub connect_reply: ConnectReply,
    /// How messages are acknowledged.
    pub acknowledgements: Acknowledgements,
    /// Messages that a client may have unacknowledged. This and the limits below are announced in CONNACK and exist in
    /// MQTT 5 only.
    pub receive_maximum: Option<u16>,
    /// The highest QoS.
    pub maximum_qos: Option<u8>,
    /// The largest packet, in bytes.
    pub maximum_packet: Option<u32>,
    /// The highest topic alias; 0, no alias, where it is not announced.
    pub topic_alias_maximum: Option<u16>,
    /// Messages that are to be retained are refused.
    pub refuses_retain: bool,
    /// The keep alive in seconds that clients are to use; announced, not enforced.
    pub server_keep_alive_s: Option<u16>,
    /// Messages that a connection may bring in a second, counted from its CONNACK: twice as many in the first two seconds, and so
    /// on. It is not announced, as with AWS IoT Core. A delay on the way only makes messages late, so that a client within the
    /// limit is never blamed.
    pub messages_per_s: Option<u32>,
    /// What the broker stored of an earlier session, which it then resumes.
    pub stored_session: Option<StoredSession>,
    /// The connection ends after its first message, in MQTT 5 with a DISCONNECT of this reason code.
    pub disconnect_after_message: Option<u8>,
    /// Messages that the broker does not accept. They are not recorded.
    pub objection: Option<Objection>,
}

/// What a broker has against some messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objection {
    /// Their topics end with this.
    pub topic_end: String,
    /// What it does about them.
    pub reply: ObjectionReply,
    /// How many of them it objects to; all without a number.
    pub times: Option<u64>,
}

/// What a broker does about a message that it does not accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectionReply {
    /// PUBACK or PUBREC with this reason code of MQTT 5.
    Reason(u8),
    /// DISCONNECT with this reason code of MQTT 5; in 3.1.1 the connection is closed.
    Disconnect(u8),
    /// The connection is closed.
    Close,
    /// No acknowledgement ever comes.
    Silence,
}

/// The unfinished exchanges of a session that a broker stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredSession {
    /// Packet ids of QoS 2 messages of the client whose PUBREL is due: until it arrives, a message with such an id counts
    /// as a repetition and is not recorded (§4.3.3).
    pub unreleased: BTreeSet<u16>,
    /// Packet ids of QoS 2 messages to the client, for which the broker sends PUBREL after CONNACK.
    pub releases: Vec<u16>,
}

/// How clients that speak MQTT 5 are received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnV5 {
    /// Like any client.
    #[default]
    Accept,
    /// CONNACK with reason 0x84, unsupported protocol version.
    Refuse,
    /// CONNACK in the form of 3.1.1, return code 1.
    RefuseAsV311,
    /// The connection is closed.
    Close,
}

/// How a CONNECT is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConnectReply {
    /// CONNACK.
    #[default]
    Accept,
    /// CONNACK with a reason code of MQTT 5, or the nearest return code of 3.1.1.
    Refuse(u8),
    /// The connection is closed.
    Close,
    /// CONNACK, and then the connection is closed.
    AcceptThenClose,
    /// CONNACK, and then bytes that are no packet.
    AcceptThenGarbage,
    /// No answer; the connection stays open.
    Silence,
}

/// How messages are acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Acknowledgements {
    /// Each at once.
    #[default]
    Immediate,
    /// Not at all.
    Never,
    /// So many together, or fewer when no message arrives for a moment, in another order.
    Held(usize, HeldOrder),
    /// Each twice.
    Twice,
    /// Before each, one for a packet id that is not in use.
    WithUnknownIds,
    /// Each with this reason code of MQTT 5: from 0x80 on it refuses the message.
    WithReason(u8),
    /// Messages of QoS 2 with this reason code, others with success.
    Qos2WithReason(u8),
    /// The first message of a connection only after so many others, which are acknowledged at once.
    FirstAfter(usize),
}

/// The order of acknowledgements that were held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldOrder {
    /// The last first.
    Reversed,
    /// Mixed, the same way each time.
    Shuffled,
}

impl Script {
    /// The default with another answer to CONNECT.
    #[must_use]
    pub fn with_connect_reply(connect_reply: ConnectReply) -> Self {
        Self { connect_reply, ..Self::default() }
    }

    /// The default with other acknowledgements.
    #[must_use]
    pub fn with_acknowledgements(acknowledgements: Acknowledgements) -> Self {
        Self { acknowledgements, ..Self::default() }
    }
}

impl HeldOrder {
    pub(super) fn apply<T>(self, list: &mut [T]) {
        match self {
            Self::Reversed => list.reverse(),
            Self::Shuffled => {
                let (even, odd): (Vec<_>, Vec<_>) = (0..list.len()).partition(|index| index % 2 == 0);
                // Neighbours are swapped, then the halves: no acknowledgement keeps its position.
                for (left, right) in even.into_iter().zip(odd) {
                    list.swap(left, right);
                }
                list.rotate_left(list.len() / 2);
            }
        }
    }
}
