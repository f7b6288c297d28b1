//! Where and how a feed signs in, as far as its plugin does not decide that.

use std::time::Duration;

use bessai_domain::message::{Message, Qos};
use bessai_domain::session::{Endpoint, ProtocolChoice};

/// Reads a password, which may take as long as its file system likes.
pub type ReadPassword = Box<dyn Fn() -> Result<String, String> + Send + Sync>;

/// A broker and the login for it. No `Debug`: the password is reachable from here.
pub struct BrokerSettings {
    /// Host name or IP address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The path to request when MQTT is sent through a WebSocket.
    pub websocket: Option<String>,
    /// The proxy through which it is reached, if not directly.
    pub proxy: Option<ProxySettings>,
    /// TLS, or none. The files are read at each sign-in, so renewed certificates need no restart.
    pub tls: Option<bessai_tls::Settings>,
    /// Of an encrypted private key; read at each sign-in.
    pub key_password: Option<ReadPassword>,
    /// How errors name these settings.
    pub names: bessai_tls::SettingNames,
    /// Client id.
    pub client_id: String,
    /// User name, if any.
    pub username: Option<String>,
    /// Read at each sign-in; never logged.
    pub password: Option<ReadPassword>,
    /// Which version of MQTT to speak.
    pub protocol: ProtocolChoice,
    /// Longest time without a packet before a ping is sent.
    pub keep_alive: Duration,
    /// Messages that may wait for their acknowledgement.
    pub in_flight: u16,
    /// The highest quality of service that the feed publishes with.
    pub qos: Qos,
    /// Published by the broker when the connection is lost.
    pub will: Option<Message>,
    /// What the broker is known not to accept, and what it keeps.
    pub habits: BrokerHabits,
}

/// An HTTP proxy through which a broker is reached. No `Debug`: it holds a password.
pub struct ProxySettings {
    /// Host name or IP address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// User name and password, if it wants them.
    pub login: Option<(String, ReadPassword)>,
}

/// What a broker is known not to accept, and what it keeps of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokerHabits {
    /// Whether messages and the last will may be retained.
    pub retain: bool,
    /// The largest packet in bytes, if the broker does not announce a smaller one.
    pub max_packet: Option<u32>,
    /// Whether the broker forgets the last session's unfinished messages, if the plugin does not decide.
    pub clean_start: bool,
    /// How long the broker keeps a session whose connection is lost, if the plugin does not decide.
    pub session_expiry_s: Option<u32>,
    /// The longest keep-alive that it accepts, also of a plugin.
    pub keep_alive: Option<Duration>,
}

impl Default for BrokerHabits {
    fn default() -> Self {
        Self { retain: true, max_packet: None, clean_start: true, session_expiry_s: None, keep_alive: None }
    }
}

impl BrokerSettings {
    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint { host: self.host.clone(), port: self.port }
    }
}
