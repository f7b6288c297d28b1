//! Example plugin for a broker that wants a JSON Web Token as password: the token is signed by a key that stays in the
//! gateway, and is renewed before it expires.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

use bessai_plugin::secrets::{self, Algorithm, SecretError};
use bessai_plugin::{
    Config, Event, Failure, Frame, Login, Message, Messages, Password, Plugin, Request, SignsIn, Site, json,
};

/// The secret with the private key, in the feed's `[secrets]`.
const KEY: &str = "token-key";
/// Seconds for which a token is valid, and the part of them after which it is renewed.
const LIFETIME_S: f64 = 3600.0;
const RENEWED_AFTER: f64 = 0.9;
/// Nanoseconds.
const SECOND: u64 = 1_000_000_000;

/// What the tokens say, and the topic of the readings.
pub struct ExampleToken {
    topic: String,
    user: String,
    audience: Option<String>,
    algorithm: Algorithm,
    lifetime_s: u64,
}

impl Plugin for ExampleToken {
    fn configure(site: &Site, config: &str) -> Result<Self, String> {
        let mut config = Config::read(config)?;
        let topic = config.text("topic")?.unwrap_or_else(|| format!("{}/reading", site.id));
        let user = config.text("user")?.unwrap_or_else(|| site.id.clone());
        let audience = config.text("audience")?;
        let algorithm = match config.text("algorithm")?.as_deref() {
            None | Some("ES256") => Algorithm::Es256,
            Some("RS256") => Algorithm::Rs256,
            Some("EdDSA") => Algorithm::Ed25519,
            Some(other) => {
                return Err(format!("config.algorithm = {other:?}: write \"ES256\", \"RS256\" or \"EdDSA\""));
            }
        };
        let lifetime_s = config.number("lifetime_s")?.unwrap_or(LIFETIME_S);
        config.finish()?;
        if !(10.0..=86_400.0).contains(&lifetime_s) {
            return Err(format!("config.lifetime_s = {lifetime_s}: write 10 to 86400"));
        }
        Ok(Self { topic, user, audience, algorithm, lifetime_s: whole(lifetime_s) })
    }

    fn frame(&mut self, event: &Event, frame: &Frame, out: &mut Messages) -> Result<(), Failure> {
        let mut payload = json::Writer::default();
        payload.number(&json::Key::new("ts"), json::seconds(event.at));
        payload.number(&json::Key::new("source"), f64::from(frame.source));
        out.push(Message::new(&self.topic, payload.finish()));
        Ok(())
    }
}

impl SignsIn for ExampleToken {
    fn connect(&mut self, request: &Request) -> Result<Login, String> {
        let now_s = request.at / SECOND;
        let token = self.token(now_s)?;
        let renewed_after = whole(to_float(self.lifetime_s) * RENEWED_AFTER);
        Ok(Login {
            username: Some(self.user.clone()),
            password: Some(Password::Text(token)),
            renew_at: Some((now_s + renewed_after) * SECOND),
            ..Login::default()
        })
    }
}

bessai_plugin::export!(ExampleToken, session);

impl ExampleToken {
    /// A token in the compact form: header, claims and signature (RFC 7519).
    fn token(&self, now_s: u64) -> Result<String, String> {
        let algorithm = match self.algorithm {
            Algorithm::Es256 => "ES256",
            Algorithm::Rs256 => "RS256",
            Algorithm::Ed25519 => "EdDSA",
        };
        let mut header = json::Writer::default();
        header.text(&json::Key::new("alg"), algorithm);
        header.text(&json::Key::new("typ"), "JWT");
        let mut claims = json::Writer::default();
        claims.text(&json::Key::new("sub"), &self.user);
        if let Some(audience) = &self.audience {
            claims.text(&json::Key::new("aud"), audience);
        }
        claims.integer(&json::Key::new("iat"), to_float(now_s));
        claims.integer(&json::Key::new("exp"), to_float(now_s + self.lifetime_s));
        let signed = format!("{}.{}", base64url(&header.finish()), base64url(&claims.finish()));
        let signature = secrets::sign(KEY, self.algorithm, signed.as_bytes()).map_err(|error| match error {
            SecretError::Unknown => format!("[secrets] has no {KEY}: write the file with the private key in PEM"),
            SecretError::Denied => format!("[secrets] {KEY} cannot be read: the gateway's log says why"),
            SecretError::Unsuitable(reason) => format!("[secrets] {KEY}: {reason}"),
        })?;
        Ok(format!("{signed}.{}", base64url(&signature)))
    }
}

/// Base64 for URLs, without padding (RFC 4648 §5).
fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..=chunk.len() {
            let index = (bits >> (18 - 6 * digit)) & 63;
            text.push(char::from(DIGITS.get(index as usize).copied().unwrap_or(b'A')));
        }
    }
    text
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds of a day at most")]
fn whole(number: f64) -> u64 {
    number as u64
}

#[allow(clippy::cast_precision_loss, reason = "seconds since 1970 fit into 53 bits")]
fn to_float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use bessai_plugin::testing::{Harness, START, secret, site};

    #[test]
    fn a_token_is_signed_and_renewed() {
        let config = r#"{"user":"u","audience":"a","algorithm":"EdDSA","lifetime_s":100}"#;
        let mut harness = Harness::<ExampleToken>::new(site("S"), config).unwrap();
        let signed = "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJ1IiwiYXVkIjoiYSIsImlhdCI6MTc0MDE1MTIwMCwiZXhwIjoxNzQwMTUxMzAwfQ";
        assert!(harness.connect(0).unwrap_err().contains("[secrets] has no token-key"));
        secret(KEY, signed.as_bytes(), &[0xff, 0xfe]);
        let login = harness.connect(0).unwrap();
        assert_eq!(login.password, Some(Password::Text(format!("{signed}.__4"))));
        assert_eq!((login.username.as_deref(), login.renew_at), (Some("u"), Some(START + 90 * SECOND)));
        let refused = |config: &str| Harness::<ExampleToken>::new(site("S"), config).err().unwrap();
        assert!(refused(r#"{"algorithm":"none"}"#).contains("write \"ES256\", \"RS256\" or \"EdDSA\""));
        assert!(refused(r#"{"lifetime_s":1}"#).contains("write 10 to 86400"));
    }

    #[test]
    fn texts_of_every_length_are_encoded() {
        // From RFC 4648 §10, without padding.
        for (text, expected) in [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg")] {
            assert_eq!(base64url(text.as_bytes()), expected);
        }
    }
}
