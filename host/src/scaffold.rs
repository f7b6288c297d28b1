//! `plugin new`: creates a plugin project with a test case and a build script. One in Rust contains everything it needs and builds
//! without network access; one in another language downloads its tools, pinned by their digests, in the first build.
//!
//! The templates are in `scaffold/template/`; the contract, the SDK and its dependencies are embedded in the program by `build.rs`.

#![allow(clippy::disallowed_methods, reason = "only a command creates projects, without the gateway's runtime")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use wasi_preview1_component_adapter_provider::WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER;

mod language;
mod name;
mod shipped;
mod vendor;

#[cfg(test)]
mod tests;

pub(crate) use language::Language;
pub(crate) use shipped::NAMES as SHIPPED;

/// What a new project begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin<'a> {
    /// The same small plugin in each language.
    Example(Language),
    /// The source of a plugin that comes with the gateway, by its name.
    Shipped(&'a str),
}

/// The only executable file.
const BUILD: &str = "build.sh";

impl Origin<'_> {
    /// What the first build downloads; none if it needs no network.
    pub(crate) fn download(self) -> Option<String> {
        match self {
            Origin::Example(language) => language.download().map(str::to_owned),
            Origin::Shipped(plugin) => {
                let crates = shipped::downloads(plugin);
                (!crates.is_empty()).then(|| format!("{} from crates.io", crates.join(" and ")))
            }
        }
    }
}

/// Creates the folder `name` in `parent`, with a plugin that builds and passes its tests, and returns the folder's path. A
/// failure leaves nothing behind.
pub(crate) fn create(name: &str, origin: Origin<'_>, parent: &Path) -> Result<PathBuf, String> {
    name::check(name)?;
    if !parent.is_dir() {
        return Err(format!("{} is not a folder: create it, or choose another", parent.display()));
    }
    let project = parent.join(name);
    if project.symlink_metadata().is_ok() {
        return Err(format!("{} already exists: choose another name, or remove it", project.display()));
    }

    // In the same folder, so that the rename is atomic.
    let unfinished = parent.join(format!(".{name}.new-{}", std::process::id()));
    let written = write_project(name, origin, &unfinished).and_then(|()| fs::rename(&unfinished, &project));
    written.map_err(|error| {
        // If this fails, too, the folder was never created.
        let _ = fs::remove_dir_all(&unfinished);
        format!("failed to write {}: {error}", project.display())
    })?;
    Ok(project)
}

fn write_project(name: &str, origin: Origin<'_>, folder: &Path) -> io::Result<()> {
    // Fails if the folder exists, so that two processes never write to the same one.
    fs::create_dir(folder)?;
    match origin {
        Origin::Example(language) => write_example(name, language, folder)?,
        Origin::Shipped(plugin) => write_shipped(name, plugin, folder)?,
    }
    make_executable(&folder.join(BUILD))
}

fn write_shipped(name: &str, plugin: &str, folder: &Path) -> io::Result<()> {
    for (path, content) in shipped::project(name, plugin)? {
        write(&folder.join(path), &content)?;
    }
    for (path, content) in vendor::FILES {
        write(&folder.join(path), content)?;
    }
    Ok(())
}

fn write_example(name: &str, language: Language, folder: &Path) -> io::Result<()> {
    for (path, template) in language.templates() {
        write(&folder.join(language.fill(path, name)), language.fill(template, name).as_bytes())?;
    }
    if language == Language::Rust {
        write(&folder.join("Cargo.lock"), vendor::lock(name, &[]).as_bytes())?;
    }
    for (path, content) in vendor::FILES {
        if language == Language::Rust || path.starts_with(vendor::CONTRACT) {
            write(&folder.join(path), content)?;
        }
    }
    if language == Language::C {
        // What the C library asks of WASI 0.1 is translated by it.
        write(&folder.join("bindings/adapter.wasm"), WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER)?;
    }
    Ok(())
}

fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, content)
}

#[cfg(unix)]
fn make_executable(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;

    let mut permissions = fs::metadata(path)?.permissions();
    // Executable for everyone who can read it, which respects the user's umask.
    permissions.set_mode(permissions.mode() | (permissions.mode() & 0o444) >> 2);
    fs::set_permissions(path, permissions)
}

#[cfg(not(unix))]
fn make_executable(_path: &Path) -> io::Result<()> {
    Ok(())
}
