//! Brokers with which no handshake succeeds, and those that end the connection after one.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::support::certificates::acceptor;
use crate::support::guests;
use crate::support::hub::{self, Hub, HubEvent};

/// A server on a free port that does this with each connection.
async fn serve<F: Future<Output = ()>>(each: impl Fn(tokio::net::TcpStream) -> F + 'static) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            each(stream).await;
        }
    });
    port
}

/// Runs `broker test` while the test's own servers run.
async fn test_beside(setup: Setup) -> Tested {
    tokio::task::spawn_blocking(move || test(&setup)).await.unwrap()
}

#[test]
fn too_old_versions_and_ciphers_are_named() {
    let workshop = Workshop::new();
    let rsa =
        workshop.sign_with("rsa", "subjectAltName=DNS:localhost\n", "-algorithm RSA -pkeyopt rsa_keygen_bits:2048");
    let ca = text(&workshop.path("ca.crt"));
    let trusted = [("MQTT_TLS_CA_CERT_PATH", ca.as_str())];
    let old = OpensslServer::start(&rsa, "-tls1_1 -cipher DEFAULT@SECLEVEL=0");
    test(&site(old.port, &trusted)).fails(&["TLS with localhost:", "of TLS"]);
    let weak = OpensslServer::start(&rsa, "-tls1_2 -cipher AES128-SHA");
    let expected =
        ["no cipher suite or signature algorithm in common (alert 40, HandshakeFailure)", "TLS 1.2 with ECDHE"];
    test(&site(weak.port, &trusted)).fails(&expected);
    // A key on a curve that is not supported.
    let names = "subjectAltName=DNS:localhost\n";
    let curve = workshop.sign_with("p521", names, "-algorithm EC -pkeyopt ec_paramgen_curve:P-521");
    let broker = broker(&curve, None, &[]);
    test(&site(broker.port, &trusted)).fails(&["in common", "but not P-521"]);
    let short = workshop.sign_with("short", names, "-algorithm RSA -pkeyopt rsa_keygen_bits:1024");
    let server = OpensslServer::start(&short, "-cipher DEFAULT@SECLEVEL=0");
    test(&site(server.port, &trusted)).fails(&["has a key of RSA with 1024 bits, which is not supported"]);
}

#[test]
fn a_port_without_tls_and_one_with_it_are_told_apart() {
    let plain = Broker::start();
    let expected = "the broker closed the connection without answering the TLS handshake; if that port is without TLS, write mqtt:// \
                    (or ws://) in MQTT_BROKER_URL";
    test(&site(plain.port, &[])).fails(&[expected]);
    let workshop = Workshop::new();
    let protected = broker(&workshop.sign("localhost"), None, &[]);
    let setup = Setup::new().device(1).broker(format!("mqtt://localhost:{}", protected.port));
    let tested = test(&setup).fails(&["mqtts://", "in MQTT_BROKER_URL"]);
    assert!(!tested.error.contains("certificate"), "{}", tested.error);
}

#[tokio::test]
async fn other_protocols_are_recognised() {
    let answer = |bytes: &'static [u8]| {
        serve(move |mut stream| async move {
            let _ = stream.read(&mut [0; 512]).await;
            let _ = stream.write_all(bytes).await;
        })
    };
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            for (bytes, name) in [
                (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "HTTP"),
                (&b"SSH-2.0-OpenSSH_9.2\r\n"[..], "SSH"),
                (&[0x20, 2, 0, 1][..], "MQTT"),
                (&b"what?"[..], "something else (bytes 77 68 61 74 3f)"),
            ] {
                let port = answer(bytes).await;
                let expected = format!("the broker answered with {name}, not with TLS; if that port is without TLS");
                test_beside(site(port, &[])).await.fails(&[&expected]);
            }
            let port = answer(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            let setup = Setup::new().device(1).broker(format!("mqtt://localhost:{port}"));
            test_beside(setup)
                .await
                .fails(&["answered CONNECT with HTTP; if it serves MQTT through a WebSocket, write ws://"]);
        })
        .await;
}

