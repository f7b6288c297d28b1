//! A controlled device: decides after each input what to write next, one register at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bessai_domain::proposal::{SetValue as Value, WriteOutcome};
use bessai_domain::safety::SetPoint;
use bessai_domain::time::MonotonicTime;
use bessai_domain::write::DEFAULT_SETTLE;

use crate::actuator::{Actuator, Writes};
use crate::budget::WriteBudget;
use crate::interface::{OrderId, Output, ProposalId, Purpose, SafetyCheck, VERDICT_LIFETIME, WriteOrder};
use crate::job::Job;
use crate::limits::{CHARGE_LIMIT, DISCHARGE_LIMIT, Limits, SET_POINT};
use crate::settings::ControlledDevice;
use crate::target::{Applied, SetValue, Target};
use crate::watchdog::Watchdog;

mod changes;
mod results;

/// The part by which a point with a scale factor may differ from what it was read back as.
const SCALED_TOLERANCE: f64 = 0.01;
/// A value that somebody else has changed is written again no more often than this.
const REAPPLY_PAUSE: Duration = Duration::from_secs(10);
/// Shortest time between two steps on the way to a set-point that safety's ramp slows down.
const RAMP_STEP: Duration = Duration::from_secs(1);

/// What outputs are added to.
pub(crate) struct Context<'a> {
    pub(crate) now: MonotonicTime,
    pub(crate) outputs: &'a mut Vec<Output>,
    pub(crate) orders: &'a mut u64,
}

impl Context<'_> {
    pub(crate) fn outcome(&mut self, id: ProposalId, outcome: WriteOutcome) {
        self.outputs.push(Output::Outcome(id, outcome));
    }

    fn order(&mut self) -> OrderId {
        *self.orders = self.orders.wrapping_add(1);
        OrderId(*self.orders)
    }
}

/// A controlled device.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) name: String,
    pub(crate) settings: ControlledDevice,
    pub(crate) targets: BTreeMap<String, Target>,
    pub(crate) charge_limits: Limits,
    pub(crate) discharge_limits: Limits,
    /// It is no longer named by the settings, and goes when it is released.
    pub(crate) is_leaving: bool,
    safety: SafetyCheck,
    /// When safety judged last.
    judged: Option<MonotonicTime>,
    is_online: bool,
    /// The newest value of each point, and when it was read.
    readings: BTreeMap<String, (MonotonicTime, f64)>,
    /// The points that were not read since the device was away, which may have lost their values.
    unread: BTreeSet<String>,
    job: Option<Job>,
    pub(crate) budgets: BTreeMap<String, WriteBudget>,
    watchdog: Option<Watchdog>,
}

impl Device {
    pub(crate) fn new(name: &str, settings: ControlledDevice, safety: SafetyCheck) -> Self {
        let power = Actuator::of_power(&settings.profile).map(|actuator| (SET_POINT.to_owned(), Target::new(actuator)));
        Self {
            name: name.to_owned(),
            targets: power.into_iter().collect(),
            charge_limits: Limits::new(settings.charge_limit_fallback_kw),
            discharge_limits: Limits::new(settings.discharge_limit_fallback_kw),
            is_leaving: false,
            safety,
            judged: None,
            is_online: false,
            readings: BTreeMap::new(),
            unread: BTreeSet::new(),
            job: None,
            budgets: BTreeMap::new(),
            watchdog: Watchdog::of(&settings.profile),
            settings,
        }
    }

    pub(crate) fn judged(&mut self, now: MonotonicTime) {
        self.judged = Some(now);
    }

    pub(crate) fn read(&mut self, values: Vec<(String, f64)>, now: MonotonicTime) {
        for (point, value) in values {
            self.know(point, value, now);
        }
    }

    /// A point has a value now.
    fn know(&mut self, point: String, value: f64, now: MonotonicTime) {
        if !self.unread.is_empty() {
            self.unread.remove(&point);
        }
        self.readings.insert(point, (now, value));
    }

