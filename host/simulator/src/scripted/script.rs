//! What the broker does.

/// How a broker behaves. By default it keeps to the standard and sets no limits of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// What becomes of a client that speaks MQTT 5.
    pub on_v5: OnV5,
    /// What a CONNECT is answered.
    pub greeting: Greeting,
    /// How messages are acknowledged.
    pub acknowledging: Acknowledging,
    /// Publishes that a client may have un-acknowledged, told in CONNACK; MQTT 5 only, as all these limits.
    pub receive_maximum: Option<u16>,
    /// The highest QoS.
    pub maximum_qos: Option<u8>,
    /// The largest packet, in bytes.
    pub maximum_packet: Option<u32>,
    /// The highest topic alias; 0, none, where it is not told.
    pub topic_alias_maximum: Option<u16>,
    /// No message is to be retained.
    pub refuses_retain: bool,
}

/// What becomes of a client that speaks MQTT 5.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnV5 {
    /// It is spoken with.
    #[default]
    Speak,
    /// CONNACK with reason 0x84, unsupported protocol version.
    Refuse,
    /// CONNACK in the 3.1.1 form, return code 1.
    RefuseInOldForm,
    /// The connection is closed.
    Close,
}

/// What a CONNECT is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Greeting {
    /// CONNACK.
    #[default]
    Welcome,
    /// CONNACK with a reason code of MQTT 5, or the nearest return code of 3.1.1.
    Refuse(u8),
    /// The connection is closed.
    Close,
    /// CONNACK, and then the connection is closed.
    WelcomeAndClose,
    /// CONNACK, and then bytes that are no packet.
    WelcomeAndGarbage,
    /// Nothing, ever.
    Silence,
}

/// How messages are acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Acknowledging {
    /// Each at once.
    #[default]
    InOrder,
    /// Not at all.
    Never,
    /// So many together, or fewer when no more come for a moment, in another order.
    Held(usize, Order),
    /// Each twice.
    Twice,
    /// With an acknowledgement before each for a packet id that is not under way.
    WithStrangers,
    /// Each with this reason code of MQTT 5: from 0x80 on the message is refused.
    WithReason(u8),
}

/// Another order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The last first.
    Reversed,
    /// Mixed, the same way each time.
    Shuffled,
}

impl Script {
    /// That greets so.
    #[must_use]
    pub fn greeting(greeting: Greeting) -> Self {
        Self { greeting, ..Self::default() }
    }

    /// That acknowledges so.
    #[must_use]
    pub fn acknowledging(acknowledging: Acknowledging) -> Self {
        Self { acknowledging, ..Self::default() }
    }
}

impl Order {
    pub(super) fn apply<T>(self, list: &mut [T]) {
        match self {
            Self::Reversed => list.reverse(),
            Self::Shuffled => {
                let (even, odd): (Vec<_>, Vec<_>) = (0..list.len()).partition(|index| index % 2 == 0);
                // Pairs change places, then the halves: no acknowledgement stays where it was.
                for (left, right) in even.into_iter().zip(odd) {
                    list.swap(left, right);
                }
                list.rotate_left(list.len() / 2);
            }
        }
    }
}
