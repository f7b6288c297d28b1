//! A stream that survives tokio-modbus's client: after a timeout the client is dropped with whatever it had buffered, the
//! bus is drained, and a new client continues on the same stream.

use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use std::{fmt, io};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::timeout;

use crate::reply_filter::ReplyFilter;
use crate::socket::ResetSwitch;

/// Longest time to drain a bus before its connection is closed: at 1200 baud the longest frame takes 2.4 s.
const MAX_DRAIN: Duration = Duration::from_secs(5);
/// Longest time to wait for silence on a bus with other masters, which may never fall silent.
const MAX_SHARED_DRAIN: Duration = Duration::from_millis(200);
/// Most unsolicited bytes to discard before the connection is closed.
const MAX_UNSOLICITED_BYTES: usize = 65_536;

/// Bytes that a line of the log shows: the longest frame.
const MAX_LOGGED_BYTES: usize = 260;

/// What had arrived before a request was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unsolicited {
    /// No bytes.
    Nothing,
    /// Bytes that belong to no reply and have been discarded.
    Discarded,
    /// The end of the stream, or more than [`MAX_UNSOLICITED_BYTES`].
    End,
}

trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> ByteStream for T {}

/// A handle of a stream; clones share the stream and are used one at a time.
#[derive(Clone)]
pub(crate) struct SharedStream(Arc<Mutex<StreamState>>);

struct StreamState {
    stream: Box<dyn ByteStream>,
    /// None where a connection cannot be reset.
    reset: Option<ResetSwitch>,
    /// The bus in the log.
    address: String,
    is_closed: bool,
    /// Finds the replies; none before it is set.
    filter: Option<ReplyFilter>,
}

impl SharedStream {
    pub(crate) fn new(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        Self::with_reset(stream, None)
    }

    /// A stream on a connection that can be closed with a reset.
    pub(crate) fn resettable(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, reset: ResetSwitch) -> Self {
        Self::with_reset(stream, Some(reset))
    }

    fn with_reset(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, reset: Option<ResetSwitch>) -> Self {
        let (address, filter) = (String::new(), None);
        Self(Arc::new(Mutex::new(StreamState { stream: Box::new(stream), reset, address, is_closed: false, filter })))
    }

    /// Gives the stream its bus's name in the log.
    pub(crate) fn name(&self, address: String) {
        self.lock().address = address;
    }

    /// Finds the replies among what is received from now on.
    pub(crate) fn filter_replies(&self, filter: ReplyFilter) {
        self.lock().filter = Some(filter);
    }

    /// What the filter knows; none before it is set.
    pub(crate) fn ask_filter<T>(&self, question: impl FnOnce(&mut ReplyFilter) -> T) -> Option<T> {
        self.lock().filter.as_mut().map(question)
    }

    /// Has the connection closed with a reset, where there is one.
    pub(crate) fn reset_on_close(&self) {
        if let Some(reset) = &self.lock().reset {
            reset.reset_on_close();
        }
    }

    /// Whether the peer has closed the stream: tokio-modbus reports that as the last OS error, which may stem from another
    /// connection.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// Discards what has already arrived, without waiting: it cannot be the reply to a request not yet sent.
    pub(crate) fn discard_unsolicited(&mut self) -> Unsolicited {
        let mut state = self.lock();
        if let Some(filter) = &mut state.filter {
            filter.clear();
        }
        let mut context = Context::from_waker(Waker::noop());
        let (mut bytes, mut discarded) = ([MaybeUninit::uninit(); MAX_LOGGED_BYTES], 0);
        while discarded < MAX_UNSOLICITED_BYTES {
            let mut buffer = ReadBuf::uninit(&mut bytes);
            match state.poll_read(&mut context, &mut buffer) {
                Poll::Pending if discarded == 0 => return Unsolicited::Nothing,
                Poll::Pending => return Unsolicited::Discarded,
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    discarded += buffer.filled().len();
                    if let Some(filter) = &mut state.filter {
                        filter.discard(buffer.filled());
                    }
                }
                Poll::Ready(_) => break,
            }
        }
        Unsolicited::End
    }

    /// Discards what arrives until nothing has arrived for the length of `silence`. On a bus with other masters that time is
    /// limited, and the request is sent all the same.
    pub(crate) async fn drain(&mut self, silence: Duration) -> io::Result<()> {
        let mut buffer = [0; MAX_LOGGED_BYTES];
        let is_shared = self.ask_filter(|filter| filter.is_shared()) == Some(true);
        let limit = if is_shared { MAX_SHARED_DRAIN } else { MAX_DRAIN };
        let until_silent = async {
            while let Ok(read) = timeout(silence, self.read(&mut buffer)).await {
                let read = read?;
                if read == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                self.ask_filter(|filter| filter.discard(buffer.get(..read).unwrap_or_default()));
            }
            Ok(())
        };
        match timeout(limit, until_silent).await {
            Ok(drained) => drained,
            Err(_) if self.ask_filter(|filter| filter.is_shared()) == Some(true) => Ok(()),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// No code panics while holding the lock, so a poisoned lock is still consistent.
    fn lock(&self) -> MutexGuard<'_, StreamState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StreamState {
    fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(self.stream.as_mut()).poll_read(context, buffer);
        if matches!(read, Poll::Ready(Ok(()))) && buffer.filled().len() == before && buffer.remaining() > 0 {
            self.is_closed = true;
        }
        if let Some(received) = buffer.filled().get(before..).filter(|received| !received.is_empty()) {
            let address = &self.address;
            tracing::trace!(%address, "received {}", Hex(received));
        }
        read
    }
}

/// Bytes in hexadecimal, as `00 01 00 00`.
struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().take(MAX_LOGGED_BYTES).enumerate() {
            let space = if index == 0 { "" } else { " " };
            write!(formatter, "{space}{byte:02x}")?;
        }
        match self.0.len() {
            count if count > MAX_LOGGED_BYTES => write!(formatter, " … ({count} bytes)"),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for SharedStream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SharedStream")
    }
}

impl AsyncRead for SharedStream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = self.lock();
        if !state.filter.as_ref().is_some_and(ReplyFilter::is_waiting) {
            return state.poll_read(context, buffer);
        }
        let mut bytes = [MaybeUninit::uninit(); MAX_LOGGED_BYTES];
        loop {
            let reply = state.filter.as_mut().map_or(&[][..], |filter| filter.take(buffer.remaining()));
            if !reply.is_empty() {
                buffer.put_slice(reply);
                return Poll::Ready(Ok(()));
            }
            let mut received = ReadBuf::uninit(&mut bytes);
            match state.poll_read(context, &mut received) {
                Poll::Ready(Ok(())) if !received.filled().is_empty() => {}
                other => return other,
            }
            if let Some(filter) = &mut state.filter {
                filter.receive(received.filled());
                if let Some(contradiction) = filter.take_contradiction() {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, contradiction)));
                }
            }
        }
    }
}

impl AsyncWrite for SharedStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut guard = self.lock();
        let state = &mut *guard;
        let bytes = state.filter.as_mut().map_or(bytes, |filter| filter.outgoing(bytes));
        let written = Pin::new(state.stream.as_mut()).poll_write(context, bytes);
        if let Poll::Ready(Ok(count)) = &written {
            let address = &state.address;
            tracing::trace!(%address, "sent {}", Hex(bytes.get(..*count).unwrap_or_default()));
            if let Some(filter) = &mut state.filter {
                filter.sent(*count);
            }
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.lock().stream.as_mut()).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.lock().stream.as_mut()).poll_shutdown(context)
    }
}
