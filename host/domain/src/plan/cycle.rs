//! One reading of a source, request by request, and what is learned from requests that bring no values.
//!
//! When a block is refused, the largest part of it that the device returns is searched at once, by doubling, then by
//! halving. The first item beyond that part is then requested alone, which shows the cause: a point that the device does
//! not have, a gap that is not readable, or a block that is too long. From the next cycle on no request is refused, and
//! there are no more requests than necessary.
//!
//! Where each attempt is costly, because the device does not reply or closes the connection, the block becomes a suspect:
//! the following cycles read the other blocks first, and then halves of it, for as long as the caller allows.

use std::collections::VecDeque;
use std::sync::Arc;

use super::learned::{BlockFault, Scope, Suspect};
use super::packing::{Plan, ReadRequest};
use super::reading::PartialReading;
use super::search::{Search, Verdict};
use crate::register::UnitId;

/// Refusals in a row because of the function (exception 1) after which the rest of a block counts as refused too: the
/// device lacks the table. Some devices answer so to a block that is too long, or to one point.
const MAX_FUNCTION_REFUSALS: usize = 6;
/// Requests of a search in one cycle while the device has answered none: enough to find the first readable part.
const MAX_UNANSWERED_SEARCH: usize = 16;
/// The fewest cycles in a row without a reply of a unit, although others reply, after which it counts as absent: the reply to
/// its only block may just have been lost.
const MIN_ABSENT_CYCLES: usize = 2;
/// Points of a request that shows whether a unit still answers: on a serial bus it is repeated in other lengths.
const WITNESS_ITEMS: usize = 8;
/// The most such cycles; another of its blocks is tried in each.
const MAX_ABSENT_CYCLES: usize = 5;

/// The requests that are still to be sent.
#[derive(Clone, Debug)]
pub struct Cycle {
    queue: VecDeque<Arc<ReadRequest>>,
    search: Option<Search>,
    /// The suspect that is asked for now.
    probe: Option<Suspect>,
    /// What suspects get of this cycle; none if they are left alone.
    suspects: SuspectsTurn,
    /// Requests that a search may still send in this cycle.
    search_requests: usize,
    sent_in_search: usize,
    has_learned: bool,
    /// Requests in a row that the device refused because of their function.
    function_refusals: usize,
    /// The request is sent for the second time.
    is_repeated: bool,
    /// The first answered request of each unit that has answered.
    answered: Vec<Arc<ReadRequest>>,
    /// Blocks that failed in this cycle.
    failed: Vec<Suspect>,
    /// The device has lately answered requests of another cycle.
    others_answer: bool,
}

/// What is done with suspects after the other blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SuspectsTurn {
    /// They are left alone in this cycle.
    Never,
    /// Those that are cheap to ask for are searched.
    Cheap,
    /// All are.
    All,
}

impl Cycle {
    fn new(requests: Vec<Arc<ReadRequest>>, suspects: SuspectsTurn, search_requests: usize) -> Self {
        Self {
            queue: requests.into(),
            search: None,
            probe: None,
            suspects,
            search_requests,
            sent_in_search: 0,
            has_learned: false,
            function_refusals: 0,
            is_repeated: false,
            answered: Vec::new(),
            failed: Vec::new(),
            others_answer: false,
        }
    }

    /// The request to send now; none when everything is read.
    pub fn request(&self, plan: &Plan) -> Option<Arc<ReadRequest>> {
        match (&self.search, self.queue.front(), &self.probe) {
            (Some(search), ..) => plan.request(&search.items()).map(Arc::new),
            (None, Some(request), _) => Some(Arc::clone(request)),
            (None, None, Some(suspect)) => plan.suspect_request(suspect).map(Arc::new),
            (None, None, None) => None,
        }
    }

    /// Whether the request asks for a suspect.
    pub fn asks_suspect(&self) -> bool {
        self.probe.is_some() && self.search.is_none() && self.queue.is_empty()
    }

    /// Whether no attempt to read this suspect had the whole time limit.
    pub fn asks_new_suspect(&self) -> bool {
        self.asks_suspect() && self.probe.as_ref().is_some_and(|suspect| suspect.is_new)
    }

    /// A small request that the unit has answered in this cycle: it shows whether the unit still answers.
    pub fn witness(&self, plan: &Plan, unit: UnitId) -> Option<ReadRequest> {
        let answered = self.answered.iter().find(|request| request.unit == unit)?;
        plan.request(answered.items.get(..answered.items.len().min(WITNESS_ITEMS))?)
    }

