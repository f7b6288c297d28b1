//! Keeps compiled components on disk, so that the process only maps them.
//!
//! The engine trusts machine code from a file blindly. The folder therefore belongs to this user alone, and an entry is
//! used only if its owner and permissions say so and its content matches its digest, which is kept in a second file. The
//! size of the folder is bounded: the least recently used entries are deleted first.

#![allow(
    clippy::disallowed_methods,
    reason = "it runs within `Engine::load`, which blocks; entries carry the disk's time"
)]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

/// Part of an entry's key: an entry of another engine, program version or wasmtime configuration is never found.
const SETTINGS: &str = concat!("wasmtime 48.0.8, bessai-edge ", env!("CARGO_PKG_VERSION"), ", settings 2");
/// The subfolder of the cache folder that holds the entries.
const SUBFOLDER: &str = "components";
/// Bytes of all entries: about ten components with a language runtime, or some hundred in Rust.
const CACHE_BYTES: u64 = 512 << 20;
/// Extension of the machine code's file.
const CODE: &str = "cwasm";
/// Extension of the file with the machine code's digest.
const DIGEST: &str = "sha256";
/// Extension of a file that is still being written.
const PART: &str = "part";
/// Age at which an unfinished file is deleted: its process has ended.
const PART_AGE_MAX: Duration = Duration::from_secs(3600);
/// Bytes that are read at once while an entry's digest is computed.
const READ_BYTES: usize = 64 << 10;

/// The folder of compiled components, if there is one.
pub(crate) struct ComponentCache {
    folder: Option<PathBuf>,
    counts_fuel: bool,
}

impl ComponentCache {
    pub(crate) fn new(folder: Option<PathBuf>, counts_fuel: bool) -> Self {
        Self { folder: folder.map(|folder| folder.join(SUBFOLDER)), counts_fuel }
    }

    /// The compiled form of the component with this digest.
    pub(crate) fn get(&self, engine: &Engine, digest: &[u8; 32]) -> Option<Component> {
        map(engine, &self.entry(self.folder.as_deref()?, digest))
    }

    /// Keeps machine code and maps it. None if there is no folder or the entry cannot be written.
    pub(crate) fn insert(&self, engine: &Engine, digest: &[u8; 32], code: &[u8]) -> Option<Component> {
        let folder = self.folder.as_deref()?;
        let path = self.entry(folder, digest);
        if let Err(error) = write_entry(folder, &path, code) {
            tracing::warn!(
                "failed to write a compiled plugin to {}: {error}; it is compiled again at the next start",
                folder.display()
            );
            return None;
        }
        delete_oldest(folder, CACHE_BYTES);
        map(engine, &path)
    }

    fn entry(&self, folder: &Path, digest: &[u8; 32]) -> PathBuf {
        let mut key = Sha256::new();
        key.update(SETTINGS);
        key.update(std::env::consts::ARCH);
        key.update([u8::from(self.counts_fuel)]);
        key.update(digest);
        folder.join(hexadecimal(&key.finalize())).with_extension(CODE)
    }
}

/// Identifies the content of a file.
pub(crate) fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Maps an entry that is private and intact.
fn map(engine: &Engine, path: &Path) -> Option<Component> {
    let file = File::open(path).ok()?;
    if !is_private(&file, path) || !is_intact(&file, path) {
        return None;
    }
    // Marks the entry as used; one that cannot be marked can still be used.
    let _ = file.set_modified(SystemTime::now());
    deserialize_file(engine, path)
}

fn is_private(file: &File, path: &Path) -> bool {
    let user = rustix::process::geteuid().as_raw();
    let private = |metadata: &fs::Metadata| metadata.uid() == user && metadata.mode() & 0o077 == 0;
    let folder = path.parent().and_then(|folder| fs::metadata(folder).ok());
    let entry = file.metadata().ok().filter(fs::Metadata::is_file);
    let is_private = entry.is_some_and(|entry| private(&entry)) && folder.is_some_and(|folder| private(&folder));
    if !is_private {
        tracing::warn!("{} or its folder is accessible to other users; compiling the plugin again", path.display());
    }
    is_private
}

