//! What is known of the brokers that were met, and the tries that find it out: the version of MQTT, the last will.

use bessai_domain::message::Qos;
use bessai_domain::session::{self, Endpoint};

use super::line::Connection;
use super::login::Login;
use super::{Protocol, Trouble, v5, v311};

/// Sessions closed before CONNACK after which 3.1.1 is tried: some brokers drop what they do not understand.
const CLOSED_BEFORE_FALLBACK: u32 = 2;
/// Brokers that are remembered; a plugin names one or two, for provisioning and for delivery.
const REMEMBERED: usize = 8;

/// The brokers that were met, the latest last.
#[derive(Default)]
pub(super) struct Acquaintances(Vec<(Endpoint, Acquaintance)>);

/// What one broker is known to take.
pub(super) struct Acquaintance {
    speaks: Option<session::Protocol>,
    closed_before_connack: u32,
    will_qos: Qos,
    will_is_retained: bool,
}

impl Acquaintances {
    /// The version that worked there.
    pub(super) fn spoken_by(&self, endpoint: &Endpoint) -> Option<session::Protocol> {
        self.0.iter().find(|(known, _)| known == endpoint).and_then(|(_, acquaintance)| acquaintance.speaks)
    }

    /// What is known of a broker, which may be nothing yet.
    pub(super) fn of(&mut self, endpoint: &Endpoint) -> &mut Acquaintance {
        let known = self.0.iter().position(|(known, _)| known == endpoint).map(|index| self.0.remove(index));
        if self.0.len() >= REMEMBERED {
            self.0.remove(0);
        }
        let entry = known.unwrap_or_else(|| (endpoint.clone(), Acquaintance::default()));
        &mut self.0.push_mut(entry).1
    }
}

impl Default for Acquaintance {
    fn default() -> Self {
        Self { speaks: None, closed_before_connack: 0, will_qos: Qos::ExactlyOnce, will_is_retained: true }
    }
}

impl Acquaintance {
    /// Signs in; what the broker does not take of the will it gets a second time without.
    pub(super) async fn sign_in(&mut self, protocol: Protocol, login: &mut Login) -> Result<Connection, Trouble> {
        loop {
            if let Some(will) = &mut login.will {
                will.qos = will.qos.min(self.will_qos);
                will.retain &= self.will_is_retained;
            }
            let signed_in = match protocol {
                Protocol::V311 => v311::sign_in(login).await,
                Protocol::V5 => v5::sign_in(login).await,
                Protocol::Auto => self.negotiate(login).await,
            };
            match signed_in {
                Err(trouble) if self.lowers_will(&trouble, login) => {}
                ended => return ended,
            }
        }
    }

    /// 5 first; 3.1.1 where the broker does not know it. What worked is remembered, until it works no more.
    async fn negotiate(&mut self, login: &Login) -> Result<Connection, Trouble> {
        if let Some(spoken) = self.speaks {
            let signed_in = match spoken {
                session::Protocol::V311 => v311::sign_in(login).await,
                session::Protocol::V5 => v5::sign_in(login).await,
            };
            if let Err(Trouble::UnsupportedProtocol | Trouble::UnreadableConnack) = signed_in {
                // Another broker may stand there now.
                self.speaks = None;
            }
            return signed_in;
        }
        let mut signed_in = v5::sign_in(login).await;
        let mut spoken = session::Protocol::V5;
        if let Err(trouble) = &signed_in
            && self.falls_back(trouble)
        {
            signed_in = v311::sign_in(login).await;
            spoken = session::Protocol::V311;
        }
        if signed_in.is_ok() {
            self.speaks = Some(spoken);
        }
        signed_in
    }

    /// Whether the broker's answer to MQTT 5 means that it does not know it.
    fn falls_back(&mut self, trouble: &Trouble) -> bool {
        match trouble {
            Trouble::UnsupportedProtocol | Trouble::UnreadableConnack => true,
            // Some hang up on what they do not understand, some wait for more of it.
            Trouble::ClosedBeforeConnack | Trouble::Timeout => {
                self.closed_before_connack += 1;
                self.closed_before_connack >= CLOSED_BEFORE_FALLBACK
            }
            _ => false,
        }
    }

    /// Whether there is less of a will to try with. What a broker takes it says only once it let us in.
    fn lowers_will(&mut self, trouble: &Trouble, login: &Login) -> bool {
        let Some(will) = &login.will else { return false };
        let broker = &login.endpoint.host;
        match (trouble, will.qos) {
            (Trouble::WillQos, Qos::ExactlyOnce) => self.will_qos = Qos::AtLeastOnce,
            (Trouble::WillQos, Qos::AtLeastOnce) => self.will_qos = Qos::AtMostOnce,
            (Trouble::WillRetain, _) if will.retain => self.will_is_retained = false,
            _ => return false,
        }
        tracing::warn!(%broker, "the broker refuses the last will as it is; it gets it with {}", match trouble {
            Trouble::WillRetain => "no retain",
            _ => "a lower quality of service",
        });
        true
    }
}
