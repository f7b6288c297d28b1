//! Rules out that a late RTU reply is taken for the reply to a later request.
//!
//! An RTU frame names the unit and the function but not the request: a late reply looks like the reply to any later request
//! of the same length. A request of another length than all unanswered ones of its unit is sent at once; before any other one
//! the unit is sent a probe, a read of such a length. Units reply in order: once either is answered, no older reply can
//! arrive. A probe asks for registers that are read anyway, since a device may refuse all others.

use std::collections::{BTreeMap, VecDeque};

use bessai_domain::plan::ReadRequest;
use bessai_domain::register::{Table, UnitId};
use tokio::time::Instant;

use crate::link::LinkError;
use crate::reply::{ExceptionKind, Reply};
use crate::reply_filter::LATEST_REPLY;
use crate::request::BusRequest;

/// Unanswered requests to remember for a unit: so many lengths of their own can be found for further reads of a small block.
/// Then nothing is sent to the unit until their replies count as lost.
const MAX_UNANSWERED: u16 = 4;
/// Answered reads to remember for a unit: those of the last cycles, for probes.
const MAX_ANSWERED: usize = 32;

/// The unanswered reads of the units on a bus.
#[derive(Debug, Default)]
pub(crate) struct UnansweredReads {
    by_unit: BTreeMap<UnitId, UnansweredUnit>,
    /// The last answered reads of each unit, the newest first: the unit certainly answers their registers.
    answered: BTreeMap<UnitId, VecDeque<KnownRead>>,
    /// The last precaution was a probe.
    is_probing: bool,
}

#[derive(Debug)]
struct UnansweredUnit {
    reads: Vec<ReadRequest>,
    /// When the last of them was given up.
    last: Instant,
}

/// What a read asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct KnownRead {
    table: Table,
    start: u16,
    count: u16,
}

impl KnownRead {
    fn of(request: &ReadRequest) -> Self {
        Self { table: request.table, start: request.start, count: request.count }
    }
}

/// What to do before a request to a unit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Precaution {
    /// Nothing: no late reply can be taken for its reply.
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
        let known = self.answered.entry(request.unit).or_default();
        let read = KnownRead::of(request);
        if let Some(index) = known.iter().position(|other| *other == read) {
            known.remove(index);
        } else if known.len() == MAX_ANSWERED {
            known.pop_back();
        }
        known.push_front(read);
    }

    /// Rejects an ambiguous reply. Exceptions carry no length, so one may be the late reply to an unanswered read. It is
    /// not if the unit has answered all of those with values before. With only one, which was requested because it exists,
    /// it is far more likely to belong to a probe of registers that the unit has never answered.
    pub(crate) fn check(&self, request: BusRequest<'_>, reply: Reply) -> Result<Reply, LinkError> {
        let Reply::Exception(kind, name) = &reply else { return Ok(reply) };
        let unit = request.unit();
        let (Some(unanswered), BusRequest::Read(read)) = (self.by_unit.get(&unit), request) else { return Ok(reply) };
        let is_lasting = matches!(kind, ExceptionKind::Function | ExceptionKind::Block);
        let may_get_it = |read: &ReadRequest| !(is_lasting && self.has_answered(read));
        let rivals = || unanswered.reads.iter().filter(|other| other.table == read.table && may_get_it(other));
        if rivals().next().is_none() || self.is_probing && unanswered.reads.len() == 1 && may_get_it(read) {
            return Ok(reply);
        }
        Err(LinkError::Timeout(format!("ambiguous exception from unit {}, perhaps a late one: {name}", unit.0)))
    }

    fn has_answered(&self, read: &ReadRequest) -> bool {
        self.answered.get(&read.unit).is_some_and(|known| known.contains(&KnownRead::of(read)))
    }

    /// What to do before a request.
    pub(crate) fn precaution(&mut self, request: BusRequest<'_>, now: Instant) -> Precaution {
        self.is_probing = false;
        let unit = request.unit();
        let Some(unanswered) = self.by_unit.get(&unit) else { return Precaution::None };
        let lost_at = unanswered.last + LATEST_REPLY;
        if lost_at <= now {
            self.clear(unit);
            return Precaution::None;
        }
        let is_full = unanswered.reads.len() >= usize::from(MAX_UNANSWERED);
        let read = if let BusRequest::Read(read) = request { Some(KnownRead::of(read)) } else { None };
        if !is_full && read.is_some_and(|read| is_unlike(read, &unanswered.reads)) {
            return Precaution::None;
        }
        let probe = if is_full { None } else { self.probe(unit, read, &unanswered.reads) };
        self.is_probing = probe.is_some();
        probe.map_or(Precaution::WaitUntil(lost_at), |KnownRead { table, start, count }| {
            Precaution::Probe(ReadRequest::new(unit, table, start, count))
        })
    }

    /// A read whose reply differs in length from those of all unanswered ones: an answered one, or the first registers of one
    /// or of the request. Where all of these are too alike, as those of single registers are, more registers are read than
    /// the unit has ever answered.
    fn probe(&self, unit: UnitId, request: Option<KnownRead>, unanswered: &[ReadRequest]) -> Option<KnownRead> {
        let known = || self.answered.get(&unit).into_iter().flatten().copied();
        let whole = known().find(|read| is_unlike(*read, unanswered));
        // The unit may never answer the registers of the last read.
        let readable = || known().chain(request).chain(unanswered.last().map(KnownRead::of));
        let unlike = |read: KnownRead| move |count: &u16| is_unlike(KnownRead { count: *count, ..read }, unanswered);
        let shorter = |read: KnownRead| Some(KnownRead { count: shorter(read).find(unlike(read))?, ..read });
        let longer = |read: KnownRead| {
            let count = longer(read).find(unlike(read))?;
            Some(KnownRead { start: read.start.min(u16::MAX - (count - 1)), count, ..read })
        };
        whole.or_else(|| readable().find_map(shorter)).or_else(|| readable().find_map(longer))
    }
}

