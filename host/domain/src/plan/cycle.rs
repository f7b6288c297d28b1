//! One reading of a source, request by request, and what its refusals teach.
//!
//! A refused block (exception 2 or 3) is searched at once for the most of it that the device gives: by doubling, then by
//! halving. What comes after that is asked for alone, and says which it was: a point that the device does not have, a gap
//! that must not be read, or a block too long. So the next cycle sends nothing that is refused, and no more requests than
//! it must.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Plan, Reading, Request, Role};

/// The requests that are still to be sent.
#[derive(Clone, Debug)]
pub struct Cycle {
    queue: VecDeque<Arc<Request>>,
    search: Option<Search>,
    has_learnt: bool,
}

/// The search in a block that was refused.
#[derive(Clone, Debug)]
struct Search {
    /// The block's items, those of the same registers together.
    groups: Vec<Vec<usize>>,
    /// So many groups from the first on were given.
    given: usize,
    /// So many were refused.
    refused: usize,
    step: Step,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// So many groups from the first on, twice as many each time.
    Doubling(usize),
    /// So many, between what was given and what was refused.
    Halving(usize),
    /// The least that was refused once more: a device that is only busy may say the same.
    Again,
    /// The first group that was not given, alone.
    Alone,
    /// It and the one before it, with the gap between them.
    Pair,
}

/// What a search found.
enum Verdict {
    /// It goes on.
    Open(Step),
    /// Everything before this group was read; nothing is to be remembered.
    Passed(usize),
    /// The group before this one is not there.
    Forbidden(usize),
    /// The gap before this group is not to be read.
    Wall(usize),
    /// No more than so many groups at once.
    Limit(usize),
}

impl Cycle {
    pub(super) fn new(requests: Vec<Arc<Request>>) -> Self {
        Self { queue: requests.into(), search: None, has_learnt: false }
    }

    /// What to send now; none when all is read.
    pub fn request(&self, plan: &Plan) -> Option<Arc<Request>> {
        match &self.search {
            None => self.queue.front().cloned(),
            Some(search) => plan.request(&search.items()).map(Arc::new),
        }
    }

    /// The device gave the registers of [`request`](Self::request), or its bits as 0 and 1.
    pub fn given(&mut self, plan: &mut Plan, request: &Request, registers: &[u16], reading: &mut Reading) {
        plan.decode(request, registers, reading);
        match &self.search {
            None => self.pass(),
            Some(_) => self.search_on(plan, true),
        }
    }

    /// The device refused it for its address or length (exception 2 or 3). Gives the channels that it does not have, by
    /// position, where that came out now.
    pub fn refused(&mut self, plan: &mut Plan) -> Vec<usize> {
        let before = plan.learnt.forbidden.len();
        match (&self.search, self.queue.pop_front()) {
            (Some(_), front) => {
                if let Some(front) = front {
                    self.queue.push_front(front);
                }
                self.search_on(plan, false);
            }
            (None, Some(request)) => {
                let groups = plan.groups(&request.items);
                if groups.len() > 1 {
                    let refused = groups.len();
                    self.search = Some(Search { groups, given: 0, refused, step: Step::Doubling(1) });
                } else {
                    self.forbid(plan, &request.items);
                }
            }
            (None, None) => {}
        }
        if plan.learnt.forbidden.len() == before { Vec::new() } else { plan.forbidden_channels() }
    }

    /// The device does not have the table at all (exception 1).
    pub fn refused_wholly(&mut self, plan: &mut Plan) -> Vec<usize> {
        let items = match self.search.take() {
            Some(search) => search.groups.concat(),
            None => self.queue.pop_front().map(|request| request.items.clone()).unwrap_or_default(),
        };
        self.forbid(plan, &items);
        plan.forbidden_channels()
    }

    /// The device could not answer now: its values stay missing in this cycle, nothing is learnt.
    pub fn pass(&mut self) {
        if self.search.take().is_none() {
            self.queue.pop_front();
        }
    }

    /// Has the plan take over what was learnt.
    pub fn finish(self, plan: &mut Plan) {
        if self.has_learnt {
            plan.settle();
        }
    }

    fn forbid(&mut self, plan: &mut Plan, items: &[usize]) {
        plan.learnt.forbidden.extend(items);
        self.has_learnt = true;
    }

