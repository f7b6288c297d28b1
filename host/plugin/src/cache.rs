//! Keeps compiled components on disk, so that the process only maps them.
//!
//! The engine trusts machine code from a file blindly. The folder therefore belongs to this user alone, and an entry is
//! used only if its owner and permissions say so and its content matches its digest, which is kept in a second file. The
//! size of the folder is bounded: the least recently used entries are deleted first. Where its disk is nearly full nothing
//! is added: the journal needs the rest.
//!
//! The compiler writes into the folder itself, so that machine code never takes this process's memory.

#![allow(
    clippy::disallowed_methods,
    reason = "it runs within `Engine::load`, which blocks; entries carry the disk's time"
)]

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::compiler::{AddressSpace, CodeSettings};

mod unfinished;

use unfinished::{PART, check_space, create_folder, create_part};

pub(crate) use unfinished::UnfinishedEntry;

/// Part of an entry's key: an entry of another engine, program version or wasmtime configuration is never found.
const SETTINGS: &str = concat!("wasmtime 48.0.8, bessai-edge ", env!("CARGO_PKG_VERSION"), ", settings 3");
/// Bytes of machine code per byte of a component, at most: the examples in Python and JavaScript have 1.9 and 3.1.
const CODE_BYTES_PER_COMPONENT_BYTE: u64 = 4;
/// The subfolder of the cache folder that holds the entries.
const SUBFOLDER: &str = "components";
/// Bytes of all entries: about ten components with a language runtime, or some hundred in Rust.
const CACHE_BYTES: u64 = 512 << 20;
/// Extension of the machine code's file.
const CODE: &str = "cwasm";
/// Extension of the file with the machine code's digest.
const DIGEST: &str = "sha256";
/// Age at which an unfinished file is deleted: its process has ended.
const PART_AGE_MAX: Duration = Duration::from_secs(3600);
/// Bytes that are read at once while an entry's digest is computed.
const READ_BYTES: usize = 64 << 10;

/// The folder of compiled components, if there is one.
pub(crate) struct ComponentCache {
    folder: Option<PathBuf>,
    code: CodeSettings,
}

impl ComponentCache {
    pub(crate) fn new(folder: Option<PathBuf>, code: CodeSettings) -> Self {
        Self { folder: folder.map(|folder| folder.join(SUBFOLDER)), code }
    }

    /// The compiled form of the component with this digest.
    pub(crate) fn get(&self, engine: &Engine, digest: &[u8; 32]) -> Option<Component> {
        map(engine, &self.entry(self.folder.as_deref()?, digest))
    }

    /// A file for the machine code of a component of this size: in the folder if that takes it, else in memory.
    pub(crate) fn create(&self, digest: &[u8; 32], component_bytes: usize) -> io::Result<UnfinishedEntry> {
        let Some(folder) = self.folder.as_deref() else { return UnfinishedEntry::in_memory() };
        let expected = u64::try_from(component_bytes).unwrap_or(u64::MAX).saturating_mul(CODE_BYTES_PER_COMPONENT_BYTE);
        let created = create_folder(folder)
            .and_then(|()| check_space(folder, expected))
            .and_then(|()| UnfinishedEntry::in_folder(self.entry(folder, digest)));
        created.or_else(|error| {
            report_unwritable(folder, &error);
            UnfinishedEntry::in_memory()
        })
    }

    /// Keeps machine code and maps it.
    pub(crate) fn finish(&self, engine: &Engine, entry: UnfinishedEntry) -> Result<Component, String> {
        if let Some((folder, (part, path))) = self.folder.as_deref().zip(entry.paths.as_ref()) {
            match keep(folder, &entry.file, part, path) {
                Ok(()) => {
                    delete_oldest(folder, CACHE_BYTES);
                    if let Some(component) = map(engine, path) {
                        return Ok(component);
                    }
                }
                Err(error) => report_unwritable(folder, &error),
            }
        }
        let component = deserialize_file(engine, Path::new(&format!("/proc/self/fd/{}", entry.file.as_raw_fd())));
        component.map_err(|error| format!("failed to load: {error:#}"))
    }

