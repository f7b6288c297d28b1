//! Passwords and keys: where they come from, read only when they are needed, never shown.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use bessai_domain::settings::{Mistake, Mistakes, Table};

/// Where a secret comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// It stands in the settings.
    Text(String),
    /// The content of a file.
    File(PathBuf),
    /// The value of an environment variable.
    Variable(String),
}

impl Secret {
    /// The secret as it is now: a file is read again at each call, one newline at its end is left out. The error names
    /// the file or the variable.
    pub fn read(&self) -> Result<String, String> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::File(path) => read_file(path),
            Self::Variable(name) => {
                std::env::var(name).map_err(|_| format!("environment variable {name} is not set or not UTF-8"))
            }
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// How a secret's bytes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// As they are.
    Text,
    /// RFC 4648 §4.
    Base64,
    /// Two digits a byte.
    Hex,
}

impl Encoding {
    /// The bytes of a secret; the error never shows any of it.
    pub fn decode(self, text: &str) -> Result<Vec<u8>, String> {
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

const ENCODINGS: [(&str, Encoding); 3] =
    [("text", Encoding::Text), ("base64", Encoding::Base64), ("hex", Encoding::Hex)];

fn read_file(path: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    let text = text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
    Ok(text.into())
}

/// What a secret in a settings file may refer to.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    /// Where relative paths count from.
    pub(super) folder: &'a Path,
    /// The process environment.
    pub(super) environment: &'a BTreeMap<String, String>,
}

/// A text, `{ file = "…" }` or `{ env = "…" }`; what it refers to must be there.
pub(super) fn from_value(
    key: &str,
    value: &toml::Value,
    place: Place<'_>,
    mistakes: &Mistakes,
) -> Option<(Secret, Encoding)> {
    const MEND: &str = "write { file = \"path\" } or { env = \"NAME\" }";
    let table = match value {
        toml::Value::String(text) => return Some((Secret::Text(text.clone()), Encoding::Text)),
        toml::Value::Table(table) => Table::new(key, table, mistakes),
        _ => {
            mistakes.add(Mistake::bare(key, MEND));
            return None;
        }
    };
    let before = mistakes.count();
    let (file, variable) = (table.text("file"), table.text("env"));
    let encoding = table.word("encoding", &ENCODINGS).unwrap_or(Encoding::Text);
    table.finish();
    let secret = match (file, variable) {
        (Some(file), None) => readable(key, Secret::File(place.folder.join(file)), mistakes),
        (None, Some(name)) if !place.environment.contains_key(name) => {
            mistakes.add(Mistake::bare(key, format!("environment variable {name} is not set")));
            None
        }
        (None, Some(name)) => Some(Secret::Variable(name.into())),
        _ => {
            if mistakes.count() == before {
                mistakes.add(Mistake::bare(key, MEND));
            }
            None
        }
    };
    secret.map(|secret| (secret, encoding))
}

fn readable(key: &str, secret: Secret, mistakes: &Mistakes) -> Option<Secret> {
    match secret.read() {
        Ok(_) => Some(secret),
        Err(error) => {
            mistakes.add(Mistake::bare(key, error));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_again_at_each_call() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let secret = Secret::File(path.clone());
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
    fn variables_and_texts() {
        assert_eq!(Secret::Text("hunter2".into()).read().as_deref(), Ok("hunter2"));
        assert_eq!(Secret::Variable("CARGO_PKG_NAME".into()).read().as_deref(), Ok(env!("CARGO_PKG_NAME")));
        let missing = Secret::Variable("BESSAI_TEST_NO_SUCH".into()).read();
        assert_eq!(missing, Err("environment variable BESSAI_TEST_NO_SUCH is not set or not UTF-8".into()));
    }

    #[test]
    fn debug_shows_nothing() {
        for secret in [Secret::Text("hunter2".into()), Secret::File("hunter2".into())] {
            assert_eq!(format!("{secret:?}"), "<secret>");
        }
    }
}
