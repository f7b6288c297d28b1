//! Brokers behind an HTTP proxy: sign-ins through it, and every answer that gives no connection.

use std::collections::BTreeMap;

use bessai_mqtt::ProxySettings;

use super::*;
use crate::support::certificates::Authority;
use crate::support::folder;
use crate::support::http_proxy::{HttpProxy, ProxyRules};

/// The broker's name, which only the proxy knows.
const BROKER: &str = "broker.invalid";
/// The login of the proxy.
const LOGIN: (&str, &str) = ("plant", "p@ss:w0rd-never-shown");

fn through(port: u16, login: Option<(&str, &'static str)>, settings: BrokerSettings) -> BrokerSettings {
    let login = login.map(|(user, password)| -> (String, bessai_mqtt::ReadPassword) {
        (user.to_owned(), Box::new(|| Ok(password.to_owned())))
    });
    let proxy = Some(ProxySettings { host: "127.0.0.1".into(), port, login });
    BrokerSettings { host: BROKER.into(), proxy, ..settings }
}

/// A proxy that connects to this broker alone.
fn proxy_to(port: u16) -> HttpProxy {
    let brokers = BTreeMap::from([(format!("{BROKER}:{port}"), port)]);
    HttpProxy::start(ProxyRules { login: Some(LOGIN), brokers, answer: None })
}

#[tokio::test]
async fn messages_are_delivered_through_a_proxy_in_every_way() {
    let folder = folder();
    let authority = Authority::new(folder.path(), "ca");
    let certificate = authority.sign(BROKER);
    let ca = Some(authority.pem.certificate.clone());
    for (protocol, websockets, is_tls) in [
        (Protocol::V311, false, false),
        (Protocol::V5, false, true),
        (Protocol::V5, true, false),
        (Protocol::V311, true, true),
    ] {
        let certificate = is_tls.then_some(&certificate);
        let broker = Broker::with(&BrokerSetup { websockets, certificate, ..BrokerSetup::default() });
        let proxy = proxy_to(broker.port);
        let tls = is_tls.then(|| bessai_tls::Settings { ca: ca.clone(), ..bessai_tls::Settings::default() });
        let websocket = websockets.then(|| "/mqtt".to_owned());
        let settings = BrokerSettings { tls, websocket, ..settings(broker.port, protocol) };
        let mut session = signed_in(through(proxy.port, Some(LOGIN), settings)).await;
        let messages: Vec<_> = (0..100).map(|i| message("site/a", i, Qos::AtLeastOnce)).collect();
        assert_eq!(deliver(&mut session, &messages).await, vec![None; 100]);
        session.close().await;
        let request = proxy.requests().remove(0);
        let target = format!("{BROKER}:{}", broker.port);
        assert!(request.starts_with(&format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n")), "{request}");
    }
}

#[tokio::test]
async fn a_refused_login_and_a_forbidden_broker_are_told_apart() {
    let broker = Broker::start();
    let proxy = proxy_to(broker.port);
    let name = proxy.name();
    let error = async |login, port| {
        let error = sign_in_error(through(proxy.port, login, settings(port, Protocol::V5))).await;
        assert!(!error.contains("never-shown"), "{error}");
        error
    };
    assert_eq!(
        error(None, broker.port).await,
        format!(
            "the proxy {name} wants a user name and a password (407); write them into proxy: http://user:password@host:port"
        )
    );
    assert_eq!(
        error(Some(("plant", "never-shown")), broker.port).await,
        format!("the proxy {name} refused user \"plant\" (407); check user name and password in proxy")
    );
    let forbidden = error(Some(LOGIN), 1883).await;
    assert!(
        forbidden.starts_with(&format!("the proxy {name} forbids connections to {BROKER}:1883 (403")),
        "{forbidden}"
    );
    let gone = free_port();
    let proxy = proxy_to(gone);
    let error = sign_in_error(through(proxy.port, Some(LOGIN), settings(gone, Protocol::V5))).await;
    assert_eq!(
        error,
        format!("the proxy {} cannot reach {BROKER}:{gone} (status 502); check host and port in url", proxy.name())
    );
}

#[tokio::test]
async fn every_other_answer_of_a_proxy_is_a_sentence() {
    let long: &'static [u8] = format!("HTTP/1.1 200 OK\r\nX-Long: {}", "x".repeat(9000)).leak().as_bytes();
    let answers: [(&'static [u8], &str); 12] = [
        (b"HTTP/1.1 504 Gateway Timeout\r\n\r\n", "cannot reach broker.invalid:1883 (status 504)"),
        (b"HTTP/1.0 503 Service Unavailable\r\n\r\n", "cannot reach broker.invalid:1883 (status 503)"),
        (b"HTTP/1.1 405 Method Not Allowed\r\n\r\n", "does not know CONNECT (status 405)"),
        (b"HTTP/1.1 429 Too Many\r\n\r\n", "refused the connection to broker.invalid:1883 (status 429)"),
        (
            b"HTTP/1.1 407 X\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: NTLM\r\n\r\n",
            "by Negotiate or NTLM",
        ),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 302 Found\r\n\r\n", "(status 302)"),
        (b"\x15\x03\x01\x00\x02\x02\x28", "with TLS; only http:// proxies are supported"),
        (b"\x05\xff", "with SOCKS; only http:// proxies are supported"),
        (b"SSH-2.0-x\r\n", "with the bytes 53 53 48 2d 32 2e 30 2d"),
        (b"HTTP/1.1 200 O", "closed the connection instead of answering CONNECT"),
        (long, "has a header of more than 8192 bytes"),
        (b"", "did not answer within 10 s whether it reaches broker.invalid:1883"),
    ];
    for (answer, expected) in answers {
        let proxy = HttpProxy::start(ProxyRules { answer: Some(answer), ..ProxyRules::default() });
        let error = sign_in_error(through(proxy.port, None, settings(1883, Protocol::V5))).await;
        assert!(error.contains(&proxy.name()) && error.contains(expected), "{error}");
    }
    let gone = free_port();
    let error = sign_in_error(through(gone, None, settings(1883, Protocol::V5))).await;
    let expected = format!("failed to connect to the proxy 127.0.0.1:{gone}: Connection refused");
    assert!(error.starts_with(&expected), "{error}");
}
