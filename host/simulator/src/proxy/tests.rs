//! Each weather, against a server that sends back what it gets.

use std::io::ErrorKind;

use super::*;

const LIMIT: Duration = Duration::from_secs(30);
/// Long enough to see that nothing comes.
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
async fn what_is_stopped_goes_on_when_the_weather_clears() {
    let proxy = echo_behind_proxy().await;
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    for weather in [Weather::BlackHole, Weather::HalfOpen(Direction::Up), Weather::HalfOpen(Direction::Down)] {
        client.write_all(b"before").await.unwrap();
        receives(&mut client, b"before").await;
        proxy.set(weather);
        client.write_all(b"held").await.unwrap();
        receives_nothing(&mut client).await;
        proxy.set(Weather::Clear);
        receives(&mut client, b"held").await;
    }
    proxy.set(Weather::Slow(1, Duration::from_millis(1)));
    client.write_all(b"piece by piece").await.unwrap();
    receives(&mut client, b"piece by piece").await;
    assert_eq!((proxy.connections(), proxy.passed(Direction::Up)), (1, proxy.passed(Direction::Down)));
}

#[tokio::test]
async fn cuts_are_as_wanted() {
    let proxy = echo_behind_proxy().await;
    for (cut, expected) in [(Cut::Finish, Ok(0)), (Cut::Reset, Err(ErrorKind::ConnectionReset))] {
        for is_fused in [false, true] {
            let mut client = TcpStream::connect(proxy.address()).await.unwrap();
            client.write_all(b"1").await.unwrap();
            receives(&mut client, b"1").await;
            if is_fused {
                proxy.cut_after(2, cut);
                client.write_all(b"123").await.unwrap();
            } else {
                proxy.cut(cut);
            }
            let mut rest = Vec::new();
            let ended = tokio::time::timeout(LIMIT, client.read_to_end(&mut rest)).await.unwrap();
            // The cut may overtake the echo.
            assert!(b"12".starts_with(&rest), "{rest:?}");
            assert_eq!(ended.map(|_| 0).map_err(|error| error.kind()), expected);
            assert!(!proxy.will_cut());
        }
    }
}

#[tokio::test]
async fn a_refusing_port_is_the_same_afterwards() {
    let proxy = echo_behind_proxy().await;
    proxy.set(Weather::Refused);
    let refused = async {
        while TcpStream::connect(proxy.address()).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, refused).await.unwrap();
    proxy.set(Weather::Clear);
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
