//! Writes of raw registers by other programs: only to writable points of the profile, within their ranges, and read back.

use std::time::Duration;

use bessai_domain::plan::ReadRequest;
use bessai_domain::profile::Point;
use bessai_domain::register::UnitId;
use bessai_domain::relay::{Exception, RelayError, RelayFailure};
use bessai_domain::write::{DEFAULT_SETTLE, WriteError, WriteRequest};
use tokio::time::{Instant, sleep};

use super::{BusRelay, OUTCOME_GRACE, Operation, RelayedDevice};

/// Pause between two readings of a value that does not show yet.
const READ_BACK_PAUSE: Duration = Duration::from_millis(250);
/// Exponents that the register of a scale factor may hold.
const EXPONENTS: std::ops::RangeInclusive<i16> = -10..=10;

/// Unit ids that reach devices with other ids, too: 0 is the broadcast address of a serial bus, and devices with a connection of
/// their own reply to both.
const EVERY_DEVICE: [UnitId; 2] = [UnitId(0), UnitId(255)];

/// A point that a relayed write has set.
#[derive(Clone, Debug, PartialEq)]
pub struct RelayedPoint {
    /// The device's name.
    pub device: String,
    /// The point's name.
    pub point: String,
    /// The value that it was set to, in its unit.
    pub value: f64,
    /// Its unit; empty if it is not known.
    pub unit: String,
    /// Whether it can be read back.
    pub can_be_read: bool,
}

impl RelayedPoint {
    fn new(device: &str, point: &Point, value: f64) -> Self {
        let (device, unit) = (device.to_owned(), point.unit.clone());
        Self { device, point: point.name.clone(), value, unit, can_be_read: point.access.is_read() }
    }
}

/// A point that a write covers.
struct CoveredPoint {
    device: String,
    point: Point,
    words: Vec<u16>,
}

impl BusRelay {
    /// Writes registers or coils, if all of them belong to points that are written as a whole, that the profile allows to
    /// write and that `check` accepts. `announce` gets them before the write is sent. The values are read back, and those that
    /// were set are returned.
    ///
    /// # Errors
    /// Illegal address for a register that may not be written, illegal value for a value outside the point's range, the
    /// device's own exception, or a device failure if the value does not show after it was acknowledged.
    pub async fn write(
        &self,
        write: WriteRequest,
        check: impl Fn(&str, &Point) -> Result<(), String>,
        announce: impl AsyncFnOnce(&[RelayedPoint]),
    ) -> Result<Vec<RelayedPoint>, RelayError> {
        self.check_reachable(write.unit)?;
        let covered = self.covered_points(&write)?;
        let mut request = write.clone();
        let mut written = Vec::new();
        for CoveredPoint { device, point, words } in &covered {
            check(device, point).map_err(|reason| RelayError::new(Exception::ILLEGAL_ADDRESS, reason))?;
            let (value, checked) = self.checked_value(point, words, &write).await?;
            if covered.len() == 1 {
                // The function that the device takes may not be the one that the client uses.
                request.function = checked.function;
            }
            written.push(RelayedPoint::new(device, point, value));
        }
        announce(&written).await;
        let can_be_read_back = covered.iter().all(|covered| covered.point.access.is_read());
        let missing_reply = match self.perform(Operation::Write(request), self.timeout(write.unit), OUTCOME_GRACE).await
        {
            Ok(_) => None,
            // The device may have carried it out all the same: its registers tell.
            Err(error) if can_be_read_back && is_unconfirmed(&error) => Some(error),
            Err(error) => return Err(error),
        };
        for covered in covered.iter().filter(|covered| covered.point.access.is_read()) {
            self.read_back(covered, &write, missing_reply.as_ref()).await?;
        }
        Ok(written)
    }

