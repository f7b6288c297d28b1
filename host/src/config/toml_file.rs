//! TOML files: `bessai.toml`, and the text of any file as a table.

#![allow(
    clippy::disallowed_methods,
    reason = "bessai.toml is read before the gateway starts and by commands, which wait for it"
)]

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use bessai_domain::settings::{Mistake, Mistakes};

/// The file that is read unless the command line names another.
const DEFAULT_FILE: &str = "bessai.toml";

/// `bessai.toml`.
pub(super) struct ConfigFile {
    /// Empty if there is no file or it cannot be read.
    pub(super) table: toml::Table,
    /// The base of relative paths.
    pub(super) folder: PathBuf,
    /// Whether the table is what the file contains; a missing file contains nothing.
    pub(super) is_readable: bool,
}

/// Reads the file at `path`, which must exist, or the default one, which need not.
pub(super) fn read(path: Option<&Path>, working_dir: &Path, mistakes: &Mistakes) -> ConfigFile {
    let name = path.map_or_else(|| DEFAULT_FILE.into(), |path| path.display().to_string());
    let full_path = working_dir.join(path.unwrap_or(Path::new(DEFAULT_FILE)));
    let table = match std::fs::read_to_string(&full_path) {
        Ok(text) => parse_toml(&name, &text, mistakes),
        Err(error) if path.is_none() && error.kind() == ErrorKind::NotFound => Some(toml::Table::new()),
        Err(error) => {
            mistakes.add(Mistake::without_value(name, format!("cannot be read: {error}")));
            None
        }
    };
    let folder = full_path.parent().unwrap_or(working_dir).to_owned();
    ConfigFile { is_readable: table.is_some(), table: table.unwrap_or_default(), folder }
}

/// Parses the text of a settings file. The mistake has only the parser's message and the line number, because the line
/// itself may contain a password.
pub(crate) fn parse_toml(name: &str, text: &str, mistakes: &Mistakes) -> Option<toml::Table> {
    match text.parse() {
        Ok(table) => Some(table),
        Err(error) => {
            let error: toml::de::Error = error;
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            mistakes.add(Mistake::without_value(name, format!("is not TOML: line {line}: {}", error.message())));
            None
        }
    }
}
