//! One session with a broker: sends messages and matches acknowledgements to them.

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bessai_domain::command::Subscription;
use bessai_domain::message::{Message, Properties, Qos};
use bessai_domain::ports::{Notice, Receipt, Session};
use bessai_domain::refusal::{Closing, Objection, Refusal};
use bessai_domain::session::{Protocol, Welcome};
use bessai_domain::time::Timestamp;
use tokio::time::timeout;

use crate::client::{ClientEvent, Granted};
use crate::connect_options::ConnectOptions;
use crate::connection::Connection;
use crate::packet_ids::PacketIds;
use crate::subscriptions::PendingSubscriptions;

/// Time for the queued messages and DISCONNECT to be written.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);
/// Bytes of a PUBLISH beside topic, payload and properties: header and length 5, the topic's length 2, packet id 2, the
/// properties' length 4, a topic alias 3 (5.0 §3.3).
const PACKET_OVERHEAD: usize = 16;

/// Events without a notice that are handled in one turn of the task: a broker may send packets that mean nothing.
const POLLS_PER_TURN: usize = 200;

/// One session with a broker. Dropping it closes the connection without DISCONNECT, so the broker publishes the last will.
pub struct MqttSession {
    connection: Connection,
    address: String,
    client_id: String,
    warnings: Rc<LoggedWarnings>,
    may_retain: bool,
    outbox: VecDeque<(u64, Message)>,
    packet_ids: PacketIds,
    subscriptions: PendingSubscriptions,
    events: VecDeque<ClientEvent>,
    notices: VecDeque<Notice>,
    published: u64,
    phase: ConnectionPhase,
}

enum ConnectionPhase {
    Open,
    DisconnectSent,
    Closed(Closing),
}

/// What was logged about a broker already, and is not logged again at the next session.
#[derive(Default)]
pub(crate) struct LoggedWarnings {
    qos: Cell<bool>,
    retain: Cell<bool>,
}

impl MqttSession {
    pub(crate) fn new(mut connection: Connection, options: &ConnectOptions, warnings: Rc<LoggedWarnings>) -> Self {
        let mut session = Self {
            address: options.address(),
            client_id: options.client_id.clone(),
            warnings,
            may_retain: options.habits.retain,
            outbox: VecDeque::new(),
            packet_ids: PacketIds::new(connection.granted.window),
            subscriptions: PendingSubscriptions::default(),
            events: std::mem::take(&mut connection.arrived),
            notices: VecDeque::new(),
            published: 0,
            phase: ConnectionPhase::Open,
            connection,
        };
        // What arrived while a stored session was resumed.
        session.take_events();
        session
    }

    /// Reduces a message to what the broker supports: it would end the session otherwise (5.0 §3.2.2.3.4 and 5).
    fn downgrade(&self, message: &mut Message) {
        let (broker, granted) = (&self.address, &self.connection.granted);
        if message.qos > granted.max_qos {
            if !self.warnings.qos.replace(true) {
                let (qos, maximum) = (message.qos.level(), granted.max_qos.level());
                tracing::warn!(%broker, "messages with QoS {qos} are downgraded to QoS {maximum}, the broker's maximum");
            }
            message.qos = granted.max_qos;
        }
        message.retain &= self.may_retain;
        if message.retain && !granted.retain {
            if !self.warnings.retain.replace(true) {
                tracing::warn!(%broker, "messages are published without the retain flag: the broker does not support it");
            }
            message.retain = false;
        }
    }

    /// Bytes of a message's packet, or a few more.
    fn packet_size(&self, message: &Message) -> usize {
        let properties = match (self.connection.protocol, &message.properties) {
            (Protocol::V5, Some(properties)) => properties_size(properties),
            _ => 0,
        };
        message.topic.len() + message.payload.len() + properties + PACKET_OVERHEAD
    }

    fn max_packet(&self) -> usize {
        usize::try_from(self.connection.granted.max_packet).unwrap_or(usize::MAX)
    }

    fn refuse(&mut self, number: u64, objection: Objection, reason: String) {
        self.notices.push_back(Notice::Acknowledged { number, refusal: Some(Refusal::of(objection, reason)) });
    }

