//! Sessions with MQTT brokers, each on a fresh client: nothing is queued here that could be lost here.
//!
//! The only user of rumqttc. That client drops what is queued when a session is not resumed, so it gets at most a window of
//! messages, and the feed keeps each until it is acknowledged. Its `Debug` shows the password: options are never logged.

use std::sync::Arc;
use std::time::Duration;

use bessai_domain::message::{Message, Qos};
use bessai_domain::session::{self, Endpoint, Request, Welcome};
use bessai_domain::time::Timestamp;
use rumqttc::tokio_rustls::rustls::ClientConfig;
use rumqttc::{TlsConfiguration, Transport};
use tokio::sync::mpsc;
use tokio::time::timeout;

mod subscriber;
mod trouble;
mod v311;
mod v5;

pub use subscriber::{Heard, listen};
pub use trouble::Trouble;

/// Time for TCP, TLS, CONNECT and CONNACK together, in seconds: a slow mobile link, not a dead one.
const CONNECT_LIMIT_S: u64 = 15;
/// Bytes that a packet may have beside topic and payload: header, lengths, properties.
const PACKET_OVERHEAD: usize = 1024;
/// Largest packet that is sent or taken, in bytes: a call's messages have 1 MiB together.
const MAX_PACKET: u32 = (1 << 20) + 4096;
/// Time for a goodbye.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// Which MQTT to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// 5, and 3.1.1 where the broker does not know 5.
    Auto,
    /// 3.1.1 only.
    V311,
    /// 5 only.
    V5,
}

