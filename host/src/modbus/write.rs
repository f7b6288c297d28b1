//! Writes go ahead of reads: they are done before the next request of a cycle, and read back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bessai_domain::plan::{Blocks, Plan};
use bessai_domain::profile::{Point, Profile};
use bessai_domain::register::{Format, Layout, UnitId};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use super::Settings;
use super::connection::{Call, Connection};
use super::link::Answer;

/// A value that was written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Written {
    /// What the point reads now, in its unit; none where it can only be written.
    pub read_back: Option<f64>,
}

/// A value to be written.
pub struct Order {
    pub(super) device: String,
    pub(super) point: String,
    pub(super) value: f64,
    pub(super) answer: oneshot::Sender<Result<Written, String>>,
}

/// Where to write the points of a site's devices.
#[derive(Clone, Default)]
pub struct Writer {
    lines: BTreeMap<String, mpsc::Sender<Order>>,
}

/// What can be written on a line, by device.
pub(super) type Targets = BTreeMap<String, Target>;

/// A device's points, and how to reach them.
pub(super) struct Target {
    pub(super) unit: UnitId,
    pub(super) timeout: Duration,
    pub(super) profile: Arc<Profile>,
}

impl Target {
    pub(super) fn of(device: &Settings) -> Self {
        Self { unit: device.unit, timeout: device.timeout, profile: Arc::clone(&device.profile) }
    }
}

impl Writer {
    /// The devices of a line whose task takes orders from there.
    pub fn add(&mut self, devices: &[Settings], line: &mpsc::Sender<Order>) {
        self.lines.extend(devices.iter().map(|device| (device.name.clone(), line.clone())));
    }

    /// Sets a point, named by itself or by its channel, to a value in its unit.
    ///
    /// # Errors
    /// In words, when there is no such point, the value does not fit, the device refuses or does not answer.
    pub async fn write(&self, device: &str, point: &str, value: f64) -> Result<Written, String> {
        let line = self.lines.get(device).ok_or_else(|| format!("there is no device {device}"))?;
        let (answer, answered) = oneshot::channel();
        let order = Order { device: device.to_owned(), point: point.to_owned(), value, answer };
        line.try_send(order).map_err(|error| match error {
            TrySendError::Full(_) => format!("{device} has more writes waiting than it can do"),
            TrySendError::Closed(_) => format!("{device} is not read any more"),
        })?;
        answered.await.unwrap_or_else(|_| Err(format!("{device} is not read any more")))
    }
}

/// Does all that waits.
pub(super) async fn serve(orders: &mut mpsc::Receiver<Order>, targets: &Targets, connection: &mut Connection) {
    while let Ok(order) = orders.try_recv() {
        carry_out(order, targets, connection).await;
    }
}

/// Does one and answers whoever asked, if he still waits.
pub(super) async fn carry_out(order: Order, targets: &Targets, connection: &mut Connection) {
    let Order { device, point, value, answer } = order;
    let target = targets.get(&device).and_then(|target| Some((target, target.profile.point(&point)?)));
    let written = match target {
        Some((target, point)) => write(connection, point, target.unit, target.timeout, value).await,
        None => Err(format!("{device} has no point {point}")),
    };
    let _ = answer.send(written);
}

pub(super) async fn write(
    connection: &mut Connection,
    point: &Point,
    unit: UnitId,
    timeout: Duration,
    value: f64,
) -> Result<Written, String> {
    let exponent = match point.scale_register {
        None => None,
        Some(address) => {
            let factor = Point {
                scale_register: None,
                ..Point::new("factor", point.table, address, Layout::plain(Format::Int16))
            };
            let unit = point.unit_id.unwrap_or(unit);
            exponent(read(connection, &factor, unit, timeout).await?)
        }
    };
    let write = point.write(value, exponent, unit).map_err(|refusal| refusal.to_string())?;
    match connection.ask(Call::Write(&write), timeout).await.map_err(|trouble| trouble.reason().to_owned())? {
        Answer::Refused(_, reason) => Err(format!("the device refuses to set {} to {value}: {reason}", point.name)),
        Answer::Registers(_) => Err(format!("a reply to something else than the write to {}", point.name)),
        Answer::Written if point.access.is_read() => {
            Ok(Written { read_back: Some(read(connection, point, unit, timeout).await?) })
        }
        Answer::Written => Ok(Written { read_back: None }),
    }
}

fn exponent(value: f64) -> Option<i32> {
    (-10..=10).find(|exponent| f64::from(*exponent) == value)
}

/// The value of one point, NaN where it has none.
async fn read(connection: &mut Connection, point: &Point, unit: UnitId, timeout: Duration) -> Result<f64, String> {
    let plan = Plan::new([point].into_iter(), unit, Blocks::default());
    let mut reading = plan.reading();
    for request in plan.requests() {
        let answer = connection.ask(Call::Read(request), timeout).await;
        match answer.map_err(|trouble| trouble.reason().to_owned())? {
            Answer::Registers(registers) => plan.decode(request, &registers, &mut reading),
            Answer::Refused(_, reason) => return Err(format!("the device refuses to read {}: {reason}", point.name)),
            Answer::Written => {}
        }
    }
    Ok(plan.finish(reading, 0).values.first().copied().unwrap_or(f64::NAN))
}
