//! The reads that brought no values: what the device answered, by channel.

use std::collections::BTreeMap;
use std::sync::Arc;

use bessai_domain::plan::BlockFault;

/// The last read of each channel that brought no values.
#[derive(Debug, Default)]
pub(crate) struct FailedReads(BTreeMap<usize, FailedRead>);

#[derive(Clone, Debug)]
struct FailedRead {
    fault: BlockFault,
    reason: Arc<str>,
    /// It had a shorter time limit than the configured one.
    is_short: bool,
}

impl FailedReads {
    pub(crate) fn add(&mut self, channels: Vec<usize>, fault: BlockFault, reason: &str, is_short: bool) {
        let reason = if is_short && fault == BlockFault::Silent {
            format!("{reason} (a shortened time limit: the device usually replies faster)").into()
        } else {
            reason.into()
        };
        let read = FailedRead { fault, reason, is_short };
        channels.into_iter().for_each(|channel| self.insert(channel, &read));
    }

    /// A read with a short time limit shows less than one before it that had the whole.
    fn insert(&mut self, channel: usize, newer: &FailedRead) {
        let known = self.0.get(&channel);
        if known.is_none_or(|known| known.fault != newer.fault || known.is_short || !newer.is_short) {
            self.0.insert(channel, newer.clone());
        }
    }

    /// Why a channel has no value, if it was asked for.
    pub(super) fn own(&self, channel: usize, fault: BlockFault) -> Option<Arc<str>> {
        let own = self.0.get(&channel).filter(|known| known.fault == fault);
        own.map(|known| Arc::clone(&known.reason))
    }

    /// The reason of any channel with that fault.
    pub(super) fn other(&self, fault: BlockFault) -> Option<Arc<str>> {
        self.0.values().find(|known| known.fault == fault).map(|known| Arc::clone(&known.reason))
    }

    /// Keeps the reasons of a further cycle.
    pub(super) fn extend(&mut self, newer: &Self) {
        newer.0.iter().for_each(|(&channel, read)| self.insert(channel, read));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn contains(&self, channel: usize) -> bool {
        self.0.contains_key(&channel)
    }

    /// The channels of the reads that had the whole time limit, and why each has no value.
    pub(super) fn whole(&self) -> impl Iterator<Item = (usize, BlockFault, &Arc<str>)> {
        let whole = self.0.iter().filter(|(_, read)| !read.is_short);
        whole.map(|(&channel, read)| (channel, read.fault, &read.reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reason of a read with a short time limit.
    const SHORT: &str = "within 50ms (a shortened time limit: the device usually replies faster)";

    #[test]
    fn the_reason_of_the_whole_time_limit_is_kept() {
        let mut failed = FailedReads::default();
        failed.add(vec![3, 4], BlockFault::Silent, "within 1s", false);
        let mut short = FailedReads::default();
        short.add(vec![4, 5], BlockFault::Silent, "within 50ms", true);
        failed.extend(&short);
        let reason = |channel| failed.own(channel, BlockFault::Silent).unwrap().to_string();
        assert_eq!([3, 4, 5].map(reason), ["within 1s", "within 1s", SHORT]);
        short.add(vec![5], BlockFault::Silent, "within 1s", false);
        failed.extend(&short);
        assert_eq!(failed.own(5, BlockFault::Silent).unwrap().as_ref(), "within 1s");
        failed.add(vec![4], BlockFault::Refused, "exception 2", true);
        assert_eq!(failed.own(4, BlockFault::Silent), None);
    }
}