    /// The device and name of each point that has one of the registers or coils of a write, or whose scale factor is in one of
    /// them.
    pub fn points_at(&self, write: &WriteRequest) -> Vec<(String, String)> {
        let (start, end) = (usize::from(write.address), usize::from(write.address) + write.words.len());
        let devices = self.shared.devices.borrow();
        let is_configured = devices.iter().any(|device| device.unit == write.unit);
        // Broadcasts reach every device, and a device with a connection of its own takes these ids for itself.
        let reaches_all = !is_configured && EVERY_DEVICE.contains(&write.unit);
        let is_at = |device: &RelayedDevice, point: &Point| {
            let first = usize::from(point.address);
            let has_register = first < end && start < first + usize::from(point.layout.format.width());
            let is_scale = point.scale_register.is_some_and(|scale| (start..end).contains(&usize::from(scale)));
            let is_unit = reaches_all || point.unit_id.unwrap_or(device.unit) == write.unit;
            is_unit && point.table == write.function.table() && (has_register || is_scale)
        };
        let of_device = |device: &RelayedDevice| -> Vec<_> {
            let points = device.profile.points.iter().filter(|point| is_at(device, point));
            points.map(|point| (device.name.clone(), point.name.clone())).collect()
        };
        devices.iter().flat_map(of_device).collect()
    }

    /// What a write sets that is sent as it is: points that it covers as a whole, and other registers and coils by their
    /// addresses.
    pub async fn described(&self, write: &WriteRequest) -> Vec<RelayedPoint> {
        let (covered, is_covered) = self.points_within(write, |_| true);
        let mut described = Vec::new();
        for CoveredPoint { device, point, words } in &covered {
            let exponent = self.exponent(point, write.unit).await.ok().flatten();
            let scaling = exponent.map_or(point.scaling, |exponent| point.scaling.times_ten_to(exponent));
            let value = point.layout.decode(words).map_or(f64::NAN, |raw| scaling.to_value(raw));
            described.push(RelayedPoint::new(device, point, value));
        }
        let devices = self.shared.devices.borrow();
        let device = devices.iter().find(|device| device.unit == write.unit).map(|device| device.name.clone());
        let device = device.unwrap_or_else(|| format!("unit {}", write.unit.0));
        let others = write.words.iter().zip(is_covered).enumerate().filter(|(_, (_, is_covered))| !is_covered);
        described.extend(others.map(|(index, (word, _))| RelayedPoint {
            device: device.clone(),
            point: format!("{} {}", write.function.table().name(), usize::from(write.address) + index),
            value: f64::from(*word),
            unit: String::new(),
            can_be_read: true,
        }));
        // A value that is not a number cannot be recorded.
        described.iter_mut().filter(|point| !point.value.is_finite()).for_each(|point| point.value = 0.0);
        described
    }

    /// The points whose registers the write covers.
    fn covered_points(&self, write: &WriteRequest) -> Result<Vec<CoveredPoint>, RelayError> {
        let (covered, is_covered) = self.points_within(write, Point::is_writable);
        if let Some(missing) = is_covered.iter().position(|is_covered| !is_covered) {
            let (table, address) = (write.function.table().name(), usize::from(write.address) + missing);
            let reason = format!(
                "{table} {address} of unit {} is not part of a writable point that the request covers as a whole",
                write.unit.0
            );
            return Err(RelayError::new(Exception::ILLEGAL_ADDRESS, reason));
        }
        Ok(covered)
    }