/// The registers, or bits, by whose number the length of a reply changes.
fn step(table: Table) -> u16 {
    if table.is_bits() { 8 } else { 1 }
}

/// So many counts of the first registers of a read, the longest first.
fn shorter(read: KnownRead) -> impl Iterator<Item = u16> {
    let counts = (1..=MAX_UNANSWERED).filter_map(move |steps| read.count.checked_sub(step(read.table) * steps));
    counts.filter(|count| *count > 0)
}

/// So many counts of more registers than a read has.
fn longer(read: KnownRead) -> impl Iterator<Item = u16> {
    let counts = (1..=MAX_UNANSWERED).filter_map(move |steps| read.count.checked_add(step(read.table) * steps));
    counts.filter(move |count| *count <= read.table.max_read())
}

/// Whether no late reply to one of these can be taken for the reply to a read; bits come in whole bytes.
fn is_unlike(read: KnownRead, unanswered: &[ReadRequest]) -> bool {
    let length = |count: u16| count.div_ceil(step(read.table));
    unanswered.iter().all(|other| other.table != read.table || length(other.count) != length(read.count))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const UNIT: UnitId = UnitId(7);

    fn read(table: Table, start: u16, count: u16) -> ReadRequest {
        ReadRequest::new(UNIT, table, start, count)
    }

    /// The probes sent one after another before a read, which got no reply before, if none is answered.
    fn probes(mut reads: UnansweredReads, table: Table, start: u16, count: u16) -> Vec<(u16, u16)> {
        let now = Instant::now();
        let request = read(table, start, count);
        reads.add(&request, now);
        let mut probes = Vec::new();
        while let Precaution::Probe(probe) = reads.precaution(BusRequest::Read(&request), now) {
            probes.push((probe.start, probe.count));
            reads.add(&probe, now);
        }
        let precaution = reads.precaution(BusRequest::Read(&request), now);
        assert_eq!(precaution, Precaution::WaitUntil(now + LATEST_REPLY));
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
            reads.answered(&read(table, 0, count));
            reads
        };
        let probes = |reads| probes(reads, Table::Holding, 500, 10);
        assert_eq!(probes(answered(Table::Input, 20)), [(0, 20), (0, 19), (0, 18)]);
        assert_eq!(probes(answered(Table::Holding, 10)), [(0, 9), (0, 8), (0, 7)]);
        assert_eq!(probes(answered(Table::Holding, 1)), [(0, 1), (500, 9), (500, 8)]);
    }

    #[test]
    fn a_request_of_another_length_than_all_unanswered_ones_needs_no_probe() {
        let (mut reads, now) = (UnansweredReads::default(), Instant::now());
        reads.add(&read(Table::Holding, 300, 2), now);
        reads.add(&read(Table::Holding, 500, 3), now);
        let mut before = |read: &ReadRequest| reads.precaution(BusRequest::Read(read), now);
        assert_eq!(before(&read(Table::Holding, 0, 4)), Precaution::None);
        assert_eq!(before(&read(Table::Input, 0, 2)), Precaution::None);
        assert!(matches!(before(&read(Table::Holding, 700, 2)), Precaution::Probe(_)));
        assert!(matches!(before(&read(Table::Holding, 700, 3)), Precaution::Probe(_)));
    }

    #[test]
    fn a_probe_asks_for_registers_that_were_answered_whole_before_parts_of_them() {
        let (mut reads, now) = (UnansweredReads::default(), Instant::now());
        for (start, count) in [(0, 4), (100, 3), (200, 5), (400, 1)] {
            reads.answered(&read(Table::Holding, start, count));
        }
        let lost = read(Table::Holding, 300, 2);
        let mut probes = Vec::new();
        reads.add(&lost, now);
        while let Precaution::Probe(probe) = reads.precaution(BusRequest::Read(&lost), now) {
            probes.push((probe.start, probe.count));
            reads.add(&probe, now);
        }
        assert_eq!(probes, [(400, 1), (200, 5), (100, 3)]);
    }

    /// What becomes of an exception that replies to a read while others have no reply.
    fn check(
        answered: &[ReadRequest],
        unanswered: &[ReadRequest],
        request: &ReadRequest,
        kind: ExceptionKind,
    ) -> Result<(), LinkError> {
        let (mut reads, now) = (UnansweredReads::default(), Instant::now());
        answered.iter().for_each(|read| reads.answered(read));
        unanswered.iter().for_each(|read| reads.add(read, now));
        let reply = Reply::Exception(kind, "exception".to_owned());
        let probe = match reads.precaution(BusRequest::Read(request), now) {
            Precaution::Probe(probe) => probe,
            _ => request.clone(),
        };
        reads.check(BusRequest::Read(&probe), reply).map(drop)
    }

    #[test]
    fn an_exception_counts_unless_it_may_belong_to_an_unanswered_read() {
        use ExceptionKind::{Block, Busy};
        let holding = |start, count| read(Table::Holding, start, count);
        let (one, other, third) = (holding(0, 1), holding(10, 1), holding(20, 2));
        let check = |answered: &[ReadRequest], unanswered: &[ReadRequest], request: &ReadRequest, kind| {
            check(answered, unanswered, request, kind).is_ok()
        };
        // Only the probe can be refused: the others were read before.
        assert!(check(&[one.clone(), other.clone()], &[one.clone(), other.clone()], &one, Block));
        let (only_one, only_third) = (std::slice::from_ref(&one), std::slice::from_ref(&third));
        assert!(check(&[], only_one, &one, Block), "the probe asks for more registers");
        assert!(check(&[], &[], &one, Busy));
        assert!(check(&[], &[read(Table::Input, 0, 1)], &one, Block), "another function");
        // The probe was read before, and the unanswered one was not.
        assert!(!check(only_third, only_one, &one, Block));
        assert!(!check(only_one, &[one.clone(), third.clone()], &holding(5, 3), Busy));
        assert!(!check(&[], &[one.clone(), third.clone()], &other, Block));
        assert!(!check(&[], only_one, &third, Block), "sent without a probe");
    }

    #[test]
    fn only_a_unit_with_unanswered_reads_is_probed_until_it_replies() {
        let (mut reads, now) = (UnansweredReads::default(), Instant::now());
        let request = read(Table::Holding, 0, 10);
        reads.add(&request, now);
        let others = ReadRequest::new(UnitId(8), Table::Holding, 0, 10);
        assert_eq!(reads.precaution(BusRequest::Read(&others), now), Precaution::None);
        reads.clear(UnitId(8));
        assert!(matches!(reads.precaution(BusRequest::Read(&request), now), Precaution::Probe(_)));
        reads.clear(UNIT);
        assert_eq!(reads.precaution(BusRequest::Read(&request), now), Precaution::None);
    }

    #[test]
    fn replies_that_never_come_count_as_lost() {
        let (mut reads, mut now) = (UnansweredReads::default(), Instant::now());
        let asked = read(Table::Holding, 0, 10);
        let mut plain = 0;
        for _ in 0..1000 {
            let request = match reads.precaution(BusRequest::Read(&asked), now) {
                Precaution::Probe(probe) => probe,
                Precaution::None => {
                    plain += 1;
                    asked.clone()
                }
                Precaution::WaitUntil(lost_at) => {
                    let before = lost_at - Duration::from_millis(1);
                    let precaution = reads.precaution(BusRequest::Read(&asked), before);
                    assert_eq!(precaution, Precaution::WaitUntil(lost_at));
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
