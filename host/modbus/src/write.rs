//! Writes take precedence over reads: they are performed before the next request of a cycle, and read back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bessai_domain::plan::Plan;
use bessai_domain::profile::{Point, Profile, ReadLimits};
use bessai_domain::register::{Format, Layout, UnitId};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use crate::DeviceSettings;
use crate::connection::BusConnection;
use crate::reply::Reply;
use crate::request::{BusError, BusRequest};

/// Writes that may wait for a bus; a further one is refused.
const MAX_PENDING_WRITES: usize = 16;

/// A performed write.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WrittenPoint {
    /// The value read back, in the point's unit; none if the point is write-only.
    pub read_back: Option<f64>,
}

/// A write to be performed.
pub(crate) struct PendingWrite {
    device: String,
    point: String,
    value: f64,
    outcome: oneshot::Sender<Result<WrittenPoint, String>>,
}

/// Writes points of the devices whose buses are connected to it.
#[derive(Clone, Default)]
pub struct PointWriter {
    buses: BTreeMap<String, mpsc::Sender<PendingWrite>>,
}

/// The pending writes of a bus.
pub struct WriteQueue {
    requests: mpsc::Receiver<PendingWrite>,
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
    /// A text, if the point does not exist, the value does not fit, or the device refuses or does not reply.
    pub async fn write(&self, device: &str, point: &str, value: f64) -> Result<WrittenPoint, String> {
        let bus = self.buses.get(device).ok_or_else(|| format!("there is no device {device}"))?;
        let (outcome, received) = oneshot::channel();
        let request = PendingWrite { device: device.to_owned(), point: point.to_owned(), value, outcome };
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
}

struct WriteTarget {
    unit: UnitId,
    timeout: Duration,
    profile: Arc<Profile>,
}

impl PendingWrites {
    pub(crate) fn new(queue: WriteQueue, devices: &[DeviceSettings]) -> Self {
        let mut writes = Self { queue, targets: BTreeMap::new() };
        devices.iter().for_each(|device| writes.update_target(device));
        writes
    }

    /// Adds a device, or replaces its points.
    pub(crate) fn update_target(&mut self, device: &DeviceSettings) {
        let target = WriteTarget { unit: device.unit, timeout: device.timeout, profile: Arc::clone(&device.profile) };
        self.targets.insert(device.name.clone(), target);
    }

    /// Waits for a write; none when there will be no more.
    pub(crate) async fn next(&mut self) -> Option<PendingWrite> {
        self.queue.requests.recv().await
    }

    /// Performs the writes that are pending, at most a full queue: endless writes must not keep the devices from being read.
    pub(crate) async fn perform_all(&mut self, connection: &mut BusConnection) {
        for _ in 0..MAX_PENDING_WRITES {
            let Ok(request) = self.queue.requests.try_recv() else { return };
            self.perform(request, connection).await;
        }
    }

    /// Performs a write and sends its outcome. A cancelled write is skipped: its value may be outdated.
    pub(crate) async fn perform(&self, request: PendingWrite, connection: &mut BusConnection) {
        let PendingWrite { device, point, value, outcome } = request;
        if outcome.is_closed() {
            return;
        }
        let target = self.targets.get(&device).and_then(|target| Some((target, target.profile.point(&point)?)));
        let written = match target {
            Some((target, point)) => write_point(connection, point, target.unit, target.timeout, value).await,
            None => Err(format!("{device} has no point {point}")),
        };
        let _ = outcome.send(written);
    }
}

/// Writes a value in the point's unit and reads it back.
pub(crate) async fn write_point(
    connection: &mut BusConnection,
    point: &Point,
    unit: UnitId,
    timeout: Duration,
    value: f64,
) -> Result<WrittenPoint, String> {
    let exponent = match point.scale_register {
        None => None,
        Some(address) => {
            let factor = Point {
                scale_register: None,
                ..Point::new("factor", point.table, address, Layout::plain(Format::Int16))
            };
            let unit = point.unit_id.unwrap_or(unit);
            exponent(read_point(connection, &factor, unit, timeout).await?)
        }
    };
    let write = point.write(value, exponent, unit).map_err(|refusal| refusal.to_string())?;
    match connection.request(BusRequest::Write(&write), timeout).await.map_err(BusError::into_reason)? {
        Reply::Exception(_, reason) => Err(format!("the device refuses to set {} to {value}: {reason}", point.name)),
        Reply::Values(_) => Err(format!("the device sent values in reply to the write to {}", point.name)),
        Reply::WriteConfirmed if point.access.is_read() => {
            Ok(WrittenPoint { read_back: Some(read_point(connection, point, unit, timeout).await?) })
        }
        Reply::WriteConfirmed => Ok(WrittenPoint { read_back: None }),
    }
}

fn exponent(value: f64) -> Option<i32> {
    (-10..=10).find(|exponent| f64::from(*exponent) == value)
}

/// The value of one point, NaN if it has none.
async fn read_point(
    connection: &mut BusConnection,
    point: &Point,
    unit: UnitId,
    timeout: Duration,
) -> Result<f64, String> {
    let plan = Plan::new([point].into_iter(), unit, ReadLimits::default());
    let mut reading = plan.reading();
    for request in plan.requests() {
        match connection.request(BusRequest::Read(request), timeout).await.map_err(BusError::into_reason)? {
            Reply::Values(registers) => plan.decode(request, &registers, &mut reading),
            Reply::Exception(_, reason) => return Err(format!("the device refuses to read {}: {reason}", point.name)),
            Reply::WriteConfirmed => {}
        }
    }
    Ok(plan.finish(reading, 0).values.first().copied().unwrap_or(f64::NAN))
}
