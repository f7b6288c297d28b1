//! Whose answer a frame is, where nothing in it tells.
//!
//! A frame of a serial line names the unit and the function, not the request: a reply that comes too late looks like the
//! reply to whatever was asked since, if that is as long. So a unit that owes an answer is first asked for a block of
//! another length than all that it owes. Units answer in their order: once that answer is there, nothing older comes.

use std::collections::BTreeMap;

use bessai_domain::plan::Request;
use bessai_domain::register::UnitId;

use super::link::{Answer, Failure};

/// Answers that a unit may owe. With more they are taken for lost: the last ones were asked for with lengths of their own,
/// so that even then the next request is not as long as the one before it.
const OWED_MAX: u16 = 4;

/// What the units of a line have not answered.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    owed: BTreeMap<UnitId, Vec<Request>>,
}

impl Doubts {
    /// The reply to this did not come, or not as it should.
    pub(super) fn owes(&mut self, request: &Request) {
        let owed = self.owed.entry(request.unit).or_default();
        if owed.len() >= usize::from(OWED_MAX) {
            owed.clear();
        }
        owed.push(request.clone());
    }

    /// The unit has answered what it was asked last.
    pub(super) fn settled(&mut self, unit: UnitId) {
        self.owed.remove(&unit);
    }

    /// An exception is as long as any other: it may answer whatever is owed, but where that is one request, which was asked
    /// for because it is there, it rather answers the longer one after it.
    pub(super) fn believed(&self, unit: UnitId, answer: Answer) -> Result<Answer, Failure> {
        match answer {
            Answer::Refused(_, reason) if self.owed.get(&unit).is_some_and(|owed| owed.len() > 1) => {
                Err(Failure::Broken(format!("unit {} refuses, perhaps an older request: {reason}", unit.0)))
            }
            answer => Ok(answer),
        }
    }

    /// What to ask a unit before anything else.
    pub(super) fn probe(&self, unit: UnitId) -> Option<Request> {
        let owed = self.owed.get(&unit).filter(|owed| owed.len() < usize::from(OWED_MAX))?;
        let last = owed.last()?;
        let step = if last.table.is_bits() { 8 } else { 1 };
        // Rather less than was asked for before: that is surely there.
        let shorter = (1..=OWED_MAX).filter_map(|steps| last.count.checked_sub(step * steps));
        let longer = (1..=OWED_MAX).filter_map(|steps| last.count.checked_add(step * steps));
        let fits = |count: &u16| (1..=last.table.max_read()).contains(count);
        let is_new = |count: &u16| !owed.iter().any(|known| known.table == last.table && is_as_long(known, *count));
        let count = shorter.chain(longer).filter(fits).find(is_new)?;
        let start = last.start.min(u16::MAX - (count - 1));
        Some(Request::of(unit, last.table, start, count))
    }
}

/// Bits come in whole bytes.
fn is_as_long(request: &Request, count: u16) -> bool {
    let bytes = |count: u16| if request.table.is_bits() { count.div_ceil(8) } else { count };
    bytes(request.count) == bytes(count)
}

#[cfg(test)]
mod tests {
    use bessai_domain::register::Table;

    use super::*;

    const UNIT: UnitId = UnitId(7);

    /// The blocks asked for one after the other when none is answered.
    fn probes(table: Table, start: u16, count: u16) -> Vec<(u16, u16)> {
        let mut doubts = Doubts::default();
        doubts.owes(&Request::of(UNIT, table, start, count));
        let mut probes = Vec::new();
        while let Some(probe) = doubts.probe(UNIT) {
            probes.push((probe.start, probe.count));
            doubts.owes(&probe);
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
    fn only_the_unit_that_owes_is_doubted_until_it_answers() {
        let mut doubts = Doubts::default();
        doubts.owes(&Request::of(UNIT, Table::Holding, 0, 10));
        assert_eq!(doubts.probe(UnitId(8)), None);
        doubts.settled(UnitId(8));
        assert!(doubts.probe(UNIT).is_some());
        doubts.settled(UNIT);
        assert_eq!(doubts.probe(UNIT), None);
    }

    #[test]
    fn what_was_never_answered_is_taken_for_lost() {
        let mut doubts = Doubts::default();
        for _ in 0..1000 {
            let request = doubts.probe(UNIT).unwrap_or_else(|| Request::of(UNIT, Table::Holding, 0, 10));
            let before = doubts.owed.get(&UNIT).and_then(|owed| owed.last()).map(|last| last.count);
            assert_ne!(before, Some(request.count));
            doubts.owes(&request);
            assert!(doubts.owed[&UNIT].len() <= usize::from(OWED_MAX));
        }
    }
}
