//! The variables of the process and of `config/.env`: which takes precedence, and the base of their relative paths.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bessai_domain::settings::Mistake;
use bessai_files::SETTINGS_BYTES;

use super::env_file::{self, Assignment};
use super::findings::{Findings, Sourced};
use super::names;
use super::secret::warn_if_exposed;
use super::toml_file::{self, ConfigFile};

/// The environment of a process. No `Debug`: a variable may be a password.
#[derive(Clone)]
pub(crate) struct ProcessEnvironment {
    /// Its variables.
    pub(crate) variables: BTreeMap<String, String>,
    /// Its working folder.
    pub(crate) working_dir: PathBuf,
}

impl ProcessEnvironment {
    /// The folder of `config/.env`.
    fn env_folder(&self) -> PathBuf {
        self.working_dir.join("config")
    }

    /// The cache folder of the program for this user: under `XDG_CACHE_HOME`, else under `HOME`.
    pub(super) fn user_cache_dir(&self) -> Option<PathBuf> {
        let set = |name: &str| self.variables.get(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Some(set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?.join("bessai-edge"))
    }
}

/// All variables that are set.
pub(super) struct Variables<'a> {
    process: &'a ProcessEnvironment,
    env_file: BTreeMap<String, Assignment>,
    env_file_state: EnvFileState,
    findings: &'a Findings,
}

/// Whether `config/.env` could be read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum EnvFileState {
    Read,
    Missing,
    Unreadable,
}

impl<'a> Variables<'a> {
    /// Reads `config/.env`, if there is one, and checks the names of all variables.
    pub(super) fn read(process: &'a ProcessEnvironment, findings: &'a Findings) -> Self {
        let (assignments, env_file_state) = read_env_file(&process.env_folder().join(".env"), findings);
        names::check(&process.variables, &assignments, findings);
        let env_file = assignments.into_iter().map(|entry| (entry.name.clone(), entry)).collect();
        Self { process, env_file, env_file_state, findings }
    }

    /// Whether all variables are known: a file that cannot be read may contain others.
    pub(super) fn are_complete(&self) -> bool {
        self.env_file_state != EnvFileState::Unreadable
    }

    /// Which files were looked for in vain and where, for mistakes about something that is missing; empty if all exist.
    pub(super) fn files_not_found(&self, file: &ConfigFile) -> String {
        let folder = self.process.working_dir.display();
        let env_file = (self.env_file_state == EnvFileState::Missing).then_some(env_file::NAME);
        let missing: Vec<_> = env_file.into_iter().chain(file.is_missing.then_some(toml_file::DEFAULT_FILE)).collect();
        match missing.as_slice() {
            [] => String::new(),
            names => format!("; {}: not found in {folder}", names.join(" and ")),
        }
    }

    /// A variable, unless it is empty; the process takes precedence over `config/.env`.
    pub(super) fn get(&self, name: &'static str) -> Option<Sourced<'a, String>> {
        self.of_process(name).or_else(|| self.of_env_file(name))
    }

    fn of_process(&self, name: &'static str) -> Option<Sourced<'a, String>> {
        let variables = &self.process.variables;
        let value = variables.get(name).filter(|value| !value.trim().is_empty())?;
        let value = names::without_quotes(value).unwrap_or(value);
        let variable = Sourced { key: name.into(), value: value.to_owned(), mistakes: &self.findings.environment };
        (!names::is_from_kubernetes(name, value, variables)).then_some(variable)
    }

    fn of_env_file(&self, name: &'static str) -> Option<Sourced<'a, String>> {
        let entry = self.env_file.get(name).filter(|entry| !entry.value.trim().is_empty())?;
        let key = format!("{name} ({} line {})", env_file::NAME, entry.line);
        Some(Sourced { key, value: entry.value.clone(), mistakes: &self.findings.env_file })
    }

    /// A variable of `config/.env`, unless the process sets it too.
    pub(super) fn of_env_file_alone(&self, name: &'static str) -> Option<Sourced<'a, String>> {
        self.of_env_file(name).filter(|_| self.of_process(name).is_none())
    }

    /// Parses a variable; one that cannot be parsed is a mistake with this hint.
    pub(super) fn parsed<T>(&self, name: &'static str, hint: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let variable = self.get(name)?;
        let value = parse(variable.value.trim());
        if value.is_none() {
            variable.reject(&variable.value, hint);
        }
        value
    }

    /// A path. In the process it is relative to the data folder; in `config/.env` to that file's folder or, if nothing
    /// exists there, to the working folder, as in the Python gateway.
    pub(super) fn path(&self, name: &'static str) -> Option<Sourced<'a, PathBuf>> {
        if let Some(variable) = self.of_process(name) {
            return Some(variable.map(|path| self.data_dir().join(path.trim())));
        }
        let resolve = |path: String| {
            let beside_file = self.process.env_folder().join(path.trim());
            if beside_file.exists() { beside_file } else { self.process.working_dir.join(path.trim()) }
        };
        Some(self.of_env_file(name)?.map(resolve))
    }

    /// `BESSAI_DATA`, relative to the working folder.
    fn configured_data_dir(&self) -> Option<PathBuf> {
        let variable = self.get("BESSAI_DATA")?;
        Some(self.process.working_dir.join(variable.value.trim()))
    }

    /// The data folder: `BESSAI_DATA`, else the working folder.
    pub(super) fn data_dir(&self) -> PathBuf {
        self.configured_data_dir().unwrap_or_else(|| self.process.working_dir.clone())
    }

    /// The folder of files that can be recreated: in `BESSAI_DATA`, else the user's cache folder.
    pub(super) fn cache_dir(&self) -> Option<PathBuf> {
        self.configured_data_dir().map(|data| data.join("cache")).or_else(|| self.process.user_cache_dir())
    }
}

fn read_env_file(path: &Path, findings: &Findings) -> (Vec<Assignment>, EnvFileState) {
    match bessai_files::read_text(path, SETTINGS_BYTES) {
        Ok(text) => {
            let assignments = env_file::parse(&text, &findings.env_file);
            let has_password = |entry: &Assignment| entry.name == "MQTT_PASSWORD" && !entry.value.is_empty();
            if assignments.iter().any(has_password) {
                warn_if_exposed(env_file::NAME, path, findings);
            }
            (assignments, EnvFileState::Read)
        }
        Err(error) if error.is_missing() => (Vec::new(), EnvFileState::Missing),
        Err(error) => {
            findings.causes.add(Mistake::without_value(env_file::NAME, format!("cannot be read: {error}")));
            (Vec::new(), EnvFileState::Unreadable)
        }
    }
}
