//! Embeds the default feed's component and the sources that `plugin new` writes into the program.

#![allow(clippy::disallowed_methods, reason = "a build script reads and writes files")]

use std::collections::BTreeMap;
use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The files that `plugin new` writes: the path in the project, and the file that is copied there.
type Files = BTreeMap<String, PathBuf>;

const SDK: &str = "bessai-plugin";
/// Crates without dependencies that a shipped plugin uses beside the SDK: they come with its source.
const VENDORED_TOO: [&str; 1] = ["minijinja"];
/// How well the sources of plugins are compressed: it is done once and makes the program smaller.
const COMPRESSION_LEVEL: u8 = 9;

fn main() -> Result<()> {
    // Read at run time: a shared target folder may hold this script as it was compiled for another checkout, and its output.
    println!("cargo:rerun-if-env-changed=EDGE_CHECKOUT");
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("..").canonicalize()?;
    pack_relocations();
    embed_component(&root)?;
    embed_sources(&root)?;
    embed_plugins(&root)
}

/// Stores the release's relocations packed: 2 MB less to keep and to read at each start. The C library applies them since
/// glibc 2.36; an older one refuses such a program, so it is done only where this machine's own can.
fn pack_relocations() {
    const PACKED_SINCE: (u32, u32) = (2, 36);
    let is_release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let is_native = env::var("TARGET").ok() == env::var("HOST").ok();
    if is_release && is_native && glibc_version().is_some_and(|version| version >= PACKED_SINCE) {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// From `getconf`, which prints `glibc 2.36`; none with another C library.
fn glibc_version() -> Option<(u32, u32)> {
    let output = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (major, minor) = text.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn embed_component(root: &Path) -> Result<()> {
    println!("cargo:rerun-if-env-changed=BESSAI_JSON_WASM");
    let given = env::var_os("BESSAI_JSON_WASM").map(PathBuf::from);
    let component = given.unwrap_or_else(|| root.join("dist/plugins/bessai-json.wasm"));
    println!("cargo:rerun-if-changed={}", component.display());
    if !component.is_file() {
        let component = component.display();
        let hint = "run scripts/setup and scripts/build-guests, or set BESSAI_JSON_WASM";
        return Err(format!("{component} is missing: {hint}").into());
    }
    println!("cargo:rustc-env=BESSAI_JSON_WASM={}", component.display());
    Ok(())
}

/// Writes the SDK, its dependencies and the contract as tables for `scaffold/vendor.rs`.
fn embed_sources(root: &Path) -> Result<()> {
    for source in ["wit", "plugins/sdk", "Cargo.toml", "Cargo.lock", "LICENSE"] {
        println!("cargo:rerun-if-changed={}", root.join(source).display());
    }
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let sdk = root.join("plugins/sdk");
    let packages = packages(root, &out, SDK, &format!("{SDK} = {{ path = {sdk:?} }}"))?;

    let mut files = Files::new();
    add_folder(&mut files, &root.join("wit"), "vendor/wit")?;
    let mut lock = String::from("&[\n");
    for package in &packages {
        let (name, version) = (text(package, "name")?, text(package, "version")?);
        let dependencies = dependencies(package)?;
        let names: Vec<_> = dependencies.iter().map(|(name, _)| name).collect();
        writeln!(lock, "    ({name:?}, {version:?}, &{names:?}),")?;

        let folder = Path::new(text(package, "manifest_path")?).parent().ok_or("a manifest without a folder")?;
        let inside = format!("vendor/{}", if name == SDK { "sdk" } else { name });
        add_folder(&mut files, &folder.join("src"), &format!("{inside}/src"))?;
        if name == SDK {
            let manifest = out.join("sdk.toml");
            fs::write(&manifest, sdk_manifest(package, &dependencies)?)?;
            files.insert(format!("{inside}/Cargo.toml"), manifest);
            files.insert(format!("{inside}/LICENSE"), root.join("LICENSE"));
        } else if dependencies.is_empty() {
            add_top(&mut files, folder, &inside)?;
        } else {
            return Err(
                format!("{name} depends on {names:?}; {SDK} may only depend on crates without dependencies").into()
            );
        }
    }
    lock.push_str("]\n");
    fs::write(out.join("packages.rs"), lock)?;
    fs::write(out.join("files.rs"), table(&files, &out)?)?;
    Ok(())
}

/// Writes the sources of all shipped plugins, compressed, for `scaffold/shipped.rs`.
fn embed_plugins(root: &Path) -> Result<()> {
    let folder = root.join("plugins");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut files = Files::new();
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let plugin = folder.join(&name);
        if name == "sdk" || name.starts_with("example-") || !plugin.join("Cargo.toml").is_file() {
            continue;
        }
        // A new plugin is a member in the workspace's manifest, which is watched.
        println!("cargo:rerun-if-changed={}", plugin.display());
        files.insert(format!("{name}/Cargo.toml"), plugin.join("Cargo.toml"));
        for part in ["src", "cases", "tests"].into_iter().filter(|part| plugin.join(part).is_dir()) {
            add_folder(&mut files, &plugin.join(part), &format!("{name}/{part}"))?;
        }
        names.push(name);
    }
    names.sort();
    let workspace = fs::read_to_string(root.join("Cargo.toml"))?;
    for name in VENDORED_TOO {
        let line = workspace.lines().find(|line| line.starts_with(&format!("{name} = "))).ok_or("an unknown crate")?;
        let packages = packages(root, &out, name, line)?;
        let package = packages.first().ok_or("cargo metadata names no packages")?;
        let source = Path::new(text(package, "manifest_path")?).parent().ok_or("a manifest without a folder")?;
        add_folder(&mut files, &source.join("src"), &format!("vendor/{name}/src"))?;
        add_top(&mut files, source, &format!("vendor/{name}"))?;
    }
    fs::write(out.join("plugins.bin"), archive(&files)?)?;
    let versions: Vec<_> =
        workspace.lines().filter(|line| line.contains("= { version = \"=") || line.contains(" = \"=")).collect();
    fs::write(out.join("plugins.rs"), format!("&{names:?}\n"))?;
    fs::write(out.join("versions.rs"), format!("&{versions:?}\n"))?;
    Ok(())
}

/// Each file as the length of its path, the path, the length of its content and the content; then all of them compressed.
fn archive(files: &Files) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for (inside, path) in files {
        println!("cargo:rerun-if-changed={}", path.display());
        let content = fs::read(path)?;
        for part in [inside.as_bytes(), &content] {
            bytes.extend_from_slice(&u32::try_from(part.len())?.to_le_bytes());
            bytes.extend_from_slice(part);
        }
    }
    Ok(miniz_oxide::deflate::compress_to_vec(&bytes, COMPRESSION_LEVEL))
}

/// A crate and its dependencies as cargo describes them. They are fetched already, because this program is built with the
/// SDK, and its plugins before it; describing the whole workspace would fetch crates that no build of the program needs.
fn packages(root: &Path, out: &Path, name: &str, dependency: &str) -> Result<Vec<Value>> {
    let alone = out.join(format!("{name}-alone"));
    fs::create_dir_all(&alone)?;
    fs::write(alone.join("lib.rs"), "")?;
    fs::copy(root.join("Cargo.lock"), alone.join("Cargo.lock"))?;
    let manifest = format!(
        "[package]\nname = \"{name}-alone\"\nedition = \"2024\"\n[lib]\npath = \"lib.rs\"\n[workspace]\n\
         [dependencies]\n{dependency}\n"
    );
    fs::write(alone.join("Cargo.toml"), manifest)?;

    let mut cargo = Command::new(env::var_os("CARGO").ok_or("CARGO is not set")?);
    cargo.args(["metadata", "--offline", "--format-version", "1", "--manifest-path"]).arg(alone.join("Cargo.toml"));
    // The repository's own cargo settings apply there.
    let output = cargo.current_dir(root).output()?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        return Err(format!("failed to find the sources of {name}: {reason}").into());
    }
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata.get("packages").and_then(Value::as_array).ok_or("cargo metadata names no packages")?;
    Ok(packages
        .iter()
        .filter(|package| package.get("source").is_some_and(Value::is_string) || is_sdk(package))
        .cloned()
        .collect())
}

