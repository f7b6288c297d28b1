//! Passwords and keys: where they are stored. They are read only when they are needed and never shown.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use bessai_domain::settings::{Mistake, Mistakes, SettingsTable};

use super::findings::Findings;
use super::secret_file::SecretFile;

/// Where a secret is stored.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Secret {
    /// In the settings themselves.
    Text(String),
    /// In a file.
    File(SecretFile),
    /// In an environment variable.
    Variable(String),
}

impl Secret {
    /// Reads the current value: a file is read at each call, without a newline at its end, and the call takes as long as
    /// its file system likes. The error names the file or the variable.
    pub(crate) fn read(&self) -> Result<String, String> {
        match self {
            Self::File(file) => file.read(),
            other => other.in_memory(),
        }
    }

    /// The same for a caller that must not wait, and that may call often: a file's value is up to a second old.
    pub(crate) fn recent(&self) -> Result<String, String> {
        match self {
            Self::File(file) => file.recent(),
            other => other.in_memory(),
        }
    }

    fn in_memory(&self) -> Result<String, String> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::File(file) => file.recent(),
            Self::Variable(name) => {
                let value = std::env::var(name);
                let value = value.map_err(|_| format!("environment variable {name} is not set or not UTF-8"))?;
                Ok(value.trim_end_matches(['\r', '\n']).to_owned())
            }
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// How a secret's bytes are encoded as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// Not encoded: the text itself.
    Text,
    /// Base64 with padding (RFC 4648 §4).
    Base64,
    /// Two hexadecimal digits per byte.
    Hex,
}

impl Encoding {
    /// Decodes a secret; the error contains nothing of it.
    pub(crate) fn decode(self, text: &str) -> Result<Vec<u8>, String> {
        use base64::Engine;
        use base64::engine::general_purpose::STANDARD;
        match self {
            Self::Text => Ok(text.as_bytes().to_vec()),
            Self::Base64 => STANDARD.decode(text.trim()).map_err(|_| "the secret is not base64".into()),
            Self::Hex => hex(text.trim()).ok_or_else(|| "the secret is not hexadecimal".into()),
        }
    }
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let pairs = text.as_bytes().chunks_exact(2);
    pairs.remainder().is_empty().then(|| pairs.map(byte).collect())?
}

/// The values of `encoding`.
const ENCODINGS: [(&str, Encoding); 3] =
    [("text", Encoding::Text), ("base64", Encoding::Base64), ("hex", Encoding::Hex)];

/// Where the files and variables that secrets name are found.
#[derive(Clone, Copy)]
pub(super) struct SecretSources<'a> {
    /// The base of relative paths.
    pub(super) folder: &'a Path,
    /// The file with the settings, which may contain secrets itself.
    pub(super) settings: &'a Path,
    /// The variables of the process.
    pub(super) environment: &'a BTreeMap<String, String>,
}

/// Reads a text, `{ file = "…" }` or `{ env = "…" }`; the file must be readable, the variable set.
pub(super) fn from_value(
    key: &str,
    value: &toml::Value,
    sources: SecretSources<'_>,
    mistakes: &Mistakes,
    findings: &Findings,
) -> Option<(Secret, Encoding)> {
    /// The hint for a value in any other form.
    const HINT: &str = "write { file = \"path\" } or { env = \"NAME\" }";
    let table = match value {
        toml::Value::String(text) => {
            warn_if_exposed(key, sources.settings, findings);
            return Some((Secret::Text(text.clone()), Encoding::Text));
        }
        toml::Value::Table(table) => SettingsTable::new(key, table, mistakes),
        _ => {
            mistakes.add(Mistake::without_value(key, HINT));
            return None;
        }
    };
    let count_before = mistakes.count();
    let (file, variable) = (table.text("file"), table.text("env"));
    let encoding = table.choice("encoding", &ENCODINGS).unwrap_or(Encoding::Text);
    table.report_unknown_keys();
    let secret = match (file, variable) {
        (Some(file), None) => readable(key, SecretFile::new(sources.folder.join(file)), mistakes, findings),
        (None, Some(name)) if !sources.environment.contains_key(name) => {
            mistakes.add(Mistake::without_value(key, format!("environment variable {name} is not set")));
            None
        }
        (None, Some(name)) => {
            if sources.environment.get(name).is_some_and(|value| value.ends_with('\n')) {
                findings.warn(format!("{key}: the newline at the end of {name} is ignored; remove it"));
            }
            Some(Secret::Variable(name.into()))
        }
        _ => {
            if mistakes.count() == count_before {
                mistakes.add(Mistake::without_value(key, HINT));
            }
            None
        }
    };
    secret.map(|secret| (secret, encoding))
}

fn readable(key: &str, file: SecretFile, mistakes: &Mistakes, findings: &Findings) -> Option<Secret> {
    if let Err(error) = file.read() {
        mistakes.add(Mistake::without_value(key, error));
        return None;
    }
    warn_if_exposed(key, file.path(), findings);
    Some(Secret::File(file))
}

/// Warns of a file with a secret that every user of this machine may read.
pub(super) fn warn_if_exposed(key: &str, path: &Path, findings: &Findings) {
    if let Some(permissions) = bessai_files::readable_by_others(path) {
        let path = path.display();
        findings.warn(format!(
            "{key}: every user of this machine may read {path} (mode {permissions:04o}); run `chmod o-r {path}`, or set \
             `defaultMode: 0440` where Kubernetes mounts it"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_again_at_each_call() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let secret = Secret::File(SecretFile::new(path.clone()));
        assert_eq!(
            secret.read(),
            Err(format!("{} cannot be read: No such file or directory (os error 2)", path.display()))
        );
        for (content, expected) in [("one\n", "one"), ("two", "two"), ("three\n\n", "three\n"), ("4\r\n", "4")] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(secret.read().as_deref(), Ok(expected));
        }
    }

    #[test]
    fn secrets_in_variables_and_texts() {
        assert_eq!(Secret::Text("hunter2".into()).read().as_deref(), Ok("hunter2"));
        assert_eq!(Secret::Variable("CARGO_PKG_NAME".into()).read().as_deref(), Ok(env!("CARGO_PKG_NAME")));
        let missing = Secret::Variable("BESSAI_TEST_NO_SUCH".into()).read();
        assert_eq!(missing, Err("environment variable BESSAI_TEST_NO_SUCH is not set or not UTF-8".into()));
    }

    #[test]
    fn debug_output_contains_no_secret() {
        for secret in [Secret::Text("hunter2".into()), Secret::File(SecretFile::new("hunter2".into()))] {
            assert_eq!(format!("{secret:?}"), "<secret>");
        }
    }
}
