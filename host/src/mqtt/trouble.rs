//! Why a sign-in failed, told so that a person knows what to change.

use std::error::Error;

use crate::mqtt::{Settings, TlsExplanation};

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
    /// Another refusal, in the broker's word.
    Refused(String),
    /// Certificates; in words already.
    Tls(String),
    /// No answer in time.
    Timeout,
    /// The network.
    Network(String),
}

impl Trouble {
    /// A sentence with the broker's address and the mend.
    pub(super) fn told(&self, settings: &Settings) -> String {
        let address = format!("{}:{}", settings.host, settings.port);
        let user = match &settings.username {
            Some(user) => format!("user {user:?}"),
            None => "an anonymous client".to_owned(),
        };
        match self {
            Self::UnsupportedProtocol => format!("{address} does not speak this MQTT version; set protocol = \"auto\""),
            Self::UnreadableConnack => {
                format!("{address} answers CONNECT with something that is not MQTT{}", scheme_hint(settings))
            }
            Self::ClosedBeforeConnack => {
                format!("{address} closed the connection before answering CONNECT{}", scheme_hint(settings))
            }
            Self::BadCredentials => {
                format!("{address} refuses {user}: bad user name or password; check MQTT_USERNAME and MQTT_PASSWORD")
            }
            Self::NotAuthorized => format!(
                "{address} refuses {user}, client id {:?}: not authorized; check user name, password and the broker's policy",
                settings.client_id
            ),
            Self::BadClientId => {
                format!("{address} refuses the client id {:?}; set MQTT_CLIENT_ID", settings.client_id)
            }
            Self::Refused(reason) => format!("{address} refuses the connection: {reason}"),
            Self::Tls(explanation) => format!("TLS with {address} failed: {explanation}"),
            Self::Timeout => format!("{address} does not answer in time"),
            Self::Network(error) => format!("{address}: {error}"),
        }
    }

    /// An error of the library's: TLS if the cause is that, a hang-up, or else the network.
    pub(super) fn of(error: &(dyn Error + 'static), explain: TlsExplanation) -> Self {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(explanation) = explain(error) {
                return Self::Tls(explanation);
            }
            if error.downcast_ref().is_some_and(is_close) {
                return Self::ClosedBeforeConnack;
            }
            cause = error.source();
        }
        Self::Network(error.to_string())
    }
}

/// Plain MQTT and TLS on each other's ports fail without a word of why.
fn scheme_hint(settings: &Settings) -> &'static str {
    if settings.tls.is_some() {
        " (is TLS spoken on that port? if not, write mqtt://)"
    } else {
        " (does it want TLS? then write mqtts://)"
    }
}

/// A connection that ended without a word where one was due.
fn is_close(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}
