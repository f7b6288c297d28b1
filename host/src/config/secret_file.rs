//! A file with a secret: read when it is needed, or taken from memory by a plugin that signs thousands of times a second.

#![allow(clippy::disallowed_methods, reason = "a secret is used in threads too, which tests do not pause")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bessai_files::{Access, SECRET_BYTES};

/// Age up to which a value is used without reading the file again.
const MAX_AGE: Duration = Duration::from_secs(1);
/// Time for which a plugin's call waits for the file; after that it gets the value that was read last. Reading takes
/// microseconds, and nothing else runs on the main loop meanwhile.
const WAIT: Duration = Duration::from_millis(10);

/// A value, or why there is none, and when it was read.
struct LastRead {
    value: Result<String, String>,
    at: Instant,
}

/// The file. Clones share what was read last. No `Debug`: it holds the secret.
#[derive(Clone)]
pub(crate) struct SecretFile {
    path: PathBuf,
    last: Arc<Mutex<Option<LastRead>>>,
}

impl PartialEq for SecretFile {
    /// Where a secret is stored, not what it is: a changed file changes no settings.
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}

impl Eq for SecretFile {}

impl SecretFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, last: Arc::default() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file now.
    pub(super) fn read(&self) -> Result<String, String> {
        let text = bessai_files::read_text(&self.path, SECRET_BYTES);
        let text = text.map_err(|error| format!("{} cannot be read: {error}", self.path.display()));
        let value = text.map(|text| {
            let line = text.strip_suffix('\n');
            line.map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line)).to_owned()
        });
        *self.last() = Some(LastRead { value: value.clone(), at: Instant::now() });
        value
    }

    /// The value as it was within the last second or, if its file system does not answer, as it was read last.
    pub(super) fn recent(&self) -> Result<String, String> {
        if let Some(last) = &*self.last()
            && last.at.elapsed() < MAX_AGE
        {
            return last.value.clone();
        }
        let file = self.clone();
        let read = Access::run(&format!("secret {}", self.path.display()), WAIT, move || file.read());
        read.unwrap_or_else(|error| {
            let mut last = self.last();
            let value = last.take().map(|last| last.value);
            let value = value.unwrap_or_else(|| Err(format!("{} cannot be read: {error}", self.path.display())));
            *last = Some(LastRead { value: value.clone(), at: Instant::now() });
            value
        })
    }

    fn last(&self) -> MutexGuard<'_, Option<LastRead>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_used_for_a_while_and_then_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "one\n").unwrap();
        let file = SecretFile::new(path.clone());
        assert_eq!(file.recent().as_deref(), Ok("one"));
        std::fs::write(&path, "two").unwrap();
        while file.recent().as_deref() == Ok("one") {
            std::thread::yield_now();
        }
        assert_eq!(file.recent().as_deref(), Ok("two"));
        std::fs::remove_file(&path).unwrap();
        assert!(file.read().is_err());
        std::fs::write(&path, "three").unwrap();
        // A missing file is not looked for again at once either.
        assert!(file.recent().is_err());
        while file.recent().is_err() {
            std::thread::yield_now();
        }
        assert_eq!(file.recent().as_deref(), Ok("three"));
    }
}
