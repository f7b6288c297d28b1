//! Modbus/TCP Security.

use bessai_simulator::server::{Server, Transport};

use super::{check_all_values, device, registers, site};
use crate::support::broker::Broker;
use crate::support::certificates::{Authority, Pem, acceptor};
use crate::support::folder;
use crate::support::subscriber::Subscriber;

fn serve_tls(certificate: &Pem, clients: Option<&Authority>) -> Server {
    let acceptor = acceptor(certificate, clients.map(|authority| &authority.pem));
    super::serve(Transport::Tls(acceptor), registers([7]))
}

/// The device's settings: the CA that it trusts and the client certificate that it presents.
fn tls_settings(authority: &Authority, identity: Option<&Pem>) -> String {
    let ca = format!("ca = \"{}\"\n", authority.pem.certificate.display());
    let identity =
        identity.map(|pem| format!("cert = \"{}\"\nkey = \"{}\"\n", pem.certificate.display(), pem.key.display()));
    ca + &identity.unwrap_or_default()
}

#[tokio::test]
async fn every_table_is_read_with_and_without_a_client_certificate() {
    let folder = folder();
    let authority = Authority::new(folder.path(), "plant");
    let (certificate, client) = (authority.sign("127.0.0.1"), authority.sign("gateway"));
    let server = serve_tls(&certificate, None);
    check_all_values(&format!("tls://{}", server.address()), &tls_settings(&authority, None)).await;
    let server = serve_tls(&certificate, Some(&authority));
    check_all_values(&format!("tls://{}", server.address()), &tls_settings(&authority, Some(&client))).await;
    // The certificate has another name than the device's address.
    let server = serve_tls(&authority.sign("plc-7"), None);
    let more = tls_settings(&authority, None) + "server_name = \"plc-7\"\n";
    check_all_values(&format!("tls://{}", server.address()), &more).await;
    // It is itself the trusted one, whatever name it states.
    let own = authority.sign("plc-8");
    let server = serve_tls(&own, None);
    let more = format!("ca = \"{}\"\n", own.certificate.display());
    check_all_values(&format!("tls://{}", server.address()), &more).await;
}

/// Checks that the device is not read and that the log contains the hint, once.
async fn check_refused(server: &Server, more: &str, hint: &str) {
    let broker = Broker::start();
    let mut subscriber = Subscriber::start(broker.port).await;
    let gateway = site(&broker, &device("box", &format!("tls://{}", server.address()), 7, more)).run();
    gateway.wait_for_log(hint).await;
    subscriber.next("/system/heartbeat").await;
    gateway.assert_logged_once("cannot be read").await;
    assert_eq!(server.requests(), 0, "{hint}");
    assert!(!gateway.log().contains("PRIVATE"), "{}", gateway.log());
}

#[tokio::test]
async fn each_certificate_fault_is_reported_with_its_fix() {
    let folder = folder();
    let (authority, other) = (Authority::new(folder.path(), "plant"), Authority::new(folder.path(), "other"));
    let certificate = authority.sign("127.0.0.1");
    let requires_client = serve_tls(&certificate, Some(&authority));
    let hint = "the device wants a client certificate";
    check_refused(&requires_client, &tls_settings(&authority, None), hint).await;
    let hint = "\"CN=gateway\" signed by \"CN=other\"";
    check_refused(&requires_client, &tls_settings(&authority, Some(&other.sign("gateway"))), hint).await;
    let hint = "it has expired, on 2021-01-01T00:00:00Z; renew it";
    check_refused(&requires_client, &tls_settings(&authority, Some(&authority.sign_expired("gateway"))), hint).await;

    let any_client = serve_tls(&certificate, None);
    check_refused(&any_client, &tls_settings(&other, None), "a CA that is not in device").await;
    let expired = serve_tls(&authority.sign_expired("127.0.0.1"), None);
    check_refused(&expired, &tls_settings(&authority, None), "the device's certificate expired on 2021-01-01").await;
    let other_name = serve_tls(&authority.sign("plc-7"), None);
    let hint = "server_name = \"plc-7\"";
    check_refused(&other_name, &tls_settings(&authority, None), hint).await;
    let plain = super::serve(Transport::Tcp, registers([7]));
    check_refused(&plain, &tls_settings(&authority, None), "TLS with 127.0.0.1 failed").await;
}
