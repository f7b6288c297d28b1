//! The server's end of TLS, for simulated devices: the gateway itself accepts no TLS connections.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
pub use tokio_rustls::server::TlsStream;

use crate::key::{self, KeyPassword};
use crate::pem;

/// Which certificate a server presents, and which it requires.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// The server's certificate chain and its key, PEM.
    pub identity: (PathBuf, PathBuf),
    /// The roots that must have issued the clients' certificates, PEM; none where clients need no certificate.
    pub client_ca: Option<PathBuf>,
}

/// Accepts TLS connections; clones share its configuration.
#[derive(Clone, Debug)]
pub struct Acceptor(Arc<ServerConfig>);

impl Acceptor {
    /// Reads the files.
    ///
    /// # Errors
    /// When a file cannot be read or used; the error names it.
    pub fn new(settings: &ServerSettings) -> Result<Self, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("failed to set up TLS: {error}"))?;
        let builder = match &settings.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for certificate in pem::certificates(path)? {
                    let invalid = |error| format!("{} contains an invalid certificate: {error}", path.display());
                    roots.add(certificate).map_err(invalid)?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build();
                let unusable = |error| format!("{} has no usable CA certificate: {error}", path.display());
                builder.with_client_cert_verifier(verifier.map_err(unusable)?)
            }
        };
        let (certificate, key) = &settings.identity;
        let chain = pem::certificates(certificate)?;
        let (certificate, key_file) = (certificate.display(), key.display());
        let key = key::read(key, KeyPassword::default()).map_err(|error| format!("{key_file}: {error}"))?;
        let config = builder
            .with_single_cert(chain, key)
            .map_err(|error| format!("certificate {certificate} does not match key {key_file}: {error}"))?;
        Ok(Self(Arc::new(config)))
    }

    /// Performs the handshake with a client over a stream.
    ///
    /// # Errors
    /// When the handshake fails.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> io::Result<TlsStream<S>> {
        TlsAcceptor::from(Arc::clone(&self.0)).accept(stream).await
    }
}