    /// The device returned the registers of [`request`](Self::request), or its bits as 0 and 1.
    pub fn answered(
        &mut self,
        plan: &mut Plan,
        request: &ReadRequest,
        registers: &[u16],
        reading: &mut PartialReading,
    ) {
        plan.decode(request, registers, reading);
        self.function_refusals = 0;
        self.is_repeated = false;
        if self.answered.last().is_none_or(|last| last.unit != request.unit) {
            self.answered.push(Arc::new(request.clone()));
        }
        if self.search.is_some() {
            self.continue_search(plan, BlockFault::Refused, true);
        } else if self.queue.pop_front().is_none()
            && let Some(suspect) = self.probe.take()
        {
            self.suspect_answered(plan, suspect, request.count);
        }
        self.load_suspect(plan);
    }

    /// The device refused the request because of its address or length (exception 2 or 3). Returns the positions of all
    /// channels that have no values, if this added any.
    pub fn refused(&mut self, plan: &mut Plan) -> Vec<usize> {
        self.fail(plan, BlockFault::Refused)
    }

    /// The device refused the request because of its function (exception 1): it lacks the table, the block is too long, or a
    /// point is missing. Returns the same.
    pub fn function_refused(&mut self, plan: &mut Plan) -> Vec<usize> {
        self.fail(plan, BlockFault::Function)
    }

    /// The device failed to read the request (exception 4 and others). Returns the same.
    pub fn failed(&mut self, plan: &mut Plan) -> Vec<usize> {
        self.fail(plan, BlockFault::Failing)
    }

    /// The request brought no values. Returns the positions of all channels that have none, if this added any.
    pub fn fail(&mut self, plan: &mut Plan, fault: BlockFault) -> Vec<usize> {
        let before = plan.learned.excluded.len();
        if fault == BlockFault::Function {
            self.function_refusals += 1;
        }
        if fault.is_costly() {
            self.unanswered(plan, fault);
        } else if self.function_refusals >= MAX_FUNCTION_REFUSALS {
            let items = self.take_items(plan);
            self.exclude(plan, &items, fault);
        } else {
            self.refuse(plan, fault);
        }
        self.load_suspect(plan);
        if plan.learned.excluded.len() > before { plan.absent_channels().into_keys().collect() } else { Vec::new() }
    }

    /// The device could not answer now: the values are missing in this cycle, and nothing is learned.
    pub fn skip(&mut self, plan: &mut Plan) {
        self.is_repeated = false;
        if self.search.take().is_none()
            && self.queue.pop_front().is_none()
            && let Some(suspect) = self.probe.take()
        {
            plan.learned.suspects.push_back(suspect);
            self.suspects = SuspectsTurn::Cheap;
        }
        self.load_suspect(plan);
    }

    /// Sends no further request to suspects that are costly to ask for.
    pub fn leave_suspects(&mut self, plan: &mut Plan) {
        self.suspects = SuspectsTurn::Cheap;
        if let Some(suspect) = self.probe.take() {
            plan.learned.suspects.push_front(suspect);
            self.load_suspect(plan);
        }
    }

    /// Sends no further request.
    pub fn stop(&mut self, plan: &mut Plan) {
        self.suspects = SuspectsTurn::Never;
        self.queue.clear();
        self.search = None;
        if let Some(suspect) = self.probe.take() {
            plan.learned.suspects.push_front(suspect);
        }
    }

    /// Changes what is asked for first, after that many cycles in a row without values: another block, or one point, because
    /// the blocks may all have a point that gets no reply.
    pub fn vary(&mut self, plan: &Plan, empty_cycles: usize) {
        if let Some(by) = empty_cycles.checked_rem(self.queue.len()) {
            self.queue.rotate_left(by);
        }
        let tries_point = empty_cycles >= MIN_ABSENT_CYCLES && (empty_cycles % 2 == 1 || self.queue.len() < 2);
        if tries_point && let Some(point) = plan.one_point(empty_cycles) {
            self.queue.push_front(Arc::new(point));
        }
    }

    /// The device answers the requests of another cycle: one without any reply shows something about its blocks.
    pub fn others_answer(&mut self) {
        self.others_answer = true;
    }

    /// The time limit of the attempt that failed last was shorter than usual.
    pub fn was_hasty(&mut self) {
        if let Some(suspect) = self.failed.last_mut() {
            suspect.is_new = true;
        }
    }

    /// Learns from the blocks that failed, if the device answers others. Whether anything was learned.
    pub fn finish(mut self, plan: &mut Plan) -> bool {
        if let Some(suspect) = self.probe.take() {
            plan.learned.suspects.push_front(suspect);
        }
        if !self.answered.is_empty() || self.others_answer {
            self.has_learned |= self.learn_suspects(plan);
        }
        if self.has_learned {
            plan.repack();
        }
        self.has_learned
    }

