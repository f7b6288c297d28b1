//! What the broker accepts from a client.

/// The largest packet that a client may send, in bytes; a larger one ends its session.
pub(super) const PACKET_BYTES_MAX: u32 = 1 << 20;
/// QoS 2 messages that a client of MQTT 5 may have unreleased; one more ends its session.
pub(super) const RECEIVE_MAXIMUM: u16 = 100;