#[tokio::test]
async fn a_failure_after_the_handshake_is_not_blamed_on_tls() {
    let workshop = Workshop::new();
    let acceptor = acceptor(&workshop.sign("localhost"), None);
    let ca = text(&workshop.path("ca.crt"));
    let local = tokio::task::LocalSet::new();
    let trusting = |port| site(port, &[("MQTT_TLS_CA_CERT_PATH", ca.as_str())]);
    local
        .run_until(async {
            let closing = acceptor.clone();
            let port = serve(move |stream| {
                let acceptor = closing.clone();
                async move {
                    let mut stream = acceptor.accept(stream).await.unwrap();
                    let _ = stream.read(&mut [0; 512]).await;
                    let _ = stream.shutdown().await;
                }
            });
            let expected = "closed the connection before answering CONNECT after the TLS 1.3 handshake succeeded; it refuses the client \
                            id \"bessai-SITE-CL-001-test\"";
            let tested = test_beside(trusting(port.await)).await.fails(&[expected, "add --take-over"]);
            assert!(tested.out.contains("TLS 1.3 with "), "{}", tested.out);
            let port = serve(move |stream| {
                let acceptor = acceptor.clone();
                async move {
                    let mut stream = acceptor.accept(stream).await.unwrap();
                    let _ = stream.read(&mut [0; 512]).await;
                    let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
                    let _ = stream.flush().await;
                }
            });
            let expected = "answered CONNECT with HTTP after the TLS 1.3 handshake succeeded; if it serves MQTT through a WebSocket, write wss://";
            test_beside(trusting(port.await)).await.fails(&[expected]);
        })
        .await;
}

#[test]
fn a_refused_login_names_the_settings_where_they_stand() {
    let workshop = Workshop::new();
    let certificate = workshop.sign("localhost");
    let login = Some(("site", "right"));
    let broker = Broker::with(&BrokerSetup { certificate: Some(&certificate), login, ..BrokerSetup::default() });
    let ca = text(&workshop.path("ca.crt"));
    let setup =
        site(broker.port, &[("MQTT_TLS_CA_CERT_PATH", &ca), ("MQTT_USERNAME", "site"), ("MQTT_PASSWORD", "wrong")]);
    let tested = test(&setup).fails(&["refused user \"site\""]);
    assert!(tested.out.contains("TLS 1.3 with "), "{}", tested.out);
    // The newline that `$(cat file; echo)` leaves is no part of the password.
    let setup = setup.with("MQTT_PASSWORD", "right\n");
    test(&setup).succeeds();
    let checked = setup.output(&["check"]);
    let checked = String::from_utf8(checked.stdout).unwrap();
    assert!(checked.contains("warning: MQTT_PASSWORD: the newline at its end is ignored; remove it"), "{checked}");
    let feed = format!(
        "[broker]\nurl = \"mqtts://localhost:{}\"\nca = \"{ca}\"\nprotocol = \"3.1.1\"\npassword = \"right\"\n",
        broker.port
    );
    let setup = Setup::new().device(1).file("plugins/default.toml", feed);
    test(&setup).fails(&["no password without a user name; set default.toml: broker.username"]);
}

#[test]
fn a_message_is_published_only_on_request() {
    let broker = Broker::start();
    let setup = Setup::new().device(1).broker(broker.url());
    test(&setup).succeeds();
    assert!(!broker.log().contains("PUBLISH"), "{}", broker.log());
    let tested = test_with(&setup, &["--publish", "site/test", "--payload", "hello"]).succeeds();
    assert!(tested.out.contains("published one message to site/test, and signed out"), "{}", tested.out);
    assert!(broker.log().contains("'site/test', ... (5 bytes)"), "{}", broker.log());
    let tested = test_with(&setup, &["--take-over"]).succeeds();
    assert!(tested.out.contains("client id bessai-SITE-CL-001\n"), "{}", tested.out);
    test_with(&setup, &["--publish", "site/+"])
        .fails(&["refused the message to \"site/+\": its topic cannot be published"]);
    test_with(&setup, &["--feed", "acme"]).ends_with_code(64, &["there is no feed \"acme\"; the feeds are default"]);
}

#[tokio::test]
async fn a_feed_whose_plugin_signs_in_is_tested_with_its_login() {
    let mut hub = Hub::start().await;
    let feed = format!(
        "[broker]\nurl = \"mqtt://127.0.0.1:{}\"\n[secrets]\ndevice-key = {{ file = \"key\", encoding = \"base64\" }}\n[config]\n\
         hub = \"{}\"\n",
        hub.port,
        hub::NAME
    );
    let setup = Setup::new().device(1).file("plugins/default.toml", "enabled = false\n");
    let setup = setup.file("plugins/key", hub::encoded(hub::KEY)).file("plugins/signer.toml", feed);
    let setup = setup.file("plugins/signer.wasm", guests::signer());
    let output = |setup: Setup| async {
        tokio::task::spawn_blocking(move || test_with(&setup, &["--feed", "signer", "--take-over"])).await.unwrap()
    };
    let tested = output(setup).await.succeeds();
    assert!(tested.out.contains("the feed's plugin decides how to sign in"), "{}", tested.out);
    assert!(tested.out.contains("client id device-1\n"), "{}", tested.out);
    assert_eq!(hub.next().await, HubEvent::Connect { device: "device-1".into(), will: None });
    assert_eq!(hub.next().await, HubEvent::Disconnect);
}
