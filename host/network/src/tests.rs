//! Connecting with real sockets: addresses that swallow every packet, refuse, or answer.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;

use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};

use super::*;

/// A test fails after this time.
const LIMIT: Duration = Duration::from_secs(20);

/// An address of this machine that answers no attempt to connect: the queue of its listener is full, so the system drops
/// further packets that ask for a connection.
struct BlackHole {
    address: SocketAddr,
    _listener: TcpListener,
    _queued: Vec<TcpStream>,
}

impl BlackHole {
    async fn start(ip: Ipv4Addr) -> Self {
        let listener = TcpListener::bind((ip, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        shorten_queue(&listener);
        let mut queued = Vec::new();
        // Some systems have room for one or two more than asked.
        while let Ok(Ok(stream)) = timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
            queued.push(stream);
        }
        Self { address, _listener: listener, _queued: queued }
    }
}

/// Leaves no room for connections that nobody has accepted.
#[allow(unsafe_code, reason = "no library in use can change the queue of a listener")]
fn shorten_queue(listener: &TcpListener) {
    // SAFETY: the descriptor is that of a listener that lives through the call.
    let result = unsafe { libc::listen(listener.as_raw_fd(), 0) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

/// An address of this machine that refuses connections.
async fn refusing(ip: Ipv4Addr) -> SocketAddr {
    TcpListener::bind((ip, 0)).await.unwrap().local_addr().unwrap()
}

async fn connect_to(addresses: &[SocketAddr]) -> io::Result<SocketAddr> {
    let connected = timeout(LIMIT, connect_to_any(addresses.to_vec())).await.expect("no attempt has ended");
    connected.and_then(|stream| stream.peer_addr())
}

#[tokio::test]
async fn an_address_that_does_not_answer_delays_the_others_only() {
    let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 3), 0)).await.unwrap();
    let answering = listener.local_addr().unwrap();
    let (first, second) =
        (BlackHole::start(Ipv4Addr::LOCALHOST).await, BlackHole::start(Ipv4Addr::new(127, 0, 0, 2)).await);
    let began = Instant::now();
    assert_eq!(connect_to(&[first.address, second.address, answering]).await.unwrap(), answering);
    assert!(began.elapsed() >= ATTEMPT_DELAY * 2, "the addresses are tried one after the other");
}

#[tokio::test]
async fn a_refusing_address_is_followed_by_the_next_one() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let answering = listener.local_addr().unwrap();
    let refusing = [refusing(Ipv4Addr::LOCALHOST).await, refusing(Ipv4Addr::new(127, 0, 0, 2)).await];
    assert_eq!(connect_to(&[refusing[0], refusing[1], answering]).await.unwrap(), answering);
    let error = connect_to(&refusing).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    for address in refusing {
        assert!(error.to_string().contains(&format!("{address}: Connection refused")), "{error}");
    }
    let error = connect_to(&refusing[..1]).await.unwrap_err();
    assert_eq!(error.to_string(), "Connection refused (os error 111)");
}

#[tokio::test]
async fn a_name_is_connected_to() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let stream = timeout(LIMIT, connect("localhost", address.port())).await.unwrap().unwrap();
    assert_eq!(stream.peer_addr().unwrap(), address);
    assert_eq!(connect_to(&[]).await.unwrap_err().to_string(), "the name has no address");
}

#[test]
fn the_families_alternate() {
    let v4 = |host| SocketAddr::from((Ipv4Addr::new(192, 0, 2, host), 1));
    let v6 = |host| SocketAddr::from((Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host), 1));
    assert_eq!(interleaved(vec![v6(1), v6(2), v4(1), v6(3), v4(1)]), [v6(1), v4(1), v6(2), v6(3)]);
    assert_eq!(interleaved(vec![v4(1), v4(2), v6(1)]), [v4(1), v6(1), v4(2)]);
    assert_eq!(interleaved((1..=40).map(v4).collect()).len(), MAX_ADDRESSES);
    assert_eq!(interleaved(Vec::new()), []);
}