    /// What a device has that was away is not known.
    pub(crate) fn set_online(&mut self, is_online: bool) {
        if self.is_online && !is_online {
            self.job = None;
            self.unread = self.readings.keys().cloned().collect();
            self.watchdog.iter_mut().for_each(Watchdog::forget);
            for target in self.targets.values_mut().filter(|target| target.applied != Applied::Released) {
                target.applied = Applied::Unknown;
                target.unreleased.clear();
            }
        }
        if is_online && !self.is_online {
            self.targets.values_mut().for_each(|target| target.retry_at = None);
        }
        self.is_online = is_online;
    }

    fn is_judged(&self, now: MonotonicTime) -> bool {
        self.judged.is_some_and(|at| now.since(at) < VERDICT_LIFETIME)
    }

    /// The value that is to be written for the wanted one; the error says why none is.
    pub(crate) fn permitted_now(&self, channel: &str, wanted: f64, now: MonotonicTime) -> Result<f64, String> {
        if let Some(own) = self.targets.get(channel).and_then(|target| target.actuator.mode_power(wanted)) {
            return self.permitted_mode(channel, own, now);
        }
        let applied = match (&self.job, self.targets.get(channel).map(|target| &target.applied)) {
            // A write under way is not overtaken by the ramp's next step, and a written value not at once.
            (Some(job), _) if job.channel == channel && job.purpose != Purpose::Release => (job.value, now),
            (_, Some(Applied::Set(set))) if now.since(set.since) < RAMP_STEP => (set.value, now),
            (_, Some(Applied::Set(set))) => (set.value, set.since),
            _ => (0.0, now.minus(RAMP_STEP)),
        };
        self.permitted(channel, wanted, applied, now)
    }

    /// The power of a device that only takes a mode: that is allowed as a whole, or not.
    fn permitted_mode(&self, channel: &str, own: f64, now: MonotonicTime) -> Result<f64, String> {
        let permitted = self.permitted(channel, own, (own, now), now)?;
        if permitted == own {
            return Ok(own);
        }
        Err(format!(
            "the device only takes a mode, with which its power is {own} kW, and {permitted} kW is allowed now"
        ))
    }

    fn permitted(
        &self,
        channel: &str,
        wanted: f64,
        (applied_kw, applied_at): (f64, MonotonicTime),
        now: MonotonicTime,
    ) -> Result<f64, String> {
        if !self.is_judged(now) {
            return Err(match self.judged {
                Some(_) => format!("safety has given no verdict for {VERDICT_LIFETIME:?}"),
                None => "safety has given no verdict yet".into(),
            });
        }
        // Other channels are set while the device may be controlled at all.
        let is_power = channel == SET_POINT;
        let power_kw = if is_power { self.limited(wanted) } else { 0.0 };
        let applied_kw = if is_power { applied_kw } else { 0.0 };
        let rated_kw = self.settings.rated_kw();
        let set_point = SetPoint { device: &self.name, power_kw, rated_kw, applied_kw, applied_at };
        let permit = self.safety.permits(&set_point, now).map_err(|block| block.to_string())?;
        if !is_power {
            return Ok(wanted);
        }
        // A limit from outside applies at once, whatever the ramp.
        Ok(self.limited(permit.power_kw))
    }

    /// A power within the limits from outside, and within those of the settings, which a reload may have lowered.
    fn limited(&self, kilowatts: f64) -> f64 {
        let limit = |limits: &Limits, of_settings: Option<f64>| {
            let limit = limits.kilowatts().map_or(f64::INFINITY, |limit| limit.max(0.0));
            of_settings.map_or(limit, |of_settings| limit.min(of_settings))
        };
        let charge = limit(&self.charge_limits, self.settings.max_charge_kw);
        let discharge = limit(&self.discharge_limits, self.settings.max_discharge_kw);
        kilowatts.max(-charge).min(discharge)
    }

    /// The writes that set a value.
    pub(crate) fn set_writes(&self, actuator: &Actuator, value: f64) -> Result<Writes, String> {
        let writes = actuator.set(value, |point| self.reading(point))?;
        actuator.check_range(&writes)?;
        Ok(writes)
    }

    pub(crate) fn reading(&self, point: &str) -> Option<f64> {
        self.readings.get(point).map(|(_, value)| *value).filter(|value| value.is_finite())
    }

