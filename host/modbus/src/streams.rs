//! A bus on streams that the caller opens: for simulated devices and networks.

use std::time::Duration;

use bessai_domain::time::Clock;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::poll::Poller;
use crate::stream::SharedStream;
use crate::transport::{Dial, Medium, OpeningStream};
use crate::write::WriteQueue;
use crate::{DeviceReport, DeviceSettings};

/// How frames are delimited in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamFraming {
    /// As over Modbus/TCP.
    Tcp,
    /// As on a serial port, without the pauses of a line.
    Rtu,
}

/// Polls devices like [`run`](crate::run), on streams that `open` opens; its error is for people.
pub async fn run_on_streams<S, O, R>(
    framing: StreamFraming,
    open: impl Fn() -> O + 'static,
    devices: Vec<DeviceSettings>,
    start: Instant,
    clock: Clock,
    reports: mpsc::Sender<R>,
    writes: WriteQueue,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    O: Future<Output = Result<S, String>>,
    R: From<DeviceReport>,
{
    let dialer = StreamDialer { framing, open };
    Poller::new(Box::new(dialer), devices, start, clock, writes).run(reports).await;
}

struct StreamDialer<F> {
    framing: StreamFraming,
    open: F,
}

impl<S, O, F> Dial for StreamDialer<F>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    O: Future<Output = Result<S, String>>,
    F: Fn() -> O,
{
    fn name(&self) -> String {
        "stream".into()
    }

    fn medium(&self) -> Medium {
        match self.framing {
            StreamFraming::Tcp => Medium::Tcp,
            StreamFraming::Rtu => Medium::Serial { frame_gap: Duration::ZERO, settle_time: Duration::ZERO },
        }
    }

    fn dial(&self) -> OpeningStream<'_> {
        Box::pin(async { (self.open)().await.map(SharedStream::new) })
    }
}
