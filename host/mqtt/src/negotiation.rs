//! Finds out what a broker supports, and remembers it: the version of MQTT, and which last will.

use bessai_domain::message::Qos;
use bessai_domain::session::{Endpoint, Protocol, ProtocolChoice};

use crate::connect_options::ConnectOptions;
use crate::connection::{self, Connection};
use crate::error::SessionError;

/// Connections closed before CONNACK after which 3.1.1 is tried: some brokers drop what they do not understand.
const CLOSED_BEFORE_FALLBACK: u32 = 2;
/// Brokers that are remembered: a plugin uses one or two, for provisioning and for delivery.
const CACHED_BROKERS: usize = 8;

/// What is known of each broker, the most recently used last.
#[derive(Default)]
pub(crate) struct NegotiationCache(Vec<(Endpoint, KnownBroker)>);

/// What one broker is known to support.
pub(crate) struct KnownBroker {
    protocol: Option<Protocol>,
    closed_before_connack: u32,
    will_qos: Qos,
    will_retain: bool,
}

impl NegotiationCache {
    /// The version of MQTT that worked with this broker.
    pub(crate) fn protocol_of(&self, endpoint: &Endpoint) -> Option<Protocol> {
        self.0.iter().find(|(known, _)| known == endpoint).and_then(|(_, broker)| broker.protocol)
    }

    /// The entry of this broker; a new one if it is unknown.
    pub(crate) fn entry(&mut self, endpoint: &Endpoint) -> &mut KnownBroker {
        let known = self.0.iter().position(|(known, _)| known == endpoint).map(|index| self.0.remove(index));
        if self.0.len() >= CACHED_BROKERS {
            self.0.remove(0);
        }
        let entry = known.unwrap_or_else(|| (endpoint.clone(), KnownBroker::default()));
        &mut self.0.push_mut(entry).1
    }
}

impl Default for KnownBroker {
    fn default() -> Self {
        Self { protocol: None, closed_before_connack: 0, will_qos: Qos::ExactlyOnce, will_retain: true }
    }
}

impl KnownBroker {
    /// Signs in; if the broker refuses the last will, again with a reduced one.
    pub(crate) async fn sign_in(
        &mut self,
        choice: ProtocolChoice,
        options: &mut ConnectOptions,
    ) -> Result<Connection, SessionError> {
        loop {
            if let Some(will) = &mut options.will {
                will.qos = will.qos.min(self.will_qos);
                will.retain &= self.will_retain;
            }
            let result = match choice {
                ProtocolChoice::Only(protocol) => connection::sign_in(protocol, options).await,
                ProtocolChoice::Auto => self.negotiate(options).await,
            };
            match result {
                Err(error) if self.reduces_will(&error, options) => {}
                result => return result,
            }
        }
    }

    /// 5 first; 3.1.1 if the broker does not know it. The version that worked is used until it fails.
    async fn negotiate(&mut self, options: &ConnectOptions) -> Result<Connection, SessionError> {
        if let Some(protocol) = self.protocol {
            let result = connection::sign_in(protocol, options).await;
            if let Err(SessionError::UnsupportedProtocol | SessionError::NotMqtt) = result {
                // The broker may have been replaced by another one.
                self.protocol = None;
            }
            return result;
        }
        let mut protocol = Protocol::V5;
        let mut result = connection::sign_in(protocol, options).await;
        if let Err(error) = &result
            && self.falls_back(error)
        {
            protocol = Protocol::V311;
            tracing::debug!(broker = %options.address(), "MQTT 5 failed with {error:?}; trying MQTT 3.1.1");
            result = connection::sign_in(protocol, options).await;
        }
        if result.is_ok() {
            self.protocol = Some(protocol);
        }
        result
    }

    /// Whether the broker's answer to MQTT 5 means that it does not know it.
    fn falls_back(&mut self, error: &SessionError) -> bool {
        match error {
            SessionError::UnsupportedProtocol | SessionError::NotMqtt => true,
            // Some brokers close the connection on what they do not understand, some wait for more of it.
            SessionError::ConnectionClosed | SessionError::Timeout => {
                self.closed_before_connack += 1;
                self.closed_before_connack >= CLOSED_BEFORE_FALLBACK
            }
            _ => false,
        }
    }

    /// Reduces the last will to try again with; false if the error is another one. What a broker supports is stated only
    /// in the CONNACK of a successful sign-in.
    fn reduces_will(&mut self, error: &SessionError, options: &ConnectOptions) -> bool {
        let Some(will) = &options.will else { return false };
        let broker = options.address();
        match (error, will.qos) {
            (SessionError::WillQos, Qos::ExactlyOnce) => self.will_qos = Qos::AtLeastOnce,
            (SessionError::WillQos, Qos::AtLeastOnce) => self.will_qos = Qos::AtMostOnce,
            (SessionError::WillRetain, _) if will.retain => {
                self.will_retain = false;
                tracing::warn!(%broker, "{broker} does not retain a last will; signing in again without the retain flag");
                return true;
            }
            _ => return false,
        }
        let (refused, reduced) = (will.qos.level(), self.will_qos.level());
        tracing::warn!(%broker, "{broker} refused a last will with QoS {refused}; signing in again with QoS {reduced}");
        true
    }
}
