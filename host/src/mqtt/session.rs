//! One sign-in: messages out, acknowledgements matched to them.

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bessai_domain::message::{Message, Properties, Qos};
use bessai_domain::session::{Protocol, Welcome};
use bessai_domain::time::Timestamp;
use tokio::time::timeout;

use super::line::{Client, Connection, Drive, Granted, Step};
use super::login::Login;
use super::packets::Packets;

/// Time for a goodbye.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);
/// Bytes that a packet may have beside topic, payload and properties: header and length 5, the topic's length 2, packet
/// id 2, the properties' length 4, a topic alias 3 (5.0 §3.3).
const PACKET_OVERHEAD: usize = 16;

/// What a session tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A message is acknowledged, by its number in the order of publishing; with the broker's complaint, if any.
    Acknowledged(u64, Option<String>),
    /// The session is over.
    Closed(String),
}

/// One sign-in. It goes on only while somebody waits for a notice. Dropping it closes the connection without goodbye, so
/// that the will is published.
pub struct Session {
    client: Client,
    line: Box<dyn Drive>,
    granted: Granted,
    broker: String,
    once: Rc<Once>,
    outbox: VecDeque<(u64, Message)>,
    packets: Packets,
    steps: VecDeque<Step>,
    told: VecDeque<Notice>,
    published: u64,
    said_goodbye: bool,
    over: Option<String>,
}

/// What is said once, however often one signs in.
#[derive(Default)]
pub(super) struct Once {
    qos: Cell<bool>,
    retain: Cell<bool>,
}

impl Session {
    pub(super) fn new(connection: Connection, login: &Login, once: Rc<Once>) -> Self {
        let Connection { client, line, granted } = connection;
        Self {
            client,
            line,
            granted,
            broker: login.endpoint.host.clone(),
            once,
            outbox: VecDeque::new(),
            packets: Packets::new(granted.window),
            steps: VecDeque::new(),
            told: VecDeque::new(),
            published: 0,
            said_goodbye: false,
            over: None,
        }
    }

    /// Hands a message over; it is numbered from 0 in this order. Never waits. What the broker does not take is lowered
    /// to what it takes; a message that is too large for it counts as refused.
    pub fn publish(&mut self, message: &Message) -> Result<(), String> {
        if self.over.is_some() {
            return Err("the session is over".into());
        }
        let number = self.published;
        self.published += 1;
        let (size, largest) = (self.packet_size(message), usize::try_from(self.granted.largest).unwrap_or(usize::MAX));
        if size > largest {
            let complaint = format!("its packet may have {size} bytes, and the broker takes {largest}");
            self.told.push_back(Notice::Acknowledged(number, Some(complaint)));
            return Ok(());
        }
        let mut message = message.clone();
        self.lower(&mut message);
        self.outbox.push_back((number, message));
        Ok(())
    }

    /// A broker ends the session over a message that is more than it announced to take (5.0 §3.2.2.3.4 and 5).
    fn lower(&self, message: &mut Message) {
        let broker = &self.broker;
        if message.qos > self.granted.qos {
            if !self.once.qos.replace(true) {
                let (asked, granted) = (message.qos.level(), self.granted.qos.level());
                tracing::warn!(%broker, "the broker takes QoS {granted} at most; what has QoS {asked} is published with that");
            }
            message.qos = self.granted.qos;
        }
        if message.retain && !self.granted.retain {
            if !self.once.retain.replace(true) {
                tracing::warn!(%broker, "the broker retains no messages; they are published without");
            }
            message.retain = false;
        }
    }

    /// Bytes of a message's packet, or a few more.
    fn packet_size(&self, message: &Message) -> usize {
        let properties = match (self.client.protocol(), &message.properties) {
            (Protocol::V5, Some(properties)) => properties_size(properties),
            _ => 0,
        };
        message.topic.len() + message.payload.len() + properties + PACKET_OVERHEAD
    }

    /// Waits for the next notice. Dropped before it is ready, it has taken none.
    pub async fn notice(&mut self) -> Notice {
        poll_fn(|context| self.poll_notice(context)).await
    }

    fn poll_notice(&mut self, context: &mut Context<'_>) -> Poll<Notice> {
        loop {
            if let Some(notice) = self.told.pop_front() {
                return Poll::Ready(notice);
            }
            if let Some(reason) = &self.over {
                return Poll::Ready(Notice::Closed(reason.clone()));
            }
            self.hand_over();
            let Poll::Ready(ended) = self.line.poll(context, &mut self.steps) else { return Poll::Pending };
            self.over = ended.err();
            self.take_steps();
        }
    }

    /// Gives the library what it has room for.
    fn hand_over(&mut self) {
        while let Some((_, next)) = self.outbox.front() {
            let takes_id = next.qos != Qos::AtMostOnce;
            if !self.packets.has_room(takes_id) {
                return;
            }
            let Some((number, message)) = self.outbox.pop_front() else { return };
            if self.client.publish(message) {
                self.packets.hand_over(number, takes_id);
            } else {
                let complaint = "its topic cannot be published".to_owned();
                self.told.push_back(Notice::Acknowledged(number, Some(complaint)));
            }
        }
    }

    fn take_steps(&mut self) {
        while let Some(step) = self.steps.pop_front() {
            self.said_goodbye |= matches!(step, Step::Goodbye);
            match self.packets.note(step) {
                Ok(None) => {}
                Ok(Some((number, complaint))) => self.told.push_back(Notice::Acknowledged(number, complaint)),
                Err(mistake) => self.over = Some(mistake),
            }
        }
        if self.packets.take_recount() {
            self.line.recount();
        }
    }

    /// What the broker granted, at that time.
    pub fn welcome(&self, at: Timestamp) -> Welcome {
        let Granted { largest, qos, retain, session_present, .. } = self.granted;
        Welcome { at, protocol: self.client.protocol(), session_present, max_packet: largest, max_qos: qos, retain }
    }

    /// Bytes of topic and payload that the broker takes.
    pub fn largest(&self) -> usize {
        usize::try_from(self.granted.largest).unwrap_or(usize::MAX).saturating_sub(PACKET_OVERHEAD)
    }

    /// Messages that may wait for their acknowledgement: the smaller of ours and the broker's.
    pub fn window(&self) -> usize {
        usize::from(self.granted.window)
    }

    /// DISCONNECT after everything that was handed over: the broker publishes no will.
    pub async fn close(mut self) {
        let mut asked = false;
        let goodbye = poll_fn(|context| {
            loop {
                self.hand_over();
                asked = asked || self.outbox.is_empty() && self.client.disconnect();
                if self.said_goodbye || self.over.is_some() {
                    return Poll::Ready(());
                }
                let Poll::Ready(ended) = self.line.poll(context, &mut self.steps) else { return Poll::Pending };
                self.over = ended.err();
                self.take_steps();
            }
        });
        // How the connection then ends does not matter.
        let _ = timeout(CLOSE_LIMIT, goodbye).await;
    }
}

/// Bytes of properties in a packet (5.0 §3.3.2.3).
fn properties_size(properties: &Properties) -> usize {
    let text = |text: &Option<String>| text.as_ref().map_or(0, |text| 3 + text.len());
    let user = properties.user.iter().map(|(name, value)| 5 + name.len() + value.len());
    let data = properties.correlation_data.as_ref().map_or(0, |data| 3 + data.len());
    let numbers = 2 * usize::from(properties.payload_utf8) + 5 * usize::from(properties.expiry_s.is_some());
    text(&properties.content_type) + text(&properties.response_topic) + data + numbers + user.sum::<usize>()
}
