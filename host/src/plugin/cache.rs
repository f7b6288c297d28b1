//! Keeps compiled components, so that the running host only maps them.
//!
//! Machine code from a file is trusted blindly by the engine. So the folder belongs to this user alone, and an entry is
//! taken only when its owner and rights are so, and its content is what its digest, kept apart, says. The folder is
//! bounded: what was not used for the longest time goes first.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use super::compiler::{CompileLimits, compile};

/// Part of the key, so that another engine or another setting never meets old entries.
const SETTINGS: &str = concat!("wasmtime 48.0.8, bessai-edge ", env!("CARGO_PKG_VERSION"), ", settings 2");
/// Bytes of all entries: room for some ten components of language runtimes, or some hundred of Rust.
const CACHE_BYTES: u64 = 512 << 20;
const CODE: &str = "cwasm";
const DIGEST: &str = "sha256";

/// Where compiled components are kept.
pub struct Cache {
    folder: Option<PathBuf>,
    limits: CompileLimits,
    is_metered: bool,
}

impl Cache {
    /// In this folder; nowhere, when there is none.
    pub(super) fn new(folder: Option<PathBuf>, limits: CompileLimits, is_metered: bool) -> Self {
        Self { folder: folder.map(|folder| folder.join("components")), limits, is_metered }
    }

    /// The component of these bytes, from the cache or compiled.
    pub(super) fn component(&self, engine: &Engine, wasm: &[u8], digest: &[u8; 32]) -> Result<Component, String> {
        let path = self.folder.as_ref().map(|folder| folder.join(self.key(digest)).with_extension(CODE));
        if let Some(component) = path.as_deref().and_then(|path| map(engine, path)) {
            return Ok(component);
        }
        // What fits is compiled; an entry of the cache has fitted before.
        super::inspect(wasm)?.check().map_err(|reasons| reasons.join("; "))?;
        let code = compile(wasm, self.limits, self.is_metered)?;
        let Some((folder, path)) = self.folder.as_ref().zip(path) else { return from_memory(engine, &code) };
        if let Err(error) = write_entry(folder, &path, &code) {
            tracing::warn!("a compiled plugin is not kept in {}: {error}", folder.display());
            return from_memory(engine, &code);
        }
        bound(folder, CACHE_BYTES);
        map(engine, &path).map_or_else(|| from_memory(engine, &code), Ok)
    }

    fn key(&self, digest: &[u8; 32]) -> String {
        let mut key = Sha256::new();
        key.update(SETTINGS);
        key.update(std::env::consts::ARCH);
        key.update([u8::from(self.is_metered)]);
        key.update(digest);
        hexadecimal(&key.finalize())
    }
}

/// What a file's content is known by.
pub(super) fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The component of an entry that is ours, private and whole.
fn map(engine: &Engine, path: &Path) -> Option<Component> {
    let file = File::open(path).ok()?;
    if !is_private(&file, path) || !is_whole(&file, path) {
        return None;
    }
    // Marks it as used; an entry that cannot be marked serves all the same.
    let _ = file.set_modified(SystemTime::now());
    from_file(engine, path)
}

fn is_private(file: &File, path: &Path) -> bool {
    let user = rustix::process::geteuid().as_raw();
    let private = |metadata: &fs::Metadata| metadata.uid() == user && metadata.mode() & 0o077 == 0;
    let folder = path.parent().and_then(|folder| fs::metadata(folder).ok());
    let entry = file.metadata().ok().filter(fs::Metadata::is_file);
    let is_private = entry.is_some_and(|entry| private(&entry)) && folder.is_some_and(|folder| private(&folder));
    if !is_private {
        tracing::warn!("{} is passed over: it does not belong to this user alone", path.display());
    }
    is_private
}

fn is_whole(mut file: &File, path: &Path) -> bool {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => hasher.update(buffer.get(..read).unwrap_or_default()),
            Err(_) => return false,
        }
    }
    let expected = fs::read_to_string(path.with_extension(DIGEST)).unwrap_or_default();
    let is_whole = expected == hexadecimal(&hasher.finalize());
    if !is_whole {
        tracing::warn!("{} is passed over: it is not what was written there", path.display());
    }
    is_whole
}

