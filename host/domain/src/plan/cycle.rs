//! One reading of a source, request by request, and what is learned from refusals.
//!
//! When a block is refused (exception 2 or 3), the largest part of it that the device returns is searched at once, by
//! doubling, then by halving. The first item beyond that part is then requested alone, which shows the cause: a point
//! that the device does not have, a gap that is not readable, or a block that is too long. From the next cycle on no
//! request is refused, and there are no more requests than necessary.

use std::collections::VecDeque;
use std::sync::Arc;

use super::packing::{Plan, ReadRequest};
use super::reading::PartialReading;
use crate::profile::Role;

/// The requests that are still to be sent.
#[derive(Clone, Debug)]
pub struct Cycle {
    queue: VecDeque<Arc<ReadRequest>>,
    search: Option<Search>,
    has_learned: bool,
    /// Requests in a row that the device refused because of their function.
    function_refusals: usize,
    /// A request was answered with values.
    has_answered: bool,
    /// Blocks without a reply.
    unanswered: Vec<Vec<usize>>,
}

/// Refusals in a row because of the function (exception 1) after which the rest of a block counts as refused too: the
/// device lacks the table. Some devices answer so to a block that is too long, or to one point.
const MAX_FUNCTION_REFUSALS: usize = 6;

/// The search in a block that was refused.
#[derive(Clone, Debug)]
struct Search {
    /// The block's items, those with the same registers together.
    groups: Vec<Vec<usize>>,
    /// The most leading groups that the device returned at once.
    accepted: usize,
    /// The fewest leading groups that it refused.
    refused: usize,
    step: SearchStep,
}

/// What a search requests next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SearchStep {
    /// This many leading groups, twice as many each time.
    Doubling(usize),
    /// This many leading groups, between what was accepted and what was refused.
    Halving(usize),
    /// The smallest refused part once more, because a busy device may answer with the same exception.
    Again,
    /// The first group that was not accepted, alone.
    Alone,
    /// That group and the one before it, with the gap between them.
    Pair,
}

/// The result of one step of a search.
enum Verdict {
    /// Another step is needed.
    Continue(SearchStep),
    /// The groups before this one were read, and nothing is learned.
    Read(usize),
    /// The device does not have the group before this one.
    RefusedBefore(usize),
    /// The gap before this group is not readable.
    SplitBefore(usize),
    /// The device returns no more than this many groups at once.
    Limit(usize),
}

impl Cycle {
    fn new(requests: Vec<Arc<ReadRequest>>) -> Self {
        Self {
            queue: requests.into(),
            search: None,
            has_learned: false,
            function_refusals: 0,
            has_answered: false,
            unanswered: Vec::new(),
        }
    }

    /// The request to send now; none when everything is read.
    pub fn request(&self, plan: &Plan) -> Option<Arc<ReadRequest>> {
        match &self.search {
            None => self.queue.front().cloned(),
            Some(search) => plan.request(&search.items()).map(Arc::new),
        }
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
        self.has_answered = true;
        match &self.search {
            None => self.skip(),
            Some(_) => self.continue_search(plan, true),
        }
    }

    /// The device refused the request because of its address or length (exception 2 or 3). Returns the positions of all
    /// channels that it does not have, if this refusal added any.
    pub fn refused(&mut self, plan: &mut Plan) -> Vec<usize> {
        let before = plan.learned.refused.len();
        if self.search.is_some() {
            self.continue_search(plan, false);
        } else if let Some(request) = self.queue.pop_front() {
            let groups = plan.groups(&request.items);
            if groups.len() > 1 {
                let refused = groups.len();
                self.search = Some(Search { groups, accepted: 0, refused, step: SearchStep::Doubling(1) });
            } else {
                self.learn_refused(plan, &request.items);
            }
        }
        if plan.learned.refused.len() == before { Vec::new() } else { plan.refused_channels() }
    }

    /// The device refused the request because of its function (exception 1): it lacks the table, the block is too long, or a
    /// point is missing. Returns the positions of all channels that it does not have, if this refusal added any.
    pub fn function_refused(&mut self, plan: &mut Plan) -> Vec<usize> {
        self.function_refusals += 1;
        if self.function_refusals < MAX_FUNCTION_REFUSALS { self.refused(plan) } else { self.table_refused(plan) }
    }

    /// The device failed to read the request (exception 4 and others). As [`refused`](Self::refused), but what is learned is
    /// forgotten with the next [`retry_refused`](Plan::retry_refused): what fails now may work a minute later.
    pub fn failed(&mut self, plan: &mut Plan) -> Vec<usize> {
        plan.learned.is_temporary = true;
        self.refused(plan)
    }

    /// The device does not have the table at all.
    fn table_refused(&mut self, plan: &mut Plan) -> Vec<usize> {
        let items = match self.search.take() {
            Some(search) => search.groups.concat(),
            None => self.queue.pop_front().map(|request| request.items.clone()).unwrap_or_default(),
        };
        self.learn_refused(plan, &items);
        plan.refused_channels()
    }

    /// The device could not answer now: the values are missing in this cycle, and nothing is learned.
    pub fn skip(&mut self) {
        if self.search.take().is_none() {
            self.queue.pop_front();
        }
    }

    /// Begins with a later request: the first one may be the one that gets no reply.
    pub fn rotate(&mut self, requests: usize) {
        if let Some(by) = requests.checked_rem(self.queue.len()) {
            self.queue.rotate_left(by);
        }
    }

