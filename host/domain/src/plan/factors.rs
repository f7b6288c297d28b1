//! Keeps values and their scale factors together: a factor that changes between two requests would make a value ten times
//! too large.
//!
//! Requests end where they separate no value from its factor, if that takes no more requests. A factor that is too far
//! from some of its values is read before and after them; if it has changed between, they are dropped.

use std::collections::{BTreeMap, BTreeSet};

use super::packing::{Plan, ReadRequest};
use crate::profile::Role;

/// Scale factors, by their index, that are read once more because a request between them and their values could miss a
/// change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rereads {
    /// Read before their values too.
    pub(super) before: BTreeSet<usize>,
    /// Read after their values too.
    pub(super) after: BTreeSet<usize>,
}

impl Plan {
    /// Packs these items into requests, and which factors are read twice.
    pub(super) fn pack_with_factors(&self, items: &[usize]) -> (Vec<ReadRequest>, Rereads) {
        let requests = self.pack(items.iter().copied());
        if self.map.factors == 0 || self.separated(&requests) == Rereads::default() {
            return (requests, Rereads::default());
        }
        let requests = self.pack_together(items);
        let rereads = self.separated(&requests);
        let again =
            |factors: &BTreeSet<usize>| self.pack(items.iter().copied().filter(|&item| self.is_one_of(item, factors)));
        let requests = again(&rereads.before).into_iter().chain(requests).chain(again(&rereads.after)).collect();
        (requests, rereads)
    }

    fn is_one_of(&self, item: usize, factors: &BTreeSet<usize>) -> bool {
        matches!(self.item(item).map(|item| item.role), Some(Role::Factor(factor)) if factors.contains(&factor))
    }

    /// The factor that an item holds, and the one that its value needs.
    fn factors_of(&self, index: usize) -> (Option<usize>, Option<usize>) {
        match self.item(index).map(|item| item.role) {
            Some(Role::Factor(factor)) => (Some(factor), None),
            Some(Role::Value(channel)) => (None, self.map.decoders.get(channel).and_then(|decoder| decoder.factor)),
            Some(Role::Header(_)) | None => (None, None),
        }
    }

    /// The factors that are in another request than some of their values.
    fn separated(&self, requests: &[ReadRequest]) -> Rereads {
        let items =
            || requests.iter().enumerate().flat_map(|(at, request)| request.items.iter().map(move |&item| (at, item)));
        let held_at: BTreeMap<usize, usize> =
            items().filter_map(|(at, item)| self.factors_of(item).0.map(|factor| (factor, at))).collect();
        let mut rereads = Rereads::default();
        for (at, item) in items() {
            let Some(factor) = self.factors_of(item).1 else { continue };
            match held_at.get(&factor) {
                Some(&held_at) if at < held_at => rereads.before.insert(factor),
                Some(&held_at) if at > held_at => rereads.after.insert(factor),
                _ => false,
            };
        }
        rereads
    }

    /// The packing with the fewest requests, those for factors that are read again included: as if each cut between a value
    /// and its factor took one more.
    fn pack_together(&self, items: &[usize]) -> Vec<ReadRequest> {
        let cut_by = self.pairs_cut(items);
        // The least costs of the items before each position, with the position at which their last request begins.
        let mut costs: Vec<(usize, usize, usize)> = vec![(usize::MAX, usize::MAX, 0); items.len() + 1];
        if let Some(first) = costs.first_mut() {
            *first = (0, 0, 0);
        }
        for start in 0..items.len() {
            let Some(&(cost, cuts, _)) = costs.get(start) else { continue };
            let pairs = cut_by.get(start).copied().unwrap_or_default();
            let is_cut = usize::from(start > 0 && pairs > 0);
            let (cost, cuts) = (cost.saturating_add(1 + is_cut), cuts.saturating_add(pairs));
            let mut request: Option<ReadRequest> = None;
            for (end, &index) in items.iter().enumerate().skip(start) {
                let Some(&item) = self.item(index) else { break };
                match &mut request {
                    None => request = Some(self.one_item(index, item)),
                    Some(request) if self.fits(request, index, item) => request.add(index, item),
                    Some(_) => break,
                }
                if let Some(best) = costs.get_mut(end + 1)
                    && (cost, cuts) < (best.0, best.1)
                {
                    *best = (cost, cuts, start);
                }
            }
        }
        let mut requests = Vec::new();
        let mut end = items.len();
        while end > 0 {
            let start = costs.get(end).map_or(0, |(_, _, start)| *start);
            requests.extend(self.request(items.get(start..end).unwrap_or_default()));
            end = start.min(end - 1);
        }
        requests.reverse();
        requests
    }

    /// For each position, how many values a cut there would separate from their factors.
    fn pairs_cut(&self, items: &[usize]) -> Vec<usize> {
        let positions = || items.iter().enumerate();
        let held_at: BTreeMap<usize, usize> =
            positions().filter_map(|(at, &item)| self.factors_of(item).0.map(|factor| (factor, at))).collect();
        // Pairs that begin and that end at each position.
        let mut changes = vec![(0_usize, 0_usize); items.len() + 1];
        for (at, &item) in positions() {
            let Some(&held_at) = self.factors_of(item).1.and_then(|factor| held_at.get(&factor)) else { continue };
            let (first, last) = (at.min(held_at), at.max(held_at));
            if let Some(begins) = changes.get_mut(first + 1) {
                begins.0 += 1;
            }
            if let Some(ends) = changes.get_mut(last + 1) {
                ends.1 += 1;
            }
        }
        let mut open = 0_usize;
        let count = |(begins, ends): (usize, usize)| {
            open = (open + begins).saturating_sub(ends);
            open
        };
        changes.into_iter().map(count).collect()
    }
}
