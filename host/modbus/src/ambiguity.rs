//! Rules out that a late RTU reply is taken for the reply to a later request.
//!
//! An RTU frame names the unit and the function but not the request: a late reply looks like the reply to any later request
//! of the same length. So a unit with unanswered requests is first sent a probe, a read of another length than all of them.
//! Units reply in order: once the probe is answered, no older reply can arrive.

use std::collections::BTreeMap;

use bessai_domain::plan::ReadRequest;
use bessai_domain::register::UnitId;
use tokio::time::Instant;

use crate::link::LinkError;
use crate::reply::Reply;
use crate::reply_filter::LATEST_REPLY;

/// Unanswered requests to remember for a unit: so many lengths of their own can be found for further reads of a small block.
/// Then nothing is sent to the unit until their replies count as lost.
const MAX_UNANSWERED: u16 = 4;

/// The unanswered reads of the units on a bus.
#[derive(Debug, Default)]
pub(crate) struct UnansweredReads {
    by_unit: BTreeMap<UnitId, UnansweredUnit>,
    /// The last answered read of each unit: the unit certainly answers its registers.
    answered: BTreeMap<UnitId, ReadRequest>,
}

#[derive(Debug)]
struct UnansweredUnit {
    reads: Vec<ReadRequest>,
    /// When the last of them was given up.
    last: Instant,
}

/// What to do before a request to a unit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Precaution {
    /// Nothing: no late reply can arrive.
    None,
    /// Send this read first.
    Probe(ReadRequest),
    /// Send nothing to the unit until then.
    WaitUntil(Instant),
}

impl UnansweredReads {
    /// Records a read without a valid reply.
    pub(crate) fn add(&mut self, request: &ReadRequest, now: Instant) {
        let unit = self.by_unit.entry(request.unit).or_insert(UnansweredUnit { reads: Vec::new(), last: now });
        unit.reads.push(request.clone());
        unit.last = now;
    }

    /// Whether replies to reads can come late.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_unit.is_empty()
    }

    /// Forgets the reads whose late replies have come.
    pub(crate) fn forget(&mut self, has_come: impl Fn(&ReadRequest) -> bool) {
        for unanswered in self.by_unit.values_mut() {
            unanswered.reads.retain(|read| !has_come(read));
        }
        self.by_unit.retain(|_, unanswered| !unanswered.reads.is_empty());
    }

    /// Forgets the unit's unanswered requests, after it has replied to its last one.
    pub(crate) fn clear(&mut self, unit: UnitId) {
        self.by_unit.remove(&unit);
    }

    /// Records a read that the unit has answered with values.
    pub(crate) fn answered(&mut self, request: &ReadRequest) {
        self.answered.insert(request.unit, request.clone());
    }

    /// Rejects an ambiguous reply. Exceptions carry no length: with more than one read unanswered it is unknown which of
    /// them an exception belongs to. With only one, which was requested because it exists, the exception is far more likely
    /// to belong to the probe.
    pub(crate) fn check(&self, unit: UnitId, reply: Reply) -> Result<Reply, LinkError> {
        match reply {
            Reply::Exception(_, name)
                if self.by_unit.get(&unit).is_some_and(|unanswered| unanswered.reads.len() > 1) =>
            {
                Err(LinkError::Broken(format!("ambiguous exception from unit {}, perhaps a late one: {name}", unit.0)))
            }
            reply => Ok(reply),
        }
    }

    /// What to do before a request to a unit.
    pub(crate) fn precaution(&mut self, unit: UnitId, now: Instant) -> Precaution {
        let Some(unanswered) = self.by_unit.get(&unit) else { return Precaution::None };
        let lost_at = unanswered.last + LATEST_REPLY;
        if lost_at <= now {
            self.clear(unit);
            return Precaution::None;
        }
        let is_full = unanswered.reads.len() >= usize::from(MAX_UNANSWERED);
        let probe = if is_full { None } else { self.probe(unanswered) };
        probe.map_or(Precaution::WaitUntil(lost_at), Precaution::Probe)
    }

    /// A read whose reply differs in length from those of all unanswered ones.
    fn probe(&self, unanswered: &UnansweredUnit) -> Option<ReadRequest> {
        let last = unanswered.reads.last()?;
        // The unit may never answer the registers of the last read.
        let answered = self.answered.get(&last.unit);
        [answered, Some(last)].into_iter().flatten().find_map(|known| unlike(known, &unanswered.reads))
    }
}

