//! Registers of a controlled device that only control writes: others would move the battery past safety, limits and rights.

use bessai_domain::profile::{Profile, Revert, SetPoint as RecipePoints};

use crate::limits::SET_POINT;
use crate::room::ControlRoom;
use crate::target::Target;

/// Why a point of a controlled device is not written by others, as the second half of a sentence; none if it may be.
pub fn reserved_by_profile(device: &str, profile: &Profile, point: &str) -> Option<String> {
    if profile.watchdog.as_deref() == Some(point) {
        return Some(format!(
            "is the watchdog of {device}, which the gateway counts; remove {device} from [control] to write it"
        ));
    }
    let is_part = profile.set_point.as_ref().is_some_and(|set_point| uses(set_point, point));
    is_part.then(|| {
        format!(
            "belongs to the set-point of {device}, which [control] writes; use `bessai-edge control set {device} KW`"
        )
    })
}

/// Whether the set-point writes this point, or the device's own timer is in it.
pub(crate) fn uses(set_point: &RecipePoints, name: &str) -> bool {
    let registers = [&set_point.power, &set_point.charge, &set_point.discharge, &set_point.mode];
    let timer = set_point.recipe.as_ref().and_then(|recipe| match &recipe.revert {
        Some(Revert::Point(timer)) => Some(timer),
        _ => None,
    });
    let mut of_recipe = set_point.recipe.iter().flat_map(|recipe| recipe.writes());
    registers.into_iter().flatten().chain(timer).any(|point| point == name)
        || of_recipe.any(|write| write.point == name)
}

impl ControlRoom {
    /// Why nobody else may write a point, which is named by its name in the profile; none if others may.
    pub fn reserved(&self, device: &str, point: &str) -> Option<String> {
        let device = self.devices.get(device)?;
        let (name, profile) = (&device.name, &device.settings.profile);
        let reason = reserved_by_profile(name, profile, point).or_else(|| {
            let channel = profile.point(point).map_or(point, |point| point.channel.as_str());
            let target = device.targets.get(channel).filter(|target| channel != SET_POINT && !target.is_idle())?;
            Some(format!("{}; use `bessai-edge control set {name}/{channel} VALUE`", holder(target)))
        });
        reason.map(|reason| format!("{name}/{point} {reason}"))
    }
}

fn holder(target: &Target) -> String {
    match target.leases.first() {
        Some(lease) => format!("is set by {}", lease.holder),
        None => "is being released by [control]".to_owned(),
    }
}