fn is_sdk(package: &Value) -> bool {
    text(package, "name").is_ok_and(|name| name == SDK)
}

fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    value.get(key).and_then(Value::as_str).ok_or_else(|| format!("cargo metadata: {key} is missing in {value}").into())
}

/// Name and `Cargo.toml` table of each dependency that is not optional.
fn dependencies(package: &Value) -> Result<Vec<(String, String)>> {
    let all = package.get("dependencies").and_then(Value::as_array).ok_or("a package without dependencies")?;
    let mut found = Vec::new();
    for dependency in all {
        let is = |key: &str| dependency.get(key).and_then(Value::as_bool) == Some(true);
        let kind = dependency.get("kind").and_then(Value::as_str);
        if is("optional") || kind == Some("dev") {
            continue;
        }
        let name = text(dependency, "name")?;
        let defaults = is("uses_default_features");
        let features = dependency.get("features").ok_or("a dependency without features")?;
        let table = format!(r#"{{ path = "../{name}", default-features = {defaults}, features = {features} }}"#);
        found.push((name.to_owned(), table));
    }
    found.sort();
    Ok(found)
}

/// The SDK's manifest inherits values from this workspace; on its own it needs one with the values written out.
fn sdk_manifest(package: &Value, dependencies: &[(String, String)]) -> Result<String> {
    let mut manifest = String::from("[package]\n");
    for key in ["name", "description", "version", "edition", "rust_version", "license"] {
        writeln!(manifest, "{} = {:?}", key.replace('_', "-"), text(package, key)?)?;
    }
    manifest.push_str("publish = false\n\n[dependencies]\n");
    for (name, table) in dependencies {
        writeln!(manifest, "{name} = {table}")?;
    }
    Ok(manifest)
}

/// Adds manifest, build script and licences of a package; its tests and benches are not needed.
fn add_top(files: &mut Files, folder: &Path, inside: &str) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let licence = ["LICENSE", "LICENCE", "COPYING", "NOTICE"].iter().any(|start| name.starts_with(start));
        if entry.path().is_file() && (licence || name == "Cargo.toml" || name == "build.rs") {
            files.insert(format!("{inside}/{name}"), entry.path());
        }
    }
    Ok(())
}

fn add_folder(files: &mut Files, folder: &Path, inside: &str) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(|error| format!("failed to read {}: {error}", folder.display()))? {
        let entry = entry?;
        let inside = format!("{inside}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            add_folder(files, &entry.path(), &inside)?;
        } else {
            files.insert(inside, entry.path());
        }
    }
    Ok(())
}

fn table(files: &Files, out: &Path) -> Result<String> {
    let mut table = String::from("&[\n");
    for (inside, path) in files {
        // Sources of other crates do not change, but they move with cargo's home. The files that this script writes are
        // newer than its start and would make it run each time.
        if !path.starts_with(out) {
            println!("cargo:rerun-if-changed={}", path.display());
        }
        writeln!(table, "    ({inside:?}, include_bytes!({path:?}).as_slice()),")?;
    }
    table.push_str("]\n");
    Ok(table)
}
