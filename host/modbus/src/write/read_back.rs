//! One write: it is sent once, and its value is read back until the device shows it or its time is over.

use std::sync::Arc;
use std::time::Duration;

use bessai_domain::plan::{Plan, ReadRequest};
use bessai_domain::profile::{Point, ReadLimits};
use bessai_domain::register::{Format, Layout, UnitId};
use bessai_domain::write::DEFAULT_SETTLE;
use tokio::time::Instant;

use super::{WriteOptions, WrittenPoint};
use crate::reply::{ExceptionKind, Reply};
use crate::request::{BusError, BusRequest, Requests};

/// Pause before a value is read back for the second time; doubles each time, up to [`MAX_PAUSE`].
const MIN_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause before a value is read back again.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// A point of a device.
#[derive(Clone)]
pub(crate) struct PointTarget {
    pub(crate) point: Arc<Point>,
    /// The device's unit id.
    pub(crate) unit: UnitId,
    pub(crate) timeout: Duration,
}

/// A value that was written and is not shown yet.
pub(crate) struct SettlingWrite {
    target: PointTarget,
    /// The requested value, for messages.
    value: f64,
    /// The value that the device shows if it takes the write.
    expected: f64,
    exponent: Option<i32>,
    /// The value before the write, if it was read.
    before: Option<f64>,
    /// The device did not confirm the write.
    missing_reply: Option<String>,
    /// The last value read back, or why there is none.
    shown: Result<f64, String>,
    settle: Duration,
    deadline: Instant,
    due: Instant,
    pause: Duration,
}

/// Sends a write once. `before` is the value that the point had, if it is known.
pub(crate) async fn begin(
    connection: &mut impl Requests,
    target: PointTarget,
    value: f64,
    options: WriteOptions,
    before: Option<f64>,
) -> Result<SettlingWrite, String> {
    let PointTarget { point, unit, timeout } = &target;
    point.check_confirmation(options.is_confirmed).map_err(|refusal| refusal.to_string())?;
    check_header(connection, &target).await?;
    let exponent = read_exponent(connection, &target).await?;
    let write = point.write(value, exponent, *unit).map_err(|refusal| refusal.to_string())?;
    let expected = point.written_value(&write, exponent).unwrap_or(value);
    let missing_reply = match connection.request(BusRequest::Write(&write), *timeout).await {
        // Accepted is as good as confirmed: whether the device takes the value shows when it is read back.
        Ok(Reply::WriteConfirmed | Reply::Exception(ExceptionKind::Accepted, _)) => None,
        Ok(Reply::Exception(_, reason)) => {
            return Err(format!("the device refuses to set {} to {}: {reason}", point.name, point.with_unit(value)));
        }
        Ok(Reply::Values(_)) => return Err(format!("the device sent values in reply to the write to {}", point.name)),
        Err(BusError::NoReply(reason) | BusError::Broken(reason) | BusError::Uncertain(reason)) => Some(reason),
        Err(error) => return Err(error.into_reason()),
    };
    let settle = options.settle.or(point.settle).unwrap_or(DEFAULT_SETTLE);
    let now = Instant::now();
    let shown = Err(String::new());
    let (deadline, due, pause) = (now + settle, now, MIN_PAUSE);
    Ok(SettlingWrite { target, value, expected, exponent, before, missing_reply, shown, settle, deadline, due, pause })
}

impl SettlingWrite {
    pub(crate) fn point(&self) -> &Point {
        &self.target.point
    }

