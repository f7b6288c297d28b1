//! A single device without a polling schedule, for commissioning.

use bessai_domain::event::Frame;
use bessai_domain::plan::{Plan, ReadRequest};
use bessai_domain::profile::Point;
use bessai_domain::register::{Table, UnitId};
use bessai_domain::sunspec::DeviceDescription;

use crate::connection::BusConnection;
use crate::discovery::{DiscoveryFailure, discover};
use crate::reply::{ExceptionKind, Reply};
use crate::request::{BusError, BusRequest};
use crate::write::{self, WrittenPoint};
use crate::{BusEndpoint, DeviceSettings};

/// Sends requests to one device on a connection of its own.
pub struct DeviceClient {
    endpoint: BusEndpoint,
    connection: BusConnection,
    settings: DeviceSettings,
}

impl DeviceClient {
    /// A client that connects with its first request.
    pub fn new(endpoint: BusEndpoint, settings: DeviceSettings) -> Self {
        let connection = new_connection(&endpoint, &settings);
        Self { endpoint, connection, settings }
    }

    /// Reads registers of a table, or bits as 0 and 1, in as many requests as needed.
    ///
    /// # Errors
    /// A text, if the device refuses a part or does not reply.
    pub async fn read_table(&mut self, table: Table, start: u16, count: u16) -> Result<Vec<u16>, String> {
        let limit = if table.is_bits() { self.settings.read_limits.bits } else { self.settings.read_limits.registers };
        let mut words: Vec<u16> = Vec::new();
        let (mut next, end) = (u32::from(start), u32::from(start) + u32::from(count));
        while next < end {
            let part = u16::try_from(end - next).unwrap_or(limit).min(limit);
            let from = u16::try_from(next).map_err(|_| "a table ends at address 65535".to_owned())?;
            let request = ReadRequest::new(self.settings.unit, table, from, part);
            match self.read(&request).await? {
                Reply::Values(read) => words.extend(read),
                Reply::Exception(_, reason) => {
                    return Err(format!("the device refuses to read {} {from}+{part}: {reason}", table.name()));
                }
                Reply::WriteConfirmed => return Err("the device confirmed a write in reply to a read".into()),
            }
            next += u32::from(part);
        }
        Ok(words)
    }

    /// Reads points once, in the order given. Points that the device refuses have a fault.
    ///
    /// # Errors
    /// A text, if the device does not reply.
    pub async fn read_points<'a>(&mut self, points: impl Iterator<Item = &'a Point>) -> Result<Frame, String> {
        let mut plan = Plan::new(points, self.settings.unit, self.settings.read_limits);
        let (mut cycle, mut reading) = (plan.cycle(), plan.reading());
        while let Some(request) = cycle.request(&plan) {
            match self.read(&request).await? {
                Reply::Values(registers) => cycle.answered(&mut plan, &request, &registers, &mut reading),
                Reply::Exception(ExceptionKind::Block, _) => drop(cycle.refused(&mut plan)),
                Reply::Exception(ExceptionKind::Function, _) => drop(cycle.function_refused(&mut plan)),
                Reply::Exception(ExceptionKind::Failure, _) => drop(cycle.failed(&mut plan)),
                Reply::Exception(..) | Reply::WriteConfirmed => cycle.skip(),
            }
        }
        Ok(plan.finish(reading, 0))
    }

    /// Discovers the models of a SunSpec device.
    ///
    /// # Errors
    /// A text, if it is not a SunSpec device or does not reply.
    pub async fn discover(&mut self) -> Result<DeviceDescription, String> {
        let DeviceSettings { unit, read_limits, timeout, .. } = self.settings;
        let found = discover(&mut self.connection, unit, read_limits.registers, timeout, async |_| ()).await;
        found.map_err(|failure| match failure {
            DiscoveryFailure::Bus(error) => error.into_reason(),
            DiscoveryFailure::NotSunSpec(reason) => reason,
        })
    }

    /// Whether a unit replies to a read, be it with an exception.
    ///
    /// # Errors
    /// A text, if connecting fails.
    pub async fn unit_answers(&mut self, unit: UnitId) -> Result<bool, String> {
        let request = ReadRequest::new(unit, Table::Holding, 0, 1);
        match self.connection.request(BusRequest::Read(&request), self.settings.timeout).await {
            Ok(Reply::Exception(ExceptionKind::Unreachable, _)) => Ok(false),
            Ok(_) => Ok(true),
            Err(BusError::NotConnected(reason) | BusError::Postponed(reason)) => Err(reason),
            Err(_) => {
                // Most unit ids are unused: the next one is tried without the delay of a reconnect.
                if !self.connection.is_open() {
                    self.connection = new_connection(&self.endpoint, &self.settings);
                }
                Ok(false)
            }
        }
    }

    /// Sets a point to a value in its unit and reads it back.
    ///
    /// # Errors
    /// A text, if the value does not fit, or the device refuses or does not reply.
    pub async fn write_point(&mut self, point: &Point, value: f64) -> Result<WrittenPoint, String> {
        write::write_point(&mut self.connection, point, self.settings.unit, self.settings.timeout, value).await
    }

    async fn read(&mut self, request: &ReadRequest) -> Result<Reply, String> {
        let replied = self.connection.request(BusRequest::Read(request), self.settings.timeout).await;
        replied.map_err(BusError::into_reason)
    }
}

fn new_connection(endpoint: &BusEndpoint, settings: &DeviceSettings) -> BusConnection {
    BusConnection::new(Box::new(endpoint.clone()), [settings.pacing].into_iter())
}
