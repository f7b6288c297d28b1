//! Writes that are carried out one after the other.

use std::collections::{BTreeMap, VecDeque};

use crate::actuator::Writes;
use crate::interface::{OrderId, ProposalId, Purpose};

/// The writes for one channel of a device.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) channel: String,
    pub(crate) purpose: Purpose,
    pub(crate) cause: Option<ProposalId>,
    /// The value that the channel is set to.
    pub(crate) value: f64,
    /// All its writes, in order.
    pub(crate) all: Writes,
    pub(crate) pending: VecDeque<(String, f64)>,
    /// The write whose result is awaited.
    pub(crate) current: Option<(OrderId, String, f64)>,
    /// The values that were read back, by point.
    pub(crate) shown: BTreeMap<String, f64>,
    /// Writes that the device has not taken; a release goes on after one.
    pub(crate) refused: Writes,
    /// Why the first of them was not taken.
    pub(crate) refusal: Option<String>,
    /// Every written point was read back.
    pub(crate) is_read_back: bool,
    /// No further write of it is sent.
    pub(crate) is_cancelled: bool,
}

impl Job {
    pub(crate) fn new(channel: &str, purpose: Purpose, cause: Option<ProposalId>, value: f64, writes: Writes) -> Self {
        Self {
            channel: channel.to_owned(),
            purpose,
            cause,
            value,
            pending: writes.iter().cloned().collect(),
            all: writes,
            current: None,
            shown: BTreeMap::new(),
            refused: Writes::new(),
            refusal: None,
            is_read_back: true,
            is_cancelled: false,
        }
    }

    pub(crate) fn awaits(&self, order: OrderId) -> bool {
        self.current.as_ref().is_some_and(|(awaited, _, _)| *awaited == order)
    }
}
