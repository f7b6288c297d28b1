//! Finds out what a broker supports, and remembers it: the version of MQTT, and which last will.

use bessai_domain::message::Qos;
use bessai_domain::session::{Endpoint, Protocol, ProtocolChoice};

use crate::connect_options::ConnectOptions;
use crate::connection::{self, Connection};
use crate::error::SessionError;

/// Connections closed before CONNACK after which 3.1.1 is tried: some brokers drop what they do not understand.
const CLOSED_BEFORE_FALLBACK: u32 = 2;
/// Connections closed before CONNACK after which a reduced last will is tried.
const CLOSED_BEFORE_REDUCED: u32 = 3;
/// Brokers that are remembered: a plugin uses one or two, for provisioning and for delivery.
const CACHED_BROKERS: usize = 8;

/// What is known of each broker, the most recently used last.
#[derive(Default)]
pub(crate) struct NegotiationCache(Vec<(Endpoint, KnownBroker)>);

/// What one broker is known to support.
pub(crate) struct KnownBroker {
    protocol: Option<Protocol>,
    closed_before_connack: u32,
    timeouts: u32,
    will_qos: Qos,
    will_retain: bool,
    has_will: bool,
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
        Self {
            protocol: None,
            closed_before_connack: 0,
            timeouts: 0,
            will_qos: Qos::ExactlyOnce,
            will_retain: true,
            has_will: true,
        }
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
            if !self.has_will {
                options.will = None;
            }
            if let Some(will) = &mut options.will {
                will.qos = will.qos.min(self.will_qos);
                will.retain &= self.will_retain;
            }
            let result = match choice {
                ProtocolChoice::Only(protocol) => connection::sign_in(protocol, options).await,
                ProtocolChoice::Auto => self.negotiate(options).await,
            };
            if let Err(SessionError::ConnectionClosed) = &result {
                self.closed_before_connack += 1;
            }
            match result {
                Err(error) if self.reduces_will(&error, options) => {}
                Err(error) => {
                    self.restore_will(&error);
                    return Err(error);
                }
                Ok(connection) => {
                    self.closed_before_connack = 0;
                    return Ok(connection);
                }
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
            result = match connection::sign_in(protocol, options).await {
                Err(SessionError::UnsupportedProtocol) => Err(SessionError::NoKnownProtocol),
                result => result,
            };
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
            SessionError::ConnectionClosed => self.closed_before_connack + 1 >= CLOSED_BEFORE_FALLBACK,
            SessionError::Timeout => {
                self.timeouts += 1;
                self.timeouts >= CLOSED_BEFORE_FALLBACK
            }
            _ => false,
        }
    }

    /// The last will was not why the broker closes the connection.
    fn restore_will(&mut self, error: &SessionError) {
        if matches!(error, SessionError::ConnectionClosed) && !self.has_will {
            (self.will_retain, self.has_will, self.closed_before_connack) = (true, true, 0);
        }
    }

    /// Reduces the last will to try again with; false if the error is another one. What a broker supports is stated only
    /// in the CONNACK of a successful sign-in.
    fn reduces_will(&mut self, error: &SessionError, options: &ConnectOptions) -> bool {
        let Some(will) = &options.will else { return false };
        let broker = options.address();
        match (error, will.qos) {
            // 3.1.1 has no code for it: the broker only closes the connection.
            (SessionError::ConnectionClosed, _) if self.closed_before_connack >= CLOSED_BEFORE_REDUCED => {
                if will.retain {
                    self.will_retain = false;
                    tracing::warn!(%broker, "{broker} closes the connection; signing in with a last will that is not retained");
                } else {
                    self.has_will = false;
                    tracing::warn!(%broker, "{broker} closes the connection; signing in without a last will");
                }
                return true;
            }
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