fn is_intact(mut file: &File, path: &Path) -> bool {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => hasher.update(buffer.get(..read).unwrap_or_default()),
            Err(_) => return false,
        }
    }
    let expected = fs::read_to_string(path.with_extension(DIGEST)).unwrap_or_default();
    let is_intact = expected == hexadecimal(&hasher.finalize());
    if !is_intact {
        tracing::warn!("{} does not match its digest; compiling the plugin again", path.display());
    }
    is_intact
}

/// Writes the code before its digest, so that a digest never exists without its code.
fn write_entry(folder: &Path, path: &Path, code: &[u8]) -> std::io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    write_atomically(path, code)?;
    write_atomically(&path.with_extension(DIGEST), hexadecimal(&digest(code)).as_bytes())
}

fn write_atomically(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    let unfinished = path.with_extension(format!("{extension}.{}.{PART}", std::process::id()));
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(bytes)?;
    fs::rename(&unfinished, path)
}

/// Deletes the least recently used entries until the rest fits, and the unfinished files of ended processes.
fn delete_oldest(folder: &Path, limit: u64) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut codes = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        let Ok(metadata) = fs::metadata(&path) else { continue };
        let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        let is_old = modified.elapsed().is_ok_and(|age| age > PART_AGE_MAX);
        match path.extension().and_then(std::ffi::OsStr::to_str) {
            Some(CODE) => codes.push((modified, metadata.len(), path)),
            Some(PART) if is_old => drop(fs::remove_file(&path)),
            _ => {}
        }
    }
    codes.sort();
    let mut total: u64 = codes.iter().map(|(_, size, _)| size).sum();
    for (_, size, path) in &codes {
        if total <= limit {
            break;
        }
        // Another process of this user may have deleted it already. A process that has it mapped keeps the mapping.
        let _ = (fs::remove_file(path), fs::remove_file(path.with_extension(DIGEST)));
        total -= size;
    }
}

#[allow(unsafe_code, reason = "machine code from our own compiler, in a private file, checked against its digest")]
fn deserialize_file(engine: &Engine, path: &Path) -> Option<Component> {
    // SAFETY: `map` has checked that only this user can write to the file and its folder, and that its content is what
    // `compiler::compile` returned. An entry is never changed in place: a new one replaces it by a rename.
    unsafe { Component::deserialize_file(engine, path) }.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn is_used(path: &Path) -> bool {
        let file = File::open(path).unwrap();
        is_private(&file, path) && is_intact(&file, path)
    }

    #[test]
    fn an_entry_is_used_only_if_it_is_private_and_intact() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("components/entry.cwasm");
        write_entry(path.parent().unwrap(), &path, b"code").unwrap();
        assert!(is_used(&path));
        for changed in [&b"cod"[..], b"codf", b"codee", b""] {
            fs::write(&path, changed).unwrap();
            assert!(!is_used(&path), "{changed:?}");
        }
        fs::write(&path, b"code").unwrap();
        assert!(is_used(&path));
        for path_made_open in [path.as_path(), path.parent().unwrap()] {
            let before = fs::metadata(path_made_open).unwrap().permissions();
            fs::set_permissions(path_made_open, fs::Permissions::from_mode(0o755)).unwrap();
            assert!(!is_used(&path), "{path_made_open:?}");
            fs::set_permissions(path_made_open, before).unwrap();
        }
        fs::remove_file(path.with_extension(DIGEST)).unwrap();
        assert!(!is_used(&path));
    }

    #[test]
    fn the_least_recently_used_entries_are_deleted_first() {
        let folder = tempfile::tempdir().unwrap();
        let entry = |name: &str| folder.path().join(name).with_extension(CODE);
        for (age, name) in [(30, "old"), (20, "used"), (10, "new")] {
            write_entry(folder.path(), &entry(name), &[0; 100]).unwrap();
            let then = SystemTime::now() - Duration::from_secs(age);
            File::open(entry(name)).unwrap().set_modified(then).unwrap();
        }
        File::open(entry("used")).unwrap().set_modified(SystemTime::now()).unwrap();
        delete_oldest(folder.path(), 250);
        assert!(!entry("old").exists() && !entry("old").with_extension(DIGEST).exists());
        delete_oldest(folder.path(), 150);
        assert!(!entry("new").exists() && entry("used").exists());
    }
}