    pub(crate) fn unit(&self, channel: &str) -> String {
        if [SET_POINT, CHARGE_LIMIT, DISCHARGE_LIMIT].contains(&channel) {
            return "kW".into();
        }
        self.settings.profile.point(channel).map(|point| point.unit.clone()).unwrap_or_default()
    }

    /// Does what is due.
    pub(crate) fn step(&mut self, context: &mut Context<'_>) {
        self.expire(context);
        if self.job.is_none() && self.targets.values().all(Target::is_idle) {
            return self.count_watchdog(context);
        }
        self.cancel_outdated_job(context);
        let mut channels: Vec<_> = self.targets.keys().cloned().collect();
        // What ends comes before what begins.
        channels.sort_by_key(|channel| self.desired(channel, context.now).is_some());
        for channel in channels {
            if self.job.is_none() && self.is_online {
                self.decide(&channel, context);
            }
        }
        self.send_next(context);
        self.count_watchdog(context);
    }

    fn expire(&mut self, context: &mut Context<'_>) {
        let limits = [&mut self.charge_limits, &mut self.discharge_limits];
        let expired_limits: Vec<_> = limits.into_iter().flat_map(|limits| limits.take_expired(context.now)).collect();
        let leases = self.targets.values_mut().flat_map(|target| target.leases.take_expired(context.now));
        let expired: Vec<_> = expired_limits.into_iter().chain(leases.map(|lease| lease.id)).collect();
        for id in expired {
            context.outcome(id, WriteOutcome::Expired);
        }
    }

    /// The set-point that applies to a channel, and its value within the limits.
    fn desired(&self, channel: &str, now: MonotonicTime) -> Option<(ProposalId, f64)> {
        let lease = self.targets.get(channel)?.leases.first()?;
        Some((lease.id, self.permitted_now(channel, lease.value, now).ok()?))
    }

    /// The rest of a job whose set-point no longer applies is not written.
    fn cancel_outdated_job(&mut self, context: &mut Context<'_>) {
        let now = context.now;
        let Some(job) = &self.job else { return };
        let desired = self.desired(&job.channel, now);
        let is_current = match job.purpose {
            Purpose::Release => true,
            _ => desired.is_some_and(|(_, value)| value == job.value),
        };
        let Some(job) = self.job.as_mut().filter(|_| !is_current) else { return };
        let is_new = !std::mem::replace(&mut job.is_cancelled, true);
        match &job.current {
            Some((order, ..)) if is_new => context.outputs.push(Output::Cancel(*order)),
            Some(_) => {}
            None => self.finish_cancelled(),
        }
    }

    fn decide(&mut self, channel: &str, context: &mut Context<'_>) {
        let desired = self.desired(channel, context.now);
        let Some(target) = self.targets.get(channel) else { return };
        match (desired, target.applied.clone()) {
            (None, Applied::Released) => {}
            (None, _) => self.begin_release(channel, context.now),
            (Some((id, value)), Applied::Set(set)) if set.value == value => {
                self.keep(channel, id, &set, context);
            }
            (Some((id, value)), _) if target.may_try(context.now) => self.begin_set(channel, id, value, context),
            (Some(_), _) => {}
        }
    }

    /// The device already has the value: the timer is renewed, and a foreign change is undone.
    fn keep(&mut self, channel: &str, id: ProposalId, set: &SetValue, context: &mut Context<'_>) {
        if let Some(change) = self.foreign_change(channel, set, context.now) {
            let reason = format!("{change}, not by the gateway; written again");
            context.outcome(id, WriteOutcome::Failed(reason));
            self.begin_set(channel, id, set.value, context);
            return;
        }
        let Some(target) = self.targets.get_mut(channel) else { return };
        if set.id != id
            && let Applied::Set(applied) = &mut target.applied
        {
            applied.id = id;
            target.last = Some(id);
            self.answer_applied(channel, id, WriteOutcome::Verified(Value::Number(set.value)), context);
        }
        let due = self.targets.get(channel).and_then(Target::renewal_due);
        if due.is_some_and(|due| due <= context.now) {
            let is_volatile = |(point, _): &&(String, f64)| !self.is_persistent(point);
            let writes: Writes = set.writes.iter().filter(is_volatile).cloned().collect();
            self.job = Some(Job::new(channel, Purpose::Renewal, Some(id), set.value, writes));
        }
    }

