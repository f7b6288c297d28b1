//! Transports: WebSockets and TLS with ALPN and SNI, and the errors of a peer that does not support them.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::support::alpn_server::alpn_server;
use crate::support::certificates::Authority;
use crate::support::folder;

fn trusting(authority: &Authority, alpn: Option<&str>, settings: BrokerSettings) -> BrokerSettings {
    let ca = Some(authority.pem.certificate.clone());
    let tls = bessai_tls::Settings { ca, alpn: alpn.map(str::to_owned), ..bessai_tls::Settings::default() };
    BrokerSettings { host: "localhost".into(), tls: Some(tls), ..settings }
}

fn through_websocket(path: &str, settings: BrokerSettings) -> BrokerSettings {
    BrokerSettings { websocket: Some(path.into()), ..settings }
}

#[tokio::test]
async fn messages_are_delivered_over_websockets_with_and_without_tls() {
    let folder = folder();
    let authority = Authority::new(folder.path(), "ca");
    let certificate = authority.sign("localhost");
    for protocol in PROTOCOLS {
        let plain = Broker::with(&BrokerSetup { websockets: true, ..BrokerSetup::default() });
        let protected =
            Broker::with(&BrokerSetup { websockets: true, certificate: Some(&certificate), ..BrokerSetup::default() });
        for settings in [
            through_websocket("/mqtt", settings(plain.port, protocol)),
            through_websocket("/$iothub/websocket", settings(plain.port, protocol)),
            trusting(&authority, None, through_websocket("/mqtt", settings(protected.port, protocol))),
        ] {
            let mut session = signed_in(settings).await;
            let large = message("site/large", "x".repeat(300_000), Qos::AtLeastOnce);
            let mut sent: Vec<_> = (0..100).map(|i| message("site/a", i, Qos::ExactlyOnce)).collect();
            sent.push(large);
            assert_eq!(deliver(&mut session, &sent).await, vec![None; 101]);
            session.close().await;
        }
    }
}

#[tokio::test]
async fn a_missing_websocket_is_reported() {
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
        (
            http(not_found).await,
            "/mqtt opened no WebSocket: it answered with HTTP status 404 Not Found; check port and path",
        ),
        (http(page).await, "/mqtt opened no WebSocket: it answered with HTTP status 200 OK; check port and path"),
        (http("SSH-2.0-x\r\n").await, "/mqtt opened no WebSocket: it answered with something else"),
        (broker.port, "/mqtt opened no WebSocket: it closed the connection"),
    ] {
        let settings = || through_websocket("/mqtt", settings(port, Protocol::V5));
        let error = sign_in_error(BrokerSettings { username: Some("u".into()), ..settings() }).await;
        assert!(error.contains(&format!("ws://127.0.0.1:{port}")) && error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn mqtt_to_a_websocket_is_reported() {
    let broker = Broker::with(&BrokerSetup { websockets: true, ..BrokerSetup::default() });
    let error = sign_in_error(settings(broker.port, Protocol::V5)).await;
    assert!(
        error.contains("answered CONNECT with HTTP; if it serves MQTT through a WebSocket, write ws:// in url"),
        "{error}"
    );
}

#[tokio::test]
async fn a_websocket_certificate_of_another_authority_is_refused() {
    let folder = folder();
    let (authority, other) = (Authority::new(folder.path(), "ca"), Authority::new(folder.path(), "other"));
    let certificate = other.sign("localhost");
    let broker =
        Broker::with(&BrokerSetup { websockets: true, certificate: Some(&certificate), ..BrokerSetup::default() });
    let error =
        sign_in_error(trusting(&authority, None, through_websocket("/mqtt", settings(broker.port, Protocol::V5))))
            .await;
    assert!(error.contains("a CA that is not in ca = "), "{error}");
}

#[tokio::test]
async fn tls_requests_alpn_and_the_brokers_name() {
    let folder = folder();
    let authority = Authority::new(folder.path(), "ca");
    let pem = authority.sign("localhost");
    let mqtt = Broker::start();
    let websocket = Broker::with(&BrokerSetup { websockets: true, ..BrokerSetup::default() });
    for alpn in ["x-amzn-mqtt-ca", "mqtt"] {
        for (broker, path) in [(&mqtt, None), (&websocket, Some("/mqtt"))] {
            let (port, mut requested) = alpn_server(&pem, alpn, broker.port).await;
            let own = BrokerSettings { websocket: path.map(str::to_owned), ..settings(port, Protocol::V5) };
            let mut session = signed_in(trusting(&authority, Some(alpn), own)).await;
            assert_eq!(deliver(&mut session, &[message("site/a", 1, Qos::AtLeastOnce)]).await, [None]);
            assert_eq!(requested.recv().await.unwrap(), ("localhost".to_owned(), alpn.to_owned()));
        }
    }
    let (port, _requested) = alpn_server(&pem, "x-amzn-mqtt-ca", mqtt.port).await;
    let error = sign_in_error(trusting(&authority, Some("http/1.1"), settings(port, Protocol::V5))).await;
    assert!(error.contains("check alpn and the port"), "{error}");
}
