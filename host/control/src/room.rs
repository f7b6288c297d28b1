//! All controlled devices.

use std::collections::BTreeMap;
use std::time::Duration;

use bessai_domain::time::MonotonicTime;

use crate::device::{Context, Device};
use crate::interface::{Input, LimitStatus, Memory, Output, ProposalId, SafetyCheck, TargetStatus};
use crate::limits::{CHARGE_LIMIT, DISCHARGE_LIMIT, SET_POINT};
use crate::settings::ControlSettings;
use crate::target::{Applied, Target};

/// The set-points of all controlled devices.
#[derive(Debug)]
pub struct ControlRoom {
    pub(crate) devices: BTreeMap<String, Device>,
    pub(crate) priority: Vec<String>,
    pub(crate) longest_lease: Duration,
    /// Every set-point has ended for good.
    pub(crate) is_stopping: bool,
    safety: SafetyCheck,
    /// When safety judged last.
    judged: Option<MonotonicTime>,
    /// The number of the last write.
    orders: u64,
    /// What was held before a restart on devices, or channels of them, that are not known yet.
    left_over: BTreeMap<(String, String), Option<f64>>,
}

impl ControlRoom {
    /// Nobody holds anything, and no device is online.
    pub fn new(settings: ControlSettings, safety: SafetyCheck) -> Self {
        let ControlSettings { devices, priority, longest_lease, .. } = settings;
        let devices = devices.into_iter().map(|(name, settings)| {
            let device = Device::new(&name, settings, safety.clone());
            (name, device)
        });
        Self {
            devices: devices.collect(),
            priority,
            longest_lease,
            is_stopping: false,
            safety,
            judged: None,
            orders: 0,
            left_over: BTreeMap::new(),
        }
    }

    /// Takes over what a gateway has left behind that ran before: what it held is released once its device is online, and its
    /// writes count.
    pub fn restore(&mut self, memory: &Memory, now: MonotonicTime) {
        for ((device, point), ends) in &memory.writes {
            if let Some(device) = self.devices.get_mut(device) {
                device.budgets.entry(point.clone()).or_default().restore(ends, now);
            }
        }
        self.left_over.clone_from(&memory.held);
        self.release_left_over();
    }

    /// Takes over set-points that somebody else has left behind: they are released like those of [`restore`](Self::restore).
    pub fn take_over(&mut self, held: BTreeMap<(String, String), Option<f64>>) {
        self.left_over.extend(held);
        self.release_left_over();
    }

    /// Gives up devices that the settings no longer name and that are not released yet, unless they are `kept` because they can
    /// still come online; returns their channels that may be set.
    pub fn abandon(&mut self, kept: impl Fn(&str) -> bool) -> BTreeMap<(String, String), Option<f64>> {
        let mut held: BTreeMap<_, _> = self.left_over.extract_if(.., |(device, _), _| !kept(device)).collect();
        for device in
            self.devices.extract_if(.., |name, device| device.is_leaving && !kept(name)).map(|(_, device)| device)
        {
            let set = device.targets.into_iter().filter(|(_, target)| target.applied != Applied::Released);
            held.extend(set.map(|(channel, target)| ((device.name.clone(), channel), target.before)));
        }
        held
    }

    /// The channels that may still be set on devices that are not controlled.
    pub fn left_over(&self) -> impl Iterator<Item = (String, String)> {
        let leaving = self.devices.values().filter(|device| device.is_leaving);
        let leaving = leaving.flat_map(|device| {
            let set = device.targets.iter().filter(|(_, target)| target.applied != Applied::Released);
            set.map(|(channel, _)| (device.name.clone(), channel.clone()))
        });
        self.left_over.keys().filter(|(device, _)| !self.devices.contains_key(device)).cloned().chain(leaving)
    }

    /// Forgets what may still be set on a device that is not controlled; false if there is nothing.
    pub fn forget(&mut self, device: &str) -> bool {
        let is_known = self.left_over().any(|(known, _)| known == device);
        if is_known {
            self.left_over.retain(|(known, _), _| known != device);
            self.devices.retain(|name, known| name != device || !known.is_leaving);
        }
        is_known
    }

    /// The writes that release a device's power; none while its points are not known.
    pub fn release_of(&self, device: &str) -> Option<Vec<(String, f64)>> {
        Some(self.devices.get(device)?.targets.get(SET_POINT)?.actuator.release(None))
    }

    /// Somebody else writes a point: if it is kept in flash, that counts for its budget.
    pub fn count_write(&mut self, device: &str, point: &str, now: MonotonicTime) {
        let device = self.devices.get_mut(device).filter(|device| device.is_persistent(point));
        device.into_iter().for_each(|device| device.budgets.entry(point.to_owned()).or_default().count(now));
    }

    /// Whether a point of a device is kept in flash.
    pub fn is_persistent(&self, device: &str, point: &str) -> bool {
        self.devices.get(device).is_some_and(|device| device.is_persistent(point))
    }

    fn release_left_over(&mut self) {
        let devices = &mut self.devices;
        self.left_over.retain(|(device, channel), before| {
            !devices.get_mut(device).is_some_and(|device| device.release_left_over(channel, *before))
        });
    }

    /// What has to be remembered across a restart, before the writes are sent that led to it.
    pub fn memory(&self, now: MonotonicTime) -> Memory {
        let mut memory = Memory { held: self.left_over.clone(), ..Memory::default() };
        for device in self.devices.values() {
            let key = |name: &String| (device.name.clone(), name.clone());
            let held = device.targets.iter().filter(|(_, target)| target.applied != Applied::Released);
            memory.held.extend(held.map(|(channel, target)| (key(channel), target.before)));
            let writes = device.budgets.iter().map(|(point, budget)| (key(point), budget.ends(now)));
            memory.writes.extend(writes.filter(|(_, ends)| !ends.is_empty()));
        }
        memory
    }

