//! Sessions with MQTT brokers, each on a fresh client: nothing is queued here that could be lost here.
//!
//! The only user of rumqttc. That client drops what is queued when a session is not resumed, so it gets at most a window of
//! messages, and the feed keeps each until it is acknowledged. Its `Debug` shows the password: options are never logged.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bessai_domain::message::{Message, Qos};
use bessai_domain::session::{Endpoint, Login as Wish, Protocol as Version, Request};
use bessai_domain::time::Timestamp;
use rumqttc::tokio_rustls::rustls::ClientConfig;

mod aliases;
mod line;
mod login;
mod negotiation;
mod packets;
mod session;
mod subscriber;
mod trouble;
mod v311;
mod v5;

pub use session::{Notice, Session};
pub use subscriber::{Heard, listen};
pub use trouble::Trouble;

use login::Login;
use negotiation::Acquaintances;

/// Time for TCP, TLS, CONNECT and CONNACK together, in seconds: a slow mobile link, not a dead one.
const CONNECT_LIMIT_S: u64 = 15;
/// Largest packet that is sent or taken, in bytes: a call's messages have 1 MiB together.
const MAX_PACKET: u32 = (1 << 20) + 4096;

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

impl From<Version> for Protocol {
    fn from(protocol: Version) -> Self {
        match protocol {
            Version::V311 => Self::V311,
            Version::V5 => Self::V5,
        }
    }
}

/// Makes a TLS configuration from the files as they are now, so that renewed certificates need no restart.
pub type TlsSource = Box<dyn Fn() -> Result<Arc<ClientConfig>, String>>;
/// Says in words what went wrong in a TLS handshake, if it was that.
pub type TlsExplanation = fn(&(dyn std::error::Error + 'static)) -> Option<String>;

/// Where and as whom to sign in, as far as the plugin does not decide it.
pub struct Settings {
    /// Host name or IP address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The path to ask for where MQTT goes through a WebSocket.
    pub websocket: Option<String>,
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
    /// The highest quality of service that is published with.
    pub qos: Qos,
    /// Published by the broker when we vanish.
    pub will: Option<Message>,
}

/// A broker, and what is known of those that its sign-ins went to.
pub struct Broker {
    settings: Settings,
    acquaintances: Acquaintances,
    once: Rc<session::Once>,
}

impl Broker {
    /// Not connected yet.
    pub fn new(settings: Settings) -> Self {
        Self { settings, acquaintances: Acquaintances::default(), once: Rc::default() }
    }

    /// The sign-in that comes next, as the settings have it.
    pub fn request(&self, at: Timestamp, attempt: u32) -> Request {
        let endpoint = Endpoint { host: self.settings.host.clone(), port: self.settings.port };
        let protocol = match self.settings.protocol {
            Protocol::Auto => self.acquaintances.spoken_by(&endpoint).unwrap_or(Version::V5),
            Protocol::V311 => Version::V311,
            Protocol::V5 => Version::V5,
        };
        Request { endpoint, protocol, at, attempt }
    }

    /// Connects and signs in once, as the plugin wants and else as the settings have it. The error names broker and
    /// mend, never a secret.
    pub async fn sign_in(&mut self, wish: Wish) -> Result<Session, String> {
        let protocol = wish.protocol.map_or(self.settings.protocol, Protocol::from);
        let mut login = Login::new(&self.settings, wish)?;
        let acquaintance = self.acquaintances.of(&login.endpoint);
        let connection = acquaintance.sign_in(protocol, &mut login).await.map_err(|trouble| trouble.told(&login))?;
        Ok(Session::new(connection, &login, Rc::clone(&self.once)))
    }
}