    /// The device did not reply to the request. If it answers others in this cycle, the block is asked for alone from now on.
    pub fn unanswered(&mut self) {
        let items = match self.search.take() {
            Some(search) => search.groups.concat(),
            None => self.queue.pop_front().map(|request| request.items.clone()).unwrap_or_default(),
        };
        self.unanswered.push(items);
    }

    /// Rebuilds the plan's requests if anything was learned.
    pub fn finish(self, plan: &mut Plan) {
        let has_silent = self.has_answered && !self.unanswered.is_empty();
        if has_silent {
            plan.learned.silent.extend(self.unanswered);
        }
        if self.has_learned || has_silent {
            plan.repack();
        }
    }

    fn learn_refused(&mut self, plan: &mut Plan, items: &[usize]) {
        plan.learned.refused.extend(items);
        self.has_learned = true;
    }

    fn continue_search(&mut self, plan: &mut Plan, was_accepted: bool) {
        let Some(mut search) = self.search.take() else { return };
        let next = match search.verdict(plan, was_accepted) {
            Verdict::Continue(step) => {
                search.step = step;
                self.search = Some(search);
                return;
            }
            Verdict::Read(next) => next,
            Verdict::RefusedBefore(next) => {
                let items = search.group(next.saturating_sub(1)).to_vec();
                self.learn_refused(plan, &items);
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
        self.requeue(plan, search.groups.get(next..).unwrap_or_default().concat());
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
}

impl Search {
    fn group(&self, index: usize) -> &[usize] {
        self.groups.get(index).map_or(&[], Vec::as_slice)
    }

    fn leading(&self, groups: usize) -> Vec<usize> {
        self.groups.get(..groups).unwrap_or_default().concat()
    }

    /// The items that the current step requests.
    fn items(&self) -> Vec<usize> {
        match self.step {
            SearchStep::Doubling(groups) | SearchStep::Halving(groups) => self.leading(groups),
            SearchStep::Again => self.leading(self.refused),
            SearchStep::Alone => self.group(self.accepted).to_vec(),
            SearchStep::Pair => [self.group(self.accepted.saturating_sub(1)), self.group(self.accepted)].concat(),
        }
    }

    fn verdict(&mut self, plan: &Plan, was_accepted: bool) -> Verdict {
        match (self.step, was_accepted) {
            (SearchStep::Doubling(groups), true) => {
                self.accepted = groups;
                self.narrow(SearchStep::Doubling((groups * 2).min(self.refused.saturating_sub(1))))
            }
            (SearchStep::Halving(groups), true) => {
                self.accepted = groups;
                self.narrow(SearchStep::Halving(usize::midpoint(groups, self.refused)))
            }
            (SearchStep::Doubling(groups) | SearchStep::Halving(groups), false) => {
                self.refused = groups;
                self.narrow(SearchStep::Halving(usize::midpoint(self.accepted, groups)))
            }
            (SearchStep::Again, true) => Verdict::Read(self.refused),
            (SearchStep::Again, false) => Verdict::Continue(SearchStep::Alone),
            (SearchStep::Alone, false) => Verdict::RefusedBefore(self.accepted + 1),
            (SearchStep::Alone, true) if !plan.has_gap(self.group(self.accepted - 1), self.group(self.accepted)) => {
                Verdict::Limit(self.accepted)
            }
            // With two groups the refused block was already the pair.
            (SearchStep::Alone, true) if self.accepted == 1 => Verdict::SplitBefore(1),
            (SearchStep::Alone, true) => Verdict::Continue(SearchStep::Pair),
            (SearchStep::Pair, true) => Verdict::Limit(self.accepted),
            (SearchStep::Pair, false) => Verdict::SplitBefore(self.accepted),
        }
    }

    /// Continues until the smallest refused part has one group more than the largest accepted one.
    fn narrow(&self, step: SearchStep) -> Verdict {
        match (self.refused - self.accepted, self.accepted) {
            (2.., _) => Verdict::Continue(step),
            (_, 0) => Verdict::RefusedBefore(1),
            _ => Verdict::Continue(SearchStep::Again),
        }
    }
}

impl Plan {
    /// The requests of one reading of the source.
    pub fn cycle(&self) -> Cycle {
        Cycle::new(self.shared_requests())
    }

    /// Adjacent items with the same registers together.
    pub(super) fn groups(&self, items: &[usize]) -> Vec<Vec<usize>> {
        let same = |a: &usize, b: &usize| match (self.item(*a), self.item(*b)) {
            (Some(a), Some(b)) => a.same_registers(*b),
            _ => false,
        };
        items.chunk_by(same).map(<[usize]>::to_vec).collect()
    }

    fn has_gap(&self, before: &[usize], after: &[usize]) -> bool {
        let item = |items: &[usize]| items.first().and_then(|&index| self.item(index)).copied();
        match (item(before), item(after)) {
            (Some(before), Some(after)) => before.end() < u32::from(after.address),
            _ => false,
        }
    }

    /// The positions of the channels that cannot be read, because the device lacks their own register or that of their
    /// scale factor.
    fn refused_channels(&self) -> Vec<usize> {
        let role = |index: &usize| self.item(*index).map(|item| item.role);
        let roles: Vec<Role> = self.learned.refused.iter().filter_map(role).collect();
        let channels = self.map.decoders.iter().enumerate().filter(|(channel, decoder)| {
            roles.iter().any(|role| match role {
                Role::Value(of) => of == channel,
                Role::Factor(of) => decoder.needs(*of),
                Role::Header(_) => false,
            })
        });
        channels.map(|(channel, _)| channel).collect()
    }
}
