//! TLS for the rooms that speak it: certificates from files, errors in words.
//!
//! The only user of rustls.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{CertificateError, ClientConfig, RootCertStore};

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

/// What an error of a handshake means, if it is one of TLS.
pub fn explain(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return Some(sentence(error));
    }
    let inner = error.downcast_ref::<std::io::Error>()?.get_ref()?;
    inner.downcast_ref::<rustls::Error>().map(sentence)
}

fn sentence(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(problem) => match problem {
            CertificateError::UnknownIssuer => {
                "the broker's certificate is from a CA that is not trusted; check MQTT_TLS_CA_CERT_PATH".into()
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the broker's certificate has expired; renew it there, or check this machine's clock".into()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the broker's certificate is not valid yet; check this machine's clock".into()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "the broker's certificate is for another name; write the name in it into MQTT_BROKER_URL".into()
            }
            other => format!("the broker's certificate is not accepted: {other:?}"),
        },
        rustls::Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol) => {
            "the broker does not speak the protocol that is asked for by ALPN; check `alpn`, and the port".into()
        }
        rustls::Error::AlertReceived(alert) => {
            format!("the broker refuses with alert {alert:?}; does it want another client certificate?")
        }
        rustls::Error::InvalidMessage(_) => "the broker does not speak TLS on this port".into(),
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
