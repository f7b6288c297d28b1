//! `/health` under clients that say nothing, too much, or the wrong thing.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::support::broker::Broker;
use crate::support::device::Device;
use crate::support::gateway::{Gateway, Setup};

/// Connections of the silent client.
const SILENT: usize = 1000;

async fn running(device: &Device, broker: &Broker) -> (Gateway, SocketAddr) {
    let gateway = Setup::new().device(device.port()).broker(broker.url()).run();
    gateway.wait_for_health("the signs of health", |health| health["status"] == "healthy").await;
    let address = gateway.health_address().await;
    (gateway, address)
}

/// The reply to a request.
fn exchange(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    reply
}

#[tokio::test]
async fn a_thousand_silent_connections_keep_nobody_from_an_answer() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    let (device, broker) = (Device::huawei(), Broker::start());
    let (gateway, address) = running(&device, &broker).await;
    let silent: Vec<_> = (0..SILENT).map(|_| TcpStream::connect(address).unwrap()).collect();
    for _ in 0..10 {
        assert_eq!(gateway.health().await["site_id"], "SITE-CL-001");
    }
    // One that has begun its request and never ends it is silent, too.
    let mut slow: Vec<_> = (0..100).map(|_| TcpStream::connect(address).unwrap()).collect();
    for stream in &mut slow {
        stream.write_all(b"GET /health HTTP/1.1\r\nhost: ").unwrap();
    }
    assert_eq!(gateway.health().await["site_id"], "SITE-CL-001");
    drop(silent);
}

#[tokio::test]
async fn wrong_requests_are_refused_and_ended() {
    let (device, broker) = (Device::huawei(), Broker::start());
    let (gateway, address) = running(&device, &broker).await;
    let check = |request: &str, status: &str| {
        let reply = exchange(address, request);
        assert!(reply.starts_with(&format!("HTTP/1.1 {status}")), "{request:?}: {reply:?}");
    };
    check("POST /health HTTP/1.1\r\nhost: a\r\n\r\n", "405");
    check("GET /other HTTP/1.1\r\nhost: a\r\n\r\n", "404");
    check("POST /health HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n", "413");
    check("nonsense\r\n\r\n", "400");
    let long = format!("GET /health HTTP/1.1\r\nlong: {}\r\n\r\n", "x".repeat(1 << 20));
    let mut stream = TcpStream::connect(address).unwrap();
    // The server closes before it has read all of it.
    let _ = stream.write_all(long.as_bytes());
    let _ = stream.read_to_end(&mut Vec::new());
    assert_eq!(gateway.health().await["site_id"], "SITE-CL-001");
}
