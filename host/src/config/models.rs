//! `[[model]]`: ONNX models to run.

mod consistency;

use std::path::Path;
use std::time::Duration;

use bessai_control::ControlSettings;
use bessai_domain::anomaly::AnomalyRules;
use bessai_domain::dispatch::DispatchRules;
use bessai_domain::settings::{Mistake, SettingsTable, unknown_name_hint};
use bessai_inference::{DEFAULT_MODEL_BYTES, LARGEST_MODEL_BYTES, ModelSettings};

use super::device::Devices;
use super::findings::Findings;
use super::size;
use super::topic_level::invalid_level;

/// A model's name if it has none.
const DEFAULT_NAME: &str = "dispatch";
/// The longest time between two runs of a model.
const LONGEST_PERIOD: Duration = Duration::from_secs(24 * 3600);

/// Reads all models; relative paths are relative to `folder`. The files themselves are opened when the models are
/// loaded.
pub(super) fn read(
    table: &SettingsTable<'_>,
    folder: &Path,
    devices: &Devices,
    control: Option<&ControlSettings>,
    findings: &Findings,
) -> Vec<ModelSettings> {
    let mut models: Vec<ModelSettings> = Vec::new();
    for table in table.tables("model") {
        let model = read_model(&table, folder, devices);
        consistency::check(&table, &model, devices, control, findings);
        if models.iter().any(|earlier| earlier.name == model.name) {
            let hint = "is the name of an earlier model; give each model a unique name";
            table.mistakes().add(Mistake::new(table.key("name"), &model.name, hint));
        }
        models.push(model);
    }
    models
}

fn read_model(table: &SettingsTable<'_>, folder: &Path, devices: &Devices) -> ModelSettings {
    let (file, folder_of_models) = (table.text("file"), table.text("dir"));
    if folder_of_models.is_some() {
        forbid_beside_folder(table);
    } else if table.value("file").is_none() {
        table.mistakes().add(Mistake::without_value(table.key("file"), "is missing; write the path of an ONNX file"));
    }
    let device = table.text("device");
    let names = || devices.list.iter().map(|device| device.name.as_str());
    if let Some(device) = device.filter(|device| devices.is_complete && !names().any(|name| name == *device)) {
        table.add_mistake("device", format!("the device {}", unknown_name_hint(device, names())));
    }
    if let Some(hint) = table.text("name").and_then(invalid_level) {
        table.add_mistake("name", hint);
    }
    let model = ModelSettings {
        name: table.text("name").or(folder_of_models).unwrap_or(DEFAULT_NAME).into(),
        file: folder.join(folder_of_models.or(file).unwrap_or_default()),
        is_folder: folder_of_models.is_some(),
        max_bytes: size::read(table, "max_size", size::MIB..=LARGEST_MODEL_BYTES).unwrap_or(DEFAULT_MODEL_BYTES),
        device: device.map(str::to_owned),
        period: table.duration("period", Duration::ZERO..=LONGEST_PERIOD).unwrap_or_default(),
        shadow: table.boolean("shadow").unwrap_or(false),
        rules: DispatchRules {
            max_discharge_kw: power(table, "max_discharge_kw"),
            max_charge_kw: power(table, "max_charge_kw"),
            ramp_kw_per_min: power(table, "ramp_kw_per_min").filter(|ramp| *ramp > 0.0),
            min_step_kw: power(table, "min_step_kw").unwrap_or_default(),
        },
        anomaly: anomaly(table),
    };
    if table.number("ramp_kw_per_min") == Some(0.0) {
        table.add_mistake("ramp_kw_per_min", "no set-point could ever change; write a number above 0");
    }
    table.report_unknown_keys();
    model
}

/// Keys that a folder of models cannot have.
fn forbid_beside_folder(table: &SettingsTable<'_>) {
    if table.value("file").is_some() {
        table.add_mistake("file", "name either a file or, with dir, a folder of them");
    }
    if table.value("name").is_some() {
        table.add_mistake("name", "the models of a folder are named after their files; remove it");
    }
}

/// A number that is not negative.
fn power(table: &SettingsTable<'_>, key: &'static str) -> Option<f64> {
    let number = table.number(key)?;
    if number < 0.0 {
        table.add_mistake(key, "write a number that is not negative; the key itself says the direction");
        return None;
    }
    Some(number)
}

/// The weights and thresholds of a model that detects anomalies.
fn anomaly(table: &SettingsTable<'_>) -> AnomalyRules {
    let standard = AnomalyRules::default();
    AnomalyRules {
        model_weight: share(table, "model_weight").unwrap_or(standard.model_weight),
        timing_weight: share(table, "timing_weight").unwrap_or(standard.timing_weight),
        alert_at: share(table, "alert_at").unwrap_or(standard.alert_at),
        alarm_above: share(table, "alarm_above").unwrap_or(standard.alarm_above),
    }
}

/// A number from 0 to 1.
fn share(table: &SettingsTable<'_>, key: &'static str) -> Option<f64> {
    let number = table.number(key)?;
    if !(0.0..=1.0).contains(&number) {
        table.add_mistake(key, "write a number from 0 to 1");
        return None;
    }
    Some(number)
}