/// The code first, so that a digest never speaks of an entry that is not there.
fn write_entry(folder: &Path, path: &Path, code: &[u8]) -> std::io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    write_whole(path, code)?;
    write_whole(&path.with_extension(DIGEST), hexadecimal(&digest(code)).as_bytes())
}

fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let ending = path.extension().unwrap_or_default().to_string_lossy();
    let unfinished = path.with_extension(format!("{ending}.{}.part", std::process::id()));
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(bytes)?;
    fs::rename(&unfinished, path)
}

/// Removes the entries that were not used for the longest time until the rest fits, and what an ended process left.
fn bound(folder: &Path, limit: u64) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut codes = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        let Ok(metadata) = fs::metadata(&path) else { continue };
        let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        let is_old = modified.elapsed().is_ok_and(|age| age.as_secs() > 3600);
        match path.extension().and_then(std::ffi::OsStr::to_str) {
            Some(CODE) => codes.push((modified, metadata.len(), path)),
            Some("part") if is_old => drop(fs::remove_file(&path)),
            _ => {}
        }
    }
    codes.sort();
    let mut total: u64 = codes.iter().map(|(_, size, _)| size).sum();
    for (_, size, path) in &codes {
        if total <= limit {
            break;
        }
        // Another gateway of this user may have removed it already. One that has it mapped keeps it.
        let _ = (fs::remove_file(path), fs::remove_file(path.with_extension(DIGEST)));
        total -= size;
    }
}

#[allow(unsafe_code, reason = "machine code of our own compiler, in a private file, checked against its digest")]
fn from_file(engine: &Engine, path: &Path) -> Option<Component> {
    // SAFETY: `map` has seen that only this user can write to the file and its folder, and that its content is what
    // `compile` gave. Nobody changes an entry: a new one takes its place by a rename.
    unsafe { Component::deserialize_file(engine, path) }.ok()
}

#[allow(unsafe_code, reason = "machine code fresh from our own compiler")]
fn from_memory(engine: &Engine, code: &[u8]) -> Result<Component, String> {
    // SAFETY: the bytes come from `compile` in this process' child.
    unsafe { Component::deserialize(engine, code) }.map_err(|error| format!("failed to load: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn is_taken(path: &Path) -> bool {
        let file = File::open(path).unwrap();
        is_private(&file, path) && is_whole(&file, path)
    }

    #[test]
    fn an_entry_is_taken_only_when_it_is_private_and_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("components/entry.cwasm");
        write_entry(path.parent().unwrap(), &path, b"code").unwrap();
        assert!(is_taken(&path));
        for changed in [&b"cod"[..], b"codf", b"codee", b""] {
            fs::write(&path, changed).unwrap();
            assert!(!is_taken(&path), "{changed:?}");
        }
        fs::write(&path, b"code").unwrap();
        assert!(is_taken(&path));
        for path_made_open in [path.as_path(), path.parent().unwrap()] {
            let before = fs::metadata(path_made_open).unwrap().permissions();
            fs::set_permissions(path_made_open, fs::Permissions::from_mode(0o755)).unwrap();
            assert!(!is_taken(&path), "{path_made_open:?}");
            fs::set_permissions(path_made_open, before).unwrap();
        }
        fs::remove_file(path.with_extension(DIGEST)).unwrap();
        assert!(!is_taken(&path));
    }

    #[test]
    fn the_oldest_entries_go_first() {
        let folder = tempfile::tempdir().unwrap();
        let entry = |name: &str| folder.path().join(name).with_extension(CODE);
        for (age, name) in [(30, "old"), (20, "used"), (10, "new")] {
            write_entry(folder.path(), &entry(name), &[0; 100]).unwrap();
            let then = SystemTime::now() - std::time::Duration::from_secs(age);
            File::open(entry(name)).unwrap().set_modified(then).unwrap();
        }
        File::open(entry("used")).unwrap().set_modified(SystemTime::now()).unwrap();
        bound(folder.path(), 250);
        assert!(!entry("old").exists() && !entry("old").with_extension(DIGEST).exists());
        bound(folder.path(), 150);
        assert!(!entry("new").exists() && entry("used").exists());
    }
}
