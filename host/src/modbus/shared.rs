//! A stream that outlives the library's client: after a timeout the client is thrown away with what it had read, the line
//! is drained, and a new client goes on with the same stream.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use std::{fmt, io};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::timeout;

/// Bytes that are thrown away before a line that never falls silent is given up.
const BABBLE_BYTES: usize = 65_536;

/// Any byte stream.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A handle; clones are the same stream, used by one at a time.
#[derive(Clone)]
pub(super) struct Shared(Arc<Mutex<Box<dyn Stream>>>);

impl Shared {
    pub(super) fn new(stream: impl Stream + 'static) -> Self {
        Self(Arc::new(Mutex::new(Box::new(stream))))
    }

    /// Throws away what comes until nothing came for so long.
    pub(super) async fn drain(&mut self, silence: Duration) -> io::Result<()> {
        let mut buffer = [0; 256];
        let mut thrown = 0;
        while let Ok(read) = timeout(silence, self.read(&mut buffer)).await {
            match read? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                bytes => thrown += bytes,
            }
            if thrown > BABBLE_BYTES {
                return Err(io::Error::other("the line never falls silent"));
            }
        }
        Ok(())
    }

    /// Nothing panics while it is held, so a poisoned lock is as good.
    fn lock(&self) -> MutexGuard<'_, Box<dyn Stream>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Shared")
    }
}

impl AsyncRead for Shared {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.lock().as_mut()).poll_read(context, buffer)
    }
}

impl AsyncWrite for Shared {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(self.lock().as_mut()).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.lock().as_mut()).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.lock().as_mut()).poll_shutdown(context)
    }
}