    fn search_on(&mut self, plan: &mut Plan, was_given: bool) {
        let Some(mut search) = self.search.take() else { return };
        let rest = match search.verdict(plan, was_given) {
            Verdict::Open(step) => {
                search.step = step;
                self.search = Some(search);
                return;
            }
            Verdict::Passed(rest) => rest,
            Verdict::Forbidden(rest) => {
                let items = search.group(rest.saturating_sub(1)).to_vec();
                self.forbid(plan, &items);
                rest
            }
            Verdict::Wall(rest) => {
                plan.learnt.walls.extend(search.group(rest).first());
                self.has_learnt = true;
                rest
            }
            Verdict::Limit(rest) => {
                self.limit(plan, &search.first(rest));
                rest
            }
        };
        self.ask_next(plan, search.groups.get(rest..).unwrap_or_default().concat());
    }

    /// The device gives no more at once than a request for these items.
    fn limit(&mut self, plan: &mut Plan, items: &[usize]) {
        let Some(request) = plan.request(items) else { return };
        plan.learnt.limits.insert((request.unit, request.table.is_bits()), request.count);
        self.has_learnt = true;
    }

    /// Packs what is left as the next cycle will, so that nothing is sent there for the first time.
    fn ask_next(&mut self, plan: &Plan, mut items: Vec<usize>) {
        items.extend(self.queue.drain(..).flat_map(|request| request.items.clone()));
        self.queue = plan.pack(items.into_iter()).into_iter().map(Arc::new).collect();
    }
}

impl Search {
    fn group(&self, index: usize) -> &[usize] {
        self.groups.get(index).map_or(&[], Vec::as_slice)
    }

    fn first(&self, groups: usize) -> Vec<usize> {
        self.groups.get(..groups).unwrap_or_default().concat()
    }

    /// What the step asks for.
    fn items(&self) -> Vec<usize> {
        match self.step {
            Step::Doubling(groups) | Step::Halving(groups) => self.first(groups),
            Step::Again => self.first(self.refused),
            Step::Alone => self.group(self.given).to_vec(),
            Step::Pair => [self.group(self.given.saturating_sub(1)), self.group(self.given)].concat(),
        }
    }

    fn verdict(&mut self, plan: &Plan, was_given: bool) -> Verdict {
        match (self.step, was_given) {
            (Step::Doubling(groups), true) => {
                self.given = groups;
                self.narrow(Step::Doubling((groups * 2).min(self.refused.saturating_sub(1))))
            }
            (Step::Halving(groups), true) => {
                self.given = groups;
                self.narrow(Step::Halving(usize::midpoint(groups, self.refused)))
            }
            (Step::Doubling(groups) | Step::Halving(groups), false) => {
                self.refused = groups;
                self.narrow(Step::Halving(usize::midpoint(self.given, groups)))
            }
            (Step::Again, true) => Verdict::Passed(self.refused),
            (Step::Again, false) => Verdict::Open(Step::Alone),
            (Step::Alone, false) => Verdict::Forbidden(self.given + 1),
            (Step::Alone, true) if !plan.has_gap(self.group(self.given - 1), self.group(self.given)) => {
                Verdict::Limit(self.given)
            }
            // Of two groups the block itself was the pair.
            (Step::Alone, true) if self.given == 1 => Verdict::Wall(1),
            (Step::Alone, true) => Verdict::Open(Step::Pair),
            (Step::Pair, true) => Verdict::Limit(self.given),
            (Step::Pair, false) => Verdict::Wall(self.given),
        }
    }

    /// Goes on until the least refused is one more than the most given.
    fn narrow(&self, step: Step) -> Verdict {
        match (self.refused - self.given, self.given) {
            (2.., _) => Verdict::Open(step),
            (_, 0) => Verdict::Forbidden(1),
            _ => Verdict::Open(Step::Again),
        }
    }
}

impl Plan {
    /// Neighbouring items of the same registers together.
    fn groups(&self, items: &[usize]) -> Vec<Vec<usize>> {
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

    /// The channels that cannot be read, by position: their own register is not there, or their scale factor's.
    fn forbidden_channels(&self) -> Vec<usize> {
        let forbidden = |index: &usize| self.item(*index).map(|item| item.role);
        let roles: Vec<Role> = self.learnt.forbidden.iter().filter_map(forbidden).collect();
        let channels = self.wanted.decoders.iter().enumerate().filter(|(channel, decoder)| {
            roles.iter().any(|role| match role {
                Role::Value(of) => of == channel,
                Role::Factor(of) => decoder.needs(*of),
            })
        });
        channels.map(|(channel, _)| channel).collect()
    }
}
