//! TLS for the rooms that speak it: certificates from files, errors in words.
//!
//! The only user of rustls.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Which certificates to trust and to show.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Roots to trust, PEM; the system's where there is none.
    pub ca: Option<PathBuf>,
    /// Our certificate chain and its key, PEM.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The application protocol to ask for.
    pub alpn: Option<String>,
}

/// Reads the files and makes a configuration. The error names the file and the mend.
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
            let key = PrivateKeyDer::from_pem_file(key)
                .map_err(|error| format!("failed to read a private key from {key_file}: {}", pem(&error)))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| format!("{} and {key_file} do not belong together: {error}", certificate.display()))?
        }
    };
    config.alpn_protocols = settings.alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    Ok(Arc::new(config))
}

/// Speaks TLS with the server of that name over a stream. The files are read anew each time: certificates get renewed.
pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
    settings: &Settings,
    server_name: &str,
    stream: S,
) -> Result<TlsStream<S>, String> {
    let config = client(settings)?;
    let name = ServerName::try_from(server_name.to_owned())
        .map_err(|_| format!("{server_name:?} is no name that a certificate can have"))?;
    TlsConnector::from(config).connect(name, stream).await.map_err(|error| {
        let explained = explain_of(&DEVICE, &error);
        format!("no TLS with {server_name}: {}", explained.unwrap_or_else(|| error.to_string()))
    })
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| format!("{} has a bad certificate: {error}", path.display()))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err("this system has no trusted certificates: install ca-certificates or set a CA file".into());
            }
        }
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(certificates) if certificates.is_empty() => {
            Err(format!("{} holds no certificate: write one in PEM", path.display()))
        }
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(format!("failed to read certificates from {}: {}", path.display(), pem(&error))),
    }
}

/// What is wrong with a PEM file, without its content.
fn pem(error: &rustls::pki_types::pem::Error) -> String {
    use rustls::pki_types::pem::Error;
    match error {
        Error::Io(error) => error.to_string(),
        Error::NoItemsFound => "it holds none in PEM".into(),
        _ => "it is not sound PEM".into(),
    }
}

/// The other end, as messages call it and its settings.
struct Peer {
    who: &'static str,
    ca: &'static str,
    name: &'static str,
}

const BROKER: Peer = Peer { who: "broker", ca: "MQTT_TLS_CA_CERT_PATH", name: "MQTT_BROKER_URL" };
const DEVICE: Peer = Peer { who: "device", ca: "the device's `ca`", name: "the device's `server_name`" };

/// What an error of a broker's handshake means, if it is one of TLS.
pub fn explain(error: &(dyn Error + 'static)) -> Option<String> {
    explain_of(&BROKER, error)
}

/// The same of a Modbus device, once it is connected: TLS 1.3 refuses a client's certificate only then.
pub fn explain_device(error: &(dyn Error + 'static)) -> Option<String> {
    explain_of(&DEVICE, error)
}

fn explain_of(peer: &Peer, error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return Some(sentence(peer, error));
    }
    let inner = error.downcast_ref::<std::io::Error>()?.get_ref()?;
    inner.downcast_ref::<rustls::Error>().map(|error| sentence(peer, error))
}

fn sentence(peer: &Peer, error: &rustls::Error) -> String {
    let Peer { who, ca, name } = peer;
    match error {
        rustls::Error::InvalidCertificate(problem) => match problem {
            CertificateError::UnknownIssuer => {
                format!("the {who}'s certificate is from a CA that is not trusted; check {ca}")
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                format!("the {who}'s certificate has expired; renew it there, or check this machine's clock")
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                format!("the {who}'s certificate is not valid yet; check this machine's clock")
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                format!("the {who}'s certificate is for another name; write the name in it into {name}")
            }
            other => format!("the {who}'s certificate is not accepted: {other:?}"),
        },
        rustls::Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol) => {
            format!("the {who} does not speak the protocol that is asked for by ALPN; check `alpn`, and the port")
        }
        rustls::Error::AlertReceived(alert) => {
            format!("the {who} refuses with alert {alert:?}; does it want another client certificate?")
        }
        rustls::Error::InvalidMessage(_) => format!("the {who} does not speak TLS on this port"),
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
    fn files_that_are_no_certificates_are_named() {
        assert!(error("").ends_with("ca.pem holds no certificate: write one in PEM"), "{}", error(""));
        let broken = "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n";
        assert!(error(broken).contains("is not sound PEM"), "{}", error(broken));
        let missing = client(&Settings { ca: Some("/nonexistent/ca.pem".into()), ..Settings::default() });
        assert!(missing.unwrap_err().contains("/nonexistent/ca.pem"));
    }

    #[test]
    fn certificate_errors_are_told_with_the_mend() {
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
