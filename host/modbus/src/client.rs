//! A single device without a polling schedule, for commissioning.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bessai_domain::blank_model::BlankModelFilter;
use bessai_domain::event::Frame;
use bessai_domain::plan::{BlockFault, Plan, ReadRequest};
use bessai_domain::profile::{Pacing, Point};
use bessai_domain::register::{Table, UnitId};
use bessai_domain::relay::{RelayError, RelayFailure};
use bessai_domain::sunspec::DeviceDescription;
use tokio::time::sleep_until;
use tokio_modbus::ExceptionCode;

use crate::connection::BusConnection;
use crate::discovery::{DiscoveryFailure, HoldingReads, discover};
use crate::reply::{self, ExceptionKind, Reply};
use crate::request::{BusError, BusRequest, Requests};
use crate::write::{PointTarget, WriteOptions, WrittenPoint, begin, read_point};
use crate::{BusEndpoint, DeviceSettings};

/// A silent block costs a timeout: after so many in a row, without a reply before them, the device counts as silent.
const MAX_TIMEOUTS: u32 = 2;

/// One reading of points.
#[derive(Debug)]
pub struct PointReadings {
    /// The values; points that the device refuses have a fault.
    pub frame: Frame,
    /// Why each point that was not read was not, by its position.
    pub refusals: BTreeMap<usize, String>,
}

/// How a unit id reacts to a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnitReply {
    /// It returns the register, refuses it (exceptions 1 to 3), or is busy (5, 6): there is a device.
    Answers,
    /// It fails to read it (exception 4 and others), which some gateways send for units that they cannot reach.
    Fails(String),
    /// The gateway cannot reach it (10, 11).
    Unreachable(String),
    /// No reply.
    Silent,
}

/// The words that a read returned, or why there are none; of a write, nothing.
pub type SharedOutcome<'a> = Pin<Box<dyn Future<Output = Result<Vec<u16>, RelayError>> + 'a>>;

/// A connection to the device that another program shares.
pub trait SharedConnection {
    /// Has the other program perform a request, for whose reply it waits as long as `limit`.
    fn perform<'a>(&'a mut self, request: BusRequest<'a>, limit: Duration) -> SharedOutcome<'a>;
}

/// Sends requests to one device, on a connection of its own or on one that another program shares.
pub struct DeviceClient {
    connection: ClientConnection,
    settings: DeviceSettings,
}

enum ClientConnection {
    Own(Box<OwnConnection>),
    Shared(Box<dyn SharedConnection>),
}

struct OwnConnection {
    endpoint: BusEndpoint,
    pacing: Pacing,
    bus: BusConnection,
}

impl OwnConnection {
    fn new(endpoint: BusEndpoint, pacing: Pacing) -> Self {
        let bus = BusConnection::new(Box::new(endpoint.clone()), [pacing].into_iter());
        Self { endpoint, pacing, bus }
    }
}

impl Requests for BusConnection {
    async fn request(&mut self, request: BusRequest<'_>, limit: Duration) -> Result<Reply, BusError> {
        Self::request(self, request, limit).await
    }
}

impl Requests for ClientConnection {
    async fn request(&mut self, request: BusRequest<'_>, limit: Duration) -> Result<Reply, BusError> {
        match self {
            Self::Own(own) => own.bus.request(request, limit).await,
            Self::Shared(shared) => reply(request, shared.perform(request, limit).await),
        }
    }
}

/// A shared connection's outcome as a connection of one's own would have it.
fn reply(request: BusRequest<'_>, outcome: Result<Vec<u16>, RelayError>) -> Result<Reply, BusError> {
    let RelayError { exception, failure, reason } = match (request, outcome) {
        (BusRequest::Write(_), Ok(_)) => return Ok(Reply::WriteConfirmed),
        (BusRequest::Read(read), Ok(words)) if words.len() == usize::from(read.count) => {
            return Ok(Reply::Values(words));
        }
        (BusRequest::Read(read), Ok(words)) => {
            return Err(BusError::Broken(format!("{} values instead of {} were returned", words.len(), read.count)));
        }
        (_, Err(error)) => error,
    };
    match failure {
        RelayFailure::Exception => Ok(reply::exception(ExceptionCode::new(exception.0))),
        RelayFailure::NotConnected => Err(BusError::NotConnected(reason)),
        RelayFailure::NoReply => Err(BusError::NoReply(reason)),
        RelayFailure::Broken => Err(BusError::Broken(reason)),
        RelayFailure::Refused => Err(BusError::Postponed(reason)),
    }
}

impl DeviceClient {
    /// A client that connects with its first request.
    pub fn new(endpoint: BusEndpoint, settings: DeviceSettings) -> Self {
        let own = OwnConnection::new(endpoint, settings.pacing);
        Self { connection: ClientConnection::Own(Box::new(own)), settings }
    }

