//! One task per line: connects, asks for the registers of its plans, decodes them into frames.
//!
//! A line is what one connection reaches: the devices of a TCP address or of a serial port, told apart by their unit ids.
//! The only user of tokio-modbus. That library has no timeouts and trusts a reply's length, so both are watched here, and
//! after any doubt the connection is dropped, or the serial line drained: a late reply must never answer the next request.

use std::sync::Arc;
use std::time::Duration;

use bessai_domain::event::{DeviceStatus, Frame};
use bessai_domain::plan::Blocks;
use bessai_domain::profile::{Pacing, Profile};
use bessai_domain::register::UnitId;
use bessai_domain::time::Timestamp;
use tokio::sync::mpsc;
use tokio::time::Instant;

mod connection;
mod console;
mod device;
mod discovery;
mod doubt;
mod line;
mod link;
mod pace;
mod schedule;
mod shared;
#[cfg(test)]
mod tests;
mod transport;
mod write;

pub use console::Console;
pub use shared::ByteStream;
pub use transport::{Address, Dial, Given, Parity, Secure, Serial, Tls, TlsExplanation};
pub use write::{Order, Writer, Written};

/// Writes that may wait for a line; a further one is refused.
pub const WRITES_WAITING: usize = 16;

/// What is behind one connection.
pub struct Line {
    /// Where it is.
    pub address: Address,
    /// Whom it reaches.
    pub devices: Vec<Settings>,
}

/// Whom to read, what, and how often.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The device's name in the site.
    pub name: String,
    /// The unit id to ask, where a point names no other.
    pub unit: UnitId,
    /// Whether a person chose the unit id.
    pub unit_was_given: bool,
    /// What its registers mean.
    pub profile: Arc<Profile>,
    /// Of a SunSpec device only these models; all where there is no list.
    pub models: Option<Vec<u16>>,
    /// Time that it has for an answer.
    pub timeout: Duration,
    /// How it wants to be asked.
    pub pacing: Pacing,
    /// How much it gives at once.
    pub blocks: Blocks,
    /// What is read together.
    pub sources: Vec<Source>,
}

/// Points that are read together.
#[derive(Clone, Debug)]
pub struct Source {
    /// Which of the profile's points; none for those at the device's own period.
    pub name: Option<String>,
    /// Time between the starts of two readings.
    pub period: Duration,
    /// The source's place in the site's description.
    pub place: u32,
}

/// What a line's task has to tell.
#[derive(Debug)]
pub enum Reported {
    /// A cycle's values and faults.
    Frame(Timestamp, Frame),
    /// A device came or went.
    Status(Timestamp, DeviceStatus),
    /// What a device that tells its points itself has; frames after this have their places by it.
    Found(Timestamp, String, Arc<Profile>),
}

/// Reads the line's devices until the receiver is gone. Every period counts from `start`, so that equal ones fall on one tick
/// wherever they are read; `clock` gives the time of a reading.
pub async fn run<R: From<Reported>>(
    line: Line,
    start: Instant,
    clock: fn() -> Timestamp,
    reports: mpsc::Sender<R>,
    orders: mpsc::Receiver<Order>,
) {
    line::Worker::new(line, start, clock, orders).run(reports).await;
}
