//! `[[model]]`: ONNX models to run.

use std::path::Path;

use bessai_domain::settings::{Mistake, SettingsTable, unknown_name_hint};
use bessai_inference::ModelSettings;

use super::device::Devices;

/// A model's name if it has none.
const DEFAULT_NAME: &str = "dispatch";

/// Reads all models; relative paths are relative to `folder`. The files themselves are opened when the models are
/// loaded.
pub(super) fn read(table: &SettingsTable<'_>, folder: &Path, devices: &Devices) -> Vec<ModelSettings> {
    let mut models: Vec<ModelSettings> = Vec::new();
    for table in table.tables("model") {
        let model = read_model(&table, folder, devices);
        if models.iter().any(|earlier| earlier.name == model.name) {
            let hint = "is the name of an earlier model; give each model a unique name";
            table.mistakes().add(Mistake::new(table.key("name"), &model.name, hint));
        }
        models.push(model);
    }
    models
}

fn read_model(table: &SettingsTable<'_>, folder: &Path, devices: &Devices) -> ModelSettings {
    let file = table.text("file");
    if table.value("file").is_none() {
        table.mistakes().add(Mistake::without_value(table.key("file"), "is missing; write the path of an ONNX file"));
    }
    let device = table.text("device");
    let names = || devices.list.iter().map(|device| device.name.as_str());
    if let Some(device) = device.filter(|device| devices.is_complete && !names().any(|name| name == *device)) {
        table.add_mistake("device", format!("the device {}", unknown_name_hint(device, names())));
    }
    let model = ModelSettings {
        name: table.text("name").unwrap_or(DEFAULT_NAME).into(),
        file: folder.join(file.unwrap_or_default()),
        device: device.map(str::to_owned),
    };
    table.report_unknown_keys();
    model
}
