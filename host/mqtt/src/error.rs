//! Why a sign-in failed or a session ended, in words that name what to change.

use std::error::Error;
use std::io;

use bessai_domain::refusal::reason_codes::ReasonCode;
use bessai_domain::refusal::{CloseCause, Objection};

use crate::connect_options::ConnectOptions;
use crate::hints;
use crate::proxy::ProxyError;

/// Why a sign-in failed, or a session ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SessionError {
    /// The broker does not speak this version of MQTT.
    UnsupportedProtocol,
    /// The broker speaks no version of MQTT that this client knows.
    NoKnownProtocol,
    /// The broker sent something that is not MQTT in this version.
    NotMqtt,
    /// The broker broke a rule of MQTT; what it sent, as an object.
    Violation(String),
    /// The broker closed the connection without a DISCONNECT or, at the sign-in, instead of a CONNACK.
    ConnectionClosed,
    /// User name or password, with the reason code.
    BadCredentials(u8),
    /// The broker's policy does not allow this client, with the reason code.
    NotAuthorized(u8),
    /// The client id, with the reason code.
    BadClientId(u8),
    /// 3.1.1 allows no password without a user name.
    PasswordWithoutUsername,
    /// The last will's quality of service is too high.
    WillQos,
    /// The broker does not support retained messages, and so no retained last will.
    WillRetain,
    /// CONNACK with another reason.
    Refused(&'static ReasonCode),
    /// The CONNACK allows no message at all.
    NothingGranted,
    /// DISCONNECT from the broker: the reason as code and name, what to change, and whether a message may have caused it.
    Disconnected { reason: String, hint: Option<&'static str>, cause: CloseCause },
    /// DISCONNECT because another client uses the same client id.
    TakenOver,
    /// The session ended while a stored session was resumed.
    NotResumed(Box<SessionError>),
    /// A ping was not answered.
    NoPingResponse,
    /// There is no WebSocket; what happened instead.
    NoWebSocket(String),
    /// The WebSocket does not carry MQTT.
    NoMqttInWebSocket,
    /// A proxy gave no connection to the broker.
    Proxy(ProxyError),
    /// The TLS handshake failed, in words.
    Tls(String),
    /// No answer in time, or data that could not be written in time.
    Timeout,
    /// The network.
    Network(String),
}

impl SessionError {
    /// Why a sign-in failed: a sentence with the broker's address and what to change.
    pub(crate) fn at_sign_in(&self, options: &ConnectOptions) -> String {
        let (address, client_id, names) = (options.address(), &options.client_id, &options.names);
        let user = match &options.username {
            Some(user) => format!("user {user:?}"),
            None => "an anonymous client".to_owned(),
        };
        match self {
            Self::UnsupportedProtocol => format!("{address} does not speak this MQTT version; set protocol = \"auto\""),
            Self::NoKnownProtocol => format!(
                "{address} refused MQTT 5 and 3.1.1 (unsupported protocol version); check the port in {}",
                names.of("url")
            ),
            Self::NotMqtt | Self::Violation(_) => hints::not_mqtt(options),
            Self::ConnectionClosed => hints::closed(options),
            Self::BadCredentials(code) => format!(
                "{address} refused {user} ({code:#04x} bad user name or password); check {} and {}",
                names.of("username"),
                names.of("password")
            ),
            Self::NotAuthorized(code) => format!(
                "{address} refused {user}, client id {client_id:?} ({code:#04x} not authorized); check user name, password \
                 and the broker's policy"
            ),
            Self::BadClientId(code) => format!(
                "{address} refused the client id {client_id:?} ({code:#04x} client identifier not valid); set {}",
                names.of("client_id")
            ),
            Self::PasswordWithoutUsername => format!(
                "{address} was not contacted: MQTT 3.1.1 allows no password without a user name; set {}",
                names.of("username")
            ),
            Self::WillQos => format!(
                "{address} refused the last will's quality of service (0x9b QoS not supported); write false in {}",
                names.of("will")
            ),
            Self::WillRetain => format!(
                "{address} refused the last will's retain flag (0x9a retain not supported); write false in {}",
                names.of("will")
            ),
            Self::Refused(code) => {
                let hint = code.hint.map(|hint| format!("; {hint}")).unwrap_or_default();
                format!("{address} refused the connection ({}){hint}", code.label())
            }
            Self::NothingGranted => {
                format!("{address} accepts no messages: its Receive Maximum or Maximum Packet Size is 0")
            }
            Self::NotResumed(error) => {
                format!("failed to resume the stored session: {}", error.at_session_end(&address, client_id))
            }
            Self::NoWebSocket(instead) => {
                format!("{address} opened no WebSocket: {instead}; check port and path of the broker's url")
            }
            Self::NoMqttInWebSocket => format!(
                "{address} opened a WebSocket without the sub-protocol \"mqtt\"; check the path of the broker's url"
            ),
            Self::Proxy(error) => error.sentence(options),
            Self::Tls(explanation) => format!("TLS with {address} failed: {explanation}"),
            Self::Timeout => hints::timeout(options),
            Self::Network(error) => format!("failed to connect to {address}: {error}"),
            Self::Disconnected { .. } | Self::TakenOver | Self::NoPingResponse => {
                self.at_session_end(&address, client_id)
            }
        }
    }

    /// Why a session ended.
    pub(crate) fn at_session_end(&self, address: &str, client_id: &str) -> String {
        match self {
            Self::ConnectionClosed => format!("connection closed by {address}"),
            Self::Disconnected { reason, hint, .. } => {
                let hint = hint.map(|hint| format!("; {hint}")).unwrap_or_default();
                format!("{address} ended the session ({reason}){hint}")
            }
            Self::TakenOver => format!(
                "{address} ended the session (0x8e session taken over): another client signed in as {client_id:?}; two \
                 gateways must not share a client id"
            ),
            Self::NoPingResponse => format!("connection to {address} lost: a ping was not answered"),
            Self::Timeout => format!("connection to {address} lost: a packet could not be sent in time"),
            Self::NotMqtt => format!("{address} sent something that is not MQTT"),
            Self::Violation(what) => format!("ended the session with {address}, which sent {what}"),
            Self::Network(error) | Self::Tls(error) => format!("connection to {address} lost: {error}"),
            other => format!("connection to {address} lost: {other:?}"),
        }
    }

    /// Whether no client can reach the broker.
    pub(crate) fn is_unreachable(&self) -> bool {
        match self {
            Self::Timeout | Self::Network(_) => true,
            Self::Proxy(error) => error.is_unreachable(),
            _ => false,
        }
    }

    /// Whether a message may have ended the session. A broker without reason codes only closes the connection.
    pub(crate) fn close_cause(&self) -> CloseCause {
        match self {
            Self::Disconnected { cause, .. } => *cause,
            Self::ConnectionClosed => CloseCause::Message(Objection::Unknown),
            _ => CloseCause::Other,
        }
    }

    /// The broker acknowledged what it was not sent.
    pub(crate) fn unsolicited(packet_id: u16) -> Self {
        Self::Violation(format!("an acknowledgement of packet id {packet_id}, which is not in use"))
    }

    /// From an error of the connection: TLS or a closed connection if one of its causes is that, else the network.
    pub(crate) fn of_network(error: &(dyn Error + 'static)) -> Self {
        for cause in causes(error) {
            if let Some(explanation) = bessai_tls::explain(cause) {
                return Self::Tls(explanation);
            }
            if cause.downcast_ref().is_some_and(is_close) {
                return Self::ConnectionClosed;
            }
        }
        Self::Network(error.to_string())
    }

    /// Whether the broker speaks MQTT and refuses this client, or has closed the connection as some do instead.
    pub(crate) fn is_refusal(&self, is_tls: bool) -> bool {
        match self {
            Self::NotAuthorized(_) | Self::BadCredentials(_) | Self::BadClientId(_) | Self::Refused(_) => true,
            // Without TLS it may as well not speak MQTT.
            Self::ConnectionClosed => is_tls,
            _ => false,
        }
    }

    /// From an error of a WebSocket's handshake.
    pub(crate) fn of_websocket(error: &(dyn Error + 'static)) -> Self {
        if let Some(explanation) = causes(error).find_map(bessai_tls::explain) {
            return Self::Tls(explanation);
        }
        let is_end = |cause: &(dyn Error + 'static)| cause.downcast_ref().is_some_and(is_close);
        // The library's name for an answer that ends too early.
        if causes(error).any(is_end) || error.to_string().contains("Handshake not finished") {
            return Self::NoWebSocket("it closed the connection".into());
        }
        // The library writes a status after a colon, and otherwise what is wrong with the answer.
        let text = error.to_string();
        let status = text.strip_prefix("HTTP error: ").map(|status| format!("it answered with HTTP status {status}"));
        Self::NoWebSocket(status.unwrap_or_else(|| format!("it answered with something else ({text})")))
    }
}

/// An error and its causes.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// Whether the peer ended the connection.
fn is_close(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}
