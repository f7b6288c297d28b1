//! What the tasks that read devices report.

use std::sync::Arc;
use std::time::Instant;

use crate::event::{DeviceStatus, Frame};
use crate::profile::Profile;
use crate::time::Moment;

/// What a bus's task reports.
#[derive(Debug)]
pub enum DeviceReport {
    /// The values and faults of one reading.
    Frame(Moment, Frame),
    /// A device went online or offline.
    Status(Moment, DeviceStatus),
    /// An attempt to read an offline device failed.
    Failure(ReadFailure),
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
