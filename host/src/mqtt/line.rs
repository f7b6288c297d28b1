//! The library's event loop, driven bit by bit: what both versions of MQTT have in common.
//!
//! A step that was begun must be finished: the loop writes in the middle of it. So it is kept here between two polls, and
//! whoever waits for a notice may be dropped at any time.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bessai_domain::message::{Message, Qos};
use bessai_domain::session::Protocol;
use tokio::time::timeout;

use super::aliases::Aliases;
use super::login::Login;
use super::packets::Packets;
use super::{CONNECT_LIMIT_S, MAX_PACKET, Trouble, v5, v311};

/// What happened on the line.
#[derive(Debug)]
pub(super) enum Step {
    /// The next message in order went out under this packet id; 0 for QoS 0, which nobody acknowledges.
    Sent(u16),
    /// The message with this packet id is done; with what the broker held against it.
    Done(u16, Option<String>),
    /// The same, but the library goes on counting it as under way.
    Stuck(u16, Option<String>),
    /// Our DISCONNECT is out.
    Goodbye,
    /// Nothing that matters here.
    Other,
}

/// What the broker granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Granted {
    /// Messages that may wait for their acknowledgement.
    pub(super) window: u16,
    /// Bytes of a packet.
    pub(super) largest: u32,
    /// The highest quality of service.
    pub(super) qos: Qos,
    /// Whether messages may be retained.
    pub(super) retain: bool,
    /// Whether the broker knows the session from before.
    pub(super) session_present: bool,
}

impl Granted {
    /// What 3.1.1 has no words for: the most that MQTT allows.
    pub(super) fn silently(in_flight: u16, session_present: bool) -> Self {
        Self { window: in_flight.max(1), largest: MAX_PACKET, qos: Qos::ExactlyOnce, retain: true, session_present }
    }
}

/// The hand that gives packets to the event loop.
pub(super) enum Client {
    V311(rumqttc::AsyncClient),
    V5(rumqttc::v5::AsyncClient, Aliases),
}

impl Client {
    /// Hands a message over; false if the library does not take it.
    pub(super) fn publish(&mut self, message: Message) -> bool {
        match self {
            Self::V311(client) => v311::publish(client, message),
            Self::V5(client, aliases) => v5::publish(client, aliases, message),
        }
    }

    pub(super) fn disconnect(&self) -> bool {
        match self {
            Self::V311(client) => client.try_disconnect().is_ok(),
            Self::V5(client, _) => client.try_disconnect().is_ok(),
        }
    }

    pub(super) fn protocol(&self) -> Protocol {
        match self {
            Self::V311(_) => Protocol::V311,
            Self::V5(..) => Protocol::V5,
        }
    }
}

/// A sign-in that the broker accepted.
pub(super) struct Connection {
    pub(super) client: Client,
    pub(super) line: Box<dyn Drive>,
    pub(super) granted: Granted,
}

/// An event loop of the library, in one version of MQTT.
pub(super) trait Line: Sized + 'static {
    /// Reads, writes and keeps alive until something happens. The error ends the session.
    async fn step(&mut self) -> Result<Step, String>;
    /// What happened together with the last step; after an error too, for it is true all the same.
    fn next_buffered(&mut self) -> Option<Step>;
    /// Lets the library count anew what is under way: nothing is.
    fn recount(&mut self);
    /// Sends PUBREL for every packet id that messages get here.
    fn release_all(&mut self, ids: u16);
    /// Lets the broker release what it sent in an earlier session; to the library that is an error.
    fn expect_releases(&mut self);
}

/// An event loop in the middle of a step or between two.
pub(super) trait Drive {
    /// Goes on until something happened. The error ends the session; steps before it count.
    fn poll(&mut self, context: &mut Context<'_>, steps: &mut VecDeque<Step>) -> Poll<Result<(), String>>;
    /// See [`Line::recount`]; between two steps alone.
    fn recount(&mut self);
}

type Stepping<L> = Pin<Box<dyn Future<Output = (Box<L>, Result<Step, String>)>>>;

enum Driver<L> {
    Between(Box<L>),
    Within(Stepping<L>),
    Over,
}

/// What drives an event loop.
pub(super) fn driver<L: Line>(line: L) -> Box<dyn Drive> {
    Box::new(Driver::Between(Box::new(line)))
}

impl<L: Line> Drive for Driver<L> {
    fn poll(&mut self, context: &mut Context<'_>, steps: &mut VecDeque<Step>) -> Poll<Result<(), String>> {
        let mut stepping: Stepping<L> = match std::mem::replace(self, Self::Over) {
            Self::Between(mut line) => Box::pin(async move {
                let stepped = line.step().await;
                (line, stepped)
            }),
            Self::Within(stepping) => stepping,
            Self::Over => return Poll::Ready(Err("the session is over".into())),
        };
        let Poll::Ready((mut line, stepped)) = stepping.as_mut().poll(context) else {
            *self = Self::Within(stepping);
            return Poll::Pending;
        };
        let ended = stepped.map(|step| steps.push_back(step));
        while let Some(step) = line.next_buffered() {
            steps.push_back(step);
        }
        if ended.is_ok() {
            *self = Self::Between(line);
        }
        Poll::Ready(ended)
    }

    fn recount(&mut self) {
        if let Self::Between(line) = self {
            line.recount();
        }
    }
}

/// Clears away what an earlier session left with the broker: this client begins with packet id 1 again, under which the
/// broker may still wait for the end of a message of quality of service 2, and would take a new one for that.
pub(super) async fn resume<L: Line>(line: &mut L, login: &Login, granted: &Granted) -> Result<(), Trouble> {
    if !granted.session_present {
        return Ok(());
    }
    // Brokers that do not know this quality of service may hang up at a PUBREL, so only who uses it sends one.
    if login.qos.min(granted.qos) == Qos::ExactlyOnce {
        let released = timeout(Duration::from_secs(CONNECT_LIMIT_S), release(line, Packets::ids(granted.window)));
        released.await.map_err(|_| Trouble::Timeout)?.map_err(Trouble::Refused)?;
    }
    line.expect_releases();
    Ok(())
}

async fn release<L: Line>(line: &mut L, ids: u16) -> Result<(), String> {
    line.release_all(ids);
    let mut left = ids;
    while left > 0 {
        if let Step::Done(..) | Step::Stuck(..) = line.step().await? {
            left -= 1;
        }
    }
    line.recount();
    Ok(())
}
