//! Rules out that a late RTU reply is taken for the reply to a later request.
//!
//! An RTU frame names the unit and the function but not the request: a late reply looks like the reply to any later request
//! of the same length. So a unit with unanswered requests is first sent a probe, a read of another length than all of them.
//! Units reply in order: once the probe is answered, no older reply can arrive.

use std::collections::BTreeMap;

use bessai_domain::plan::ReadRequest;
use bessai_domain::register::UnitId;

use crate::link::LinkError;
use crate::reply::Reply;

/// Unanswered requests to remember for a unit. Beyond that their replies count as lost: the last probes had lengths of
/// their own, so even then the next request differs in length from the one before it.
const MAX_UNANSWERED: u16 = 4;

/// The unanswered reads of the units on a bus.
#[derive(Debug, Default)]
pub(crate) struct UnansweredReads {
    by_unit: BTreeMap<UnitId, Vec<ReadRequest>>,
}

impl UnansweredReads {
    /// Records a read without a valid reply.
    pub(crate) fn add(&mut self, request: &ReadRequest) {
        let unanswered = self.by_unit.entry(request.unit).or_default();
        if unanswered.len() >= usize::from(MAX_UNANSWERED) {
            unanswered.clear();
        }
        unanswered.push(request.clone());
    }

    /// Forgets the unit's unanswered reads, after it has replied to its last request.
    pub(crate) fn clear(&mut self, unit: UnitId) {
        self.by_unit.remove(&unit);
    }

    /// Rejects an ambiguous reply. Exceptions carry no length: with more than one read unanswered it is unknown which of
    /// them an exception belongs to. With only one, which was requested because it exists, the exception is far more likely
    /// to belong to the probe.
    pub(crate) fn check(&self, unit: UnitId, reply: Reply) -> Result<Reply, LinkError> {
        match reply {
            Reply::Exception(_, name) if self.by_unit.get(&unit).is_some_and(|unanswered| unanswered.len() > 1) => {
                Err(LinkError::Broken(format!("ambiguous exception from unit {}, perhaps a late one: {name}", unit.0)))
            }
            reply => Ok(reply),
        }
    }

    /// The read to send to a unit before any other request, if it has unanswered ones.
    pub(crate) fn probe(&self, unit: UnitId) -> Option<ReadRequest> {
        let unanswered = self.by_unit.get(&unit).filter(|unanswered| unanswered.len() < usize::from(MAX_UNANSWERED))?;
        let last = unanswered.last()?;
        let step = if last.table.is_bits() { 8 } else { 1 };
        // A shorter read is tried first: its registers certainly exist.
        let shorter = (1..=MAX_UNANSWERED).filter_map(|steps| last.count.checked_sub(step * steps));
        let longer = (1..=MAX_UNANSWERED).filter_map(|steps| last.count.checked_add(step * steps));
        let is_allowed = |count: &u16| (1..=last.table.max_read()).contains(count);
        let is_unique = |count: &u16| {
            !unanswered.iter().any(|known| known.table == last.table && has_equal_reply_length(known, *count))
        };
        let count = shorter.chain(longer).filter(is_allowed).find(is_unique)?;
        let start = last.start.min(u16::MAX - (count - 1));
        Some(ReadRequest::new(unit, last.table, start, count))
    }
}

/// Compares reply lengths; bits come in whole bytes.
fn has_equal_reply_length(request: &ReadRequest, count: u16) -> bool {
    let length = |count: u16| if request.table.is_bits() { count.div_ceil(8) } else { count };
    length(request.count) == length(count)
}

#[cfg(test)]
mod tests {
    use bessai_domain::register::Table;

    use super::*;

    const UNIT: UnitId = UnitId(7);

    /// The probes sent one after another if none is answered.
    fn probes(table: Table, start: u16, count: u16) -> Vec<(u16, u16)> {
        let mut reads = UnansweredReads::default();
        reads.add(&ReadRequest::new(UNIT, table, start, count));
        let mut probes = Vec::new();
        while let Some(probe) = reads.probe(UNIT) {
            probes.push((probe.start, probe.count));
            reads.add(&probe);
        }
        probes
    }

    #[test]
    fn every_probe_has_a_length_of_its_own() {
        assert_eq!(probes(Table::Holding, 100, 125), [(100, 124), (100, 123), (100, 122)]);
        assert_eq!(probes(Table::Input, 100, 1), [(100, 2), (100, 3), (100, 4)]);
        assert_eq!(probes(Table::Input, u16::MAX, 1), [(u16::MAX - 1, 2), (u16::MAX - 2, 3), (u16::MAX - 3, 4)]);
        assert_eq!(probes(Table::Holding, 0, 2), [(0, 1), (0, 3), (0, 4)]);
        assert_eq!(probes(Table::Coil, 0, 3), [(0, 11), (0, 19), (0, 27)]);
        assert_eq!(probes(Table::Discrete, 0, 2000), [(0, 1992), (0, 1984), (0, 1976)]);
    }

    #[test]
    fn only_a_unit_with_unanswered_reads_is_probed_until_it_replies() {
        let mut reads = UnansweredReads::default();
        reads.add(&ReadRequest::new(UNIT, Table::Holding, 0, 10));
        assert_eq!(reads.probe(UnitId(8)), None);
        reads.clear(UnitId(8));
        assert!(reads.probe(UNIT).is_some());
        reads.clear(UNIT);
        assert_eq!(reads.probe(UNIT), None);
    }

    #[test]
    fn replies_that_never_come_count_as_lost() {
        let mut reads = UnansweredReads::default();
        for _ in 0..1000 {
            let request = reads.probe(UNIT).unwrap_or_else(|| ReadRequest::new(UNIT, Table::Holding, 0, 10));
            let before = reads.by_unit.get(&UNIT).and_then(|unanswered| unanswered.last()).map(|last| last.count);
            assert_ne!(before, Some(request.count));
            reads.add(&request);
            assert!(reads.by_unit[&UNIT].len() <= usize::from(MAX_UNANSWERED));
        }
    }
}
