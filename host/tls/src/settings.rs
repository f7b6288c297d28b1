//! Settings of a TLS client: what it trusts, what it presents, and the name of each setting where it is set.

use std::path::PathBuf;

use crate::pin::Pin;

/// Which certificates a client trusts, and which it presents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// What the other end is.
    pub peer: Peer,
    /// Trusted certificates, PEM or DER: CA certificates, and the other end's own; without a file, the system's.
    pub ca: Option<PathBuf>,
    /// The only key that the other end may have.
    pub pin: Option<Pin>,
    /// The name in the other end's certificate, if it differs from the host.
    pub server_name: Option<String>,
    /// The client's certificate and its private key.
    pub identity: Option<Identity>,
    /// The application protocol to request by ALPN.
    pub alpn: Option<String>,
    /// How errors name these settings.
    pub names: SettingNames,
}

/// A client's certificate and its private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The certificate chain, PEM or DER.
    pub certificate: PathBuf,
    /// The private key.
    pub key: KeySource,
}

/// Where a private key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// In a file, PEM or DER.
    File(PathBuf),
    /// In a token, such as an HSM or a TPM, that a PKCS#11 module reaches.
    Token {
        /// The module's shared library.
        module: PathBuf,
        /// The key's URI (RFC 7512).
        uri: String,
    },
}

impl Identity {
    /// A certificate in a file, and its key there or, with a module, in a token.
    pub fn new(certificate: impl Into<PathBuf>, key: PathBuf, module: Option<PathBuf>) -> Self {
        let key = match (key.to_str().filter(|key| is_token_uri(key)), module) {
            (Some(uri), Some(module)) => KeySource::Token { module, uri: uri.to_owned() },
            _ => KeySource::File(key),
        };
        Self { certificate: certificate.into(), key }
    }

    /// A certificate and a key in files.
    pub fn from_files(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self { certificate: certificate.into(), key: KeySource::File(key.into()) }
    }
}

/// Whether a key's setting is the URI of a key in a token.
pub fn is_token_uri(key: &str) -> bool {
    key.starts_with("pkcs11:")
}

/// What the other end of a connection is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Peer {
    /// An MQTT broker.
    #[default]
    Broker,
    /// A Modbus device.
    Device,
}

impl Peer {
    /// Its name in errors.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Broker => "broker",
            Self::Device => "device",
        }
    }
}

/// How settings are called at the place where they stand: `broker.ca` in a file, or `MQTT_TLS_CA_CERT_PATH`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SettingNames {
    prefix: String,
    elsewhere: Vec<(&'static str, String)>,
}

impl SettingNames {
    /// Settings that are keys of one table, each written with this prefix.
    pub fn new(prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), elsewhere: Vec::new() }
    }

    /// This setting stands elsewhere, for example in a variable.
    pub fn set(&mut self, key: &'static str, name: impl Into<String>) {
        self.elsewhere.retain(|(known, _)| *known != key);
        self.elsewhere.push((key, name.into()));
    }

    /// The name of a setting.
    pub fn of(&self, key: &str) -> String {
        let elsewhere = self.elsewhere.iter().find(|(known, _)| *known == key);
        elsewhere.map_or_else(|| format!("{}{key}", self.prefix), |(_, name)| name.clone())
    }
}

/// A setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingError {
    /// The setting's name where it stands.
    pub setting: String,
    /// Its value, unless that is secret or there is none.
    pub value: Option<String>,
    /// What is wrong and what to do about it.
    pub reason: String,
}

impl std::fmt::Display for SettingError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.setting)?;
        if let Some(value) = &self.value {
            write!(f, " = {value}")?;
        }
        write!(f, ": {}", self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_named_where_they_stand() {
        let mut names = SettingNames::new("acme.toml: broker.");
        assert_eq!(names.of("ca"), "acme.toml: broker.ca");
        names.set("ca", "MQTT_TLS_CA_CERT_PATH");
        assert_eq!(
            (names.of("ca").as_str(), names.of("cert").as_str()),
            ("MQTT_TLS_CA_CERT_PATH", "acme.toml: broker.cert")
        );
    }
}
