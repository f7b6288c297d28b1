//! Writes of raw registers by other programs: only to writable points of the profile, within their ranges, and read back.

use std::time::Duration;

use bessai_domain::plan::ReadRequest;
use bessai_domain::profile::Point;
use bessai_domain::relay::{Exception, RelayError, RelayFailure};
use bessai_domain::write::{DEFAULT_SETTLE, WriteError, WriteRequest};
use tokio::time::{Instant, sleep};

use super::{BusRelay, OUTCOME_GRACE, Operation};

/// Pause between two readings of a value that does not show yet.
const READ_BACK_PAUSE: Duration = Duration::from_millis(250);
/// Exponents that the register of a scale factor may hold.
const EXPONENTS: std::ops::RangeInclusive<i16> = -10..=10;

/// A point that a relayed write has set.
#[derive(Clone, Debug, PartialEq)]
pub struct RelayedPoint {
    /// The device's name.
    pub device: String,
    /// The point's name.
    pub point: String,
    /// The value that it was set to, in its unit.
    pub value: f64,
    /// Its unit.
    pub unit: String,
}

/// A point that a write covers.
struct CoveredPoint {
    device: String,
    point: Point,
    words: Vec<u16>,
}

impl BusRelay {
    /// Writes registers or coils, if all of them belong to points that are written as a whole, that the profile allows to
    /// write and that `check` accepts. The values are read back, and those that were set are returned.
    ///
    /// # Errors
    /// Illegal address for a register that may not be written, illegal value for a value outside the point's range, the
    /// device's own exception, or a device failure if the value does not show after it was acknowledged.
    pub async fn write(
        &self,
        write: WriteRequest,
        check: impl Fn(&str, &Point) -> Result<(), String>,
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
            let (device, unit) = (device.clone(), point.unit.clone());
            written.push(RelayedPoint { device, point: point.name.clone(), value, unit });
        }
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

    /// The points whose registers the write covers.
    fn covered_points(&self, write: &WriteRequest) -> Result<Vec<CoveredPoint>, RelayError> {
        let (start, end) = (usize::from(write.address), usize::from(write.address) + write.words.len());
        let mut is_covered = vec![false; write.words.len()];
        let mut covered = Vec::new();
        for device in self.shared.devices.borrow().iter() {
            let points = device.profile.points.iter().filter(|point| {
                let is_whole = point.layout.bits.is_none() && !point.layout.format.is_text();
                let unit = point.unit_id.unwrap_or(device.unit);
                unit == write.unit && point.table == write.function.table() && point.is_writable() && is_whole
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
        if let Some(missing) = is_covered.iter().position(|is_covered| !is_covered) {
            let (table, address) = (write.function.table().name(), start + missing);
            let reason = format!(
                "{table} {address} of unit {} is not part of a writable point that the request covers as a whole",
                write.unit.0
            );
            return Err(RelayError::new(Exception::ILLEGAL_ADDRESS, reason));
        }
        Ok(covered)
    }

    /// The value that the words mean, and the request that would write it.
    async fn checked_value(
        &self,
        point: &Point,
        words: &[u16],
        write: &WriteRequest,
    ) -> Result<(f64, WriteRequest), RelayError> {
        let exponent = match point.scale_register {
            None => None,
            Some(address) => {
                let factor = self.read(&ReadRequest::new(write.unit, point.table, address, 1)).await?;
                let exponent = factor.first().map(|word| word.cast_signed());
                exponent.filter(|exponent| EXPONENTS.contains(exponent)).map(i32::from)
            }
        };
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
