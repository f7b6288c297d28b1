//! Compiles components in a child process and keeps the result, so that the running host only maps it.
//!
//! Machine code from a file is trusted blindly by the engine, so the folder belongs to this user alone, and an entry is
//! taken only when the SHA-256 written with it is right.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};
use wasmtime::component::Component;
use wasmtime::{Config, Engine};

use super::COMPONENT_BYTES;

/// Read by the hidden command that compiles: part of the key, so that another engine never meets old entries.
const SETTINGS: &str = concat!("wasmtime 48.0.8, bessai-edge ", env!("CARGO_PKG_VERSION"), ", settings 1");
/// Bytes of the digest before an entry's machine code.
const DIGEST: usize = 32;

/// Where compiled components are kept.
pub struct Cache {
    folder: Option<PathBuf>,
}

/// The engine's settings, the same in the host and in the child that compiles.
pub(super) fn config() -> Config {
    let mut config = Config::new();
    config.epoch_interruption(true);
    config.concurrency_support(false);
    config.wasm_wide_arithmetic(true);
    // Each guest has a small memory of its own; reserving 4 GiB of address space for each would only cost page tables.
    config.memory_reservation_for_growth(1 << 20);
    config
}

impl Cache {
    /// In this folder; nowhere, when there is none.
    pub fn new(folder: Option<PathBuf>) -> Self {
        Self { folder: folder.map(|folder| folder.join("components")) }
    }

    /// The component of these bytes, from the cache or compiled.
    pub(super) fn component(&self, engine: &Engine, wasm: &[u8]) -> Result<Component, String> {
        check_kind(wasm)?;
        let path = self.folder.as_ref().map(|folder| folder.join(format!("{}.cwasm", key(wasm))));
        if let Some(code) = path.as_deref().and_then(read_entry)
            && let Ok(component) = deserialize(engine, &code)
        {
            return Ok(component);
        }
        let code = compile(wasm)?;
        if let (Some(folder), Some(path)) = (&self.folder, &path)
            && let Err(error) = write_entry(folder, path, &code)
        {
            tracing::warn!("a compiled plugin is not kept in {}: {error}", folder.display());
        }
        deserialize(engine, &code)
    }
}

/// Says what a file is that is not a component.
fn check_kind(wasm: &[u8]) -> Result<(), String> {
    if u64::try_from(wasm.len()).is_ok_and(|length| length > COMPONENT_BYTES) {
        return Err(format!("has {} bytes; a component may have {COMPONENT_BYTES}", wasm.len()));
    }
    match wasm.get(..8) {
        None => Err("is too short to be a WebAssembly component".into()),
        Some([0, b'a', b's', b'm', 0x0d, 0, 1, 0]) => Ok(()),
        Some([0, b'a', b's', b'm', 1, 0, 0, 0]) => {
            Err("is a core WebAssembly module, not a component; link it with wasm-component-ld".into())
        }
        Some([0, b'a', b's', b'm', ..]) => Err("is WebAssembly of a version that this host does not know".into()),
        Some(_) => Err("is not WebAssembly".into()),
    }
}

fn key(wasm: &[u8]) -> String {
    let mut digest = Sha256::new();
    digest.update(SETTINGS);
    digest.update(std::env::consts::ARCH);
    digest.update(wasm);
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The machine code of an entry, if the file is ours, private and whole.
fn read_entry(path: &Path) -> Option<Vec<u8>> {
    let mut file = fs::File::open(path).ok()?;
    let metadata = file.metadata().ok()?;
    let owner = fs::metadata("/proc/self").ok()?.uid();
    let private = metadata.is_file() && metadata.uid() == owner && metadata.mode() & 0o077 == 0;
    if !private {
        tracing::warn!("{} is passed over: it does not belong to this user alone", path.display());
        return None;
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).ok()?;
    let (digest, code) = bytes.split_at_checked(DIGEST)?;
    (Sha256::digest(code).as_slice() == digest).then(|| code.to_vec())
}

fn write_entry(folder: &Path, path: &Path, code: &[u8]) -> std::io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let unfinished = path.with_extension(format!("{}.part", std::process::id()));
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(Sha256::digest(code).as_slice())?;
    file.write_all(code)?;
    fs::rename(&unfinished, path)
}

#[allow(unsafe_code, reason = "machine code of our own compiler, checked against its digest or fresh from our child")]
fn deserialize(engine: &Engine, code: &[u8]) -> Result<Component, String> {
    // SAFETY: the bytes come from `compile` in this process' child, or from a private file with the right digest.
    unsafe { Component::deserialize(engine, code) }.map_err(|error| format!("failed to load: {error}"))
}

/// In a child of the same program: the compiler's memory goes back to the system, and its faults stay there.
fn compile(wasm: &[u8]) -> Result<Vec<u8>, String> {
    let program = std::env::current_exe().map_err(|error| format!("failed to find this program: {error}"))?;
    let mut child = Command::new(program)
        .arg(crate::cli::COMPILE)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("failed to start the compiler: {error}"))?;
    let input = child.stdin.take();
    let wasm = wasm.to_vec();
    let writing = std::thread::spawn(move || input.map(|mut input| input.write_all(&wasm)));
    let output = child.wait_with_output().map_err(|error| format!("failed to compile: {error}"))?;
    // A child that ended early has said why; the broken pipe adds nothing.
    let _ = writing.join();
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(if said.is_empty() { format!("failed to compile: the compiler ended with {}", output.status) } else { said })
}

/// What the child does: a component on standard input, machine code on standard output.
pub fn compile_child() -> Result<(), String> {
    let mut wasm = Vec::new();
    let limit = COMPONENT_BYTES + 1;
    std::io::stdin().take(limit).read_to_end(&mut wasm).map_err(|error| format!("failed to read: {error}"))?;
    let engine = Engine::new(&config()).map_err(|error| format!("failed to set up wasmtime: {error}"))?;
    let code = engine.precompile_component(&wasm).map_err(|error| format!("is not a sound component: {error:#}"))?;
    std::io::stdout().write_all(&code).map_err(|error| format!("failed to write: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_component_is_named() {
        let check = |bytes: &[u8], expected: &str| assert!(check_kind(bytes).unwrap_err().contains(expected));
        check(b"", "too short");
        check(b"\0asm\x01\0\0\0", "a core WebAssembly module");
        check(b"\0asm\x02\0\0\0", "does not know");
        check(b"hello, world", "is not WebAssembly");
        assert_eq!(check_kind(b"\0asm\x0d\0\x01\0"), Ok(()));
    }

    #[test]
    fn an_entry_is_taken_only_when_it_is_private_and_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/entry.cwasm");
        write_entry(path.parent().unwrap(), &path, b"code").unwrap();
        assert_eq!(read_entry(&path).as_deref(), Some(&b"code"[..]));
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert_eq!(read_entry(&path), None);
        let mut tampered = whole.clone();
        *tampered.last_mut().unwrap() ^= 1;
        fs::write(&path, &tampered).unwrap();
        assert_eq!(read_entry(&path), None);
        fs::write(&path, &whole).unwrap();
        assert!(read_entry(&path).is_some());
        let everyone = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        fs::set_permissions(&path, everyone).unwrap();
        assert_eq!(read_entry(&path), None);
    }
}
