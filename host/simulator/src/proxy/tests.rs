//! Each condition of the network, with a server that echoes.

use std::io::ErrorKind;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

/// Far longer than anything here takes; a test that hangs fails instead.
const LIMIT: Duration = Duration::from_secs(30);
/// Long enough to see that nothing is received.
const SILENCE: Duration = Duration::from_millis(50);

async fn echo_behind_proxy() -> Proxy {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    Proxy::start(target).await.unwrap()
}

async fn receives(client: &mut TcpStream, expected: &[u8]) {
    let mut received = vec![0; expected.len()];
    tokio::time::timeout(LIMIT, client.read_exact(&mut received)).await.unwrap().unwrap();
    assert_eq!(received, expected);
}

async fn receives_nothing(client: &mut TcpStream) {
    assert!(tokio::time::timeout(SILENCE, client.read_u8()).await.is_err());
}

#[tokio::test]
async fn held_bytes_are_forwarded_when_the_network_is_normal_again() {
    let proxy = echo_behind_proxy().await;
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    for condition in [
        NetworkCondition::BlackHole,
        NetworkCondition::HalfOpen(Direction::Up),
        NetworkCondition::HalfOpen(Direction::Down),
    ] {
        client.write_all(b"before").await.unwrap();
        receives(&mut client, b"before").await;
        proxy.set_condition(condition);
        client.write_all(b"held").await.unwrap();
        receives_nothing(&mut client).await;
        proxy.set_condition(NetworkCondition::Normal);
        receives(&mut client, b"held").await;
    }
    proxy.set_condition(NetworkCondition::Slow(1, Duration::from_millis(1)));
    client.write_all(b"byte by byte").await.unwrap();
    receives(&mut client, b"byte by byte").await;
    assert_eq!(
        (proxy.connections(), proxy.bytes_forwarded(Direction::Up)),
        (1, proxy.bytes_forwarded(Direction::Down))
    );
}

#[tokio::test]
async fn connections_are_closed_as_commanded() {
    let proxy = echo_behind_proxy().await;
    for (mode, expected) in [(CloseMode::Fin, Ok(0)), (CloseMode::Reset, Err(ErrorKind::ConnectionReset))] {
        for is_delayed in [false, true] {
            let mut client = TcpStream::connect(proxy.address()).await.unwrap();
            client.write_all(b"1").await.unwrap();
            receives(&mut client, b"1").await;
            if is_delayed {
                proxy.close_after(2, mode);
                client.write_all(b"123").await.unwrap();
            } else {
                proxy.close_connections(mode);
            }
            let mut rest = Vec::new();
            let ended = tokio::time::timeout(LIMIT, client.read_to_end(&mut rest)).await.unwrap();
            // The connection may be closed before the echo is received.
            assert!(b"12".starts_with(&rest), "{rest:?}");
            assert_eq!(ended.map(|_| 0).map_err(|error| error.kind()), expected);
            assert!(!proxy.has_pending_close());
        }
    }
}

#[tokio::test]
async fn a_port_that_refused_accepts_again() {
    let proxy = echo_behind_proxy().await;
    proxy.set_condition(NetworkCondition::Refused);
    let refused = async {
        while TcpStream::connect(proxy.address()).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, refused).await.unwrap();
    proxy.set_condition(NetworkCondition::Normal);
    let accepted = async {
        loop {
            if let Ok(client) = TcpStream::connect(proxy.address()).await {
                return client;
            }
        }
    };
    let mut client = tokio::time::timeout(LIMIT, accepted).await.unwrap();
    client.write_all(b"back").await.unwrap();
    receives(&mut client, b"back").await;
}
