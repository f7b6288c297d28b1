//! TOML files: `bessai.toml`, and the text of any file as a table.

use std::path::{Path, PathBuf};

use bessai_domain::settings::{Mistake, Mistakes};
use bessai_files::SETTINGS_BYTES;

use super::findings::Findings;

/// The file that is read unless the command line names another.
pub(super) const DEFAULT_FILE: &str = "bessai.toml";

/// `bessai.toml`.
pub(super) struct ConfigFile {
    /// Empty if there is no file or it cannot be read.
    pub(super) table: toml::Table,
    /// Its path, whether it exists or not.
    pub(super) path: PathBuf,
    /// The base of relative paths.
    pub(super) folder: PathBuf,
    /// Whether the table is what the file contains; a missing file contains nothing.
    pub(super) is_readable: bool,
    /// Whether there is no such file.
    pub(super) is_missing: bool,
}

/// Reads the file at `path`, which must exist, or the default one, which need not.
pub(super) fn read(path: Option<&Path>, working_dir: &Path, findings: &Findings) -> ConfigFile {
    let name = path.map_or_else(|| DEFAULT_FILE.into(), |path| path.display().to_string());
    let full_path = working_dir.join(path.unwrap_or(Path::new(DEFAULT_FILE)));
    let mut is_missing = false;
    let table = match bessai_files::read_text(&full_path, SETTINGS_BYTES) {
        Ok(text) => parse_toml(&name, &text, &findings.causes),
        Err(error) if path.is_none() && error.is_missing() => {
            is_missing = true;
            Some(toml::Table::new())
        }
        Err(error) => {
            findings.causes.add(Mistake::without_value(&name, format!("cannot be read: {error}")));
            None
        }
    };
    let folder = full_path.parent().unwrap_or(working_dir).to_owned();
    ConfigFile { is_readable: table.is_some(), is_missing, table: table.unwrap_or_default(), path: full_path, folder }
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
