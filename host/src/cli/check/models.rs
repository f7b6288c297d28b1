//! What `check` says about the models: each is loaded and run once, as a start does.

use bessai_domain::settings::Mistake;
use bessai_inference::{listed, try_model};

use super::super::output::{OutputError, print_line};
use super::counted;
use crate::app;
use crate::config::Config;

/// Prints what each model does, and returns why models would be refused. One that is missing may come later.
pub(super) fn print(config: &Config) -> Result<Vec<Mistake>, OutputError> {
    let site = app::described_site(config);
    let mut mistakes = Vec::new();
    for folder in config.models.iter().filter(|model| model.is_folder) {
        let count = listed(std::slice::from_ref(folder)).len();
        print_line(format_args!("models of {}: {}", folder.file.display(), counted(count, "model")))?;
    }
    for model in &listed(&config.models) {
        let presence = if model.file.exists() { "" } else { " (missing: the gateway runs without this model)" };
        print_line(format_args!("model {}: {}{presence}", model.name, model.file.display()))?;
        if !presence.is_empty() {
            continue;
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
