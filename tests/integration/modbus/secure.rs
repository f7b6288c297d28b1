//! Modbus/TCP Security.

use bessai_simulator::server::{Server, Transport};

use super::{check_all_values, device, memory, over, site};
use crate::support::broker::Broker;
use crate::support::certificates::{Authority, Pem, server_config};
use crate::support::folder;
use crate::support::listener::Listener;

fn serve(certificate: &Pem, clients: Option<&Authority>) -> Server {
    let config = server_config(certificate, clients.map(|authority| &authority.pem));
    over(Transport::Tls(config), memory([7]))
}

fn shown(authority: &Authority, identity: Option<&Pem>) -> String {
    let ca = format!("ca = \"{}\"\n", authority.pem.certificate.display());
    let identity =
        identity.map(|pem| format!("cert = \"{}\"\nkey = \"{}\"\n", pem.certificate.display(), pem.key.display()));
    ca + &identity.unwrap_or_default()
}

#[tokio::test]
async fn every_table_is_read_with_and_without_a_clients_certificate() {
    let folder = folder();
    let authority = Authority::new(folder.path(), "plant");
    let (certificate, ours) = (authority.sign("127.0.0.1"), authority.sign("gateway"));
    let server = serve(&certificate, None);
    check_all_values(&format!("tls://{}", server.address()), &shown(&authority, None)).await;
    let server = serve(&certificate, Some(&authority));
    check_all_values(&format!("tls://{}", server.address()), &shown(&authority, Some(&ours))).await;
    // The certificate names the device otherwise than the network does.
    let server = serve(&authority.sign("plc-7"), None);
    let more = shown(&authority, None) + "server_name = \"plc-7\"\n";
    check_all_values(&format!("tls://{}", server.address()), &more).await;
}

/// The device is not read, and the log says what to mend, once.
async fn check_refused(server: &Server, more: &str, mend: &str) {
    let broker = Broker::start();
    let mut listener = Listener::start(broker.port).await;
    let gateway = site(&broker, &device("box", &format!("tls://{}", server.address()), 7, more)).run();
    gateway.says(mend).await;
    listener.next("/system/heartbeat").await;
    assert_eq!(gateway.said("is not read"), 1, "{}", gateway.log());
    assert_eq!(server.requests(), 0, "{mend}");
    assert!(!gateway.log().contains("PRIVATE"), "{}", gateway.log());
}

#[tokio::test]
async fn what_is_wrong_with_a_certificate_is_said() {
    let folder = folder();
    let (authority, other) = (Authority::new(folder.path(), "plant"), Authority::new(folder.path(), "other"));
    let certificate = authority.sign("127.0.0.1");
    let wants_ours = serve(&certificate, Some(&authority));
    let client = "does it want another client certificate?";
    check_refused(&wants_ours, &shown(&authority, None), client).await;
    check_refused(&wants_ours, &shown(&authority, Some(&other.sign("gateway"))), client).await;
    check_refused(&wants_ours, &shown(&authority, Some(&authority.sign_expired("gateway"))), client).await;

    let open = serve(&certificate, None);
    check_refused(&open, &shown(&other, None), "from a CA that is not trusted; check the device's `ca`").await;
    let expired = serve(&authority.sign_expired("127.0.0.1"), None);
    check_refused(&expired, &shown(&authority, None), "the device's certificate has expired").await;
    let elsewhere = serve(&authority.sign("plc-7"), None);
    let mend = "write the name in it into the device's `server_name`";
    check_refused(&elsewhere, &shown(&authority, None), mend).await;
    let plain = over(Transport::Tcp, memory([7]));
    check_refused(&plain, &shown(&authority, None), "no TLS with 127.0.0.1").await;
}