    fn learn_suspects(&mut self, plan: &mut Plan) -> bool {
        let mut has_learned = false;
        if !plan.learned.absent_units.is_empty() {
            plan.learned.absent_units.retain(|unit, _| self.answered.iter().all(|request| request.unit != *unit));
        }
        let mut absent: Vec<(UnitId, BlockFault)> = Vec::new();
        for suspect in std::mem::take(&mut self.failed) {
            let Some(unit) = plan.unit_of(&suspect.items) else { continue };
            if self.answers(unit) || self.answered.is_empty() {
                plan.learned.suspects.push_back(suspect);
                has_learned = true;
            } else if absent.iter().all(|(known, _)| *known != unit) {
                absent.push((unit, suspect.fault));
            }
        }
        for (unit, fault) in absent {
            let blocks = plan.requests().filter(|request| request.unit == unit).count();
            let cycles = plan.learned.absent_units.entry(unit).or_default();
            *cycles += 1;
            if *cycles >= blocks.clamp(MIN_ABSENT_CYCLES, MAX_ABSENT_CYCLES) {
                plan.exclude_unit(unit, fault);
                has_learned = true;
            }
        }
        has_learned
    }

    fn answers(&self, unit: UnitId) -> bool {
        self.answered.iter().any(|request| request.unit == unit)
    }

    /// The block that is read now, as far as it was not read.
    fn take_items(&mut self, plan: &mut Plan) -> Vec<usize> {
        self.is_repeated = false;
        if let Some(search) = self.search.take() {
            return search.unread();
        }
        if let Some(request) = self.queue.pop_front() {
            return request.items.clone();
        }
        let Some(suspect) = self.probe.take() else { return Vec::new() };
        plan.end_part(suspect.whole, None);
        suspect.items
    }

    /// The attempt was costly.
    fn unanswered(&mut self, plan: &mut Plan, fault: BlockFault) {
        if self.search.is_none()
            && self.queue.is_empty()
            && let Some(suspect) = self.probe.take()
        {
            self.suspect_unanswered(plan, Suspect { fault, ..suspect });
            return;
        }
        let items = self.take_items(plan);
        let Some(unit) = plan.unit_of(&items) else { return };
        let has_failed = self.failed.iter().any(|other| plan.unit_of(&other.items) == Some(unit));
        let has_others = || plan.requests().any(|request| request.unit != unit);
        // One of several units may be absent as a whole: its other blocks are tried in the next cycles.
        if !self.answers(unit) && (fault == BlockFault::Unreachable || has_failed && has_others()) {
            self.queue.retain(|request| request.unit != unit);
        }
        self.failed.push(Suspect { is_new: false, ..Suspect::block(items, fault) });
    }

    /// The device refused the request, which costs little.
    fn refuse(&mut self, plan: &mut Plan, fault: BlockFault) {
        plan.learned.is_temporary |= fault.may_pass();
        if self.search.is_some() {
            self.continue_search(plan, fault, false);
            return;
        }
        if fault.may_pass() && !self.is_repeated && !self.asks_suspect() {
            self.is_repeated = true;
            return;
        }
        if self.asks_suspect()
            && let Some(suspect) = self.probe.take_if(|suspect| suspect.scope != Scope::Block)
        {
            // It answers, be it with an exception.
            return self.suspect_answered(plan, suspect, 0);
        }
        let items = self.take_items(plan);
        let groups = plan.groups(&items);
        if groups.len() < 2 {
            self.exclude(plan, &items, fault);
        } else if self.may_search(fault) {
            self.search = Some(Search::new(groups));
        } else {
            self.failed.push(Suspect::block(items, fault));
        }
    }

    /// Whether one more request of a search may be sent.
    fn may_search(&mut self, fault: BlockFault) -> bool {
        let is_unanswered = self.answered.is_empty() && !fault.is_permanent() && self.search_requests < usize::MAX;
        let most = if is_unanswered { MAX_UNANSWERED_SEARCH.min(self.search_requests) } else { self.search_requests };
        self.sent_in_search += 1;
        self.sent_in_search <= most
    }

    fn exclude(&mut self, plan: &mut Plan, items: &[usize], fault: BlockFault) {
        plan.exclude(items, fault, Scope::Block);
        self.has_learned = true;
    }

