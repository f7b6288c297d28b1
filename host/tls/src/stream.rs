//! Streams: one that remembers what it received before TLS, and a TLS stream whose errors are sentences.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream as Inner;

use crate::client::Context;
use crate::explain::{self, Failure, Phase};

/// The first bytes of what was received, by which other protocols are recognised.
pub(crate) type FirstBytes = [u8; 8];

/// A stream that counts what is received and keeps the first bytes of it.
#[derive(Debug)]
pub(crate) struct Observed<S> {
    stream: S,
    pub(crate) received: u64,
    pub(crate) first: FirstBytes,
}

impl<S> Observed<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, received: 0, first: FirstBytes::default() }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Observed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        let new = buffer.filled().get(before..).unwrap_or_default();
        let known = usize::try_from(self.received).unwrap_or(usize::MAX);
        for (own, byte) in self.first.iter_mut().skip(known).zip(new) {
            *own = *byte;
        }
        self.received += u64::try_from(new.len()).unwrap_or_default();
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Observed<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// A TLS stream after its handshake.
#[derive(Debug)]
pub struct TlsStream<S> {
    inner: Inner<Observed<S>>,
    context: Arc<Context>,
}

impl<S> TlsStream<S> {
    pub(crate) fn new(inner: Inner<Observed<S>>, context: Arc<Context>) -> Self {
        Self { inner, context }
    }

    /// In TLS 1.3 a refused client certificate shows only after the handshake.
    fn explained<T>(&self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        polled.map_err(|error| match explain::is_tls(&error) {
            true => {
                let sentence = explain::sentence(&self.context, "", &error, Phase::Session);
                io::Error::new(error.kind(), Failure(sentence))
            }
            false => error,
        })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_read(context, buffer);
        self.explained(polled)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.explained(polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_flush(context);
        self.explained(polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_shutdown(context);
        self.explained(polled)
    }
}
