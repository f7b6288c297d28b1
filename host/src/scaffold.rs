//! `plugin new`: creates a plugin project that contains everything it needs and builds without network access.
//!
//! The templates are in `scaffold/template/`; the SDK and its dependencies are embedded in the program by `build.rs`.

#![allow(clippy::disallowed_methods, reason = "only a command creates projects, without the gateway's runtime")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

mod name;
mod vendor;

#[cfg(test)]
mod tests;

/// Paths in the project with their templates: `{{name}}` is the plugin's name, `{{crate}}` its name in Rust.
const TEMPLATES: [(&str, &str); 9] = [
    (".cargo/config.toml", include_str!("scaffold/template/cargo-config.toml")),
    (".gitignore", include_str!("scaffold/template/gitignore")),
    ("Cargo.toml", include_str!("scaffold/template/manifest.toml")),
    ("README.md", include_str!("scaffold/template/README.md")),
    (BUILD, include_str!("scaffold/template/build.sh")),
    ("cases/first/case.toml", include_str!("scaffold/template/case.toml")),
    ("cases/first/events.jsonl", include_str!("scaffold/template/events.jsonl")),
    ("cases/first/expected.jsonl", include_str!("scaffold/template/expected.jsonl")),
    ("src/lib.rs", include_str!("scaffold/template/lib.rs")),
];

/// The only executable file.
const BUILD: &str = "build.sh";

/// Creates the folder `name` in `parent`, with a plugin that builds and passes its tests, and returns the folder's path. A
/// failure leaves nothing behind.
pub(crate) fn create(name: &str, parent: &Path) -> Result<PathBuf, String> {
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
    let written = write_project(name, &unfinished).and_then(|()| fs::rename(&unfinished, &project));
    written.map_err(|error| {
        // If this fails, too, the folder was never created.
        let _ = fs::remove_dir_all(&unfinished);
        format!("failed to write {}: {error}", project.display())
    })?;
    Ok(project)
}

fn write_project(name: &str, folder: &Path) -> io::Result<()> {
    // Fails if the folder exists, so that two processes never write to the same one.
    fs::create_dir(folder)?;
    for (path, template) in TEMPLATES {
        let text = template.replace("{{name}}", name).replace("{{crate}}", &name.replace('-', "_"));
        write(&folder.join(path), text.as_bytes())?;
    }
    write(&folder.join("Cargo.lock"), vendor::lock(name).as_bytes())?;
    for (path, content) in vendor::FILES {
        write(&folder.join(path), content)?;
    }
    make_executable(&folder.join(BUILD))
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
