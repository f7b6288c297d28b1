//! The configuration as commands load it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use bessai_domain::settings::Mistake;
use clap::Args;

use crate::app;
use crate::config::{self, Config, ProcessEnvironment};

use super::error::CommandError;

// Not a doc comment: clap would show it as the help of every command that takes these arguments.
// The option that names the settings file.
#[derive(Args, Clone)]
pub(super) struct ConfigArgument {
    /// Settings file; environment variables and config/.env override it [default: bessai.toml, if present]
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

impl ConfigArgument {
    /// Loads the configuration, or returns every mistake in it.
    pub(super) fn load(&self) -> Result<Config, CommandError> {
        self.read().map_err(CommandError::invalid("configuration"))
    }

    /// Loads the configuration.
    pub(super) fn read(&self) -> Result<Config, Vec<Mistake>> {
        load(self.config.as_deref())
    }
}

fn load(file: Option<&Path>) -> Result<Config, Vec<Mistake>> {
    let config = config::load(file, &process_environment())?;
    match app::check_site_files(&config) {
        mistakes if mistakes.is_empty() => Ok(config),
        mistakes => Err(mistakes),
    }
}

/// Environment variables and working directory of this process.
pub(super) fn process_environment() -> ProcessEnvironment {
    let text = |text: OsString| text.to_string_lossy().into_owned();
    let variables: BTreeMap<_, _> = std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect();
    ProcessEnvironment { variables, working_dir: std::env::current_dir().unwrap_or_default() }
}
