//! The search for the largest part of a refused block that the device returns, by doubling, then by halving.

use super::packing::Plan;

/// The search in a block that was refused.
#[derive(Clone, Debug)]
pub(super) struct Search {
    /// The block's items, those with the same registers together.
    pub(super) groups: Vec<Vec<usize>>,
    /// The most leading groups that the device returned at once.
    accepted: usize,
    /// The fewest leading groups that it refused.
    refused: usize,
    pub(super) step: SearchStep,
}

/// What a search requests next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SearchStep {
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
pub(super) enum Verdict {
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

impl Search {
    /// A search in a block of several groups, all of which were refused together.
    pub(super) fn new(groups: Vec<Vec<usize>>) -> Self {
        let refused = groups.len();
        Self { groups, accepted: 0, refused, step: SearchStep::Doubling(1) }
    }

    pub(super) fn group(&self, index: usize) -> &[usize] {
        self.groups.get(index).map_or(&[], Vec::as_slice)
    }

    pub(super) fn leading(&self, groups: usize) -> Vec<usize> {
        self.groups.get(..groups).unwrap_or_default().concat()
    }

    /// The items from this group on.
    pub(super) fn from(&self, group: usize) -> Vec<usize> {
        self.groups.get(group..).unwrap_or_default().concat()
    }

    /// The items that were not read yet.
    pub(super) fn unread(&self) -> Vec<usize> {
        self.from(self.accepted)
    }

    /// The items that the current step requests.
    pub(super) fn items(&self) -> Vec<usize> {
        match self.step {
            SearchStep::Doubling(groups) | SearchStep::Halving(groups) => self.leading(groups),
            SearchStep::Again => self.leading(self.refused),
            SearchStep::Alone => self.group(self.accepted).to_vec(),
            SearchStep::Pair => [self.group(self.accepted.saturating_sub(1)), self.group(self.accepted)].concat(),
        }
    }

    pub(super) fn verdict(&mut self, plan: &Plan, was_accepted: bool) -> Verdict {
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
    /// Adjacent items with the same registers together.
    pub(super) fn groups(&self, items: &[usize]) -> Vec<Vec<usize>> {
        let same = |a: &usize, b: &usize| match (self.item(*a), self.item(*b)) {
            (Some(a), Some(b)) => a.same_registers(*b),
            _ => false,
        };
        items.chunk_by(same).map(<[usize]>::to_vec).collect()
    }

    pub(super) fn has_gap(&self, before: &[usize], after: &[usize]) -> bool {
        let item = |items: &[usize]| items.first().and_then(|&index| self.item(index)).copied();
        match (item(before), item(after)) {
            (Some(before), Some(after)) => before.end() < u32::from(after.address),
            _ => false,
        }
    }
}
