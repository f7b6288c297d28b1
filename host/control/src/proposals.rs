//! The checks that a proposal passes before it becomes a lease or a limit.

use bessai_domain::proposal::{DEFAULT_LEASE, SetValue, WriteOutcome};

use crate::actuator::Actuator;
use crate::device::{Context, Device};
use crate::holder::Holder;
use crate::interface::{NewProposal, ProposalId};
use crate::leases::Lease;
use crate::limits::{CHARGE_LIMIT, DISCHARGE_LIMIT, HeldLimit, SET_POINT};
use crate::room::ControlRoom;
use crate::target::Target;

impl ControlRoom {
    pub(crate) fn propose(&mut self, new: NewProposal, context: &mut Context<'_>) {
        let id = new.id;
        if let Err(reason) = self.accept(new, context) {
            context.outcome(id, WriteOutcome::Refused(reason));
        }
    }

    /// The error says why it is refused.
    fn accept(&mut self, new: NewProposal, context: &mut Context<'_>) -> Result<(), String> {
        let NewProposal { id, holder, proposal, lease } = new;
        let lease = lease.unwrap_or(DEFAULT_LEASE.min(self.longest_lease));
        let name = &proposal.device;
        let is_stopping = self.is_stopping;
        let known = self.devices.get_mut(name).filter(|device| !device.is_leaving);
        let device = known.ok_or_else(|| {
            format!("{name} is not controlled; [control] in bessai.toml names the devices that are written to")
        })?;
        let value = match proposal.value {
            None => return device.release(id, &holder, &proposal.channel, context),
            Some(SetValue::Number(value)) if value.is_finite() => value,
            Some(SetValue::Number(value)) => return Err(format!("{value} is not a value that can be set")),
            Some(SetValue::Text(_)) => return Err("a text cannot be set; propose a number".into()),
        };
        if is_stopping {
            return Err("the gateway stops".into());
        }
        if lease.is_zero() {
            return Err("its end is in the past".into());
        }
        let longest = self.longest_lease;
        if lease > longest {
            return Err(format!("it would hold for {lease:?}; [control] longest_lease allows {longest:?}"));
        }
        let until = context.now.plus(lease);
        match proposal.channel.as_str() {
            CHARGE_LIMIT | DISCHARGE_LIMIT => {
                device.add_limit(HeldLimit { id, holder, kilowatts: value, until }, &proposal.channel, context)
            }
            channel => {
                let channel = &device.channel_name(channel);
                device.check_value(channel, value)?;
                let permitted = device.permitted_now(channel, value, context.now)?;
                let applies = device.targets.get(channel).map(|target| &target.leases);
                if applies.is_some_and(|leases| leases.would_apply(&holder, &self.priority)) {
                    device.check_budget_of(channel, permitted, context.now)?;
                }
                let lease = Lease { id, holder, value, until, is_answered: false, was_applied: false };
                device.hold(channel, lease, &self.priority, context);
                Ok(())
            }
        }
    }
}

impl Device {
    /// A limit applies whatever safety says.
    fn add_limit(&mut self, limit: HeldLimit, channel: &str, context: &mut Context<'_>) -> Result<(), String> {
        if !self.targets.contains_key(SET_POINT) {
            return Err(no_set_point(&self.name));
        }
        if limit.kilowatts < 0.0 {
            return Err(format!("{channel} is {} kW; a limit is 0 or more", limit.kilowatts));
        }
        let id = limit.id;
        if channel == CHARGE_LIMIT {
            self.charge_limits.add(limit)
        } else {
            self.discharge_limits.add(limit)
        }
        context.outcome(id, WriteOutcome::Acknowledged);
        Ok(())
    }

    /// A channel has one name here, whether it is proposed by that or by its point's.
    pub(crate) fn channel_name(&self, name: &str) -> String {
        let point = self.settings.profile.point(name).filter(|_| name != SET_POINT);
        point.map_or(name, |point| point.channel.as_str()).to_owned()
    }

