//! What changes while the gateway runs: profiles, settings, and the end of all control.

use std::sync::Arc;

use bessai_domain::profile::Profile;
use bessai_domain::proposal::WriteOutcome;
use bessai_domain::time::MonotonicTime;

use super::{Context, Device};
use crate::actuator::Actuator;
use crate::holder::Holder;
use crate::interface::ProposalId;
use crate::limits::{CHARGE_LIMIT, DISCHARGE_LIMIT, SET_POINT};
use crate::settings::ControlledDevice;
use crate::target::{Applied, Target};
use crate::watchdog::Watchdog;

impl Device {
    /// The device's points were discovered, or described anew. What it holds is written again, or released, with the new ones.
    pub(crate) fn set_profile(&mut self, profile: Arc<Profile>) {
        if self.settings.profile == profile {
            return;
        }
        self.settings.profile = Arc::clone(&profile);
        self.watchdog = Watchdog::of(&profile);
        self.job = None;
        let power = Actuator::of_power(&profile);
        if let Some(actuator) = &power {
            self.targets.entry(SET_POINT.to_owned()).or_insert_with(|| Target::new(actuator.clone()));
        }
        self.targets.retain(|channel, target| {
            let actuator = match channel == SET_POINT {
                true => power.clone().ok_or_else(String::new),
                false => Actuator::of_channel(&profile, channel),
            };
            if let Ok(actuator) = actuator {
                target.actuator = actuator;
            } else if target.applied == Applied::Released && target.leases.first().is_none() {
                return false;
            }
            if target.applied != Applied::Released {
                target.applied = Applied::Unknown;
            }
            target.unreleased.clear();
            true
        });
    }

    /// The settings have changed.
    pub(crate) fn set_settings(&mut self, settings: ControlledDevice, priority: &[String]) {
        self.is_leaving = false;
        self.charge_limits.set_fallback(settings.charge_limit_fallback_kw);
        self.discharge_limits.set_fallback(settings.discharge_limit_fallback_kw);
        // The points of a discovered device are not in its settings.
        let is_discovered = settings.profile.is_discovered && self.settings.profile.name == settings.profile.name;
        let profile = if is_discovered { Arc::clone(&self.settings.profile) } else { Arc::clone(&settings.profile) };
        let known = Arc::clone(&self.settings.profile);
        self.settings = ControlledDevice { profile: known, ..settings };
        self.set_profile(profile);
        self.targets.values_mut().for_each(|target| target.leases.sort(priority));
    }

    /// Moves the end of a set-point or limit; false if this device has none with that number.
    pub(crate) fn renew(&mut self, id: ProposalId, until: MonotonicTime) -> bool {
        let lease = self.targets.values_mut().find_map(|target| target.leases.find(id));
        match lease {
            Some(lease) => {
                lease.until = until;
                true
            }
            None => self.charge_limits.renew(id, until) || self.discharge_limits.renew(id, until),
        }
    }

    /// Every set-point and limit ends.
    pub(crate) fn end_all(&mut self, reason: &str, context: &mut Context<'_>) {
        for lease in self.targets.values_mut().flat_map(|target| target.leases.take_all()) {
            context.outcome(lease.id, WriteOutcome::Released(reason.to_owned()));
        }
        for id in self.charge_limits.take_all().into_iter().chain(self.discharge_limits.take_all()) {
            context.outcome(id, WriteOutcome::Released(reason.to_owned()));
        }
        self.targets.values_mut().for_each(|target| target.retry_at = None);
    }

    /// What a holder has on channels to which it has no right any more ends. A limit ends as if its holder had fallen silent, so
    /// that the fallback applies.
    pub(crate) fn keep_rights(&mut self, holder: &Holder, rights: &[(String, String)], context: &mut Context<'_>) {
        let of_device = rights.iter().filter(|(device, _)| *device == self.name);
        let allowed: Vec<_> = of_device.map(|(_, channel)| self.channel_name(channel)).collect();
        let is_allowed = |channel: &str| allowed.iter().any(|allowed| allowed == channel);
        let mut ended = Vec::new();
        for (_, target) in self.targets.iter_mut().filter(|(channel, _)| !is_allowed(channel)) {
            if let Some(lease) = target.leases.remove_of(holder) {
                target.retry_at = None;
                ended.push(lease.id);
            }
        }
        let limits = [(CHARGE_LIMIT, &mut self.charge_limits), (DISCHARGE_LIMIT, &mut self.discharge_limits)];
        for (_, limits) in limits.into_iter().filter(|(channel, _)| !is_allowed(channel)) {
            ended.extend(limits.silence(holder));
        }
        for id in ended {
            context.outcome(id, WriteOutcome::Released(format!("{holder} no longer has the right to it")));
        }
    }

    /// Releases what was held before a restart; false if the device does not know the channel yet.
    pub(crate) fn release_left_over(&mut self, channel: &str, before: Option<f64>) -> bool {
        if !self.targets.contains_key(channel) {
            let Ok(actuator) = Actuator::of_channel(&self.settings.profile, channel) else { return false };
            self.targets.insert(channel.to_owned(), Target::new(actuator));
        }
        let Some(target) = self.targets.get_mut(channel) else { return false };
        if target.applied == Applied::Released {
            (target.applied, target.before) = (Applied::Unknown, before);
        }
        true
    }

    /// Whether it can be reached and is not released yet.
    pub(crate) fn is_releasing(&self) -> bool {
        let is_set = |target: &Target| target.applied != Applied::Released;
        self.is_online && (self.job.is_some() || self.targets.values().any(is_set))
    }

    /// It is no longer named by the settings, and released.
    pub(crate) fn is_gone(&self) -> bool {
        let is_released = |target: &Target| target.applied == Applied::Released;
        self.is_leaving && self.job.is_none() && self.targets.values().all(is_released)
    }
}
