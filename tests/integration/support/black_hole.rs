//! An address that answers no attempt to connect.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

/// A listener whose queue is full, so that the system drops further packets that ask for a connection.
pub struct BlackHole {
    _listener: TcpListener,
    _queued: Vec<TcpStream>,
}

impl BlackHole {
    pub async fn start(ip: [u8; 4], port: u16) -> Self {
        let address = SocketAddr::from((ip, port));
        let listener = TcpListener::bind(address).unwrap();
        shorten_queue(&listener);
        let mut queued = Vec::new();
        // Some systems have room for one or two more than asked.
        while let Ok(Ok(stream)) = timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
            queued.push(stream);
        }
        Self { _listener: listener, _queued: queued }
    }
}

/// Leaves no room for connections that nobody has accepted.
#[allow(unsafe_code, reason = "no library in use can change the queue of a listener")]
fn shorten_queue(listener: &TcpListener) {
    // SAFETY: the descriptor is that of a listener that lives through the call.
    let result = unsafe { libc::listen(listener.as_raw_fd(), 0) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}
