//! The sources of the plugins that come with the gateway, for projects that begin with one of them.

use std::collections::BTreeMap;
use std::io;

use super::language::RUST;
use super::{BUILD, Language, vendor};

/// The plugins that a project can begin with.
pub(crate) const NAMES: &[&str] = include!(concat!(env!("OUT_DIR"), "/plugins.rs"));

/// All sources, compressed by `build.rs`.
const ARCHIVE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/plugins.bin"));
/// The dependencies of the workspace with their versions, as they are written in its manifest.
const VERSIONS: &[&str] = include!(concat!(env!("OUT_DIR"), "/versions.rs"));
/// The folder of the crates that a plugin uses beside the SDK.
const VENDOR: &str = "vendor/";
/// Many times the size of the sources.
const MOST_BYTES: usize = 64 << 20;
/// Files that do not depend on what the plugin does.
const COMMON: [&str; 3] = [".cargo/config.toml", ".gitignore", BUILD];
/// What the project's manifest contains after its dependencies.
const PROFILE: &str = include_str!("template/rust/shipped-profile.toml");
const README: &str = include_str!("template/rust/README-shipped.md");

/// A path and its content.
type File = (String, Vec<u8>);

/// What crates of the registry a plugin uses, which its first build downloads.
pub(crate) fn downloads(plugin: &str) -> Vec<String> {
    let dependencies = all_files().ok().map(|files| dependencies(&files, plugin)).unwrap_or_default();
    dependencies.into_iter().filter(|dependency| dependency.vendored.is_none()).map(|own| own.name).collect()
}

/// The files of a project with this name that begins with a plugin's source, beside the SDK.
pub(super) fn project(name: &str, plugin: &str) -> io::Result<Vec<File>> {
    let files = all_files()?;
    let mut project = Vec::new();
    for (path, content) in &files {
        let Some(inside) = path.strip_prefix(&format!("{plugin}/")) else { continue };
        match inside {
            "Cargo.toml" => {}
            // Tests outside of the crate use it by its name.
            test if test.starts_with("tests/") && test.ends_with(".rs") => {
                let text = String::from_utf8_lossy(content);
                let text = text.replace(&format!("{}::", crate_name(plugin)), &format!("{}::", crate_name(name)));
                project.push((test.to_owned(), text.into_bytes()));
            }
            inside => project.push((inside.to_owned(), content.clone())),
        }
    }
    let dependencies = dependencies(&files, plugin);
    for vendored in dependencies.iter().filter(|dependency| dependency.vendored.is_some()) {
        let prefix = format!("{VENDOR}{}/", vendored.name);
        let own = files.iter().filter(|(path, _)| path.starts_with(&prefix));
        project.extend(own.map(|(path, content)| (path.clone(), content.clone())));
    }
    let fill = |text: &str| Language::Rust.fill(text, name).replace("{{plugin}}", plugin).into_bytes();
    let common = RUST.iter().filter(|(path, _)| COMMON.contains(path));
    project.extend(common.map(|(path, text)| ((*path).to_owned(), fill(text))));
    project.push(("README.md".into(), fill(README)));
    project.push(("Cargo.toml".into(), manifest(name, &dependencies).into_bytes()));
    // A lock file of crates that come from the registry is written by the first build.
    let vendored: Option<Vec<_>> =
        dependencies.iter().map(|own| Some((own.name.as_str(), own.vendored.as_deref()?))).collect();
    if let Some(vendored) = vendored {
        project.push(("Cargo.lock".into(), vendor::lock(name, &vendored).into_bytes()));
    }
    Ok(project)
}

/// A crate that a plugin uses beside the SDK.
struct Dependency {
    name: String,
    /// Its line in the workspace's manifest.
    line: &'static str,
    /// For tests only.
    is_dev: bool,
    /// Its version, if the project has its source.
    vendored: Option<String>,
}

/// The dependencies in a plugin's manifest, which are all of the workspace.
fn dependencies(files: &BTreeMap<String, Vec<u8>>, plugin: &str) -> Vec<Dependency> {
    let manifest = files.get(&format!("{plugin}/Cargo.toml")).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let manifest: toml::Table = manifest.unwrap_or_default().parse().unwrap_or_default();
    let of_section = |(section, is_dev): (&str, bool)| -> Vec<Dependency> {
        let names = manifest.get(section).and_then(toml::Value::as_table).into_iter().flat_map(toml::Table::keys);
        let found = |name: &String| {
            let line = VERSIONS.iter().find(|line| line.split_once(" = ").is_some_and(|(own, _)| own == name))?;
            let is_vendored = files.contains_key(&format!("{VENDOR}{name}/Cargo.toml"));
            let vendored = version(line).filter(|_| is_vendored).map(str::to_owned);
            Some(Dependency { name: name.clone(), line, is_dev, vendored })
        };
        names.filter_map(found).collect()
    };
    [("dependencies", false), ("dev-dependencies", true)].into_iter().flat_map(of_section).collect()
}

/// The exact version in a line such as `name = { version = "=1.2.3", … }`.
fn version(line: &str) -> Option<&str> {
    line.split_once("\"=")?.1.split('"').next()
}

fn manifest(name: &str, dependencies: &[Dependency]) -> String {
    let line = |dependency: &Dependency| match &dependency.vendored {
        None => dependency.line.to_owned(),
        Some(version) => {
            let path = format!("path = \"{VENDOR}{}\"", dependency.name);
            dependency.line.replace(&format!("version = \"={version}\""), &path)
        }
    };
    let lines = |is_dev| -> String {
        dependencies.iter().filter(|own| own.is_dev == is_dev).map(|own| line(own) + "\n").collect()
    };
    let dev = lines(true);
    let dev = if dev.is_empty() { dev } else { format!("\n[dev-dependencies]\n{dev}") };
    let profile = Language::Rust.fill(PROFILE, name);
    profile.replace("{{dependencies}}", &format!("{}{dev}", lines(false)))
}

fn crate_name(package: &str) -> String {
    package.replace('-', "_")
}

/// All files of the archive, by path.
fn all_files() -> io::Result<BTreeMap<String, Vec<u8>>> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, "the sources in this program are damaged");
    let bytes = miniz_oxide::inflate::decompress_to_vec_with_limit(ARCHIVE, MOST_BYTES).map_err(|_| invalid())?;
    let mut rest = bytes.as_slice();
    let mut part = || -> Option<Vec<u8>> {
        let (length, after) = rest.split_first_chunk()?;
        let (part, after) = after.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        rest = after;
        Some(part.to_vec())
    };
    let mut files = BTreeMap::new();
    while let Some(path) = part() {
        let path = String::from_utf8(path).map_err(|_| invalid())?;
        files.insert(path, part().ok_or_else(invalid)?);
    }
    Ok(files)
}
