//! Plugins that decide how their feed signs in: asked before CONNECT, told after CONNACK and before DISCONNECT.

use bessai_domain::message::Qos;
use bessai_domain::session::{Endpoint, Login, Password, Protocol, Request, Welcome};
use bessai_domain::time::Timestamp;

use super::bindings::{self, session as guest};
use super::secrets::Secrets;
use super::{CallError, Plugin, Processed, Returned, convert, log};

/// Shortest silence after which the link is looked at, in seconds; a plugin that asks for less, or for no look at all, gets
/// this.
const KEEP_ALIVE_MIN_S: u16 = 5;

/// Why a plugin gave no login.
#[derive(Debug)]
pub enum ConnectError {
    /// It says that it cannot now, or names a secret that is not there.
    Refused(String),
    /// The instance is gone.
    Broken(String),
}

impl Plugin {
    /// Whether it decides how its feed signs in; the calls below are for such a plugin alone.
    pub fn has_session(&self) -> bool {
        self.loaded.has_session()
    }

    /// How to sign in. A secret that the plugin names is put in here.
    pub async fn connect(&mut self, request: &Request) -> Result<Login, ConnectError> {
        let guest_request = self::request(request);
        let returned = self.call(request.at.nanos(), |instance| instance.connect(guest_request)).await;
        let Returned { instance, value, .. } = returned.map_err(ConnectError::Broken)?;
        let login = match value {
            Ok(login) => login,
            Err(reason) => {
                self.undo(instance);
                return Err(ConnectError::Refused(format!("the plugin says: {}", log::one_line(&reason))));
            }
        };
        match self::login(login, &self.settings.secrets) {
            Ok(login) => {
                // Nonsense costs the instance, as a trap does.
                login.check().map_err(|fault| ConnectError::Broken(format!("returned {fault}")))?;
                self.keep(instance);
                Ok(login)
            }
            Err(reason) => {
                self.undo(instance);
                Err(ConnectError::Refused(reason))
            }
        }
    }

    /// What it publishes first in a session.
    pub async fn connected(&mut self, welcome: &Welcome) -> Result<Processed, CallError> {
        let at = welcome.at.nanos();
        let guest_welcome = self::welcome(welcome);
        let returned = self.call(at, |instance| instance.connected(guest_welcome)).await;
        self.take_messages(returned.map_err(CallError::Broken)?)
    }

    /// What it publishes last before an intended DISCONNECT.
    pub async fn closing(&mut self, at: Timestamp) -> Result<Processed, CallError> {
        let returned = self.call(at.nanos(), |instance| instance.closing(at.nanos())).await;
        let Returned { instance, value, took } = returned.map_err(CallError::Broken)?;
        self.take_messages(Returned { instance, value: Ok(value), took })
    }
}

fn protocol(protocol: Protocol) -> guest::Protocol {
    match protocol {
        Protocol::V311 => guest::Protocol::V311,
        Protocol::V5 => guest::Protocol::V5,
    }
}

fn request(request: &Request) -> guest::Request {
    guest::Request {
        host: request.endpoint.host.clone(),
        port: request.endpoint.port,
        protocol: protocol(request.protocol),
        at: request.at.nanos(),
        attempt: request.attempt,
    }
}

fn welcome(welcome: &Welcome) -> guest::Welcome {
    guest::Welcome {
        at: welcome.at.nanos(),
        protocol: protocol(welcome.protocol),
        session_present: welcome.session_present,
        max_packet: welcome.max_packet,
        max_qos: match welcome.max_qos {
            Qos::AtMostOnce => bindings::Qos::AtMostOnce,
            Qos::AtLeastOnce => bindings::Qos::AtLeastOnce,
            Qos::ExactlyOnce => bindings::Qos::ExactlyOnce,
        },
        retain: welcome.retain,
    }
}

fn login(login: guest::Login, secrets: &Secrets) -> Result<Login, String> {
    Ok(Login {
        endpoint: login.endpoint.map(|endpoint| Endpoint { host: endpoint.host, port: endpoint.port }),
        protocol: login.protocol.map(|protocol| match protocol {
            guest::Protocol::V311 => Protocol::V311,
            guest::Protocol::V5 => Protocol::V5,
        }),
        client_id: login.client_id,
        username: login.username,
        password: login.password.map(|password| self::password(password, secrets)).transpose()?,
        clean_start: login.clean_start,
        session_expiry_s: login.session_expiry_s,
        keep_alive_s: login.keep_alive_s.map(|seconds| seconds.max(KEEP_ALIVE_MIN_S)),
        will: login.will.map(convert::message),
        properties: login.properties,
        renew_at: login.renew_at.map(Timestamp::from_nanos),
    })
}

fn password(password: guest::Password, secrets: &Secrets) -> Result<Password, String> {
    let name = match password {
        guest::Password::Text(text) => return Ok(Password(text.into_bytes())),
        guest::Password::Secret(name) => name,
    };
    let shown = log::one_line(&name);
    match secrets.value(&name) {
        None => {
            Err(format!("the plugin names the secret \"{shown}\", which the feed does not have: add it to [secrets]"))
        }
        Some(Err(error)) => Err(format!("failed to read the secret \"{shown}\": {error}")),
        Some(Ok(value)) => Ok(Password(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::ReadKey;
    use std::collections::BTreeMap;

    #[test]
    fn a_secret_takes_the_place_of_its_name() {
        let good: ReadKey = Box::new(|| Ok(b"pa55".to_vec()));
        let bad: ReadKey = Box::new(|| Err("/run/key: no such file".into()));
        let secrets = Secrets::new(BTreeMap::from([("good".to_owned(), good), ("bad".to_owned(), bad)]));
        let put_in = |name: &str| password(guest::Password::Secret(name.into()), &secrets);
        assert_eq!(put_in("good"), Ok(Password(b"pa55".to_vec())));
        assert!(put_in("bad").unwrap_err().contains("the secret \"bad\": /run/key: no such file"));
        assert!(put_in("none").unwrap_err().contains("the secret \"none\", which the feed does not have"));
        assert_eq!(password(guest::Password::Text("t".into()), &secrets), Ok(Password(b"t".to_vec())));
    }
}
