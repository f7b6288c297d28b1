//! Converts sign-ins between the domain and the contract, and replaces the name of a secret with its value.

use bessai_domain::session::{Endpoint, Login, Password, Protocol, SignInRequest, Welcome};
use bessai_domain::time::Timestamp;

use crate::bindings::session as guest;
use crate::log::one_line;
use crate::secrets::Secrets;
use crate::{commands, convert};

pub(crate) use crate::bindings::session::Login as GuestLogin;

/// Shortest keep-alive in seconds; a plugin that asks for less, or for 0 (none), gets this.
const KEEP_ALIVE_MIN_S: u16 = 5;

pub(crate) fn request(request: &SignInRequest) -> guest::Request {
    guest::Request {
        host: request.endpoint.host.clone(),
        port: request.endpoint.port,
        protocol: protocol(request.protocol),
        at: request.at.nanos(),
        attempt: request.attempt,
    }
}

pub(crate) fn welcome(welcome: &Welcome) -> guest::Welcome {
    guest::Welcome {
        at: welcome.at.nanos(),
        protocol: protocol(welcome.protocol),
        session_present: welcome.session_present,
        max_packet: welcome.max_packet,
        max_qos: commands::guest_qos(welcome.max_qos),
        retain: welcome.retain,
    }
}

fn protocol(protocol: Protocol) -> guest::Protocol {
    match protocol {
        Protocol::V311 => guest::Protocol::V311,
        Protocol::V5 => guest::Protocol::V5,
    }
}

pub(crate) fn login(login: GuestLogin, secrets: &Secrets) -> Result<Login, String> {
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
        provisioning: login.provisioning,
        receives: false,
    })
}

fn password(password: guest::Password, secrets: &Secrets) -> Result<Password, String> {
    let name = match password {
        guest::Password::Text(text) => return Ok(Password(text.into_bytes())),
        guest::Password::Secret(name) => name,
    };
    let shown = one_line(&name);
    match secrets.value(&name) {
        None => {
            Err(format!("the plugin uses the secret \"{shown}\", which the feed does not have; add it to [secrets]"))
        }
        Some(Err(error)) => Err(format!("failed to read the secret \"{shown}\": {error}")),
        Some(Ok(value)) => Ok(Password(value)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::ReadSecret;

    #[test]
    fn the_name_of_a_secret_is_replaced_with_its_value() {
        let good: ReadSecret = Box::new(|| Ok(b"pa55".to_vec()));
        let bad: ReadSecret = Box::new(|| Err("/run/key: no such file".into()));
        let secrets = Secrets::new(BTreeMap::from([("good".to_owned(), good), ("bad".to_owned(), bad)]));
        let secret = |name: &str| password(guest::Password::Secret(name.into()), &secrets);
        assert_eq!(secret("good"), Ok(Password(b"pa55".to_vec())));
        assert!(secret("bad").unwrap_err().contains("the secret \"bad\": /run/key: no such file"));
        assert!(secret("none").unwrap_err().contains("the secret \"none\", which the feed does not have"));
        assert_eq!(password(guest::Password::Text("t".into()), &secrets), Ok(Password(b"t".to_vec())));
    }
}
