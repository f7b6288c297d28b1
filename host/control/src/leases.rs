//! The set-points that holders have on one channel.

use std::time::Duration;

use bessai_domain::time::MonotonicTime;

use crate::holder::Holder;
use crate::interface::ProposalId;

/// One holder's set-point.
#[derive(Clone, Debug)]
pub(crate) struct Lease {
    pub(crate) id: ProposalId,
    pub(crate) holder: Holder,
    pub(crate) value: f64,
    pub(crate) until: MonotonicTime,
    /// Its proposal was answered.
    pub(crate) is_answered: bool,
    /// The device has taken it: it is applied again after a failure.
    pub(crate) was_applied: bool,
}

/// At most one for each holder; the one that applies first.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    list: Vec<Lease>,
}

impl Leases {
    /// The one that applies.
    pub(crate) fn first(&self) -> Option<&Lease> {
        self.list.first()
    }

    pub(crate) fn find(&mut self, id: ProposalId) -> Option<&mut Lease> {
        self.list.iter_mut().find(|lease| lease.id == id)
    }

    /// Adds one, newest first among equals; returns the holder's previous one.
    pub(crate) fn add(&mut self, lease: Lease, priority: &[String]) -> Option<Lease> {
        let previous = self.remove_of(&lease.holder);
        let rank = lease.holder.rank(priority);
        let index = self.list.iter().position(|held| held.holder.rank(priority) >= rank);
        self.list.insert(index.unwrap_or(self.list.len()), lease);
        previous
    }

    /// Whether one of this holder would apply.
    pub(crate) fn would_apply(&self, holder: &Holder, priority: &[String]) -> bool {
        let others = self.list.iter().find(|lease| lease.holder != *holder);
        others.is_none_or(|first| holder.rank(priority) <= first.holder.rank(priority))
    }

    pub(crate) fn remove_of(&mut self, holder: &Holder) -> Option<Lease> {
        let index = self.list.iter().position(|lease| lease.holder == *holder)?;
        Some(self.list.remove(index))
    }

    pub(crate) fn remove(&mut self, id: ProposalId) {
        self.list.retain(|lease| lease.id != id);
    }

    /// Takes out those whose time is over.
    pub(crate) fn take_expired(&mut self, now: MonotonicTime) -> Vec<Lease> {
        self.list.extract_if(.., |lease| lease.until <= now).collect()
    }

    /// Takes out all.
    pub(crate) fn take_all(&mut self) -> Vec<Lease> {
        std::mem::take(&mut self.list)
    }

    /// Sorts them by another priority.
    pub(crate) fn sort(&mut self, priority: &[String]) {
        self.list.sort_by_key(|lease| lease.holder.rank(priority));
    }

    /// Those below the one that applies.
    pub(crate) fn others(&mut self) -> impl Iterator<Item = &mut Lease> {
        self.list.iter_mut().skip(1)
    }

    pub(crate) fn next_end(&self) -> Option<MonotonicTime> {
        self.list.iter().map(|lease| lease.until).min()
    }

    pub(crate) fn shown(&self, now: MonotonicTime) -> Vec<(Holder, f64, Duration)> {
        self.list.iter().map(|lease| (lease.holder.clone(), lease.value, lease.until.since(now))).collect()
    }
}
