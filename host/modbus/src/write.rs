//! Writes take precedence over reads: they are performed before the next request of a cycle, and read back until the device
//! shows the value or its time is over. Reading continues in between.

mod read_back;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bessai_domain::profile::Profile;
use bessai_domain::register::UnitId;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use crate::DeviceSettings;
use crate::connection::BusConnection;

pub(crate) use self::read_back::{PointTarget, SettlingWrite, begin, read_point};

/// Writes that may wait for a bus; a further one is refused.
const MAX_PENDING_WRITES: usize = 16;

/// How a write is performed, beyond what the profile says.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WriteOptions {
    /// How long the device may take to show the value; none for the profile's `settle`.
    pub settle: Option<Duration>,
    /// A person has confirmed the write of a dangerous point.
    pub is_confirmed: bool,
    /// The value that the point had when it was last read, for the message about one that does not change.
    pub before: Option<f64>,
}

/// A performed write.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WrittenPoint {
    /// The value read back, in the point's unit; none if the point is write-only.
    pub read_back: Option<f64>,
}

/// What a write is answered with.
type Outcome = oneshot::Sender<Result<WrittenPoint, String>>;

/// What is to be done next.
pub(crate) enum PendingWrite {
    /// A write to be performed.
    New(Box<WriteOrder>),
    /// Values that were written are due to be read back.
    ReadBack,
}

/// A write to be performed.
pub(crate) struct WriteOrder {
    device: String,
    point: String,
    value: f64,
    options: WriteOptions,
    outcome: Outcome,
}

/// Writes points of the devices whose buses are connected to it.
#[derive(Clone, Default)]
pub struct PointWriter {
    buses: BTreeMap<String, mpsc::Sender<WriteOrder>>,
}

/// The pending writes of a bus.
pub struct WriteQueue {
    requests: mpsc::Receiver<WriteOrder>,
}

impl PointWriter {
    /// Accepts writes for the devices of a bus; the queue goes to the bus's [`run`](crate::run).
    pub fn connect(&mut self, devices: &[DeviceSettings]) -> WriteQueue {
        let (sender, requests) = mpsc::channel(MAX_PENDING_WRITES);
        self.buses.extend(devices.iter().map(|device| (device.name.clone(), sender.clone())));
        WriteQueue { requests }
    }

    /// Sets a point, given by its name or its channel, to a value in its unit. Cancelled if the future is dropped before the
    /// write's turn.
    ///
    /// # Errors
    /// A text, if the point does not exist, the value does not fit, or the device refuses, does not reply or does not take it.
    pub async fn write(&self, device: &str, point: &str, value: f64) -> Result<WrittenPoint, String> {
        self.write_with(device, point, value, WriteOptions::default()).await
    }

    /// The same with options.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub async fn write_with(
        &self,
        device: &str,
        point: &str,
        value: f64,
        options: WriteOptions,
    ) -> Result<WrittenPoint, String> {
        let bus = self.buses.get(device).ok_or_else(|| format!("there is no device {device}"))?;
        let (outcome, received) = oneshot::channel();
        let request = WriteOrder { device: device.to_owned(), point: point.to_owned(), value, options, outcome };
        bus.try_send(request).map_err(|error| match error {
            TrySendError::Full(_) => format!("{device} already has {MAX_PENDING_WRITES} pending writes"),
            TrySendError::Closed(_) => format!("{device} is no longer polled"),
        })?;
        received.await.unwrap_or_else(|_| Err(format!("{device} is no longer polled")))
    }
}

impl WriteQueue {
    /// A queue that never has a write, for a bus that is only read.
    pub fn closed() -> Self {
        let (_, requests) = mpsc::channel(1);
        Self { requests }
    }
}

/// The pending writes of a bus and the points that they may address.
pub(crate) struct PendingWrites {
    queue: WriteQueue,
    targets: BTreeMap<String, WriteTarget>,
    /// Values that the device does not show yet, at most one of each point.
    settling: Vec<UnsettledWrite>,
}

struct UnsettledWrite {
    device: String,
    write: SettlingWrite,
    outcome: Outcome,
}