    /// Creates the target of a channel that is set for the first time, and checks the value's range.
    fn check_value(&mut self, channel: &str, value: f64) -> Result<(), String> {
        let is_power = channel == SET_POINT && self.settings.profile.set_point.is_some();
        if is_power && !self.targets.contains_key(SET_POINT) {
            return Err(no_set_point(&self.name));
        }
        if is_power {
            let target = self.targets.get(SET_POINT);
            self.check_power(target.and_then(|target| target.actuator.mode_power(value)).unwrap_or(value))?;
        }
        if let Some(target) = self.targets.get(channel) {
            return self.set_writes(&target.actuator, value).map(drop);
        }
        let actuator = Actuator::of_channel(&self.settings.profile, channel)?;
        self.set_writes(&actuator, value)?;
        if let Actuator::Point(point) = &actuator
            && self.reading(&point.name).is_none()
        {
            return Err(format!("{channel} was not read yet, so that it could not get its value back"));
        }
        self.targets.insert(channel.to_owned(), Target::new(actuator));
        Ok(())
    }

    fn check_power(&self, value: f64) -> Result<(), String> {
        let (charge, discharge) = (self.settings.max_charge_kw, self.settings.max_discharge_kw);
        let min = charge.map_or(f64::NEG_INFINITY, |limit| -limit);
        let max = discharge.unwrap_or(f64::INFINITY);
        if (min..=max).contains(&value) {
            return Ok(());
        }
        Err(format!("{value} kW is outside {min} to {max} kW, which [control] allows for {}", self.name))
    }

    fn hold(&mut self, channel: &str, lease: Lease, priority: &[String], context: &mut Context<'_>) {
        let (id, holder) = (lease.id, lease.holder.to_string());
        let Some(target) = self.targets.get_mut(channel) else { return };
        if let Some(previous) = target.leases.add(lease, priority).filter(|previous| !previous.is_answered) {
            context.outcome(previous.id, WriteOutcome::Superseded(holder.clone()));
        }
        let first = target.leases.first().map(|first| (first.id, first.holder.to_string()));
        if let Some((_, other)) = first.as_ref().filter(|(first, _)| *first != id) {
            let other = other.clone();
            target.leases.find(id).into_iter().for_each(|lease| lease.is_answered = true);
            context.outcome(id, WriteOutcome::Superseded(other));
            return;
        }
        // An earlier failure was that of another value.
        target.retry_at = None;
        let next = target.leases.others().next();
        if let Some(overtaken) = next.filter(|other| other.was_applied || !other.is_answered) {
            (overtaken.is_answered, overtaken.was_applied) = (true, false);
            context.outcome(overtaken.id, WriteOutcome::Superseded(holder));
        }
    }

    /// Its holder ends a set-point or a limit.
    fn release(
        &mut self,
        id: ProposalId,
        holder: &Holder,
        channel: &str,
        context: &mut Context<'_>,
    ) -> Result<(), String> {
        let (ended, has_ended_silence) = match channel {
            CHARGE_LIMIT => self.charge_limits.release(holder),
            DISCHARGE_LIMIT => self.discharge_limits.release(holder),
            channel => {
                let ended = self.targets.get_mut(&self.channel_name(channel)).and_then(|target| {
                    let lease = target.leases.remove_of(holder)?;
                    target.retry_at = None;
                    Some(lease.id)
                });
                (ended, false)
            }
        };
        if ended.is_none() && !has_ended_silence {
            return Err(format!("{holder} holds nothing on {}/{channel}", self.name));
        }
        let released = WriteOutcome::Released(holder.to_string());
        ended.into_iter().for_each(|ended| context.outcome(ended, released.clone()));
        context.outcome(id, released);
        Ok(())
    }
}

fn no_set_point(device: &str) -> String {
    format!("the profile of {device} does not say what sets its power")
}