    /// A point that the set-point has written and that reads otherwise since.
    fn foreign_change(&self, channel: &str, set: &SetValue, now: MonotonicTime) -> Option<String> {
        let target = self.targets.get(channel)?;
        if now.since(set.since) < REAPPLY_PAUSE {
            return None;
        }
        let change = |(name, value): &(String, f64)| {
            let point = target.actuator.point(name).filter(|_| target.actuator.timer() != Some(name.as_str()))?;
            let settle = point.settle.unwrap_or(DEFAULT_SETTLE);
            let (_, read) =
                self.readings.get(name).filter(|(at, read)| *at > set.renewed.plus(settle) && read.is_finite())?;
            let is_same = match set.shown.get(name) {
                // The last digit of a scaled point is not known here.
                Some(shown) if point.scale_register.is_some() => (read - shown).abs() <= shown.abs() * SCALED_TOLERANCE,
                _ if point.scale_register.is_some() => true,
                _ => point.is_same_value(*read, *value, None),
            };
            (!is_same).then(|| format!("{name} was changed to {}", point.with_unit(*read)))
        };
        // A later write of the same point counts.
        let is_last = |index: usize, name: &str| set.writes.iter().skip(index + 1).all(|(later, _)| later != name);
        let mut last = set.writes.iter().enumerate().filter(|(index, (name, _))| is_last(*index, name));
        last.find_map(|(_, write)| change(write))
    }

    fn begin_set(&mut self, channel: &str, id: ProposalId, value: f64, context: &mut Context<'_>) {
        let Some(actuator) = self.targets.get(channel).map(|target| target.actuator.clone()) else { return };
        let before = self.reading_before(channel);
        let writes = match self.set_writes(&actuator, value) {
            Ok(writes) => writes,
            Err(reason) => return self.set_impossible(channel, id, reason, context),
        };
        // Once it is read it is known whether flash has to be written.
        if writes.iter().any(|(name, _)| self.is_about_to_be_read(name)) {
            return;
        }
        if let Err(reason) = self.check_budget(&writes, &actuator.release(before), context.now) {
            return self.set_refused(channel, id, reason, context);
        }
        let Some(target) = self.targets.get_mut(channel) else { return };
        (target.before, target.last, target.applied) = (before, Some(id), Applied::Unknown);
        target.unreleased.clear();
        self.job = Some(Job::new(channel, Purpose::SetPoint, Some(id), value, writes));
    }

    /// The value that a single point gets back.
    fn reading_before(&self, channel: &str) -> Option<f64> {
        let target = self.targets.get(channel)?;
        match (&target.actuator, &target.applied) {
            (Actuator::Point(point), Applied::Released) => self.reading(&point.name),
            _ => target.before,
        }
    }

    fn begin_release(&mut self, channel: &str, now: MonotonicTime) {
        let Some(target) = self.targets.get_mut(channel).filter(|target| target.may_try(now)) else { return };
        target.applied = Applied::Unknown;
        let refused = std::mem::take(&mut target.unreleased);
        let writes = if refused.is_empty() { target.actuator.release(target.before) } else { refused };
        self.job = Some(Job::new(channel, Purpose::Release, target.last, 0.0, writes));
    }

    pub(crate) fn is_persistent(&self, point: &str) -> bool {
        self.settings.profile.point(point).is_some_and(|point| point.persistent)
    }

    /// Whether a persistent point was not read since the device was away.
    fn is_about_to_be_read(&self, name: &str) -> bool {
        let point = self.settings.profile.point(name).filter(|_| self.unread.contains(name));
        point.is_some_and(|point| point.persistent && point.access.is_read())
    }

    /// Whether a persistent point has this value already, so that it is not written.
    fn has_value(&self, name: &str, value: f64) -> bool {
        let point = self.settings.profile.point(name).filter(|point| point.persistent && !self.unread.contains(name));
        let Some(point) = point else { return false };
        let exponent = point.scale_register.map(|_| 0);
        self.reading(name).is_some_and(|read| point.is_same_value(read, value, exponent))
    }