    /// A client that sends its requests on another program's connection.
    pub fn on_shared(shared: Box<dyn SharedConnection>, settings: DeviceSettings) -> Self {
        Self { connection: ClientConnection::Shared(shared), settings }
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

    /// Reads points once, in the order given. Those that the device refuses, or whose block gets no reply, have a fault.
    ///
    /// # Errors
    /// A text, if the device does not reply.
    pub async fn read_points<'a>(&mut self, points: impl Iterator<Item = &'a Point>) -> Result<PointReadings, String> {
        let points: Vec<&Point> = points.collect();
        let mut plan = Plan::new(points.iter().copied(), self.settings.unit, self.settings.read_limits);
        let (mut cycle, mut reading) = (plan.cycle(), plan.reading());
        let (mut refusals, mut timeouts, mut has_replied) = (BTreeMap::new(), 0, false);
        let (mut answered, mut last_reason) = (BTreeSet::new(), None);
        while let Some(request) = cycle.request(&plan) {
            let replied = self.connection.request(BusRequest::Read(&request), self.settings.timeout).await;
            has_replied |= replied.is_ok();
            let (fault, reason) = match replied {
                Ok(Reply::Values(registers)) => {
                    answered.extend(plan.channels(&request));
                    cycle.answered(&mut plan, &request, &registers, &mut reading);
                    continue;
                }
                Ok(Reply::Exception(kind, reason)) => (kind.fault(), reason),
                Ok(Reply::WriteConfirmed) => {
                    (BlockFault::Invalid, "the device confirmed a write in reply to a read".to_owned())
                }
                Err(BusError::NoReply(reason)) => {
                    timeouts += 1;
                    if timeouts >= MAX_TIMEOUTS && !has_replied {
                        return Err(reason);
                    }
                    (BlockFault::Silent, reason)
                }
                Err(error) => return Err(error.into_reason()),
            };
            for channel in plan.channels(&request) {
                refusals.insert(channel, reason.clone());
            }
            last_reason = Some(reason);
            cycle.fail(&mut plan, fault);
        }
        // A unit that cannot be reached is not asked for the rest.
        if let Some(reason) = last_reason {
            for channel in (0..plan.channel_count()).filter(|channel| !answered.contains(channel)) {
                refusals.entry(channel).or_insert_with(|| reason.clone());
            }
        }
        if !has_replied && let Some(reason) = refusals.values().next().cloned() {
            return Err(reason);
        }
        if reading.has_changed_headers() {
            return Err(
                "the device no longer has the SunSpec models that were discovered; run the command again".into()
            );
        }
        let mut frame = plan.finish(reading, 0);
        BlankModelFilter::new(points.iter().copied()).remove_blank(&mut frame);
        let has_text = |channel: usize| frame.texts.iter().any(|text| usize::try_from(text.channel) == Ok(channel));
        // The search in a refused block reads some points before, or after, a request with them is refused.
        refusals
            .retain(|&channel, _| frame.values.get(channel).is_none_or(|value| value.is_nan()) && !has_text(channel));
        Ok(PointReadings { frame, refusals })
    }

    /// Discovers the models of a SunSpec device.
    ///
    /// # Errors
    /// A text, if it is not a SunSpec device or does not reply.
    pub async fn discover(&mut self) -> Result<DeviceDescription, String> {
        let DeviceSettings { unit, read_limits, timeout, .. } = self.settings;
        let reads = HoldingReads { unit, max_registers: read_limits.registers, timeout };
        let base = self.settings.profile.sunspec_base;
        let found = discover(&mut self.connection, reads, base, async |_| ()).await;
        found.map_err(|failure| match failure {
            DiscoveryFailure::Bus(error) => error.into_reason(),
            DiscoveryFailure::NotSunSpec(reason) => reason,
        })
    }

    /// How a unit reacts to the read of a register.
    ///
    /// # Errors
    /// A text, if connecting fails.
    pub async fn probe_unit(&mut self, unit: UnitId) -> Result<UnitReply, String> {
        let request = ReadRequest::new(unit, Table::Holding, 0, 1);
        match self.connection.request(BusRequest::Read(&request), self.settings.timeout).await {
            Ok(Reply::Exception(ExceptionKind::Failure, reason)) => Ok(UnitReply::Fails(reason)),
            Ok(Reply::Exception(ExceptionKind::Unreachable, reason)) => Ok(UnitReply::Unreachable(reason)),
            Ok(_) => Ok(UnitReply::Answers),
            Err(BusError::NotConnected(reason) | BusError::Postponed(reason)) => Err(reason),
            Err(_) => {
                // Most unit ids are unused: the next one is tried without the delay of a reconnect.
                if let ClientConnection::Own(own) = &mut self.connection
                    && !own.bus.is_open()
                {
                    **own = OwnConnection::new(own.endpoint.clone(), own.pacing);
                }
                Ok(UnitReply::Silent)
            }
        }
    }

    /// Sets a point to a value in its unit and reads it back until the device shows it.
    ///
    /// # Errors
    /// A text, if the value does not fit, or the device refuses, does not reply or does not take it.
    pub async fn write_point(
        &mut self,
        point: &Point,
        value: f64,
        options: WriteOptions,
    ) -> Result<WrittenPoint, String> {
        let DeviceSettings { unit, timeout, .. } = self.settings;
        let target = PointTarget { point: Arc::new(point.clone()), unit, timeout };
        // A value that cannot be written costs no request.
        let before = if point.is_writable() && point.access.is_read() {
            read_point(&mut self.connection, &target).await.ok()
        } else {
            None
        };
        let mut write = begin(&mut self.connection, target, value, options, before).await?;
        loop {
            sleep_until(write.due()).await;
            if let Some(written) = write.read_back(&mut self.connection).await {
                return written;
            }
        }
    }

    async fn read(&mut self, request: &ReadRequest) -> Result<Reply, String> {
        let replied = self.connection.request(BusRequest::Read(request), self.settings.timeout).await;
        replied.map_err(BusError::into_reason)
    }
}