    fn entry(&self, folder: &Path, digest: &[u8; 32]) -> PathBuf {
        let mut key = Sha256::new();
        key.update(SETTINGS);
        key.update(std::env::consts::ARCH);
        key.update([u8::from(self.code.count_fuel)]);
        // Ample address space adds nothing to the key, so that entries of earlier versions stay valid.
        if self.code.address_space == AddressSpace::Scarce {
            key.update("scarce address space");
        }
        if self.code.concurrent {
            key.update("concurrent");
        }
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
    deserialize_file(engine, path).ok()
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

fn is_intact(file: &File, path: &Path) -> bool {
    let Ok(digest) = file_digest(file) else { return false };
    let is_intact = fs::read_to_string(path.with_extension(DIGEST)).unwrap_or_default() == digest;
    if !is_intact {
        tracing::warn!("{} does not match its digest; compiling the plugin again", path.display());
    }
    is_intact
}

fn report_unwritable(folder: &Path, error: &io::Error) {
    tracing::warn!(
        "failed to keep a compiled plugin in {}: {error}; it is compiled again at the next start",
        folder.display()
    );
}

/// Renames the code's file before the digest's, so that a digest never exists without its code.
fn keep(folder: &Path, file: &File, part: &Path, path: &Path) -> io::Result<()> {
    check_space(folder, 0)?;
    let digest = file_digest(file)?;
    fs::rename(part, path)?;
    let (mut file, part) = create_part(&path.with_extension(DIGEST))?;
    file.write_all(digest.as_bytes())?;
    fs::rename(part, path.with_extension(DIGEST))
}

fn file_digest(mut file: &File) -> io::Result<String> {
    file.rewind()?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hexadecimal(&hasher.finalize())),
            read => hasher.update(buffer.get(..read).unwrap_or_default()),
        }
    }
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
fn deserialize_file(engine: &Engine, path: &Path) -> Result<Component, wasmtime::Error> {
    // SAFETY: either `map` has checked that only this user can write to the file and its folder, and that its content is what
    // the compiler wrote; or the compiler has just written it and ended. An entry is never changed in place: a new one
    // replaces it by a rename.
    unsafe { Component::deserialize_file(engine, path) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// Keeps code under this path.
    fn write_entry(folder: &Path, path: &Path, code: &[u8]) {
        create_folder(folder).unwrap();
        let entry = UnfinishedEntry::in_folder(path.to_owned()).unwrap();
        (&entry.file).write_all(code).unwrap();
        keep(folder, &entry.file, &entry.paths.as_ref().unwrap().0, path).unwrap();
    }

    fn files(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    fn is_used(path: &Path) -> bool {
        let file = File::open(path).unwrap();
        is_private(&file, path) && is_intact(&file, path)
    }

    #[test]
    fn an_entry_is_used_only_if_it_is_private_and_intact() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("components/entry.cwasm");
        write_entry(path.parent().unwrap(), &path, b"code");
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
            write_entry(folder.path(), &entry(name), &[0; 100]);
            let then = SystemTime::now() - Duration::from_secs(age);
            File::open(entry(name)).unwrap().set_modified(then).unwrap();
        }
        File::open(entry("used")).unwrap().set_modified(SystemTime::now()).unwrap();
        delete_oldest(folder.path(), 250);
        assert!(!entry("old").exists() && !entry("old").with_extension(DIGEST).exists());
        delete_oldest(folder.path(), 150);
        assert!(!entry("new").exists() && entry("used").exists());
    }

    #[test]
    fn an_entry_that_is_not_finished_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let cache = ComponentCache::new(
            Some(folder.path().to_owned()),
            CodeSettings { count_fuel: false, address_space: AddressSpace::Ample, concurrent: false },
        );
        let (first, second) = (cache.create(&[1; 32], 10).unwrap(), cache.create(&[1; 32], 10).unwrap());
        assert_eq!(files(&folder.path().join(SUBFOLDER)), 2, "each compiler has a file of its own");
        drop((first, second));
        assert_eq!(files(&folder.path().join(SUBFOLDER)), 0);
    }

    #[test]
    fn what_would_fill_the_disk_is_kept_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let code = CodeSettings { count_fuel: false, address_space: AddressSpace::Ample, concurrent: false };
        let cache = ComponentCache::new(Some(folder.path().to_owned()), code);
        let entry = cache.create(&[1; 32], usize::MAX).unwrap();
        assert!(entry.paths.is_none());
        (&entry.file).write_all(b"code").unwrap();
        assert_eq!(file_digest(&entry.file).unwrap(), hexadecimal(&digest(b"code")));
        assert!(check_space(folder.path(), 0).is_ok());
        let refusal = check_space(folder.path(), u64::MAX).unwrap_err().to_string();
        assert!(refusal.ends_with("MiB of free space, of which 64 MiB are kept free"), "{refusal}");
    }
}