/// Makes a TLS configuration from the files as they are now, so that renewed certificates need no restart.
pub type TlsSource = Box<dyn Fn() -> Result<Arc<ClientConfig>, String>>;
/// Says in words what went wrong in a TLS handshake, if it was that.
pub type TlsExplanation = fn(&(dyn std::error::Error + 'static)) -> Option<String>;

/// Where and as whom to sign in.
pub struct Settings {
    /// Host name or IP address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// TLS, or none.
    pub tls: Option<TlsSource>,
    /// What a TLS error means.
    pub explain: TlsExplanation,
    /// Who we are.
    pub client_id: String,
    /// User name, if any.
    pub username: Option<String>,
    /// Read again at each sign-in; never shown.
    pub password: Option<Box<dyn Fn() -> Result<String, String>>>,
    /// Which MQTT to speak.
    pub protocol: Protocol,
    /// Longest silence on the line.
    pub keep_alive: Duration,
    /// Messages that may wait for their acknowledgement.
    pub in_flight: u16,
    /// Published by the broker when we vanish.
    pub will: Option<Message>,
}

/// A broker, and which protocol worked with it last.
pub struct Broker {
    settings: Settings,
    speaks: Option<Protocol>,
    closed_before_connack: u32,
}

/// What one sign-in is made from.
struct Login<'a> {
    settings: &'a Settings,
    transport: Transport,
    password: Option<String>,
}

/// What the broker granted.
struct Granted {
    window: u16,
    largest: u32,
}

/// What happened on the line.
enum Step {
    /// The next message in order went out under this packet id; 0 for QoS 0, which nobody acknowledges.
    Sent(u16),
    /// The message with this packet id is done; with what the broker held against it.
    Done(u16, Option<String>),
    /// Our DISCONNECT is out.
    Goodbye,
    /// Nothing that matters here.
    Other,
}

/// What a session tells.
#[derive(Debug)]
pub enum Notice {
    /// A message is acknowledged, by its number in the order of publishing; with the broker's complaint, if any.
    Acknowledged(u64, Option<String>),
    /// The session is over.
    Closed(String),
}

/// One sign-in. Dropping it closes the connection without goodbye, so that the will is published.
pub struct Session {
    client: Client,
    notices: mpsc::Receiver<Notice>,
    driver: tokio::task::JoinHandle<()>,
    window: u16,
    largest: u32,
}

enum Client {
    V311(rumqttc::AsyncClient),
    V5(rumqttc::v5::AsyncClient),
}

/// Sessions closed before CONNACK after which 3.1.1 is tried: some brokers drop what they do not understand.
const CLOSED_BEFORE_FALLBACK: u32 = 2;

impl Broker {
    /// Not connected yet.
    pub fn new(settings: Settings) -> Self {
        Self { settings, speaks: None, closed_before_connack: 0 }
    }

    /// The sign-in that comes next, as the settings have it.
    pub fn request(&self, at: Timestamp, attempt: u32) -> Request {
        let endpoint = Endpoint { host: self.settings.host.clone(), port: self.settings.port };
        let protocol = match self.speaks.unwrap_or(self.settings.protocol) {
            Protocol::V311 => session::Protocol::V311,
            Protocol::V5 | Protocol::Auto => session::Protocol::V5,
        };
        Request { endpoint, protocol, at, attempt }
    }

    /// Connects and signs in once. The error names broker and mend, never a secret.
    pub async fn sign_in(&mut self, _login: session::Login) -> Result<Session, String> {
        let signed_in = match self.speaks.unwrap_or(self.settings.protocol) {
            Protocol::V311 => v311::sign_in(&self.login()?).await,
            Protocol::V5 => v5::sign_in(&self.login()?).await,
            Protocol::Auto => self.negotiate().await?,
        };
        if let Err(Trouble::UnsupportedProtocol | Trouble::UnreadableConnack) = signed_in {
            // What worked once works no more: another broker may stand there now.
            self.speaks = None;
        }
        signed_in.map_err(|trouble| trouble.told(&self.settings))
    }

    /// 5 first; 3.1.1 where the broker does not know it. What worked is remembered.
    async fn negotiate(&mut self) -> Result<Result<Session, Trouble>, String> {
        let mut signed_in = v5::sign_in(&self.login()?).await;
        let mut spoken = Protocol::V5;
        if let Err(trouble) = &signed_in
            && self.falls_back(trouble)
        {
            signed_in = v311::sign_in(&self.login()?).await;
            spoken = Protocol::V311;
        }
        if signed_in.is_ok() {
            self.speaks = Some(spoken);
        }
        Ok(signed_in)
    }

    /// Whether the broker's answer to MQTT 5 means that it does not know it.
    fn falls_back(&mut self, trouble: &Trouble) -> bool {
        match trouble {
            Trouble::UnsupportedProtocol | Trouble::UnreadableConnack => true,
            // Some hang up on what they do not understand, some wait for more of it.
            Trouble::ClosedBeforeConnack | Trouble::Timeout => {
                self.closed_before_connack += 1;
                self.closed_before_connack >= CLOSED_BEFORE_FALLBACK
            }
            _ => false,
        }
    }

    fn login(&self) -> Result<Login<'_>, String> {
        Login::new(&self.settings)
    }
}

impl<'a> Login<'a> {
    /// Reads certificates and password as they are now.
    fn new(settings: &'a Settings) -> Result<Self, String> {
        let transport = match &settings.tls {
            None => Transport::Tcp,
            Some(tls) => Transport::Tls(TlsConfiguration::Rustls(tls()?)),
        };
        let password = settings.password.as_ref().map(|read| read()).transpose()?;
        Ok(Self { settings, transport, password })
    }

    /// User name and password as the protocol wants them: no password without a user name in 3.1.1.
    fn credentials(&self) -> Option<(String, String)> {
        match (&self.settings.username, &self.password) {
            (None, None) => None,
            (username, password) => Some((username.clone().unwrap_or_default(), password.clone().unwrap_or_default())),
        }
    }
}

impl Session {
    /// Hands a message over; it is numbered from 0 in this order. Never waits.
    pub fn publish(&mut self, message: &Message) -> Result<(), String> {
        let handed = match &self.client {
            Client::V311(client) => v311::publish(client, message).is_ok(),
            Client::V5(client) => v5::publish(client, message).is_ok(),
        };
        handed.then_some(()).ok_or_else(|| "the session is over".to_owned())
    }

