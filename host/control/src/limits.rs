//! Limits from outside that no set-point may exceed while they hold, such as a network operator's.

use std::collections::BTreeSet;
use std::time::Duration;

use bessai_domain::time::MonotonicTime;

use crate::holder::Holder;
use crate::interface::ProposalId;

/// The channel of a device's power in kW, + = discharge, whatever registers set it.
pub const SET_POINT: &str = "set_point_kw";
/// The channel of the limit of charging, in kW.
pub const CHARGE_LIMIT: &str = "charge_limit_kw";
/// The channel of the limit of discharging, in kW.
pub const DISCHARGE_LIMIT: &str = "discharge_limit_kw";

/// The limits of one direction. The strictest applies.
#[derive(Debug)]
pub(crate) struct Limits {
    held: Vec<HeldLimit>,
    fallback: Option<f64>,
    /// Nobody has set or ended a limit since the start; a digital input does not count, which knows of its own limit alone.
    is_unset: bool,
    /// The holders that have not renewed their limits, until they set or end one, or the operator does.
    silent: BTreeSet<Holder>,
}

#[derive(Debug)]
pub(crate) struct HeldLimit {
    pub(crate) id: ProposalId,
    pub(crate) holder: Holder,
    pub(crate) kilowatts: f64,
    pub(crate) until: MonotonicTime,
}

impl Limits {
    pub(crate) fn new(fallback: Option<f64>) -> Self {
        Self { held: Vec::new(), fallback, is_unset: true, silent: BTreeSet::new() }
    }

    pub(crate) fn add(&mut self, limit: HeldLimit) {
        self.held.retain(|held| held.holder != limit.holder);
        self.end_silence(&limit.holder);
        self.held.push(limit);
    }

    /// Its holder ends it; returns its proposal, if there is one, and whether the holder's silence ends, and the fallback with it.
    pub(crate) fn release(&mut self, holder: &Holder) -> (Option<ProposalId>, bool) {
        let has_ended_silence = self.end_silence(holder);
        let index = self.held.iter().position(|held| held.holder == *holder);
        (index.map(|index| self.held.remove(index).id), has_ended_silence)
    }

    /// What one holder says does not stand for another one that has fallen silent.
    fn end_silence(&mut self, holder: &Holder) -> bool {
        let is_first = !matches!(holder, Holder::Input(_)) && std::mem::take(&mut self.is_unset);
        let was_silent = match holder {
            Holder::Operator => !std::mem::take(&mut self.silent).is_empty(),
            _ => self.silent.remove(holder),
        };
        is_first || was_silent
    }

    /// Takes out those whose holder fell silent.
    pub(crate) fn take_expired(&mut self, now: MonotonicTime) -> Vec<ProposalId> {
        let expired: Vec<_> = self.held.extract_if(.., |held| held.until <= now).collect();
        self.silent.extend(expired.iter().map(|held| held.holder.clone()));
        expired.into_iter().map(|held| held.id).collect()
    }

    /// Ends a holder's limit as if it had not been renewed.
    pub(crate) fn silence(&mut self, holder: &Holder) -> Option<ProposalId> {
        let index = self.held.iter().position(|held| held.holder == *holder)?;
        let held = self.held.remove(index);
        self.silent.insert(held.holder);
        Some(held.id)
    }

    /// The limit in kW that applies, if any.
    pub(crate) fn kilowatts(&self) -> Option<f64> {
        let fallback = self.fallback.filter(|_| self.is_unset || !self.silent.is_empty());
        self.held.iter().map(|held| held.kilowatts).chain(fallback).min_by(f64::total_cmp)
    }

    pub(crate) fn renew(&mut self, id: ProposalId, until: MonotonicTime) -> bool {
        let held = self.held.iter_mut().find(|held| held.id == id);
        held.map(|held| held.until = until).is_some()
    }

    /// Takes out all.
    pub(crate) fn take_all(&mut self) -> Vec<ProposalId> {
        std::mem::take(&mut self.held).into_iter().map(|held| held.id).collect()
    }

    /// The settings have changed.
    pub(crate) fn set_fallback(&mut self, fallback: Option<f64>) {
        self.fallback = fallback;
    }

    pub(crate) fn shown(&self, now: MonotonicTime) -> Vec<(Holder, f64, Duration)> {
        self.held.iter().map(|held| (held.holder.clone(), held.kilowatts, held.until.since(now))).collect()
    }

    pub(crate) fn next_end(&self) -> Option<MonotonicTime> {
        self.held.iter().map(|held| held.until).min()
    }
}