    /// Refuses a set-point that would apply at once, and whose writes are beyond the budget of a point: the holder keeps what it
    /// has.
    pub(crate) fn check_budget_of(&mut self, channel: &str, value: f64, now: MonotonicTime) -> Result<(), String> {
        let Some(target) = self.targets.get(channel) else { return Ok(()) };
        if matches!(&target.applied, Applied::Set(set) if set.value == value) {
            return Ok(());
        }
        let actuator = target.actuator.clone();
        let writes = self.set_writes(&actuator, value)?;
        if writes.iter().any(|(name, _)| self.is_about_to_be_read(name)) {
            return Ok(());
        }
        let release = actuator.release(self.reading_before(channel));
        self.check_budget(&writes, &release, now)
    }

    /// Refuses a set-point whose writes, and those of its release, are beyond the budget of a point.
    fn check_budget(&mut self, set: &Writes, release: &Writes, now: MonotonicTime) -> Result<(), String> {
        let per_day = self.settings.writes_per_day;
        let names: Vec<_> = set.iter().map(|(name, _)| name.clone()).filter(|name| self.is_persistent(name)).collect();
        for name in names {
            let of_point = |writes: &Writes| writes.iter().filter(|(written, _)| *written == name).count();
            let sets = set.iter().filter(|(written, value)| *written == name && !self.has_value(&name, *value)).count();
            let needed = sets + of_point(release);
            let allows = self.budgets.entry(name.clone()).or_default().allows(needed, per_day, now);
            if sets > 0 && !allows {
                return Err(format!(
                    "{name} is kept in flash, and its {per_day} writes within 24 h are used up; writes_per_day changes that"
                ));
            }
        }
        Ok(())
    }

    /// Sends the next write of the job.
    fn send_next(&mut self, context: &mut Context<'_>) {
        if !self.is_online {
            return;
        }
        loop {
            let Some(job) = self.job.as_mut().filter(|job| job.current.is_none()) else { return };
            let Some((point, value)) = job.pending.pop_front() else {
                self.finish(context);
                return self.after_finish(context);
            };
            let (purpose, cause) = (job.purpose, job.cause);
            if self.has_value(&point, value) {
                continue;
            }
            let id = context.order();
            if let Some(job) = &mut self.job {
                job.current = Some((id, point.clone(), value));
            }
            if self.is_persistent(&point) {
                self.budgets.entry(point.clone()).or_default().count(context.now);
            }
            let device = self.name.clone();
            context.outputs.push(Output::Write(WriteOrder { id, device, point, value, purpose, cause }));
            return;
        }
    }

    fn count_watchdog(&mut self, context: &mut Context<'_>) {
        if !self.is_online || self.is_leaving || !self.is_judged(context.now) {
            return;
        }
        let Some(watchdog) = &mut self.watchdog else { return };
        let id = OrderId(context.orders.wrapping_add(1));
        if let Some(value) = watchdog.take_due(id, context.now) {
            *context.orders = id.0;
            let (device, point) = (self.name.clone(), watchdog.point.clone());
            let purpose = Purpose::Watchdog;
            context.outputs.push(Output::Write(WriteOrder { id, device, point, value, purpose, cause: None }));
        }
    }

    /// When something happens by itself, as far as is known now.
    pub(crate) fn next_due(&self, now: MonotonicTime) -> Option<MonotonicTime> {
        let verdict = self.judged.map(|at| at.plus(VERDICT_LIFETIME));
        let has_set = self.targets.values().any(|target| target.applied != Applied::Released);
        let verdict = verdict.filter(|end| has_set && *end > now);
        let limits = [self.charge_limits.next_end(), self.discharge_limits.next_end()];
        let is_counting = self.is_online && !self.is_leaving && self.is_judged(now);
        let watchdog = self.watchdog.as_ref().filter(|_| is_counting).and_then(Watchdog::next_due);
        let targets = self.targets.values().map(|target| target.next_due(self.is_online && self.job.is_none()));
        targets.chain(limits).chain([verdict, watchdog]).flatten().min()
    }
}
