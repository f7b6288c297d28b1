//! Why a sign-in failed or a session ended, told so that a person knows what to change.

use std::error::Error;

use super::TlsExplanation;
use super::login::Login;

/// Why a sign-in failed, or a session ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The broker does not speak this version.
    UnsupportedProtocol,
    /// The answer to CONNECT makes no sense in this version.
    UnreadableConnack,
    /// The connection was closed where an answer to CONNECT was due.
    ClosedBeforeConnack,
    /// User name or password.
    BadCredentials,
    /// It knows us and does not want us.
    NotAuthorized,
    /// The client id.
    BadClientId,
    /// 3.1.1 has no password without a user name.
    PasswordAlone,
    /// The last will's quality of service is too high for it.
    WillQos,
    /// It retains nothing, and so no last will.
    WillRetain,
    /// Another refusal, in words.
    Refused(String),
    /// It ended the session, and said why; in words.
    Disconnected(String),
    /// It left a ping without an answer.
    Silence,
    /// There is no WebSocket; what there is instead.
    NoWebSocket(String),
    /// There is a WebSocket for something else.
    NoMqttInWebSocket,
    /// Certificates; in words already.
    Tls(String),
    /// No answer in time.
    Timeout,
    /// The network.
    Network(String),
}

impl Trouble {
    /// A sentence with the broker's address and the mend.
    pub(super) fn told(&self, login: &Login) -> String {
        let address = match login.is_websocket() {
            true => login.target.clone(),
            false => format!("{}:{}", login.endpoint.host, login.endpoint.port),
        };
        let user = match &login.username {
            Some(user) => format!("user {user:?}"),
            None => "an anonymous client".to_owned(),
        };
        let (client_id, hint) = (&login.client_id, scheme_hint(login));
        match self {
            Self::UnsupportedProtocol => format!("{address} does not speak this MQTT version; set protocol = \"auto\""),
            Self::UnreadableConnack => format!("{address} answers CONNECT with something that is not MQTT{hint}"),
            Self::ClosedBeforeConnack => format!("{address} closed the connection before answering CONNECT{hint}"),
            Self::BadCredentials => {
                format!("{address} refuses {user}: bad user name or password; check MQTT_USERNAME and MQTT_PASSWORD")
            }
            Self::NotAuthorized => format!(
                "{address} refuses {user}, client id {client_id:?}: not authorized; check user name, password and the broker's policy"
            ),
            Self::BadClientId => format!("{address} refuses the client id {client_id:?}; set MQTT_CLIENT_ID"),
            Self::PasswordAlone => {
                format!("MQTT 3.1.1 has no password without a user name, and {address} gets none; set MQTT_USERNAME")
            }
            Self::WillQos => format!("{address} does not take the last will's quality of service"),
            Self::WillRetain => format!("{address} does not retain the last will"),
            Self::Refused(reason) => format!("{address} refuses the connection: {reason}"),
            Self::Disconnected(reason) => format!("{address} ends the connection: {reason}"),
            Self::NoWebSocket(instead) => {
                format!("{address} gives no WebSocket but {instead}; check port and path of the broker's url")
            }
            Self::NoMqttInWebSocket => format!(
                "{address} has a WebSocket, but not the sub-protocol \"mqtt\" in it; check the path of the broker's url"
            ),
            Self::Tls(explanation) => format!("TLS with {address} failed: {explanation}"),
            Self::Timeout | Self::Silence => format!("{address} does not answer in time"),
            Self::Network(error) => format!("{address}: {error}"),
        }
    }

    /// How a session ended.
    pub(super) fn ended(self) -> String {
        match self {
            Self::ClosedBeforeConnack => "the broker closed the connection".into(),
            Self::Disconnected(reason) => format!("the broker ended the session: {reason}"),
            Self::Silence => "the connection broke: the broker does not answer a ping".into(),
            Self::Timeout => "the connection broke: the broker takes nothing any more".into(),
            Self::UnreadableConnack => "the broker sent something that is not MQTT".into(),
            Self::Network(error) | Self::Tls(error) => format!("the connection broke: {error}"),
            other => format!("the connection broke: {other:?}"),
        }
    }

    /// An error of the library's: TLS if the cause is that, a hang-up, or else the network.
    pub(super) fn of(error: &(dyn Error + 'static), explain: TlsExplanation) -> Self {
        for cause in causes(error) {
            if let Some(explanation) = explain(cause) {
                return Self::Tls(explanation);
            }
            if cause.downcast_ref().is_some_and(is_close) {
                return Self::ClosedBeforeConnack;
            }
        }
        Self::Network(error.to_string())
    }

    /// An error of a WebSocket's handshake.
    pub(super) fn of_websocket(error: &(dyn Error + 'static), explain: TlsExplanation) -> Self {
        if let Some(explanation) = causes(error).find_map(explain) {
            return Self::Tls(explanation);
        }
        if causes(error).any(|cause| cause.downcast_ref().is_some_and(is_close)) {
            return Self::NoWebSocket("a closed connection".into());
        }
        // The library puts a status after a colon, and for the rest says what in the answer is wrong.
        let said = error.to_string();
        let instead = said.strip_prefix("HTTP error: ").map(|status| format!("HTTP status {status}"));
        Self::NoWebSocket(instead.unwrap_or_else(|| format!("something else ({said})")))
    }
}

/// An error and what lies behind it.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// MQTT, TLS and WebSockets on each other's ports fail without a word of why.
fn scheme_hint(login: &Login) -> &'static str {
    match (login.is_tls(), login.is_websocket()) {
        (true, false) => " (is TLS spoken on that port? if not, write mqtt://; is it a WebSocket, write wss://)",
        (false, false) => " (does it want TLS? then write mqtts://; is it a WebSocket, write ws://)",
        (_, true) => "",
    }
}

/// A connection that ended without a word where one was due.
fn is_close(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}