    /// Waits for the next notice.
    pub async fn notice(&mut self) -> Notice {
        self.notices.recv().await.unwrap_or_else(|| Notice::Closed("the session is over".into()))
    }

    /// What the broker granted, at that time.
    pub fn welcome(&self, at: Timestamp) -> Welcome {
        let protocol = match &self.client {
            Client::V311(_) => session::Protocol::V311,
            Client::V5(_) => session::Protocol::V5,
        };
        let max_qos = Qos::ExactlyOnce;
        Welcome { at, protocol, session_present: false, max_packet: self.largest, max_qos, retain: true }
    }

    /// Bytes of topic and payload that the broker takes.
    pub fn largest(&self) -> usize {
        usize::try_from(self.largest.min(MAX_PACKET)).unwrap_or(usize::MAX).saturating_sub(PACKET_OVERHEAD)
    }

    /// Messages that may wait for their acknowledgement: the smaller of ours and the broker's.
    pub fn window(&self) -> usize {
        usize::from(self.window)
    }

    /// DISCONNECT after everything that was handed over: the broker publishes no will.
    pub async fn close(mut self) {
        let asked = match &self.client {
            Client::V311(client) => client.try_disconnect().is_ok(),
            Client::V5(client) => client.try_disconnect().is_ok(),
        };
        if asked {
            // Waits for the driver to send it; how the connection then ends does not matter.
            let _ = timeout(CLOSE_LIMIT, &mut self.driver).await;
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Matches acknowledgements to messages: the client sends in order and tells each packet id as it does.
#[derive(Default)]
struct Correlation {
    sent: u64,
    waiting: Vec<(u16, u64)>,
}

impl Correlation {
    fn note(&mut self, step: Step) -> Option<Notice> {
        match step {
            Step::Goodbye | Step::Other => None,
            Step::Sent(packet) => {
                let number = self.sent;
                self.sent += 1;
                if packet == 0 {
                    return Some(Notice::Acknowledged(number, None));
                }
                self.waiting.push((packet, number));
                None
            }
            Step::Done(packet, complaint) => {
                let index = self.waiting.iter().position(|(waiting, _)| *waiting == packet)?;
                let (_, number) = self.waiting.remove(index);
                Some(Notice::Acknowledged(number, complaint))
            }
        }
    }
}

/// Keeps a client going until its session ends, and tells what becomes of its messages.
async fn drive(mut poll: impl AsyncFnMut() -> Result<Step, String>, notices: mpsc::Sender<Notice>) {
    let mut correlation = Correlation::default();
    loop {
        let notice = match poll().await {
            Ok(Step::Goodbye) => return,
            Ok(step) => correlation.note(step),
            Err(reason) => {
                // Nobody may be listening any more: then nobody needs to know.
                let _ = notices.send(Notice::Closed(reason)).await;
                return;
            }
        };
        if let Some(notice) = notice
            && notices.send(notice).await.is_err()
        {
            return;
        }
    }
}

/// Our window and the broker's; a broker that grants none means MQTT's own bound.
fn window(ours: u16, granted: Option<u16>) -> u16 {
    ours.min(granted.unwrap_or(u16::MAX)).max(1)
}

/// Room for notices: each message has one, and one for the end.
fn notice_capacity(window: u16) -> usize {
    usize::from(window) + 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements_find_their_messages_in_any_order() {
        let mut correlation = Correlation::default();
        let mut number = |step| match correlation.note(step) {
            Some(Notice::Acknowledged(number, complaint)) => Some((number, complaint)),
            _ => None,
        };
        assert_eq!(number(Step::Sent(1)), None);
        assert_eq!(number(Step::Sent(0)), Some((1, None)));
        assert_eq!(number(Step::Sent(2)), None);
        assert_eq!(number(Step::Done(2, Some("quota".into()))), Some((2, Some("quota".into()))));
        assert_eq!(number(Step::Done(7, None)), None);
        assert_eq!(number(Step::Sent(2)), None);
        assert_eq!(number(Step::Done(1, None)), Some((0, None)));
        assert_eq!(number(Step::Done(2, None)), Some((3, None)));
    }
}
