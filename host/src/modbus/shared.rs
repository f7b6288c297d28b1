//! A stream that outlives the library's client: after a timeout the client is thrown away with what it had read, the line
//! is drained, and a new client goes on with the same stream.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use std::{fmt, io};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::timeout;

/// A line that does not fall silent for so long is given up: at 1200 baud the longest frame takes 2.4 s.
const BABBLE_MAX: Duration = Duration::from_secs(5);
/// Bytes that may have come unasked; with more the connection is given up.
const UNASKED_BYTES: usize = 65_536;

/// What had come before anything was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unasked {
    Nothing,
    /// Bytes that belong to no answer, now thrown away.
    Bytes,
    /// The other end has closed, or talks without end.
    End,
}

/// Any byte stream.
pub trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> ByteStream for T {}

/// A handle; clones are the same stream, used by one at a time.
#[derive(Clone)]
pub(super) struct Shared(Arc<Mutex<Line>>);

struct Line {
    stream: Box<dyn ByteStream>,
    has_ended: bool,
}

impl Shared {
    pub(super) fn new(stream: impl ByteStream + 'static) -> Self {
        Self(Arc::new(Mutex::new(Line { stream: Box::new(stream), has_ended: false })))
    }

    /// Whether the other end has closed: the library tells that with whatever the last
    /// system call said, be it one for another connection.
    pub(super) fn has_ended(&self) -> bool {
        self.lock().has_ended
    }

    /// Throws away what is there already, without waiting: it cannot answer what was not yet asked.
    pub(super) fn unasked(&mut self) -> Unasked {
        let mut context = Context::from_waker(Waker::noop());
        let (mut bytes, mut thrown) = ([0; 256], 0);
        while thrown < UNASKED_BYTES {
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut *self).poll_read(&mut context, &mut buffer) {
                Poll::Pending if thrown == 0 => return Unasked::Nothing,
                Poll::Pending => return Unasked::Bytes,
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => thrown += buffer.filled().len(),
                Poll::Ready(_) => break,
            }
        }
        Unasked::End
    }

    /// Throws away what comes until nothing came for so long.
    pub(super) async fn drain(&mut self, silence: Duration) -> io::Result<()> {
        let mut buffer = [0; 256];
        let babble = async {
            while let Ok(read) = timeout(silence, self.read(&mut buffer)).await {
                if read? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            Ok(())
        };
        timeout(BABBLE_MAX, babble).await.unwrap_or_else(|_| Err(io::Error::other("the line never falls silent")))
    }

    /// Nothing panics while it is held, so a poisoned lock is as good.
    fn lock(&self) -> MutexGuard<'_, Line> {
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
        let mut line = self.lock();
        let before = buffer.filled().len();
        let read = Pin::new(line.stream.as_mut()).poll_read(context, buffer);
        if matches!(read, Poll::Ready(Ok(()))) && buffer.filled().len() == before && buffer.remaining() > 0 {
            line.has_ended = true;
        }
        read
    }
}

impl AsyncWrite for Shared {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(self.lock().stream.as_mut()).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.lock().stream.as_mut()).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.lock().stream.as_mut()).poll_shutdown(context)
    }
}
