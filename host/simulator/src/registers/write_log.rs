//! Every change of registers that clients, the device itself or another master made, with its time.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::{Table, WriteEffect};

/// Records that are kept; the oldest is dropped first. A test that writes ten times a second fills it in two hours.
const RECORDS_MAX: usize = 65_536;

/// Who changed registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A client's request.
    Client,
    /// The device's own timer.
    Timer,
    /// Another master.
    OtherMaster,
    /// A restart of the device.
    Reboot,
}

/// A change of registers, or a client's attempt at one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteRecord {
    /// When it was received or took place, by tokio's clock.
    pub at: Instant,
    /// Who made it.
    pub origin: Origin,
    /// The unit; 0 and [`Table::Holding`] for a restart, which concerns all.
    pub unit: u8,
    /// The table.
    pub table: Table,
    /// The first register or bit.
    pub address: u16,
    /// What was to be written; empty for a restart.
    pub words: Vec<u16>,
    /// What became of it, if it was not simply taken.
    pub effect: Option<WriteEffect>,
}

/// The newest records.
#[derive(Debug, Default)]
pub(super) struct WriteLog {
    records: VecDeque<WriteRecord>,
}

impl WriteLog {
    pub(super) fn add(&mut self, record: WriteRecord) {
        if self.records.len() == RECORDS_MAX {
            self.records.pop_front();
        }
        self.records.push_back(record);
    }

    pub(super) fn records(&self) -> impl Iterator<Item = &WriteRecord> {
        self.records.iter()
    }
}
