//! What the operator sees of control.

use std::time::Duration;

use bessai_control::{Holder, LimitStatus, TargetStatus};
use bessai_domain::event::SafetyState;
use serde_json::{Value, json};

use super::Control;
use super::operator::violation_json;
use crate::clock::now;

impl Control {
    /// The set-points and limits of all controlled devices.
    pub(in crate::app) fn status(&self) -> Value {
        let at = now().monotonic;
        let room = self.shared.room.borrow();
        let holder = |holder: &Holder, value: &f64, left: &Duration| json!({ "holder": holder.to_string(), "value": value, "left_s": left.as_secs() });
        let set_point = |status: &TargetStatus| {
            let TargetStatus { device, channel, unit, leases, applied, blocked } = status;
            let holders: Vec<_> = leases.iter().map(|(name, value, left)| holder(name, value, left)).collect();
            json!({
                "device": device, "channel": channel, "unit": unit, "holders": holders, "applied": applied,
                "blocked": blocked,
            })
        };
        let limit = |status: &LimitStatus| {
            let holders: Vec<_> = status.holders.iter().map(|(name, value, left)| holder(name, value, left)).collect();
            json!({ "device": status.device, "channel": status.channel, "holders": holders, "applied": status.kilowatts })
        };
        let set_points: Vec<_> = room.status(at).iter().map(set_point).collect();
        let limits: Vec<_> = room.limits(at).iter().map(limit).collect();
        let is_enabled = self.shared.settings.borrow().is_some();
        let safety = self.shared.monitor.get().map(|monitor| monitor.borrow().evaluate(at));
        let safety = safety.map(|safety| {
            let state = match safety.state() {
                SafetyState::Safe => "safe",
                SafetyState::Unsafe => "unsafe",
                SafetyState::Unknown => "unknown",
            };
            let violations: Vec<_> = safety.violations.iter().map(violation_json).collect();
            json!({ "state": state, "violations": violations })
        });
        let left_over: Vec<_> = self
            .left_over(&room)
            .into_iter()
            .map(|(device, channel, at)| json!({ "device": device, "channel": channel, "at": at }))
            .collect();
        json!({
            "enabled": is_enabled, "safety": safety, "set_points": set_points, "limits": limits, "left_over": left_over,
        })
    }
}
