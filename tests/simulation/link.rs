//! The network between the gateway and a device: streams in memory that delay, reset and fall silent.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::random::Random;

/// Bytes that a stream holds before its writer waits.
const BUFFER: usize = 4096;
/// The usual delay of a piece of data.
const USUAL_DELAY: Duration = Duration::from_millis(20);
/// The delay of a piece on a link that has become slow; longer than a device's time limit now and then.
const SLOW_DELAY: Duration = Duration::from_millis(900);

/// What a link does with data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkState {
    Works,
    Slow,
    /// Nothing arrives, in either direction, and nobody is told.
    Silent,
    /// What the device says does not arrive.
    HalfOpen,
    /// Connections are refused.
    Refused,
}

/// The link of one device.
pub(crate) struct Link {
    state: Rc<Cell<LinkState>>,
    /// Changes to reset all connections.
    resets: watch::Sender<()>,
    random: Cell<Option<Random>>,
}

impl Link {
    pub(crate) fn new(random: Random) -> Self {
        let state = Rc::new(Cell::new(LinkState::Works));
        Self { state, resets: watch::Sender::new(()), random: Cell::new(Some(random)) }
    }

    pub(crate) fn set(&self, state: LinkState) {
        self.state.set(state);
    }

    /// Breaks every connection.
    pub(crate) fn reset(&self) {
        self.resets.send_replace(());
    }

    /// Connects: the gateway's end and the device's end. `heard` is called when data arrives at the gateway.
    pub(crate) async fn connect(&self, heard: impl Fn() + 'static) -> io::Result<(DuplexStream, DuplexStream)> {
        match self.state.get() {
            LinkState::Refused => return Err(io::ErrorKind::ConnectionRefused.into()),
            LinkState::Silent | LinkState::HalfOpen => std::future::pending().await,
            LinkState::Slow => sleep(SLOW_DELAY).await,
            LinkState::Works => {}
        }
        let (gateway, gateway_side) = duplex(BUFFER);
        let (device, device_side) = duplex(BUFFER);
        let (from_gateway, to_gateway) = split(gateway_side);
        let (from_device, to_device) = split(device_side);
        let up = self.pump(from_gateway, to_device, false, || {});
        let down = self.pump(from_device, to_gateway, true, heard);
        let mut resets = self.resets.subscribe();
        tokio::task::spawn_local(async move {
            tokio::select! {
                biased;
                _ = resets.changed() => {}
                ((), ()) = async { tokio::join!(up, down) } => {}
            }
        });
        Ok((gateway, device))
    }

    /// Moves data in one direction until either end closes.
    fn pump<F: Fn()>(
        &self,
        mut from: ReadHalf<DuplexStream>,
        mut to: WriteHalf<DuplexStream>,
        is_from_device: bool,
        arrived: F,
    ) -> impl Future<Output = ()> + use<F> {
        let state = Rc::clone(&self.state);
        let mut random = self.fork();
        async move {
            let mut buffer = [0; 512];
            while let Ok(count @ 1..) = from.read(&mut buffer).await {
                let delay = if state.get() == LinkState::Slow { SLOW_DELAY } else { USUAL_DELAY };
                sleep(random.below(delay)).await;
                match state.get() {
                    LinkState::Silent => continue,
                    LinkState::HalfOpen if is_from_device => continue,
                    _ => {}
                }
                if to.write_all(&buffer[..count]).await.is_err() {
                    break;
                }
                arrived();
            }
            // The other end sees the end of the stream.
            let _ = to.shutdown().await;
        }
    }

    fn fork(&self) -> Random {
        let mut random = self.random.take().unwrap();
        let fork = random.fork();
        self.random.set(Some(random));
        fork
    }
}
