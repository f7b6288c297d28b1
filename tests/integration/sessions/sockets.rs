//! Ways to a broker: WebSockets, TLS with ALPN and SNI, and what is said where there is none.

use std::sync::Arc;

use rumqttc::tokio_rustls::TlsAcceptor;
use rumqttc::tokio_rustls::rustls::pki_types::pem::PemObject;
use rumqttc::tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rumqttc::tokio_rustls::rustls::{ServerConfig, crypto};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::support::certificates::{Authority, Pem};
use crate::support::folder;

fn trusting(authority: &Authority, alpn: Option<&str>, settings: Settings) -> Settings {
    let ca = Some(authority.pem.certificate.clone());
    let tls = bessai_edge::tls::Settings { ca, identity: None, alpn: alpn.map(str::to_owned) };
    let client = move || bessai_edge::tls::client(&tls);
    Settings { host: "localhost".into(), tls: Some(Box::new(client)), ..settings }
}

fn through_websocket(path: &str, settings: Settings) -> Settings {
    Settings { websocket: Some(path.into()), ..settings }
}

#[tokio::test]
async fn websockets_with_and_without_tls() {
    let folder = folder();
    let authority = Authority::new(folder.path(), "ca");
    let certificate = authority.sign("localhost");
    for protocol in PROTOCOLS {
        let plain = Broker::with(&Setup { websockets: true, ..Setup::default() });
        let protected = Broker::with(&Setup { websockets: true, certificate: Some(&certificate), ..Setup::default() });
        for settings in [
            through_websocket("/mqtt", settings(plain.port, protocol)),
            through_websocket("/$iothub/websocket", settings(plain.port, protocol)),
            trusting(&authority, None, through_websocket("/mqtt", settings(protected.port, protocol))),
        ] {
            let mut session = signed_in(settings).await;
            let large = message("site/large", "x".repeat(300_000), Qos::AtLeastOnce);
            let mut sent: Vec<_> = (0..100).map(|i| message("site/a", i, Qos::ExactlyOnce)).collect();
            sent.push(large);
            assert_eq!(delivered(&mut session, &sent).await, vec![None; 101]);
            session.close().await;
        }
    }
}

#[tokio::test]
async fn where_there_is_no_websocket_it_is_said() {
    let http = |answer: &'static str| async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        port
    };
    let broker = Broker::start();
    let no_length = "Content-Length: 0\r\n\r\n";
    let not_found: &'static str = format!("HTTP/1.1 404 Not Found\r\n{no_length}").leak();
    let page: &'static str = format!("HTTP/1.1 200 OK\r\n{no_length}").leak();
    for (port, expected) in [
        (http(not_found).await, "/mqtt gives no WebSocket but HTTP status 404 Not Found; check port and path"),
        (http(page).await, "/mqtt gives no WebSocket but HTTP status 200 OK; check port and path"),
        (http("SSH-2.0-x\r\n").await, "/mqtt gives no WebSocket but something else"),
        (broker.port, "/mqtt gives no WebSocket but a closed connection"),
    ] {
        let settings = || through_websocket("/mqtt", settings(port, Protocol::V5));
        let told = refused(Settings { username: Some("u".into()), ..settings() }).await;
        assert!(told.contains(&format!("ws://127.0.0.1:{port}")) && told.contains(expected), "{told}");
    }
}

#[tokio::test]
async fn mqtt_to_a_websocket_is_told_apart() {
    let broker = Broker::with(&Setup { websockets: true, ..Setup::default() });
    let told = refused(settings(broker.port, Protocol::V5)).await;
    assert!(told.contains("is it a WebSocket, write ws://"), "{told}");
}

#[tokio::test]
async fn a_websocket_with_a_certificate_of_another_authority() {
    let folder = folder();
    let (authority, other) = (Authority::new(folder.path(), "ca"), Authority::new(folder.path(), "other"));
    let certificate = other.sign("localhost");
    let broker = Broker::with(&Setup { websockets: true, certificate: Some(&certificate), ..Setup::default() });
    let told =
        refused(trusting(&authority, None, through_websocket("/mqtt", settings(broker.port, Protocol::V5)))).await;
    assert!(told.contains("from a CA that is not trusted"), "{told}");
}

/// A server that takes only this protocol by ALPN; it tells the name that the client asked for and the protocol that both
/// took, and passes everything on to a broker.
async fn alpn_server(
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
    let (sender, asked) = tokio::sync::mpsc::unbounded_channel();
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
    (port, asked)
}

#[tokio::test]
async fn alpn_and_the_name_of_the_broker_are_asked_for() {
    let folder = folder();
    let authority = Authority::new(folder.path(), "ca");
    let pem = authority.sign("localhost");
    let mqtt = Broker::start();
    let websocket = Broker::with(&Setup { websockets: true, ..Setup::default() });
    for alpn in ["x-amzn-mqtt-ca", "mqtt"] {
        for (broker, path) in [(&mqtt, None), (&websocket, Some("/mqtt"))] {
            let (port, mut asked) = alpn_server(&pem, alpn, broker.port).await;
            let own = Settings { websocket: path.map(str::to_owned), ..settings(port, Protocol::V5) };
            let mut session = signed_in(trusting(&authority, Some(alpn), own)).await;
            assert_eq!(delivered(&mut session, &[message("site/a", 1, Qos::AtLeastOnce)]).await, [None]);
            assert_eq!(asked.recv().await.unwrap(), ("localhost".to_owned(), alpn.to_owned()));
        }
    }
    let (port, _asked) = alpn_server(&pem, "x-amzn-mqtt-ca", mqtt.port).await;
    let told = refused(trusting(&authority, Some("http/1.1"), settings(port, Protocol::V5))).await;
    assert!(told.contains("check `alpn`, and the port"), "{told}");
}
