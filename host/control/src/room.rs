//! All controlled devices, and the checks that a proposal passes before it becomes a lease.

use std::collections::BTreeMap;
use std::time::Duration;

use bessai_domain::proposal::{SetValue, WriteOutcome};
use bessai_domain::time::MonotonicTime;

use crate::actuator::Actuator;
use crate::device::{Context, Device};
use crate::holder::Holder;
use crate::interface::{Input, NewProposal, Output, ProposalId, TargetStatus};
use crate::leases::Lease;
use crate::limits::{CHARGE_LIMIT, DISCHARGE_LIMIT, HeldLimit, SET_POINT};
use crate::settings::{ControlSettings, DEFAULT_LEASE};
use crate::target::{Applied, Target};

/// The set-points of all controlled devices.
#[derive(Debug)]
pub struct ControlRoom {
    devices: BTreeMap<String, Device>,
    priority: Vec<String>,
    longest_lease: Duration,
    /// The number of the last write.
    orders: u64,
}

impl ControlRoom {
    /// Nobody holds anything, and no device is online.
    pub fn new(settings: ControlSettings, now: MonotonicTime) -> Self {
        let ControlSettings { devices, priority, longest_lease } = settings;
        let devices = devices.into_iter().map(|(name, settings)| {
            let device = Device::new(&name, settings, now);
            (name, device)
        });
        Self { devices: devices.collect(), priority, longest_lease, orders: 0 }
    }

    /// Devices that a set-point may have been left on by a gateway that was killed: they are released once they are online.
    pub fn release_left_over(&mut self, devices: &[String]) {
        for (_, device) in self.devices.iter_mut().filter(|(name, _)| devices.contains(name)) {
            device.targets.values_mut().for_each(|target| target.applied = Applied::Unknown);
        }
    }

    /// Devices that may have a set-point now, to be remembered across a restart before a write is sent.
    pub fn held_devices(&self) -> Vec<String> {
        let is_held = |device: &&Device| device.targets.values().any(|target| target.applied != Applied::Released);
        self.devices.values().filter(is_held).map(|device| device.name.clone()).collect()
    }

    /// Takes an input; returns what is to be done, in order.
    pub fn handle(&mut self, now: MonotonicTime, input: Input) -> Vec<Output> {
        let (mut outputs, mut orders) = (Vec::new(), self.orders);
        let mut context = Context { now, outputs: &mut outputs, orders: &mut orders };
        match input {
            Input::Proposed(new) => self.propose(new, &mut context),
            Input::Permit(device, permit) => self.with(&device, |device| device.set_permit(permit, now)),
            Input::Read(device, values) => self.with(&device, |device| device.read(values, now)),
            Input::Online(device, is_online) => self.with(&device, |device| device.set_online(is_online)),
            Input::Written(order, result) => {
                for device in self.devices.values_mut() {
                    if device.written(order, result.clone(), &mut context) {
                        break;
                    }
                }
            }
            Input::Time => {}
        }
        for device in self.devices.values_mut() {
            device.step(&mut context);
        }
        self.orders = orders;
        outputs
    }

    /// When [`Input::Time`] is needed, unless something else happens before.
    pub fn next_due(&self, now: MonotonicTime) -> Option<MonotonicTime> {
        self.devices.values().filter_map(|device| device.next_due(now)).min()
    }

    /// What is held now.
    pub fn status(&self, now: MonotonicTime) -> Vec<TargetStatus> {
        let of_target = |device: &Device, channel: &String, target: &Target| TargetStatus {
            device: device.name.clone(),
            channel: channel.clone(),
            leases: target.leases.shown(now),
            applied: match &target.applied {
                Applied::Set(set) => Some(set.value),
                _ => None,
            },
            blocked: device.blocked(now).filter(|_| target.leases.first().is_some()),
        };
        let of_device = |device: &Device| -> Vec<_> {
            device.targets.iter().map(|(channel, target)| of_target(device, channel, target)).collect()
        };
        self.devices.values().flat_map(of_device).collect()
    }

    fn with(&mut self, device: &str, apply: impl FnOnce(&mut Device)) {
        if let Some(device) = self.devices.get_mut(device) {
            apply(device);
        }
    }

    fn propose(&mut self, new: NewProposal, context: &mut Context<'_>) {
        let id = new.id;
        if let Err(reason) = self.accept(new, context) {
            context.outcome(id, WriteOutcome::Refused(reason));
        }
    }

    /// The error says why it is refused.
    fn accept(&mut self, new: NewProposal, context: &mut Context<'_>) -> Result<(), String> {
        let NewProposal { id, holder, proposal, lease } = new;
        let lease = lease.unwrap_or(DEFAULT_LEASE);
        let name = &proposal.device;
        let device = self.devices.get_mut(name).ok_or_else(|| {
            format!("{name} is not controlled; [control] in bessai.toml names the devices that are written to")
        })?;
        let value = match proposal.value {
            None => return device.release(id, &holder, &proposal.channel, context),
            Some(SetValue::Number(value)) if value.is_finite() => value,
            Some(SetValue::Number(value)) => return Err(format!("{value} is not a value that can be set")),
            Some(SetValue::Text(_)) => return Err("a text cannot be set; propose a number".into()),
        };
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
                if let Some(reason) = device.blocked(context.now) {
                    return Err(reason);
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
    fn channel_name(&self, name: &str) -> String {
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
            self.check_power(value)?;
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
        let ended = match channel {
            CHARGE_LIMIT => self.charge_limits.release(holder),
            DISCHARGE_LIMIT => self.discharge_limits.release(holder),
            channel => self.targets.get_mut(&self.channel_name(channel)).and_then(|target| {
                let lease = target.leases.remove_of(holder)?;
                target.retry_at = None;
                Some(lease.id)
            }),
        };
        let ended = ended.ok_or_else(|| format!("{holder} holds nothing on {}/{channel}", self.name))?;
        let released = WriteOutcome::Released(holder.to_string());
        context.outcome(ended, released.clone());
        context.outcome(id, released);
        Ok(())
    }
}

fn no_set_point(device: &str) -> String {
    format!("the profile of {device} does not say what sets its power")
}
