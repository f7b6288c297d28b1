//! Requests of other programs on a running bus: performed by the bus's task, one between two requests of its own.
//!
//! A device often accepts one connection only, which the gateway holds. Through a [`BusRelay`] the rest of the program shares
//! it: what was read a moment ago comes from memory, everything else waits for its turn.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bessai_domain::plan::ReadRequest;
use bessai_domain::profile::Profile;
use bessai_domain::register::UnitId;
use bessai_domain::relay::{Exception, RelayError};
use bessai_domain::write::WriteRequest;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use crate::request::{BusRequest, no_reply};
use crate::{Bus, DeviceSettings};

mod checked_write;
mod latest;
mod queue;
mod silent;

pub use checked_write::RelayedPoint;
use latest::LatestRegisters;
pub(crate) use queue::RelayQueue;
use silent::SilentUnits;

/// Requests that may wait for a bus; a further one is answered as busy.
const MAX_WAITING: usize = 32;

/// Longest wait of a request for its turn: the client has its own time limit, which is hardly longer.
pub const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// How much longer than its device a client of the Modbus server waits: it has a time limit of its own.
const OUTCOME_GRACE: Duration = Duration::from_millis(50);
/// How much longer than its time limit a command's request may take: a serial bus is drained and the unit probed, and a request
/// to a busy device is repeated. The bus's own error is what the command would have got from the device itself.
pub const LONGEST_OUTCOME: Duration = Duration::from_secs(10);

/// A bus as other parts of the program use it. Clones are the same bus.
#[derive(Clone)]
pub struct BusRelay {
    shared: Rc<SharedBus>,
}

struct SharedBus {
    /// To the bus's task, which replaces it each time that it starts.
    requests: RefCell<mpsc::Sender<RelayedRequest>>,
    /// None while nobody wants them: then they cost nothing.
    latest: RefCell<Option<LatestRegisters>>,
    devices: RefCell<Vec<RelayedDevice>>,
    /// Polled units whose last cycle got no reply at all, and why.
    failing: RefCell<BTreeMap<UnitId, RelayError>>,
    /// Units that are not polled and did not reply.
    silent: RefCell<SilentUnits>,
    is_serial: bool,
}

/// A device that may be written to.
struct RelayedDevice {
    name: String,
    unit: UnitId,
    timeout: Duration,
    profile: Arc<Profile>,
}

/// A request that waits for its turn. It is not sent if nobody waits for its result any more.
struct RelayedRequest {
    operation: Operation,
    /// Counted from its turn.
    timeout: Duration,
    /// Notified when its turn comes.
    turn: oneshot::Sender<()>,
    outcome: oneshot::Sender<Result<Vec<u16>, RelayError>>,
}

enum Operation {
    Read(ReadRequest),
    Write(WriteRequest),
}

impl Operation {
    fn request(&self) -> BusRequest<'_> {
        match self {
            Self::Read(read) => BusRequest::Read(read),
            Self::Write(write) => BusRequest::Write(write),
        }
    }
}

impl BusRelay {
    /// A relay to a bus, which performs its requests once it is [run](crate::run_relayed).
    pub fn new(bus: &Bus) -> Self {
        Self::to(&bus.devices, bus.endpoint.address.is_rtu())
    }

    pub(crate) fn to(devices: &[DeviceSettings], is_serial: bool) -> Self {
        let (requests, _) = mpsc::channel(1);
        let shared = SharedBus {
            requests: RefCell::new(requests),
            latest: RefCell::default(),
            devices: RefCell::new(devices.iter().map(RelayedDevice::new).collect()),
            failing: RefCell::default(),
            silent: RefCell::default(),
            is_serial,
        };
        Self { shared: Rc::new(shared) }
    }

