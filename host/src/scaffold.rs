//! `plugin new`: writes a plugin's project, which builds without a network from what stands in it.
//!
//! The templates are in `scaffold/template/`; the SDK and its dependencies come with the program, see `build.rs`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

mod name;
mod vendor;

#[cfg(test)]
mod tests;

/// Paths in the project, and their templates: `{{name}}` is the plugin's name, `{{crate}}` the same as rustc writes it.
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

/// The one file that is a program.
const BUILD: &str = "build.sh";

/// Makes the folder `name` in `parent`, with a plugin that builds and passes its tests; gives back the folder's path. Where
/// something fails, nothing is left behind.
pub fn new(name: &str, parent: &Path) -> Result<PathBuf, String> {
    name::check(name)?;
    if !parent.is_dir() {
        return Err(format!("{} is not a folder: make it first, or name another", parent.display()));
    }
    let project = parent.join(name);
    if project.symlink_metadata().is_ok() {
        return Err(format!("{} is there already: choose another name, or remove it", project.display()));
    }

    // Beside its place, as only then a rename is one step.
    let unfinished = parent.join(format!(".{name}.new-{}", std::process::id()));
    let written = write_project(name, &unfinished).and_then(|()| fs::rename(&unfinished, &project));
    written.map_err(|error| {
        // What cannot be removed could not be made either.
        let _ = fs::remove_dir_all(&unfinished);
        format!("failed to write {}: {error}", project.display())
    })?;
    Ok(project)
}

fn write_project(name: &str, folder: &Path) -> io::Result<()> {
    // Fails where it exists: two at once must not write into one folder.
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
    // For whoever may read it, under the user's umask.
    permissions.set_mode(permissions.mode() | (permissions.mode() & 0o444) >> 2);
    fs::set_permissions(path, permissions)
}

#[cfg(not(unix))]
fn make_executable(_path: &Path) -> io::Result<()> {
    Ok(())
}