struct WriteTarget {
    unit: UnitId,
    timeout: Duration,
    profile: Arc<Profile>,
}

impl PendingWrites {
    pub(crate) fn new(queue: WriteQueue, devices: &[DeviceSettings]) -> Self {
        let mut writes = Self { queue, targets: BTreeMap::new(), settling: Vec::new() };
        devices.iter().for_each(|device| writes.update_target(device));
        writes
    }

    /// Adds a device, or replaces its points.
    pub(crate) fn update_target(&mut self, device: &DeviceSettings) {
        let target = WriteTarget { unit: device.unit, timeout: device.timeout, profile: Arc::clone(&device.profile) };
        self.targets.insert(device.name.clone(), target);
    }

    /// Waits until there is something to do; none when there will be nothing more.
    pub(crate) async fn next(&mut self) -> Option<PendingWrite> {
        let Some(due) = self.settling.iter().map(|unsettled| unsettled.write.due()).min() else {
            return Some(PendingWrite::New(Box::new(self.queue.requests.recv().await?)));
        };
        tokio::select! {
            biased;
            Some(order) = self.queue.requests.recv() => Some(PendingWrite::New(Box::new(order))),
            () = sleep_until(due) => Some(PendingWrite::ReadBack),
        }
    }

    /// Performs what is pending, at most a full queue of writes: endless writes must not keep the devices from being read.
    /// Returns whether there were any writes.
    pub(crate) async fn perform_all(&mut self, connection: &mut BusConnection) -> bool {
        let mut has_written = false;
        for _ in 0..MAX_PENDING_WRITES {
            let Ok(order) = self.queue.requests.try_recv() else { break };
            self.write(order, connection).await;
            has_written = true;
        }
        self.read_back(connection).await;
        has_written
    }

    /// Performs a write, or reads values back.
    pub(crate) async fn perform(&mut self, pending: PendingWrite, connection: &mut BusConnection) {
        match pending {
            PendingWrite::New(order) => self.write(*order, connection).await,
            PendingWrite::ReadBack => self.read_back(connection).await,
        }
    }

    /// Sends a write, and its outcome if that is known at once. A cancelled write is skipped: its value may be outdated.
    async fn write(&mut self, order: WriteOrder, connection: &mut BusConnection) {
        let WriteOrder { device, point, value, options, outcome } = order;
        if outcome.is_closed() {
            return;
        }
        let target = self.targets.get(&device).and_then(|target| Some((target, target.profile.point(&point)?)));
        let Some((WriteTarget { unit, timeout, .. }, point)) = target else {
            let _ = outcome.send(Err(format!("{device} has no point {point}")));
            return;
        };
        let target = PointTarget { point: Arc::new(point.clone()), unit: *unit, timeout: *timeout };
        self.supersede(&device, &target.point.name);
        let mut write = match begin(connection, target, value, options, options.before).await {
            Ok(write) => write,
            Err(reason) => {
                let _ = outcome.send(Err(reason));
                return;
            }
        };
        match write.read_back(connection).await {
            Some(written) => drop(outcome.send(written)),
            None => self.settling.push(UnsettledWrite { device, write, outcome }),
        }
    }

    /// An earlier write of the same point no longer counts.
    fn supersede(&mut self, device: &str, point: &str) {
        let is_same = |unsettled: &UnsettledWrite| unsettled.device == device && unsettled.write.point().name == point;
        if let Some(index) = self.settling.iter().position(is_same) {
            let unsettled = self.settling.swap_remove(index);
            let reason = format!("a newer write of {point} came before the device showed the value");
            let _ = unsettled.outcome.send(Err(reason));
        }
    }

    /// Reads back the values that are due.
    async fn read_back(&mut self, connection: &mut BusConnection) {
        let now = Instant::now();
        for mut unsettled in std::mem::take(&mut self.settling) {
            if unsettled.outcome.is_closed() {
                continue;
            }
            let read = if unsettled.write.due() <= now { unsettled.write.read_back(connection).await } else { None };
            match read {
                Some(written) => drop(unsettled.outcome.send(written)),
                None => self.settling.push(unsettled),
            }
        }
    }
}
