//! A signed-in client: rumqttc's state of one version of MQTT, on a connection that this crate reads and writes.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bessai_domain::command::{ArrivedMessage, Subscription};
use bessai_domain::message::{Message, Qos};
use bessai_domain::refusal::Refusal;
use bytes::BytesMut;
use tokio::time::{Instant, Sleep, sleep};

use crate::arrivals::Arrivals;
use crate::error::SessionError;
use crate::limits::MAX_PACKET;
use crate::wire::Wire;

/// Events that may wait while a broker takes nothing; nothing is read from it then.
const MAX_EVENTS: usize = 256;

/// What happened in a session.
#[derive(Debug)]
pub(crate) enum ClientEvent {
    /// The next message in order was written with this packet id; 0 for QoS 0, which is never acknowledged.
    Sent(u16),
    /// The message with this packet id is complete; with the broker's reason if it refused the message.
    Completed(u16, Option<Refusal>),
    /// The same, but rumqttc still counts the message as in flight.
    CompletedStillCounted(u16, Option<Refusal>),
    /// A message of a subscription, with its packet id if it waits for an acknowledgement.
    Arrived(Box<ArrivedMessage>, Option<u16>),
    /// The answer to the SUBSCRIBE with this packet id: for each filter what the broker granted, or its reason.
    Subscribed(u16, Vec<Result<Qos, String>>),
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

/// rumqttc's state of a session in one version of MQTT. Packets to be sent are appended to a buffer.
pub(crate) trait SessionState: 'static {
    /// Adds a message; false if rumqttc rejects it.
    fn publish(&mut self, message: Message, unsent: &mut BytesMut) -> bool;
    /// Adds SUBSCRIBE with this packet id.
    fn subscribe(
        &mut self,
        packet_id: u16,
        subscriptions: &[Subscription],
        unsent: &mut BytesMut,
    ) -> Result<(), SessionError>;
    /// Adds PUBACK for a message that arrived.
    fn acknowledge(&mut self, packet_id: u16, unsent: &mut BytesMut) -> Result<(), SessionError>;
    /// Adds DISCONNECT.
    fn disconnect(&mut self, unsent: &mut BytesMut) -> Result<(), SessionError>;
    /// Adds a ping, unless the last one was not answered.
    fn ping(&mut self, unsent: &mut BytesMut) -> Result<(), SessionError>;
    /// Handles a packet of the broker, and adds the answer.
    fn receive(&mut self, packet: BytesMut, unsent: &mut BytesMut) -> Result<(), SessionError>;
    /// What happened, in order.
    fn next_event(&mut self) -> Option<ClientEvent>;
    /// Makes rumqttc forget which messages are in flight; only while none is.
    fn reset_in_flight(&mut self);
    /// Adds PUBREL for every packet id up to this one.
    fn release_all(&mut self, last_packet_id: u16, unsent: &mut BytesMut) -> Result<(), SessionError>;
    /// Accepts PUBREL for messages of an earlier session, which rumqttc would treat as an error.
    fn accept_stale_releases(&mut self);
}

/// A client whose CONNECT was accepted.
pub(crate) struct Client {
    wire: Wire,
    state: Box<dyn SessionState>,
    // What happened and is not reported yet.
    events: VecDeque<ClientEvent>,
    arrivals: Arrivals,
    keep_alive: Duration,
    next_ping: Pin<Box<Sleep>>,
}

impl Client {
    pub(crate) fn new(wire: Wire, state: impl SessionState, keep_alive: Duration) -> Self {
        let (state, next_ping) = (Box::new(state), Box::pin(sleep(keep_alive)));
        Self { wire, state, events: VecDeque::new(), arrivals: Arrivals::default(), keep_alive, next_ping }
    }

    /// Whether another message can be taken.
    pub(crate) fn has_room(&self) -> bool {
        self.wire.has_room()
    }

    /// Queues a message; false if rumqttc rejects it.
    pub(crate) fn publish(&mut self, message: Message) -> bool {
        self.state.publish(message, &mut self.wire.unsent)
    }

    /// Queues SUBSCRIBE.
    pub(crate) fn subscribe(&mut self, packet_id: u16, subscriptions: &[Subscription]) -> Result<(), SessionError> {
        self.state.subscribe(packet_id, subscriptions, &mut self.wire.unsent)
    }

    /// Queues the acknowledgement of a message that arrived.
    pub(crate) fn acknowledge(&mut self, packet_id: u16) -> Result<(), SessionError> {
        match self.arrivals.remove(packet_id) {
            true => self.state.acknowledge(packet_id, &mut self.wire.unsent),
            false => Ok(()),
        }
    }

    /// Queues DISCONNECT.
    pub(crate) fn disconnect(&mut self) -> Result<(), SessionError> {
        self.state.disconnect(&mut self.wire.unsent)
    }

    /// See [`SessionState::reset_in_flight`].
    pub(crate) fn reset_in_flight(&mut self) {
        self.state.reset_in_flight();
    }

    /// See [`SessionState::release_all`].
    pub(crate) fn release_all(&mut self, last_packet_id: u16) -> Result<(), SessionError> {
        self.state.release_all(last_packet_id, &mut self.wire.unsent)
    }

    /// See [`SessionState::accept_stale_releases`].
    pub(crate) fn accept_stale_releases(&mut self) {
        self.state.accept_stale_releases();
    }

    /// Reads, writes and sends pings until something happened, which is appended to `events`. The error ends the session;
    /// events before it count.
    pub(crate) fn poll(
        &mut self,
        context: &mut Context<'_>,
        events: &mut VecDeque<ClientEvent>,
    ) -> Poll<Result<(), SessionError>> {
        let polled = self.poll_connection(context);
        match &polled {
            Poll::Ready(Ok(())) => events.append(&mut self.events),
            // What was to be sent may not have been written; what was acknowledged is.
            Poll::Ready(Err(_)) => {
                events.extend(self.events.drain(..).filter(|event| !matches!(event, ClientEvent::Sent(_))));
            }
            Poll::Pending => {}
        }
        polled
    }

    fn poll_connection(&mut self, context: &mut Context<'_>) -> Poll<Result<(), SessionError>> {
        loop {
            let is_flushed = self.wire.poll_flush(context)?.is_ready();
            self.take_events();
            // What was sent counts once it is written.
            if is_flushed && !self.events.is_empty() {
                return Poll::Ready(Ok(()));
            }
            if self.wire.has_room()
                && self.events.len() < MAX_EVENTS
                && !self.arrivals.is_full()
                && let Poll::Ready(packet) = self.wire.poll_packet(context)?
            {
                self.state.receive(packet, &mut self.wire.unsent)?;
                continue;
            }
            // While something is being written the broker hears from this client. A ping behind a large message on a slow
            // link would be answered too late.
            if !is_flushed || self.next_ping.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            self.next_ping.as_mut().reset(Instant::now() + self.keep_alive);
            self.state.ping(&mut self.wire.unsent)?;
        }
    }

    fn take_events(&mut self) {
        while let Some(event) = self.state.next_event() {
            if let ClientEvent::Arrived(message, Some(packet_id)) = &event {
                self.arrivals.add(*packet_id, message);
            }
            self.events.push_back(event);
        }
    }
}
