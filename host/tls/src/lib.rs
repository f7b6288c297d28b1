//! TLS for MQTT and Modbus: certificates are read from files, errors say what to change.
//!
//! The only crate that uses rustls.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::float_cmp,
        clippy::panic,
        clippy::expect_used,
        clippy::disallowed_methods
    )
)]

pub mod server;
mod validity;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub use validity::{Validity, validities};

/// Time for reading certificates and keys.
const READ_LIMIT: Duration = Duration::from_secs(5);

/// Which certificates a client trusts, and which it presents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Trusted root certificates, PEM; without a file, the system's.
    pub ca: Option<PathBuf>,
    /// The client's certificate chain and its private key, PEM.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The application protocol to request by ALPN.
    pub alpn: Option<String>,
}

/// Reads the files and builds a client configuration. The error names the file and what to change.
pub fn client(settings: &Settings) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("failed to set up TLS: {error}"))?
        .with_root_certificates(roots(settings.ca.as_deref())?);
    let mut config = match &settings.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = certificates(certificate)?;
            let key_file = key.display();
            let key = private_key(key)?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| format!("{} and {key_file} do not belong together: {error}", certificate.display()))?
        }
    };
    config.alpn_protocols = settings.alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    Ok(Arc::new(config))
}

/// Performs the handshake with the device `server_name` over a stream. The files are read each time, so renewed
/// certificates need no restart.
pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
    settings: &Settings,
    server_name: &str,
    stream: S,
) -> Result<TlsStream<S>, String> {
    let files = settings.clone();
    let owner = format!("TLS with {server_name}");
    let config = bessai_files::off_main_loop(&owner, READ_LIMIT, move || client(&files)).await;
    let config = config.map_err(|error| format!("failed to read certificates: {error}"))??;
    let name = ServerName::try_from(server_name.to_owned())
        .map_err(|_| format!("{server_name:?} is not a valid server name"))?;
    TlsConnector::from(config).connect(name, stream).await.map_err(|error| {
        let reason = explain_as(&DEVICE, &error).unwrap_or_else(|| error.to_string());
        format!("TLS with {server_name} failed: {reason}")
    })
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            for certificate in certificates(path)? {
                roots
                    .add(certificate)
                    .map_err(|error| format!("{} contains an invalid certificate: {error}", path.display()))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err("this system has no trusted certificates; install ca-certificates or set a CA file".into());
            }
        }
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let failed =
        |reason: &dyn std::fmt::Display| format!("failed to read certificates from {}: {reason}", path.display());
    let pem = bessai_files::read(path, bessai_files::CERTIFICATE_BYTES).map_err(|error| failed(&error))?;
    match CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>() {
        Ok(certificates) if certificates.is_empty() => Err(format!("{} contains no PEM certificate", path.display())),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(failed(&describe_pem(&error))),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let failed =
        |reason: &dyn std::fmt::Display| format!("failed to read a private key from {}: {reason}", path.display());
    let pem = bessai_files::read(path, bessai_files::SECRET_BYTES).map_err(|error| failed(&error))?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| failed(&describe_pem(&error)))
}

/// What is wrong with a PEM file, without quoting it: it may hold a key.
fn describe_pem(error: &rustls::pki_types::pem::Error) -> &'static str {
    use rustls::pki_types::pem::Error;
    match error {
        Error::NoItemsFound => "it contains none in PEM format",
        _ => "it is not valid PEM",
    }
}

/// How errors name the other end and its settings.
struct Peer {
    kind: &'static str,
    ca_setting: &'static str,
    name_setting: &'static str,
}

/// An MQTT broker; its settings are environment variables.
const BROKER: Peer = Peer { kind: "broker", ca_setting: "MQTT_TLS_CA_CERT_PATH", name_setting: "MQTT_BROKER_URL" };
/// A Modbus device; its settings are keys of its `[[device]]`.
const DEVICE: Peer =
    Peer { kind: "device", ca_setting: "the device's `ca`", name_setting: "the device's `server_name`" };

/// What an error of a connection to a broker means, if it is a TLS error.
pub fn explain(error: &(dyn Error + 'static)) -> Option<String> {
    explain_as(&BROKER, error)
}

/// The same for a connection to a Modbus device. In TLS 1.3 a refused client certificate shows only after the handshake.
pub fn explain_device(error: &(dyn Error + 'static)) -> Option<String> {
    explain_as(&DEVICE, error)
}

fn explain_as(peer: &Peer, error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return Some(describe(peer, error));
    }
    let inner = error.downcast_ref::<std::io::Error>()?.get_ref()?;
    inner.downcast_ref::<rustls::Error>().map(|error| describe(peer, error))
}

fn describe(peer: &Peer, error: &rustls::Error) -> String {
    let Peer { kind, ca_setting, name_setting } = peer;
    match error {
        rustls::Error::InvalidCertificate(problem) => match problem {
            CertificateError::UnknownIssuer => {
                format!("the {kind}'s certificate is from a CA that is not trusted; check {ca_setting}")
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                format!("the {kind}'s certificate has expired; renew it, or check this machine's clock")
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                format!("the {kind}'s certificate is not valid yet; check this machine's clock")
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                format!("the {kind}'s certificate is for another name; use that name in {name_setting}")
            }
            other => format!("the {kind}'s certificate is invalid: {other:?}"),
        },
        rustls::Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol) => {
            format!("the {kind} does not support the protocol requested by ALPN; check `alpn` and the port")
        }
        rustls::Error::AlertReceived(alert) => {
            format!(
                "the {kind} refused the handshake (alert {alert:?}); check whether it requires another client certificate"
            )
        }
        rustls::Error::InvalidMessage(_) => format!("the {kind} does not speak TLS on this port"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        std::fs::write(&path, text).unwrap();
        client(&Settings { ca: Some(path), ..Settings::default() }).unwrap_err()
    }

    #[test]
    fn files_without_certificates_are_named() {
        assert!(error("").ends_with("ca.pem contains no PEM certificate"), "{}", error(""));
        let broken = "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n";
        assert!(error(broken).contains("is not valid PEM"), "{}", error(broken));
        let missing = client(&Settings { ca: Some("/nonexistent/ca.pem".into()), ..Settings::default() });
        assert!(missing.unwrap_err().contains("/nonexistent/ca.pem"));
    }

    #[test]
    fn certificate_errors_say_what_to_change() {
        let check = |problem, expected: &str| {
            let inner = rustls::Error::InvalidCertificate(problem);
            let error = std::io::Error::new(std::io::ErrorKind::InvalidData, inner);
            assert!(explain(&error).unwrap().contains(expected));
        };
        check(CertificateError::UnknownIssuer, "not trusted");
        check(CertificateError::Expired, "expired");
        check(CertificateError::NotValidForName, "another name");
        assert_eq!(explain(&std::io::Error::other("x")), None);
    }
}