    /// When the value is to be read back next.
    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    /// Reads the value back. None if the device does not show it yet and has time left.
    pub(crate) async fn read_back(&mut self, connection: &mut impl Requests) -> Option<Result<WrittenPoint, String>> {
        if !self.point().access.is_read() {
            let unconfirmed = |reason: String| format!("{reason}; whether the device has carried it out is not known");
            return Some(match self.missing_reply.take() {
                None => Ok(WrittenPoint { read_back: None }),
                Some(reason) => Err(unconfirmed(reason)),
            });
        }
        let began = Instant::now();
        self.shown = read_point(connection, &self.target).await;
        if let Ok(value) = self.shown
            && self.point().is_same_value(value, self.expected, self.exponent)
        {
            return Some(Ok(WrittenPoint { read_back: Some(value) }));
        }
        // A device that has replied to neither of the two is not asked again and again: the others would wait.
        let is_silent = self.missing_reply.is_some() && self.shown.is_err();
        if began >= self.deadline || is_silent {
            return Some(Err(self.failure()));
        }
        self.due = (Instant::now() + self.pause).min(self.deadline);
        self.pause = (self.pause * 2).min(MAX_PAUSE);
        None
    }

    /// Why the write has failed.
    fn failure(&self) -> String {
        let point = self.point();
        let is_unchanged =
            |value: f64| self.before.is_some_and(|before| point.is_same_value(value, before, self.exponent));
        let shown = match &self.shown {
            Ok(value) if value.is_nan() => "it has no value".to_owned(),
            Ok(value) if is_unchanged(*value) => format!("still {}", point.with_unit(*value)),
            Ok(value) => format!("but it reads {}", point.with_unit(*value)),
            Err(reason) => format!("but it cannot be read back: {reason}"),
        };
        match &self.missing_reply {
            Some(reason) => format!("{reason}; {}", shown.trim_start_matches("but ")),
            None => {
                let (name, value, settle) = (&point.name, point.with_unit(self.value), self.settle);
                format!("{name} is not set to {value}: acknowledged, {shown} after {settle:?}")
            }
        }
    }
}

/// Refuses a write to a SunSpec model that is no longer where it was discovered: the register is another one now.
async fn check_header(connection: &mut impl Requests, target: &PointTarget) -> Result<(), String> {
    let Some(header) = target.point.header else { return Ok(()) };
    let unit = target.point.unit_id.unwrap_or(target.unit);
    let request = ReadRequest::new(unit, target.point.table, header.address, 2);
    match connection.request(BusRequest::Read(&request), target.timeout).await.map_err(BusError::into_reason)? {
        Reply::Values(registers) if registers == [header.id, header.length] => Ok(()),
        _ => Err(format!(
            "{} is not written: SunSpec model {} is no longer at register {}; the device has to be discovered again",
            target.point.name, header.id, header.address
        )),
    }
}

/// The power of ten in the register of the point's scale factor, if it has one.
async fn read_exponent(connection: &mut impl Requests, target: &PointTarget) -> Result<Option<i32>, String> {
    let point = &target.point;
    let Some(address) = point.scale_register else { return Ok(None) };
    let factor =
        Point { unit_id: point.unit_id, ..Point::new("factor", point.table, address, Layout::plain(Format::Int16)) };
    let exponent = read_point(connection, &PointTarget { point: Arc::new(factor), ..target.clone() }).await?;
    Ok((-10..=10).find(|known| f64::from(*known) == exponent))
}

/// The value of one point, NaN if it has none.
pub(crate) async fn read_point(connection: &mut impl Requests, target: &PointTarget) -> Result<f64, String> {
    let PointTarget { point, unit, timeout } = target;
    let mut plan = Plan::new([&**point].into_iter(), *unit, ReadLimits::default());
    let mut reading = plan.reading();
    for request in plan.shared_requests() {
        match connection.request(BusRequest::Read(&request), *timeout).await.map_err(BusError::into_reason)? {
            Reply::Values(registers) => plan.decode(&request, &registers, &mut reading),
            Reply::Exception(_, reason) => return Err(format!("the device refuses to read {}: {reason}", point.name)),
            Reply::WriteConfirmed => {}
        }
    }
    Ok(plan.finish(reading, 0).values.first().copied().unwrap_or(f64::NAN))
}
