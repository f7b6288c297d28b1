//! Modbus/TCP Security, with and without a client's certificate.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::super::Transport;
use super::*;

struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn issue(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        Identity { certificate: certificate.der().clone(), key: key.into() }
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        roots
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// A server that wants a certificate of this authority's, or none.
fn server(authority: &Authority, wants_certificate: bool) -> Server {
    let Identity { certificate, key } = authority.issue("localhost");
    let config = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let config = if wants_certificate {
        let verifier = WebPkiClientVerifier::builder_with_provider(authority.roots().into(), provider());
        config.with_client_cert_verifier(verifier.build().unwrap())
    } else {
        config.with_no_client_auth()
    };
    let config = config.with_single_cert(vec![certificate], key).unwrap();
    Server::start_on((Ipv4Addr::LOCALHOST, 0).into(), Transport::Tls(Arc::new(config)), registers()).unwrap()
}

async fn connect(server: &Server, authority: &Authority, identity: Option<Identity>) -> TlsStream<TcpStream> {
    let config = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(authority.roots());
    let config = match identity {
        Some(identity) => config.with_client_auth_cert(vec![identity.certificate], identity.key).unwrap(),
        None => config.with_no_client_auth(),
    };
    let stream = TcpStream::connect(server.address()).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
}

async fn ask(stream: &mut TlsStream<TcpStream>) -> std::io::Result<Vec<u8>> {
    let frame = Frame { transaction: 1, unit: UNIT, pdu: READ_TWO.to_vec() };
    stream.write_all(&frame.to_bytes()).await?;
    let read = timeout(LIMIT, Frame::read(stream)).await.expect("no reply");
    read.map(|frame| frame.pdu)
}

#[tokio::test]
async fn anyone_is_served_where_no_certificate_is_wanted() {
    let authority = Authority::new();
    let server = server(&authority, false);
    let mut stream = connect(&server, &authority, None).await;
    assert_eq!(ask(&mut stream).await.unwrap(), TWO_WORDS);
    server.misbehave(Some(Fault::ResetMidFrame));
    let broken = ask(&mut stream).await.unwrap_err();
    assert_eq!(broken.kind(), ErrorKind::ConnectionReset);
    until(|| server.connections() == 0).await;
}

#[tokio::test]
async fn a_certificate_is_demanded_and_checked() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let server = server(&authority, true);
    let mut known = connect(&server, &authority, Some(authority.issue("gateway"))).await;
    assert_eq!(ask(&mut known).await.unwrap(), TWO_WORDS);
    // With TLS 1.3 the client learns of the refusal when it reads.
    for identity in [None, Some(stranger.issue("gateway"))] {
        let mut stream = connect(&server, &authority, identity).await;
        assert!(ask(&mut stream).await.is_err());
    }
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn plain_clients_are_refused() {
    let server = server(&Authority::new(), false);
    let mut client = Client::connect(&server).await;
    client.send(UNIT, &READ_TWO).await;
    // With an alert or without, in peace or in a reset.
    let _ = client.rest().await;
    until(|| server.connections() == 0).await;
    assert_eq!(server.requests(), 0);
}