    fn poll_notice(&mut self, context: &mut Context<'_>) -> Poll<Notice> {
        for _ in 0..POLLS_PER_TURN {
            if let Some(notice) = self.notices.pop_front() {
                return Poll::Ready(notice);
            }
            if let ConnectionPhase::Closed(closing) = &self.phase {
                return Poll::Ready(Notice::Closed(closing.clone()));
            }
            self.fill_window();
            if self.poll_connection(context).is_pending() {
                return Poll::Pending;
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Runs the connection until something happens, and handles that.
    fn poll_connection(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Poll::Ready(result) = self.connection.client.poll(context, &mut self.events) else { return Poll::Pending };
        self.take_events();
        if let Err(error) = result {
            let reason = error.at_session_end(&self.address, &self.client_id);
            self.phase = ConnectionPhase::Closed(Closing { cause: error.close_cause(), reason });
        }
        Poll::Ready(())
    }

    /// Hands as many messages to rumqttc as it has room for.
    fn fill_window(&mut self) {
        while let Some((_, next)) = self.outbox.front() {
            let takes_id = next.qos != Qos::AtMostOnce;
            if !self.packet_ids.has_room(takes_id) || !self.connection.client.has_room() {
                return;
            }
            let Some((number, message)) = self.outbox.pop_front() else { return };
            if self.connection.client.publish(message) {
                self.packet_ids.assign(number, takes_id);
            } else {
                self.refuse(number, Objection::Topic, "its topic cannot be published".into());
            }
        }
    }

    fn take_events(&mut self) {
        while let Some(event) = self.events.pop_front() {
            let event = match event {
                ClientEvent::Arrived(message, packet_id) => {
                    self.notices.push_back(Notice::Arrived { message, receipt: packet_id.map(Receipt) });
                    continue;
                }
                ClientEvent::Subscribed(packet_id, codes) => {
                    let answer = self.subscriptions.answered(packet_id, codes);
                    self.notices.extend(answer.map(Notice::Subscribed));
                    continue;
                }
                event => event,
            };
            if let ClientEvent::DisconnectSent = event {
                self.phase = ConnectionPhase::DisconnectSent;
            }
            match self.packet_ids.note(event) {
                Ok(None) => {}
                Ok(Some((number, refusal))) => self.notices.push_back(Notice::Acknowledged { number, refusal }),
                Err(error) => self.phase = ConnectionPhase::Closed(Closing::other(error)),
            }
        }
        if self.packet_ids.take_reset() {
            self.connection.client.reset_in_flight();
        }
    }
}

impl Session for MqttSession {
    /// What the broker does not support is downgraded; a message that is too large for it counts as refused.
    fn publish(&mut self, message: &Message) -> Result<(), String> {
        if let ConnectionPhase::Closed(_) = self.phase {
            return Err("the session is closed".into());
        }
        let number = self.published;
        self.published += 1;
        let (size, limit) = (self.packet_size(message), self.max_packet());
        if size > limit {
            self.refuse(
                number,
                Objection::Size,
                format!("its packet takes up to {size} bytes, and the broker accepts {limit}"),
            );
            return Ok(());
        }
        let mut message = message.clone();
        self.downgrade(&mut message);
        self.outbox.push_back((number, message));
        Ok(())
    }

    fn subscribe(&mut self, subscriptions: &[Subscription]) -> Result<(), String> {
        for (packet_id, subscriptions) in self.subscriptions.packets(subscriptions) {
            let sent = self.connection.client.subscribe(packet_id, subscriptions);
            sent.map_err(|error| format!("failed to subscribe: {error:?}"))?;
        }
        Ok(())
    }

    /// An acknowledgement that cannot be sent is lost with the connection, which the next notice reports.
    fn acknowledge(&mut self, Receipt(packet_id): Receipt) {
        let _ = self.connection.client.acknowledge(packet_id);
    }

    async fn notice(&mut self) -> Notice {
        poll_fn(|context| self.poll_notice(context)).await
    }

    fn welcome(&self, at: Timestamp) -> Welcome {
        let Granted { max_packet, max_qos, retain, session_present, .. } = self.connection.granted;
        Welcome { at, protocol: self.connection.protocol, session_present, max_packet, max_qos, retain }
    }

    fn largest(&self) -> usize {
        self.max_packet().saturating_sub(PACKET_OVERHEAD)
    }

    fn window(&self) -> usize {
        usize::from(self.connection.granted.window)
    }

    /// After DISCONNECT the broker does not publish the last will.
    async fn close(mut self) {
        let mut is_disconnect_queued = false;
        let closed = poll_fn(|context| {
            loop {
                self.fill_window();
                if !is_disconnect_queued && self.outbox.is_empty() {
                    is_disconnect_queued = true;
                    if self.connection.client.disconnect().is_err() {
                        return Poll::Ready(());
                    }
                }
                if !matches!(self.phase, ConnectionPhase::Open) {
                    return Poll::Ready(());
                }
                if self.poll_connection(context).is_pending() {
                    return Poll::Pending;
                }
            }
        });
        // How the connection ends afterwards does not matter.
        let _ = timeout(CLOSE_LIMIT, closed).await;
    }
}

/// Bytes of the properties in a packet (5.0 §3.3.2.3).
fn properties_size(properties: &Properties) -> usize {
    let text = |text: &Option<String>| text.as_ref().map_or(0, |text| 3 + text.len());
    let user = properties.user.iter().map(|(name, value)| 5 + name.len() + value.len());
    let data = properties.correlation_data.as_ref().map_or(0, |data| 3 + data.len());
    let numbers = 2 * usize::from(properties.payload_utf8) + 5 * usize::from(properties.expiry_s.is_some());
    text(&properties.content_type) + text(&properties.response_topic) + data + numbers + user.sum::<usize>()
}