    fn continue_search(&mut self, plan: &mut Plan, fault: BlockFault, was_accepted: bool) {
        let Some(mut search) = self.search.take() else { return };
        let next = match search.verdict(plan, was_accepted) {
            Verdict::Continue(step) => {
                search.step = step;
                if self.may_search(fault) {
                    self.search = Some(search);
                } else {
                    // The next cycle continues with it.
                    self.failed.push(Suspect::block(search.unread(), fault));
                }
                return;
            }
            Verdict::Read(next) => next,
            Verdict::RefusedBefore(next) => {
                let items = search.group(next.saturating_sub(1)).to_vec();
                self.exclude(plan, &items, fault);
                next
            }
            Verdict::SplitBefore(next) => {
                plan.learned.split_points.extend(search.group(next).first());
                self.has_learned = true;
                next
            }
            Verdict::Limit(next) => {
                self.learn_limit(plan, &search.leading(next));
                next
            }
        };
        self.requeue(plan, search.from(next));
    }

    /// The device returns no more at once than a request for these items.
    fn learn_limit(&mut self, plan: &mut Plan, items: &[usize]) {
        let Some(request) = plan.request(items) else { return };
        plan.learned.limits.insert((request.unit, request.table.is_bits()), request.count);
        self.has_learned = true;
    }

    /// Packs the remaining items as the next cycle will, so that refusals come in this cycle.
    fn requeue(&mut self, plan: &Plan, mut items: Vec<usize>) {
        items.extend(self.queue.drain(..).flat_map(|request| request.items.clone()));
        self.queue = plan.pack(items.into_iter()).into_iter().map(Arc::new).collect();
    }

    /// When the other blocks are read, takes the next suspect.
    fn load_suspect(&mut self, plan: &mut Plan) {
        if self.suspects == SuspectsTurn::Never
            || self.search.is_some()
            || !self.queue.is_empty()
            || self.probe.is_some()
            || plan.learned.suspects.is_empty()
        {
            return;
        }
        let is_cheap = |suspect: &Suspect| !suspect.fault.is_costly();
        if self.sent_in_search < self.search_requests
            && let Some(cheap) = plan.learned.suspects.iter().position(is_cheap)
            && let Some(suspect) = plan.learned.suspects.remove(cheap)
        {
            plan.end_part(suspect.whole, None);
            self.queue = plan.pack(suspect.items.into_iter()).into_iter().map(Arc::new).collect();
            self.sent_in_search += self.queue.len();
            // It was repeated when it failed first.
            self.is_repeated = true;
            self.has_learned = true;
        } else if self.suspects == SuspectsTurn::All
            && let Some(costly) = plan.learned.suspects.iter().position(|suspect| !is_cheap(suspect))
        {
            self.probe = plan.learned.suspects.remove(costly);
        }
    }

    /// It has values: it is part of the plan again.
    fn suspect_answered(&mut self, plan: &mut Plan, suspect: Suspect, count: u16) {
        if suspect.scope == Scope::Unit
            && let Some(unit) = plan.unit_of(&suspect.items)
        {
            plan.learned.absent_units.remove(&unit);
        }
        if suspect.scope == Scope::Whole {
            plan.discard_limits();
        }
        plan.end_part(suspect.whole, Some(count));
        self.has_learned = true;
    }

    fn suspect_unanswered(&mut self, plan: &mut Plan, suspect: Suspect) {
        if self.answered.is_empty() && !self.others_answer {
            // Perhaps the whole device is away.
            plan.learned.suspects.push_back(suspect);
            self.suspects = SuspectsTurn::Never;
            return;
        }
        plan.split_suspect(suspect);
        self.has_learned = true;
    }
}

impl Plan {
    /// The requests of one reading of the source that is not repeated: everything is searched at once, and what is costly to
    /// ask for is asked for once.
    pub fn cycle(&self) -> Cycle {
        Cycle::new(self.shared_requests(), SuspectsTurn::Never, usize::MAX)
    }

    /// The requests of one of many readings: searches send at most so many requests and go on in the next reading, and
    /// suspects are asked for after the other blocks.
    pub fn polling_cycle(&mut self, search_requests: usize) -> Cycle {
        let mut cycle = Cycle::new(self.shared_requests(), SuspectsTurn::All, search_requests);
        if !self.learned.absent_units.is_empty() {
            cycle.rotate_absent_units(self);
        }
        cycle.load_suspect(self);
        cycle
    }
}

impl Cycle {
    /// Units without a reply are asked for another of their blocks each time.
    fn rotate_absent_units(&mut self, plan: &Plan) {
        let requests = self.queue.make_contiguous();
        for (unit, &cycles) in &plan.learned.absent_units {
            let Some(first) = requests.iter().position(|request| request.unit == *unit) else { continue };
            let blocks = requests.iter().filter(|request| request.unit == *unit).count();
            if let Some(requests) = requests.get_mut(first..first + blocks) {
                requests.rotate_left(cycles * (blocks * 5 / 8 + 1) % blocks.max(1));
            }
        }
    }
}