    /// Whether both are the same bus.
    pub fn is_same(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.shared, &other.shared)
    }

    /// Keeps the registers of each reading from now on, for as long as requests accept them at most; none to keep nothing.
    pub fn keep_latest(&self, longest: Option<Duration>) {
        let mut latest = self.shared.latest.borrow_mut();
        match (longest, latest.as_mut()) {
            (Some(longest), Some(latest)) => latest.set_longest_age(longest),
            (Some(longest), None) => *latest = Some(LatestRegisters::new(longest)),
            (None, _) => *latest = None,
        }
    }

    /// Appends what the last reading returned for these registers or bits, and returns true, if all of them are younger than
    /// `max_age`, or than two periods of their source if that is none.
    pub fn append_latest(&self, request: &ReadRequest, max_age: Option<Duration>, words: &mut Vec<u16>) -> bool {
        let latest = self.shared.latest.borrow();
        latest.as_ref().is_some_and(|latest| latest.append(request, max_age, Instant::now(), words))
    }

    /// Reads from the device when its turn comes.
    ///
    /// # Errors
    /// The device's exception, or that of a gateway whose device does not reply.
    pub async fn read(&self, request: &ReadRequest) -> Result<Vec<u16>, RelayError> {
        self.check_reachable(request.unit)?;
        self.perform(Operation::Read(request.clone()), self.timeout(request.unit), OUTCOME_GRACE).await
    }

    /// As [`read`](Self::read), with a time limit, and also while the unit does not reply to others.
    ///
    /// # Errors
    /// As those of [`read`](Self::read).
    pub async fn read_within(&self, request: &ReadRequest, limit: Duration) -> Result<Vec<u16>, RelayError> {
        self.perform(Operation::Read(request.clone()), limit, LONGEST_OUTCOME).await
    }

    /// Sends a write as it is when its turn comes: neither rights nor ranges are checked, and it is not read back.
    ///
    /// # Errors
    /// As those of [`read`](Self::read).
    pub async fn write_unchecked(&self, request: WriteRequest, limit: Duration) -> Result<(), RelayError> {
        self.perform(Operation::Write(request), limit, LONGEST_OUTCOME).await.map(drop)
    }

    /// Takes the place of the queue of an earlier task of this bus.
    pub(crate) fn accept(&self) -> RelayQueue {
        let (sender, requests) = mpsc::channel(MAX_WAITING);
        self.shared.requests.replace(sender);
        RelayQueue::new(requests, self.clone())
    }

    /// Has the bus's task perform a request, for whose outcome it waits that much longer than for the device.
    async fn perform(&self, operation: Operation, limit: Duration, grace: Duration) -> Result<Vec<u16>, RelayError> {
        let expired = no_reply(operation.request(), limit);
        let (outcome, received) = oneshot::channel();
        let (turn, has_turn) = oneshot::channel();
        let request = RelayedRequest { operation, timeout: limit, turn, outcome };
        self.shared.requests.borrow().try_send(request).map_err(|error| match error {
            TrySendError::Full(_) => {
                RelayError::new(Exception::BUSY, format!("{MAX_WAITING} requests already wait for the device"))
            }
            TrySendError::Closed(_) => not_running(),
        })?;
        // The requests before it take their time; whether the device replies to this one is not known meanwhile.
        match timeout(LONGEST_WAIT, has_turn).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(not_running()),
            Err(_) => {
                let reason = format!("other requests have kept the device busy for {LONGEST_WAIT:?}");
                return Err(RelayError::new(Exception::BUSY, reason));
            }
        }
        match timeout(limit + grace, received).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(not_running()),
            Err(_) => Err(RelayError::new(Exception::NO_REPLY, expired)),
        }
    }

    /// Requests to a device that is known not to reply fail at once: their clients do not wait as long.
    fn check_reachable(&self, unit: UnitId) -> Result<(), RelayError> {
        if self.shared.is_serial && unit == UnitId(0) {
            let reason = "unit 0 is the broadcast address of a serial bus, and no device replies to it";
            return Err(RelayError::new(Exception::PATH_UNAVAILABLE, reason));
        }
        let failing = self.shared.failing.borrow();
        if let Some(error) = failing.get(&unit) {
            return Err(error.clone());
        }
        if !self.is_polled(unit) {
            self.shared.silent.borrow().check(unit, Instant::now())?;
            // Where no polled unit is reached, no other one is.
            let is_disconnected = |error: &RelayError| error.exception == Exception::PATH_UNAVAILABLE;
            if let Some(error) = failing.values().next().filter(|_| failing.values().all(is_disconnected)) {
                return Err(error.clone());
            }
        }
        Ok(())
    }

    fn is_polled(&self, unit: UnitId) -> bool {
        self.shared.devices.borrow().iter().any(|device| device.unit == unit)
    }

    /// The timeout of the unit's device, or the longest one of the bus.
    fn timeout(&self, unit: UnitId) -> Duration {
        let devices = self.shared.devices.borrow();
        let own = devices.iter().find(|device| device.unit == unit).map(|device| device.timeout);
        own.or_else(|| devices.iter().map(|device| device.timeout).max()).unwrap_or_default()
    }
}

impl RelayedDevice {
    fn new(settings: &DeviceSettings) -> Self {
        let DeviceSettings { name, unit, timeout, profile, .. } = settings;
        Self { name: name.clone(), unit: *unit, timeout: *timeout, profile: Arc::clone(profile) }
    }
}

fn not_running() -> RelayError {
    RelayError::new(Exception::PATH_UNAVAILABLE, "the device is not polled at the moment")
}
