//! Modbus/TCP Security, with and without a client's certificate.

use std::path::PathBuf;

use bessai_tls::server::{Acceptor, ServerSettings};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite};

use super::super::Transport;
use super::*;

/// A certificate authority with the files of all its certificates.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { issuer, folder: tempfile::tempdir().unwrap() }
    }

    /// The files of a new certificate and its key.
    fn issue(&self, name: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        let certificate = self.write(&format!("{name}.pem"), &certificate.pem());
        (certificate, self.write(&format!("{name}.key"), &key.serialize_pem()))
    }

    fn ca(&self) -> PathBuf {
        self.write("ca.pem", &self.issuer.pem())
    }

    fn write(&self, name: &str, pem: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, pem).unwrap();
        path
    }
}

/// A server that requires a certificate of this authority, or none.
fn server(authority: &Authority, needs_certificate: bool) -> Server {
    let client_ca = needs_certificate.then(|| authority.ca());
    let acceptor = Acceptor::new(&ServerSettings { identity: authority.issue("localhost"), client_ca }).unwrap();
    Server::start_with_transport((Ipv4Addr::LOCALHOST, 0).into(), Transport::Tls(acceptor), registers()).unwrap()
}

async fn connect(
    server: &Server,
    authority: &Authority,
    identity: Option<(PathBuf, PathBuf)>,
) -> impl AsyncRead + AsyncWrite + Unpin + use<> {
    let identity = identity.map(|(certificate, key)| bessai_tls::Identity::from_files(certificate, key));
    let settings = bessai_tls::Settings { ca: Some(authority.ca()), identity, ..bessai_tls::Settings::default() };
    let stream = TcpStream::connect(server.address()).await.unwrap();
    bessai_tls::connect(&settings, "localhost", stream).await.unwrap()
}

async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> std::io::Result<Vec<u8>> {
    let frame = ModbusFrame { transaction: 1, unit: UNIT, pdu: READ_TWO.to_vec() };
    stream.write_all(&frame.to_bytes()).await?;
    let read = timeout(LIMIT, ModbusFrame::read(stream)).await.expect("no reply");
    read.map(|frame| frame.pdu)
}

#[tokio::test]
async fn every_client_is_served_where_no_certificate_is_required() {
    let authority = Authority::new();
    let server = server(&authority, false);
    let mut stream = connect(&server, &authority, None).await;
    assert_eq!(ask(&mut stream).await.unwrap(), TWO_WORDS);
    server.set_fault(Some(Fault::ResetMidFrame));
    let error = ask(&mut stream).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    until(|| server.connections() == 0).await;
}

#[tokio::test]
async fn a_certificate_is_required_and_verified() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server = server(&authority, true);
    let mut trusted = connect(&server, &authority, Some(authority.issue("gateway"))).await;
    assert_eq!(ask(&mut trusted).await.unwrap(), TWO_WORDS);
    // With TLS 1.3 the client learns of the refusal when it reads.
    for identity in [None, Some(other.issue("gateway"))] {
        let mut stream = connect(&server, &authority, identity).await;
        assert!(ask(&mut stream).await.is_err());
    }
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn clients_without_tls_are_refused() {
    let server = server(&Authority::new(), false);
    let mut client = Client::connect(&server).await;
    client.send(UNIT, &READ_TWO).await;
    // The connection may end with an alert, a FIN or a reset.
    let _ = client.rest().await;
    until(|| server.connections() == 0).await;
    assert_eq!(server.requests(), 0);
}
