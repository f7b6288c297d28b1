//! Which channels of a device that answers are read only in some cycles, without ever being left out of the plan.

use std::collections::BTreeMap;
use std::sync::Arc;

use bessai_domain::event::{FaultKind, Frame};
use bessai_domain::plan::BlockFault;
use tokio::time::Instant;

use super::FailedReads;

/// Reads that are looked back at.
const WINDOW: u32 = 8;
/// Reads of them without a reply from which on a channel counts as answered only sometimes.
const MIN_FAILED: u32 = 3;
/// Reads of them with a reply: what is never answered has another state.
const MIN_ANSWERED: u32 = 2;
/// Replies in a row after which it does not any more.
const STEADY: u32 = 16;

/// The last reads of the channels that lately got no reply.
#[derive(Debug, Default)]
pub(super) struct IntermittentChannels(BTreeMap<usize, History>);

#[derive(Debug, Default)]
struct History {
    /// The last 32 reads, the newest as the lowest bit: set if it got no reply.
    failed: u32,
    /// How many reads there were, as far as that matters.
    reads: u32,
    /// Why the last one failed.
    reason: Option<(BlockFault, Arc<str>)>,
    noted: Option<Intermittent>,
}

/// What is reported about a channel.
#[derive(Clone, Debug)]
pub(super) struct Intermittent {
    pub(super) fault: BlockFault,
    /// How often it was answered, and the last error.
    pub(super) reason: Arc<str>,
    pub(super) since: Instant,
}

/// The channels whose state has changed.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) begun: Vec<usize>,
    pub(super) ended: Vec<usize>,
}

impl IntermittentChannels {
    /// Records the reads of a cycle in which the device answered others.
    pub(super) fn record(&mut self, failed: &FailedReads, frame: &Frame) -> Changes {
        let mut changes = Changes::default();
        if failed.is_empty() && self.0.is_empty() {
            return changes;
        }
        let is_missing = |channel: usize| {
            let faults = &frame.faults;
            let index =
                faults.binary_search_by_key(&channel, |fault| usize::try_from(fault.channel).unwrap_or_default());
            index.ok().and_then(|index| faults.get(index)).is_some_and(|fault| fault.kind == FaultKind::Missing)
        };
        for (channel, fault, reason) in failed.whole().filter(|(channel, ..)| is_missing(*channel)) {
            let history = self.0.entry(channel).or_default();
            history.push(true);
            history.reason = Some((fault, Arc::clone(reason)));
        }
        self.0.retain(|&channel, history| {
            if !is_missing(channel) {
                history.push(false);
            } else if !failed.contains(channel) {
                // It was not asked for.
                return true;
            }
            if history.ends() {
                changes.ended.push(channel);
                history.noted = None;
            } else if history.begins() {
                changes.begun.push(channel);
                history.note();
            }
            history.noted.is_some() || history.recent(WINDOW) > 0
        });
        changes
    }

    /// The channels that are answered only sometimes.
    pub(super) fn noted(&self) -> impl Iterator<Item = (usize, &Intermittent)> {
        self.0.iter().filter_map(|(&channel, history)| Some((channel, history.noted.as_ref()?)))
    }

    pub(super) fn get(&self, channel: usize) -> Option<&Intermittent> {
        self.0.get(&channel)?.noted.as_ref()
    }

    /// Forgets a channel whose state is another one now.
    pub(super) fn remove(&mut self, channel: usize) {
        self.0.remove(&channel);
    }
}

impl History {
    fn push(&mut self, has_failed: bool) {
        self.failed = self.failed << 1 | u32::from(has_failed);
        self.reads = (self.reads + 1).min(u32::BITS);
    }

    /// How many of the last reads failed.
    fn recent(&self, reads: u32) -> u32 {
        (self.failed & ((1 << reads) - 1)).count_ones()
    }

    fn begins(&self) -> bool {
        let (failed, reads) = (self.recent(WINDOW), self.reads.min(WINDOW));
        self.noted.is_none() && failed >= MIN_FAILED && reads - failed >= MIN_ANSWERED
    }

    fn ends(&self) -> bool {
        self.noted.is_some() && self.reads >= STEADY && self.recent(STEADY) == 0
    }

    fn note(&mut self) {
        let Some((fault, reason)) = &self.reason else { return };
        let reads = self.reads.min(WINDOW);
        let answered = reads - self.recent(WINDOW);
        let reason = format!("answered only sometimes ({answered} of the last {reads} reads); last error: {reason}");
        self.noted = Some(Intermittent { fault: *fault, reason: reason.into(), since: Instant::now() });
    }
}

#[cfg(test)]
mod tests {
    use bessai_domain::event::Fault;

    use super::*;

    /// Records reads of channel 1, which fail where the pattern has an F, and returns what changed at which of them.
    fn record(channels: &mut IntermittentChannels, pattern: &str) -> Vec<(usize, bool)> {
        let mut changed = Vec::new();
        for (index, read) in pattern.chars().enumerate() {
            let (mut failed, mut faults) = (FailedReads::default(), Vec::new());
            if read != 'A' {
                faults.push(Fault { channel: 1, kind: FaultKind::Missing });
            }
            if read == 'F' || read == 's' {
                failed.add(vec![1], BlockFault::Silent, "no reply", read == 's');
            }
            let frame = Frame { source: 0, values: vec![1.0, 2.0], faults, texts: Vec::new() };
            let changes = channels.record(&failed, &frame);
            changed.extend(changes.begun.iter().map(|_| (index, true)));
            changed.extend(changes.ended.iter().map(|_| (index, false)));
        }
        changed
    }

    #[test]
    fn three_failures_among_eight_reads_begin_it_and_sixteen_replies_end_it() {
        for (pattern, expected) in [
            ("FAFAF", vec![(4, true)]),
            ("FAAFAAAF", vec![(7, true)]),
            ("FAAAFAAAFAAAFAAAFAAA", vec![]),
            ("FFFFFFFF", vec![]),
            ("FFFAA", vec![(4, true)]),
            ("F-A-F-A-F", vec![(8, true)]),
            ("FsAsFsAsF", vec![(8, true)]),
            ("sAsAsAsA", vec![]),
            ("FAFAFAAAAAAAAAAAAAAAA", vec![(4, true), (20, false)]),
            ("FAFAFAAAAAAAAAAAFAAAAAAAAAAAAAAAA", vec![(4, true), (32, false)]),
        ] {
            let mut channels = IntermittentChannels::default();
            assert_eq!(record(&mut channels, pattern), expected, "{pattern}");
            let is_noted = expected.last().is_some_and(|(_, begun)| *begun);
            assert_eq!(channels.noted().count(), usize::from(is_noted), "{pattern}");
        }
    }

    #[test]
    fn the_reason_names_how_often_it_was_answered_and_the_last_error() {
        let mut channels = IntermittentChannels::default();
        record(&mut channels, "FAFAF");
        let reason = &channels.get(1).unwrap().reason;
        assert_eq!(reason.as_ref(), "answered only sometimes (2 of the last 5 reads); last error: no reply");
        record(&mut channels, &"A".repeat(16));
        assert!(channels.0.is_empty());
    }
}
