//! What `check` says about the models: each is loaded and run once, as a start does.

use std::path::Path;

use bessai_domain::settings::{Mistake, most_similar};
use bessai_domain::topic::invalid_level_character;
use bessai_inference::{ModelSettings, listed, try_model};

use super::super::output::{OutputError, print_line};
use super::{counted, print_warning};
use crate::app;
use crate::config::Config;

/// Prints what each model does, and returns why models would be refused. One that is missing may come later.
pub(super) fn print(config: &Config) -> Result<Vec<Mistake>, OutputError> {
    let site = app::described_site(config);
    let mut mistakes = Vec::new();
    for folder in config.models.iter().filter(|model| model.is_folder) {
        let count = listed(std::slice::from_ref(folder)).len();
        print_line(format_args!("models of {}: {}", folder.file.display(), counted(count, "model")))?;
        mistakes.extend(print_folder(folder)?);
    }
    for model in &listed(&config.models) {
        let presence = if model.file.exists() { "" } else { " (missing: the gateway runs without this model)" };
        print_line(format_args!("model {}: {}{presence}", model.name, model.file.display()))?;
        if !presence.is_empty() {
            print_warning(&missing(&model.file))?;
            continue;
        }
        if let Some(character) = invalid_level_character(&model.name) {
            let name = &model.name;
            print_warning(&format!(
                "{name} contains {character:?}, which no level of a topic may have; rename the file"
            ))?;
        }
        match try_model(model, &site) {
            Ok(summary) => print_line(format_args!("  {summary}"))?,
            Err(error) => mistakes.push(Mistake::without_value(
                format!("model {}", model.name),
                format!("{}: {error}; the gateway runs without it", model.file.display()),
            )),
        }
    }
    Ok(mistakes)
}

/// Says that a folder is missing or empty, and returns that it is none.
fn print_folder(folder: &ModelSettings) -> Result<Option<Mistake>, OutputError> {
    let path = &folder.file;
    if path.is_dir() {
        return Ok(None);
    }
    if path.exists() {
        let hint = format!("{} is a file; name it as file = …, or name the folder that it is in", path.display());
        return Ok(Some(Mistake::without_value("model.dir", hint)));
    }
    print_warning(&format!("{} does not exist; its models run once it is there", path.display()))?;
    Ok(None)
}

/// A warning of a file that does not exist, with the nearest name in its folder.
fn missing(file: &Path) -> String {
    let names = |folder: &Path| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect::<Vec<_>>()
    };
    let models: Vec<_> = file.parent().map(names).unwrap_or_default();
    let models = models.iter().map(String::as_str).filter(|name| name.ends_with(".onnx"));
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let hint = match most_similar(name, models) {
        Some(nearest) => format!("did you mean {nearest}?"),
        None => "copy it there, or correct the path.".into(),
    };
    format!("{} does not exist; {hint} The gateway runs without this model until the file is there", file.display())
}
