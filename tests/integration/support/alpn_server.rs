//! A TLS server for one protocol by ALPN, as a cloud has it on port 443.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, crypto};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::certificates::Pem;

/// A TLS server that accepts only this ALPN protocol and forwards to a broker; it reports the server name that each client
/// requested and the protocol that was negotiated.
pub async fn alpn_server(
    pem: &Pem,
    alpn: &str,
    broker: u16,
) -> (u16, tokio::sync::mpsc::UnboundedReceiver<(String, String)>) {
    let provider = Arc::new(crypto::ring::default_provider());
    let chain = vec![CertificateDer::from_pem_file(&pem.certificate).unwrap()];
    let key = PrivateKeyDer::from_pem_file(&pem.key).unwrap();
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key).unwrap();
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    let (acceptor, listener) = (TlsAcceptor::from(Arc::new(config)), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let port = listener.local_addr().unwrap().port();
    let (sender, requested) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut client) = acceptor.accept(stream).await else { continue };
            let connection = client.get_ref().1;
            let name = connection.server_name().unwrap_or_default().to_owned();
            let protocol = String::from_utf8(connection.alpn_protocol().unwrap_or_default().to_vec()).unwrap();
            sender.send((name, protocol)).unwrap();
            let mut broker = tokio::net::TcpStream::connect(("127.0.0.1", broker)).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut client, &mut broker).await });
        }
    });
    (port, requested)
}
