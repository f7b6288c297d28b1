//! What the tasks that read devices report.

use std::sync::Arc;
use std::time::Instant;

use crate::event::{DeviceStatus, Frame};
use crate::exchange::Exchange;
use crate::profile::Profile;
use crate::register::{Table, UnitId};
use crate::time::Moment;

/// What a bus's task reports.
#[derive(Debug)]
pub enum DeviceReport {
    /// The values and faults of one reading, and what its requests met.
    Frame(Moment, Frame, Exchange),
    /// A device went online or offline, or other points of it have no values.
    Status(Moment, DeviceStatus),
    /// An attempt to read an offline device failed.
    Failure(ReadFailure),
    /// Points without values of a device that answers.
    Missing(MissingPoints),
    /// The discovered profile of a SunSpec device, by device name; later frames follow its point order.
    Discovered(Moment, String, Arc<Profile>),
}

/// Why a device cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadFailure {
    /// The device's name in the site.
    pub device: String,
    /// The reason, for people.
    pub error: String,
    /// When the device is tried again.
    pub next_try: Instant,
}

/// The points of one source of a device that have no values, or only sometimes, although the device answers; replaces the last
/// report about that source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingPoints {
    /// The device's name in the site.
    pub device: String,
    /// The source's index in the site description.
    pub source: u32,
    /// In the order of their registers; as many as are worth showing.
    pub blocks: Vec<MissingBlock>,
    /// Points that are not among them.
    pub further: usize,
}

/// What is known about points without values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingState {
    /// They have none, and are asked for less and less often.
    Missing,
    /// It is searched which of them have values.
    Searched,
    /// They are asked for in each cycle and answered in some.
    Intermittent,
}

impl MissingState {
    /// Its name in `/health`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Searched => "searched",
            Self::Intermittent => "intermittent",
        }
    }
}

/// Adjacent points without values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingBlock {
    /// The unit that has them.
    pub unit: UnitId,
    /// Their table.
    pub table: Table,
    /// Their first register.
    pub first: u16,
    /// Their last register.
    pub last: u16,
    /// The names of the first points.
    pub points: Vec<String>,
    /// How many points there are.
    pub count: usize,
    /// Why they have no values, for people.
    pub cause: String,
    /// Since when the first of them has none.
    pub since: Instant,
    /// When they are asked for next; none while the device is searched for those of them that have values, and where they are
    /// asked for in each cycle.
    pub next_try: Option<Instant>,
    /// What is known about them.
    pub state: MissingState,
}