    /// Whether a device that can be reached still has a set-point to be released.
    pub fn is_releasing(&self) -> bool {
        let ends = |device: &&Device| self.is_stopping || device.is_leaving;
        self.devices.values().filter(ends).any(Device::is_releasing)
    }

    /// Makes a set-point or a limit hold for so long from now on; false if it no longer holds.
    pub fn renew(&mut self, now: MonotonicTime, id: ProposalId, lease: Duration) -> bool {
        let until = now.plus(lease.min(self.longest_lease));
        self.devices.values_mut().any(|device| device.renew(id, until))
    }

    /// Takes an input; returns what is to be done, in order.
    pub fn handle(&mut self, now: MonotonicTime, input: Input) -> Vec<Output> {
        let (mut outputs, mut orders) = (Vec::new(), self.orders);
        let mut context = Context { now, outputs: &mut outputs, orders: &mut orders };
        // A reading concerns its device alone.
        let concerned = match &input {
            Input::Read(device, _) => Some(device.clone()),
            _ => None,
        };
        match input {
            Input::Proposed(new) => self.propose(new, &mut context),
            Input::Judged => {
                self.judged = Some(now);
                self.devices.values_mut().for_each(|device| device.judged(now));
            }
            Input::Read(device, values) => self.with(&device, |device| device.read(values, now)),
            Input::Online(device, is_online) => self.with(&device, |device| device.set_online(is_online)),
            Input::Written(order, result) => {
                for device in self.devices.values_mut() {
                    if device.written(order, result.clone(), &mut context) {
                        break;
                    }
                }
            }
            Input::Profile(device, profile) => {
                self.with(&device, |device| device.set_profile(profile));
                self.release_left_over();
            }
            Input::Settings(settings) => {
                self.reconfigure(settings, &mut context);
                self.release_left_over();
            }
            Input::Rights(holder, rights) => {
                self.devices.values_mut().for_each(|device| device.keep_rights(&holder, &rights, &mut context));
            }
            Input::Stop => {
                self.is_stopping = true;
                self.devices.values_mut().for_each(|device| device.end_all("the gateway stops", &mut context));
            }
            Input::Time => {}
        }
        let is_concerned = |name: &String| concerned.as_ref().is_none_or(|concerned| concerned == name);
        for (_, device) in self.devices.iter_mut().filter(|(name, _)| is_concerned(name)) {
            device.step(&mut context);
        }
        self.devices.retain(|_, device| !device.is_gone());
        self.orders = orders;
        outputs
    }

    /// When [`Input::Time`] is needed, unless something else happens before.
    pub fn next_due(&self, now: MonotonicTime) -> Option<MonotonicTime> {
        self.devices.values().filter_map(|device| device.next_due(now)).min()
    }

    /// The newest value of a point, in its unit.
    pub fn reading(&self, device: &str, point: &str) -> Option<f64> {
        self.devices.get(device)?.reading(point)
    }

    /// What is held now.
    pub fn status(&self, now: MonotonicTime) -> Vec<TargetStatus> {
        let of_target = |device: &Device, channel: &String, target: &Target| TargetStatus {
            device: device.name.clone(),
            channel: channel.clone(),
            unit: device.unit(channel),
            leases: target.leases.shown(now),
            applied: match &target.applied {
                Applied::Set(set) => Some(set.value),
                _ => None,
            },
            blocked: target.leases.first().and_then(|lease| device.permitted_now(channel, lease.value, now).err()),
        };
        let of_device = |device: &Device| -> Vec<_> {
            device.targets.iter().map(|(channel, target)| of_target(device, channel, target)).collect()
        };
        self.devices.values().flat_map(of_device).collect()
    }

    /// Whether proposals for this device may be accepted.
    pub fn controls(&self, device: &str) -> bool {
        self.devices.get(device).is_some_and(|device| !device.is_leaving)
    }

    /// The unit of a channel or point; empty if it has none.
    pub fn unit(&self, device: &str, channel: &str) -> String {
        self.devices.get(device).map(|device| device.unit(channel)).unwrap_or_default()
    }

    /// The limits that apply now.
    pub fn limits(&self, now: MonotonicTime) -> Vec<LimitStatus> {
        let of_device = |device: &Device| {
            let limits = [(CHARGE_LIMIT, &device.charge_limits), (DISCHARGE_LIMIT, &device.discharge_limits)];
            limits.map(|(channel, limits)| {
                let (device, holders) = (device.name.clone(), limits.shown(now));
                Some(LimitStatus { device, channel, holders, kilowatts: limits.kilowatts()? })
            })
        };
        self.devices.values().flat_map(of_device).flatten().collect()
    }

    /// Devices that are no longer named are released before they are forgotten.
    fn reconfigure(&mut self, settings: ControlSettings, context: &mut Context<'_>) {
        let ControlSettings { devices, priority, longest_lease, .. } = settings;
        (self.priority, self.longest_lease) = (priority, longest_lease);
        for (name, device) in self.devices.iter_mut().filter(|(name, _)| !devices.contains_key(*name)) {
            device.is_leaving = true;
            device.end_all(&format!("[control] no longer names {name}"), context);
        }
        for (name, settings) in devices {
            match self.devices.get_mut(&name) {
                Some(device) => device.set_settings(settings, &self.priority),
                None => {
                    let mut device = Device::new(&name, settings, self.safety.clone());
                    self.judged.iter().for_each(|at| device.judged(*at));
                    self.devices.insert(name, device);
                }
            }
        }
    }

    fn with(&mut self, device: &str, apply: impl FnOnce(&mut Device)) {
        if let Some(device) = self.devices.get_mut(device) {
            apply(device);
        }
    }
}
