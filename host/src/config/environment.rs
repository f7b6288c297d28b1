//! The variables of the process and of `config/.env`: which win, and where their paths count from.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use bessai_domain::settings::Mistake;

use super::Outside;
use super::env_file::{self, Line};
use super::findings::{Findings, Sourced};
use super::names;

/// All variables that are set.
pub(super) struct Variables<'a> {
    outside: &'a Outside,
    env_file: BTreeMap<String, Line>,
    findings: &'a Findings,
}

impl<'a> Variables<'a> {
    /// Reads `config/.env`, if there is one, and says which names are not known.
    pub(super) fn read(outside: &'a Outside, findings: &'a Findings) -> Self {
        let lines = read_env_file(&env_folder(outside).join(".env"), findings);
        names::check(&outside.variables, &lines, findings);
        let env_file = lines.into_iter().map(|line| (line.name.clone(), line)).collect();
        Self { outside, env_file, findings }
    }

    /// A variable that is set and not empty; the process goes before the file.
    pub(super) fn get(&self, name: &'static str) -> Option<Sourced<'a, String>> {
        self.of_process(name).or_else(|| self.of_env_file(name))
    }

    fn of_process(&self, name: &'static str) -> Option<Sourced<'a, String>> {
        let process = &self.outside.variables;
        let value = process.get(name).filter(|value| !value.trim().is_empty())?;
        let variable = Sourced { key: name.into(), value: value.clone(), mistakes: &self.findings.environment };
        (!names::is_from_kubernetes(name, value, process)).then_some(variable)
    }

    fn of_env_file(&self, name: &'static str) -> Option<Sourced<'a, String>> {
        let line = self.env_file.get(name).filter(|line| !line.value.trim().is_empty())?;
        let key = format!("{name} ({} line {})", env_file::NAME, line.number);
        Some(Sourced { key, value: line.value.clone(), mistakes: &self.findings.env_file })
    }

    /// A variable's value as what it means, or a mistake with the mend.
    pub(super) fn parsed<T>(&self, name: &'static str, mend: &str, read: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let variable = self.get(name)?;
        let value = read(variable.value.trim());
        if value.is_none() {
            variable.wrong(&variable.value, mend);
        }
        value
    }

    /// A path. One of the process counts from the data; one of the file from the file's folder, or, where the Python
    /// gateway looks, from the working folder.
    pub(super) fn path(&self, name: &'static str) -> Option<Sourced<'a, PathBuf>> {
        if let Some(variable) = self.of_process(name) {
            return Some(variable.map(|path| self.data_dir().join(path.trim())));
        }
        let of_env_file = |path: String| {
            let beside = env_folder(self.outside).join(path.trim());
            if beside.exists() { beside } else { self.outside.working_dir.join(path.trim()) }
        };
        Some(self.of_env_file(name)?.map(of_env_file))
    }

    /// `BESSAI_DATA`, from the working folder, where it is set.
    pub(super) fn given_data_dir(&self) -> Option<PathBuf> {
        let variable = self.get("BESSAI_DATA")?;
        Some(self.outside.working_dir.join(variable.value.trim()))
    }

    /// `BESSAI_DATA`, else the working folder.
    pub(super) fn data_dir(&self) -> PathBuf {
        self.given_data_dir().unwrap_or_else(|| self.outside.working_dir.clone())
    }

    /// Where things are kept that can be made again, if there is a place for them.
    pub(super) fn cache_dir(&self) -> Option<PathBuf> {
        self.given_data_dir().map(|data| data.join("cache")).or_else(|| users_cache_dir(self.outside))
    }
}

/// Where this user's programs keep what can be made again.
pub(super) fn users_cache_dir(outside: &Outside) -> Option<PathBuf> {
    let set = |name: &str| outside.variables.get(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    Some(set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?.join("bessai-edge"))
}

fn env_folder(outside: &Outside) -> PathBuf {
    outside.working_dir.join("config")
}

fn read_env_file(path: &Path, findings: &Findings) -> Vec<Line> {
    match std::fs::read_to_string(path) {
        Ok(text) => env_file::parse(&text, &findings.env_file),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Vec::new(),
        Err(error) => {
            findings.env_file.add(Mistake::bare(env_file::NAME, format!("cannot be read: {error}")));
            Vec::new()
        }
    }
}
