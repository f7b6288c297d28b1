//! A plugin that signs in with a token that it signs itself, as for Azure IoT Hub, and publishes the sequence number of
//! each event. Its settings can make sign-ins fail.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

use bessai_plugin::{
    Config, Endpoint, Event, Failure, Frame, Gap, Login, Message, Messages, Password, Plugin, Protocol, Request,
    Safety, SignsIn, Site, Timestamp, Welcome, secrets, state,
};

mod token;

/// The secret's name in the feed's settings.
const KEY: &str = "device-key";
/// The state's key for the number of sign-ins.
const SIGN_INS: &str = "sign-ins";
/// Nanoseconds.
const SECOND: u64 = 1_000_000_000;

/// A device of a hub.
pub struct Signer {
    hub: String,
    device: String,
    topic: String,
    /// Seconds that a token is valid.
    valid_s: u64,
    /// Seconds after which the sign-in is renewed.
    renew_s: Option<u64>,
    /// How sign-ins fail: `error` or `trap`.
    fails: Option<String>,
    /// How many sign-ins fail.
    times: f64,
    /// The host and port to sign in at instead.
    endpoint: Option<(String, u16)>,
    protocol: Protocol,
    /// Bytes added to the payload of every frame.
    padding: usize,
}

impl Plugin for Signer {
    fn configure(_site: &Site, config: &str) -> Result<Self, String> {
        let mut config = Config::read(config)?;
        let text = |config: &mut Config, key: &str, default: &str| {
            config.text(key).map(|text| text.unwrap_or_else(|| default.to_owned()))
        };
        let device = text(&mut config, "device", "device-1")?;
        let port = config.number("port")?.map(whole).and_then(|port| u16::try_from(port).ok());
        let signer = Self {
            hub: text(&mut config, "hub", "hub.example.com")?,
            topic: format!("devices/{device}/messages/events/"),
            device,
            valid_s: config.number("valid_s")?.map_or(3600, whole),
            renew_s: config.number("renew_s")?.map(whole),
            fails: config.text("fails")?,
            times: config.number("times")?.unwrap_or(f64::INFINITY),
            protocol: if config.text("protocol")?.as_deref() == Some("5") { Protocol::V5 } else { Protocol::V311 },
            endpoint: config.text("host")?.zip(port),
            padding: config.number("padding")?.map(whole).and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(0),
        };
        config.finish()?;
        Ok(signer)
    }

    fn frame(&mut self, event: &Event, _frame: &Frame, out: &mut Messages) -> Result<(), Failure> {
        self.publish_event(event, self.padding, out)
    }

    fn safety(&mut self, event: &Event, _safety: &Safety, out: &mut Messages) -> Result<(), Failure> {
        self.publish_event(event, 0, out)
    }

    fn device(&mut self, event: &Event, _: &bessai_plugin::DeviceStatus, out: &mut Messages) -> Result<(), Failure> {
        self.publish_event(event, 0, out)
    }

    fn heartbeat(&mut self, event: &Event, out: &mut Messages) -> Result<(), Failure> {
        self.publish_event(event, 0, out)
    }

    fn gap(&mut self, _event: &Event, _gap: &Gap, _out: &mut Messages) -> Result<(), Failure> {
        // A gap stands for missing events, whose numbers must not be published.
        Ok(())
    }
}

impl SignsIn for Signer {
    fn connect(&mut self, request: &Request) -> Result<Login, String> {
        if f64::from(request.attempt) < self.times {
            match self.fails.as_deref() {
                Some("trap") => std::process::abort(),
                Some(what) => return Err(format!("no token yet: {what}")),
                None => {}
            }
        }
        let nth = sign_ins() + 1;
        state::set(SIGN_INS, nth.to_string().as_bytes()).map_err(|_| "the state is full")?;
        let (hub, device) = (&self.hub, &self.device);
        let expiry_s = request.at / SECOND + self.valid_s;
        let token = token::make(&format!("{hub}/devices/{device}"), expiry_s, |data| secrets::hmac_sha256(KEY, data))
            .map_err(|error| format!("failed to sign the token with {KEY}: {error:?}"))?;
        Ok(Login {
            endpoint: self.endpoint.clone().map(|(host, port)| Endpoint { host, port }),
            protocol: Some(self.protocol),
            client_id: Some(device.clone()),
            username: Some(format!("{hub}/{device}/?api-version=2021-04-12")),
            password: Some(Password::Text(token)),
            clean_start: Some(true),
            will: Some(Message::new(&self.topic, r#"{"says":"will"}"#)),
            renew_at: self.renew_s.map(|seconds| request.at + seconds * SECOND),
            ..Login::default()
        })
    }

    fn connected(&mut self, _welcome: &Welcome, out: &mut Messages) -> Result<(), Failure> {
        self.publish_text("birth", out);
        Ok(())
    }

    fn closing(&mut self, _at: Timestamp, out: &mut Messages) {
        self.publish_text("farewell", out);
    }
}

impl Signer {
    fn publish_event(&self, event: &Event, padding: usize, out: &mut Messages) -> Result<(), Failure> {
        let (sequence, padding) = (event.sequence, "x".repeat(padding));
        out.push(Message::new(&self.topic, format!(r#"{{"sequence":{sequence},"padding":"{padding}"}}"#)));
        Ok(())
    }

    fn publish_text(&self, text: &str, out: &mut Messages) {
        out.push(Message::new(&self.topic, format!(r#"{{"says":"{text}","sign_ins":{}}}"#, sign_ins())));
    }
}

fn sign_ins() -> u64 {
    let stored = state::get(SIGN_INS).and_then(|stored| String::from_utf8(stored).ok());
    stored.and_then(|stored| stored.parse().ok()).unwrap_or(0)
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "settings of a test")]
fn whole(number: f64) -> u64 {
    number as u64
}

bessai_plugin::export!(Signer, session);

#[cfg(test)]
mod tests {
    use super::*;
    use bessai_plugin::testing::{Harness, START, secret, site, stored};

    #[test]
    fn it_signs_in_as_a_device_of_its_hub() {
        let config = r#"{"hub":"hub.net","device":"d","valid_s":60,"renew_s":20}"#;
        let mut harness = Harness::<Signer>::new(site("S"), config).unwrap();
        secret(KEY, b"hub.net%2Fdevices%2Fd\n1740151260", &[0xff; 32]);
        let login = harness.connect(0).unwrap();
        assert_eq!(login.username.as_deref(), Some("hub.net/d/?api-version=2021-04-12"));
        assert_eq!((login.client_id.as_deref(), login.renew_at), (Some("d"), Some(START + 20 * SECOND)));
        assert_eq!(stored(SIGN_INS), Some(b"1".to_vec()));
        assert_eq!(harness.connected().unwrap()[0].payload, br#"{"says":"birth","sign_ins":1}"#);
        assert_eq!(harness.closing()[0].topic, "devices/d/messages/events/");
    }
}