/// A read of these registers, some fewer or some more of them, whose reply differs in length from those to all of `reads`.
fn unlike(known: &ReadRequest, reads: &[ReadRequest]) -> Option<ReadRequest> {
    let step = if known.table.is_bits() { 8 } else { 1 };
    // A shorter read is tried first: its registers certainly exist.
    let shorter = (0..=MAX_UNANSWERED).filter_map(|steps| known.count.checked_sub(step * steps));
    let longer = (1..=MAX_UNANSWERED).filter_map(|steps| known.count.checked_add(step * steps));
    let is_allowed = |count: &u16| (1..=known.table.max_read()).contains(count);
    let is_unique =
        |count: &u16| !reads.iter().any(|read| read.table == known.table && has_equal_reply_length(read, *count));
    let count = shorter.chain(longer).filter(is_allowed).find(is_unique)?;
    let start = known.start.min(u16::MAX - (count - 1));
    Some(ReadRequest::new(known.unit, known.table, start, count))
}

/// Compares reply lengths; bits come in whole bytes.
fn has_equal_reply_length(request: &ReadRequest, count: u16) -> bool {
    let length = |count: u16| if request.table.is_bits() { count.div_ceil(8) } else { count };
    length(request.count) == length(count)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bessai_domain::register::Table;

    use super::*;

    const UNIT: UnitId = UnitId(7);

    /// The probes sent one after another if none is answered.
    fn probes(mut reads: UnansweredReads, table: Table, start: u16, count: u16) -> Vec<(u16, u16)> {
        let now = Instant::now();
        reads.add(&ReadRequest::new(UNIT, table, start, count), now);
        let mut probes = Vec::new();
        while let Precaution::Probe(probe) = reads.precaution(UNIT, now) {
            probes.push((probe.start, probe.count));
            reads.add(&probe, now);
        }
        assert_eq!(reads.precaution(UNIT, now), Precaution::WaitUntil(now + LATEST_REPLY));
        probes
    }

    #[test]
    fn every_probe_has_a_length_of_its_own() {
        let probes = |table, start, count| probes(UnansweredReads::default(), table, start, count);
        assert_eq!(probes(Table::Holding, 100, 125), [(100, 124), (100, 123), (100, 122)]);
        assert_eq!(probes(Table::Input, 100, 1), [(100, 2), (100, 3), (100, 4)]);
        assert_eq!(probes(Table::Input, u16::MAX, 1), [(u16::MAX - 1, 2), (u16::MAX - 2, 3), (u16::MAX - 3, 4)]);
        assert_eq!(probes(Table::Holding, 0, 2), [(0, 1), (0, 3), (0, 4)]);
        assert_eq!(probes(Table::Coil, 0, 3), [(0, 11), (0, 19), (0, 27)]);
        assert_eq!(probes(Table::Discrete, 0, 2000), [(0, 1992), (0, 1984), (0, 1976)]);
    }

    #[test]
    fn registers_that_the_unit_has_answered_are_read_first() {
        let answered = |table, count| {
            let mut reads = UnansweredReads::default();
            reads.answered(&ReadRequest::new(UNIT, table, 0, count));
            reads
        };
        let probes = |reads| probes(reads, Table::Holding, 500, 10);
        assert_eq!(probes(answered(Table::Input, 20)), [(0, 20), (0, 19), (0, 18)]);
        assert_eq!(probes(answered(Table::Holding, 10)), [(0, 9), (0, 8), (0, 7)]);
        assert_eq!(probes(answered(Table::Holding, 1)), [(0, 1), (0, 2), (0, 3)]);
    }

    #[test]
    fn only_a_unit_with_unanswered_reads_is_probed_until_it_replies() {
        let (mut reads, now) = (UnansweredReads::default(), Instant::now());
        reads.add(&ReadRequest::new(UNIT, Table::Holding, 0, 10), now);
        assert_eq!(reads.precaution(UnitId(8), now), Precaution::None);
        reads.clear(UnitId(8));
        assert!(matches!(reads.precaution(UNIT, now), Precaution::Probe(_)));
        reads.clear(UNIT);
        assert_eq!(reads.precaution(UNIT, now), Precaution::None);
    }

    #[test]
    fn replies_that_never_come_count_as_lost() {
        let (mut reads, mut now) = (UnansweredReads::default(), Instant::now());
        let mut plain = 0;
        for _ in 0..1000 {
            let request = match reads.precaution(UNIT, now) {
                Precaution::Probe(probe) => probe,
                Precaution::None => {
                    plain += 1;
                    ReadRequest::new(UNIT, Table::Holding, 0, 10)
                }
                Precaution::WaitUntil(lost_at) => {
                    assert_eq!(
                        reads.precaution(UNIT, lost_at - Duration::from_millis(1)),
                        Precaution::WaitUntil(lost_at)
                    );
                    now = lost_at;
                    continue;
                }
            };
            reads.add(&request, now);
            assert!(reads.by_unit[&UNIT].reads.len() <= usize::from(MAX_UNANSWERED));
        }
        assert_eq!(plain, 200);
    }
}
