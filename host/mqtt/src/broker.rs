//! A broker that a feed signs in to again and again.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bessai_domain::ports::{Broker, SignInError};
use bessai_domain::session::{Login, Protocol, ProtocolChoice, SignInRequest};
use bessai_domain::time::Timestamp;

use crate::connect_options::ConnectOptions;
use crate::negotiation::NegotiationCache;
use crate::session::{LoggedWarnings, MqttSession};
use crate::settings::BrokerSettings;

/// Time for reading certificates, key and password at a sign-in.
const READ_LIMIT: Duration = Duration::from_secs(5);

/// A broker, and what earlier sign-ins found out about it.
pub struct MqttBroker {
    settings: Arc<BrokerSettings>,
    negotiated: NegotiationCache,
    warnings: Rc<LoggedWarnings>,
}

impl MqttBroker {
    /// Not connected yet.
    pub fn new(settings: BrokerSettings) -> Self {
        Self { settings: Arc::new(settings), negotiated: NegotiationCache::default(), warnings: Rc::default() }
    }
}

impl MqttBroker {
    /// Reads certificates and password off the main loop, because their file system may not answer.
    async fn connect_options(&self, login: Login) -> Result<ConnectOptions, String> {
        if self.settings.tls.is_none() && self.settings.password.is_none() {
            return ConnectOptions::new(&self.settings, login);
        }
        // Unique, because the client id is.
        let owner = format!("sign-in of {} at {}", self.settings.client_id, self.settings.host);
        let settings = Arc::clone(&self.settings);
        let read = bessai_files::off_main_loop(&owner, READ_LIMIT, move || ConnectOptions::new(&settings, login));
        read.await.map_err(|error| format!("failed to read certificates or password: {error}"))?
    }
}

impl Broker for MqttBroker {
    type Session = MqttSession;

    fn request(&self, at: Timestamp, attempt: u32) -> SignInRequest {
        let endpoint = self.settings.endpoint();
        let protocol = match self.settings.protocol {
            ProtocolChoice::Auto => self.negotiated.protocol_of(&endpoint).unwrap_or(Protocol::V5),
            ProtocolChoice::Only(protocol) => protocol,
        };
        SignInRequest { endpoint, protocol, at, attempt }
    }

    async fn sign_in(&mut self, login: Login) -> Result<MqttSession, SignInError> {
        let choice = login.protocol.map_or(self.settings.protocol, ProtocolChoice::Only);
        let mut options = self.connect_options(login).await.map_err(SignInError::Failed)?;
        let broker = self.negotiated.entry(&options.endpoint);
        let connection = broker.sign_in(choice, &mut options).await.map_err(|error| {
            let reason = error.at_sign_in(&options);
            if error.is_unreachable() { SignInError::Unreachable(reason) } else { SignInError::Failed(reason) }
        })?;
        Ok(MqttSession::new(connection, &options, Rc::clone(&self.warnings)))
    }
}
