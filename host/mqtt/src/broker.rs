//! A broker that a feed signs in to again and again.

use std::rc::Rc;

use bessai_domain::ports::Broker;
use bessai_domain::session::{Login, Protocol, ProtocolChoice, SignInRequest};
use bessai_domain::time::Timestamp;

use crate::connect_options::ConnectOptions;
use crate::negotiation::NegotiationCache;
use crate::session::{LoggedWarnings, MqttSession};
use crate::settings::BrokerSettings;

/// A broker, and what earlier sign-ins found out about it.
pub struct MqttBroker {
    settings: BrokerSettings,
    negotiated: NegotiationCache,
    warnings: Rc<LoggedWarnings>,
}

impl MqttBroker {
    /// Not connected yet.
    pub fn new(settings: BrokerSettings) -> Self {
        Self { settings, negotiated: NegotiationCache::default(), warnings: Rc::default() }
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

    async fn sign_in(&mut self, login: Login) -> Result<MqttSession, String> {
        let choice = login.protocol.map_or(self.settings.protocol, ProtocolChoice::Only);
        let mut options = ConnectOptions::new(&self.settings, login)?;
        let broker = self.negotiated.entry(&options.endpoint);
        let connection = broker.sign_in(choice, &mut options).await.map_err(|error| error.at_sign_in(&options))?;
        Ok(MqttSession::new(connection, &options, Rc::clone(&self.warnings)))
    }
}
