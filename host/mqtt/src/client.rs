//! What both versions of MQTT have in common: an event loop that reports what happened, and a sender that queues packets
//! for it.

use bessai_domain::message::{Message, Qos};

use crate::error::SessionError;
use crate::limits::MAX_PACKET;

/// What happened in an event loop.
#[derive(Debug)]
pub(crate) enum ClientEvent {
    /// The next message in order was written with this packet id; 0 for QoS 0, which is never acknowledged.
    Sent(u16),
    /// The message with this packet id is complete; with the broker's reason if it refused the message.
    Completed(u16, Option<String>),
    /// The same, but rumqttc still counts the message as in flight.
    CompletedStillCounted(u16, Option<String>),
    /// Our DISCONNECT was written.
    DisconnectSent,
    /// Nothing that matters here.
    Other,
}

/// What the broker granted in its CONNACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Granted {
    /// Messages that may wait for their acknowledgement.
    pub(crate) window: u16,
    /// Bytes of a packet.
    pub(crate) max_packet: u32,
    /// The highest quality of service.
    pub(crate) max_qos: Qos,
    /// Whether messages may be retained.
    pub(crate) retain: bool,
    /// Whether the broker resumed a stored session.
    pub(crate) session_present: bool,
}

impl Granted {
    /// The most that MQTT allows: applies where the CONNACK states no limit, as in 3.1.1.
    pub(crate) fn unlimited(in_flight: u16, session_present: bool) -> Self {
        let window = in_flight.max(1);
        Self { window, max_packet: MAX_PACKET, max_qos: Qos::ExactlyOnce, retain: true, session_present }
    }
}

/// A client whose CONNECT was accepted.
pub(crate) struct SignedInClient<S, L> {
    pub(crate) sender: S,
    pub(crate) event_loop: L,
    pub(crate) granted: Granted,
}

/// Queues packets for an event loop.
pub(crate) trait PacketSender: 'static {
    /// Queues a message; false if rumqttc rejects it.
    fn publish(&mut self, message: Message) -> bool;
    /// Queues DISCONNECT; false if the queue is full.
    fn disconnect(&self) -> bool;
}

/// Reads, writes and sends pings.
pub(crate) trait ClientLoop: Sized + 'static {
    /// Runs until something happens. The error ends the session. Must not be cancelled: it may be in the middle of a
    /// write.
    async fn step(&mut self) -> Result<ClientEvent, SessionError>;
    /// An event that came together with the last one; also valid after an error.
    fn next_buffered(&mut self) -> Option<ClientEvent>;
    /// Makes rumqttc forget which messages are in flight; only while none is.
    fn reset_in_flight(&mut self);
    /// Sends PUBREL for every packet id up to this one.
    fn release_all(&mut self, last_packet_id: u16);
    /// Accepts PUBREL for messages of an earlier session, which rumqttc would treat as an error.
    fn accept_stale_releases(&mut self);
}
