//! Signs in once to find out what a broker grants, or why it does not: `broker test`.

use std::net::SocketAddr;
use std::time::Duration;

use bessai_domain::message::Message;
use bessai_domain::ports::{Notice, Session};
use bessai_domain::session::{Login, Protocol, ProtocolChoice};
use bessai_tls::Handshake;
use tokio::time::timeout;

use crate::connect_options::ConnectOptions;
use crate::connection::Connection;
use crate::error::SessionError;
use crate::limits::CONNECT_LIMIT_S;
use crate::negotiation::KnownBroker;
use crate::proxy::Proxy;
use crate::session::MqttSession;
use crate::settings::BrokerSettings;

/// Time for a message's acknowledgement.
const ACKNOWLEDGE_LIMIT: Duration = Duration::from_secs(CONNECT_LIMIT_S);

/// What one sign-in has found out, as far as it came.
#[derive(Debug)]
pub struct Probe {
    /// Host and port, or the URL of a WebSocket.
    pub address: String,
    /// The client id that was used.
    pub client_id: String,
    /// Host and port of the proxy through which the broker is reached.
    pub proxy: Option<String>,
    /// The address with which TCP was connected: the broker's, or the proxy's.
    pub peer: Option<SocketAddr>,
    /// The proxy has connected to the broker.
    pub is_tunnelled: bool,
    /// The completed TLS handshake.
    pub handshake: Option<Handshake>,
    /// The certificates of a broker whose handshake failed.
    pub refused_chain: Vec<bessai_tls::Certificate>,
    /// The version of MQTT in which the broker accepted the sign-in.
    pub protocol: Option<Protocol>,
    /// What the broker grants, by name.
    pub granted: Vec<(&'static str, String)>,
    /// Why it failed, in a sentence.
    pub failure: Option<String>,
    /// Whether it failed because the broker refuses this client, as far as that shows.
    pub is_refused: bool,
}

/// Signs in, publishes the message if there is one, and signs out. Blocks while certificates and password are read.
pub async fn probe(settings: &BrokerSettings, login: Login, message: Option<Message>) -> Probe {
    let choice = login.protocol.map_or(settings.protocol, ProtocolChoice::Only);
    let mut probe = Probe {
        address: format!("{}:{}", settings.host, settings.port),
        client_id: login.client_id.clone().unwrap_or_else(|| settings.client_id.clone()),
        proxy: None,
        peer: None,
        is_tunnelled: false,
        handshake: None,
        refused_chain: Vec::new(),
        protocol: None,
        granted: Vec::new(),
        failure: None,
        is_refused: false,
    };
    let mut options = match ConnectOptions::new(settings, login) {
        Ok(options) => options,
        Err(reason) => {
            probe.failure = Some(reason);
            return probe;
        }
    };
    probe.address = options.address();
    probe.proxy = options.proxy.as_ref().map(Proxy::name);
    let signed_in = sign_in(choice, &mut options).await;
    let trace = options.trace.borrow().clone();
    if let (Some(tls), None) = (&options.tls, &trace.handshake) {
        probe.refused_chain = tls.refused_chain();
    }
    probe.is_tunnelled = trace.is_tunnelled;
    (probe.peer, probe.handshake, probe.granted) = (trace.peer, trace.handshake, trace.granted);
    match signed_in {
        Ok(connection) => {
            probe.protocol = Some(connection.protocol);
            let session = MqttSession::new(connection, &options, std::rc::Rc::default());
            probe.failure = use_session(session, message, &options.address()).await.err();
        }
        Err(error) => {
            probe.is_refused = error.is_refusal(probe.handshake.is_some());
            probe.failure = Some(error.at_sign_in(&options));
        }
    }
    probe
}

/// Tries again where a feed would: a broker that closes at MQTT 5 may speak 3.1.1.
async fn sign_in(choice: ProtocolChoice, options: &mut ConnectOptions) -> Result<Connection, SessionError> {
    let mut broker = KnownBroker::default();
    match broker.sign_in(choice, options).await {
        Err(SessionError::ConnectionClosed) if choice == ProtocolChoice::Auto => broker.sign_in(choice, options).await,
        result => result,
    }
}

async fn use_session(mut session: MqttSession, message: Option<Message>, address: &str) -> Result<(), String> {
    if let Some(message) = message {
        session.publish(&message)?;
        let notice = timeout(ACKNOWLEDGE_LIMIT, session.notice()).await;
        match notice {
            // It subscribes to nothing.
            Ok(Notice::Acknowledged { refusal: None, .. } | Notice::Arrived { .. } | Notice::Subscribed(_)) => {}
            Ok(Notice::Acknowledged { refusal: Some(refusal), .. }) => {
                return Err(format!("{address} refused the message to {:?}: {}", message.topic, refusal.reason));
            }
            Ok(Notice::Closed(closing)) => {
                return Err(format!("after the message to {:?}: {}", message.topic, closing.reason));
            }
            Err(_) => return Err(format!("{address} did not acknowledge the message within {CONNECT_LIMIT_S} s")),
        }
    }
    session.close().await;
    Ok(())
}