    /// The points that a write covers as a whole and that are `wanted`, and which of its words belong to them.
    fn points_within(&self, write: &WriteRequest, wanted: impl Fn(&Point) -> bool) -> (Vec<CoveredPoint>, Vec<bool>) {
        let (start, end) = (usize::from(write.address), usize::from(write.address) + write.words.len());
        let mut is_covered = vec![false; write.words.len()];
        let mut covered = Vec::new();
        for device in self.shared.devices.borrow().iter() {
            let points = device.profile.points.iter().filter(|point| {
                let is_whole = point.layout.bits.is_none() && !point.layout.format.is_text();
                let unit = point.unit_id.unwrap_or(device.unit);
                unit == write.unit && point.table == write.function.table() && wanted(point) && is_whole
            });
            for point in points {
                let first = usize::from(point.address);
                let width = usize::from(point.layout.format.width());
                if first < start || first + width > end {
                    continue;
                }
                let range = first - start..first - start + width;
                let Some(words) = write.words.get(range.clone()) else { continue };
                is_covered.get_mut(range).into_iter().flatten().for_each(|is_covered| *is_covered = true);
                covered.push(CoveredPoint { device: device.name.clone(), point: point.clone(), words: words.to_vec() });
            }
        }
        (covered, is_covered)
    }

    /// The value that the words mean, and the request that would write it.
    async fn checked_value(
        &self,
        point: &Point,
        words: &[u16],
        write: &WriteRequest,
    ) -> Result<(f64, WriteRequest), RelayError> {
        let exponent = self.exponent(point, write.unit).await?;
        let scaling = exponent.map_or(point.scaling, |exponent| point.scaling.times_ten_to(exponent));
        let value = point.layout.decode(words).map_or(f64::NAN, |raw| scaling.to_value(raw));
        let checked = point.write(value, exponent, write.unit).map_err(|error| {
            let exception = match &error {
                WriteError::OutOfRange { .. } | WriteError::NotANumber(..) => Exception::ILLEGAL_VALUE,
                WriteError::NoScale(_) => Exception::DEVICE_FAILURE,
                _ => Exception::ILLEGAL_ADDRESS,
            };
            RelayError::new(exception, error.to_string())
        })?;
        Ok((value, checked))
    }

    /// The exponent that the device has for a point with a scale factor.
    async fn exponent(&self, point: &Point, unit: UnitId) -> Result<Option<i32>, RelayError> {
        let Some(address) = point.scale_register else { return Ok(None) };
        let factor = self.read(&ReadRequest::new(unit, point.table, address, 1)).await?;
        let exponent = factor.first().map(|word| word.cast_signed());
        Ok(exponent.filter(|exponent| EXPONENTS.contains(exponent)).map(i32::from))
    }

    /// Reads a point until it shows what was written, or the time to settle is over. Other requests go on meanwhile.
    /// `missing_reply`: why the write is not confirmed.
    async fn read_back(
        &self,
        covered: &CoveredPoint,
        write: &WriteRequest,
        missing_reply: Option<&RelayError>,
    ) -> Result<(), RelayError> {
        let CoveredPoint { point, words, .. } = covered;
        let count = point.layout.format.width();
        let request = ReadRequest::new(write.unit, point.table, point.address, count);
        let deadline = Instant::now() + point.settle.unwrap_or(DEFAULT_SETTLE);
        loop {
            let shown = self.read(&request).await;
            match &shown {
                Ok(shown) if shown == words => return Ok(()),
                // A device that has replied to neither of the two is not asked again and again.
                Err(error) if missing_reply.is_some() => return Err(missing_reply.unwrap_or(error).clone()),
                _ if Instant::now() < deadline => sleep(READ_BACK_PAUSE).await,
                Ok(shown) => {
                    if let Some(missing) = missing_reply {
                        return Err(missing.clone());
                    }
                    let reason = format!("{}: acknowledged, but the registers still hold {shown:?}", point.name);
                    return Err(RelayError::new(Exception::DEVICE_FAILURE, reason));
                }
                Err(error) => {
                    let reason = format!("{}: acknowledged, but not read back: {error}", point.name);
                    return Err(RelayError::new(Exception::DEVICE_FAILURE, reason));
                }
            }
        }
    }
}

/// Whether the request was sent, and its reply is lost.
fn is_unconfirmed(error: &RelayError) -> bool {
    matches!(error.failure, RelayFailure::NoReply | RelayFailure::Broken)
}
