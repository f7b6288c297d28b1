//! Settings of a model that contradict each other or other settings, or can have no effect.

use std::time::Duration;

use bessai_control::ControlSettings;
use bessai_domain::settings::SettingsTable;
use bessai_inference::{ModelSettings, valid_for};

use crate::config::device::{DeviceConfig, Devices};
use crate::config::findings::Findings;

/// Adds a mistake for what can never work, and a warning or a note for what has no effect but may be meant.
pub(super) fn check(
    table: &SettingsTable<'_>,
    model: &ModelSettings,
    devices: &Devices,
    control: Option<&ControlSettings>,
    findings: &Findings,
) {
    check_step(table, model);
    check_scores(table, model, findings);
    let device = devices.list.iter().find(|device| match &model.device {
        Some(name) => device.name == *name,
        None => devices.list.len() == 1,
    });
    let device_period = device.map(shortest_period);
    if let Some((device, period)) = device.zip(device_period)
        && !model.period.is_zero()
        && model.period < period
    {
        findings.note(format!(
            "{} = {:?} has no effect: {} is read every {period:?}, and each reading runs the model",
            table.key("period"),
            model.period,
            device.name
        ));
    }
    if let Some(control) = control {
        check_lease(table, model, device_period.unwrap_or_default(), control, findings);
    }
}

/// A step that is larger than the whole range of set-points allows no change.
fn check_step(table: &SettingsTable<'_>, model: &ModelSettings) {
    let rules = &model.rules;
    if let (Some(charge), Some(discharge)) = (rules.max_charge_kw, rules.max_discharge_kw) {
        let range = charge + discharge;
        if rules.min_step_kw > range {
            let hint = format!("no set-point could ever change: they lie within {range} kW; lower it");
            table.add_mistake("min_step_kw", hint);
        }
    }
}

/// Weights and thresholds with which no reading, or each one, is an anomaly.
fn check_scores(table: &SettingsTable<'_>, model: &ModelSettings, findings: &Findings) {
    let rules = &model.anomaly;
    let key = |name: &str| table.key(name);
    let highest = (rules.model_weight + rules.timing_weight).min(1.0);
    if highest == 0.0 {
        table.add_mistake("model_weight", "is 0, and so is timing_weight, so that every score is 0; raise one of them");
        return;
    }
    if table.value("alert_at").is_some() && rules.alert_at == 0.0 {
        table.add_mistake("alert_at", "every reading would be an alert; write a number above 0");
    }
    if rules.alert_at > highest {
        findings.warn(format!(
            "{} = {}: scores are at most {highest}, so that there is no alert; lower it",
            key("alert_at"),
            rules.alert_at
        ));
    }
    if rules.alarm_above >= highest {
        let above = rules.alarm_above;
        findings.warn(format!(
            "{} = {above}: scores are at most {highest}, so that there is no alarm; lower it",
            key("alarm_above")
        ));
    } else if rules.alarm_above < rules.alert_at && table.value("alarm_above").is_some() {
        let (above, alert) = (rules.alarm_above, rules.alert_at);
        findings.warn(format!(
            "{} = {above} is below alert_at = {alert}: an alarm would be no alert; raise it",
            key("alarm_above")
        ));
    }
}

/// A set-point holds for several runs, so that one that runs seldom asks for more time than a lease may have.
fn check_lease(
    table: &SettingsTable<'_>,
    model: &ModelSettings,
    device_period: Duration,
    control: &ControlSettings,
    findings: &Findings,
) {
    let (period, longest) = (model.period.max(device_period), control.longest_lease);
    let needed = valid_for(period);
    if !model.shadow && needed > longest {
        findings.warn(format!(
            "{}: a set-point of a model that runs every {period:?} holds for {needed:?}, and is refused as control.longest_lease \
             = {longest:?}; lower the period or raise longest_lease",
            table.key("period")
        ));
    }
}

/// The time between two readings of its fastest source.
fn shortest_period(device: &DeviceConfig) -> Duration {
    device.reading.sources.iter().map(|(_, period)| *period).fold(device.period, Duration::min)
}
