//! Puts into the program what it carries: the default feed's component, and the sources that `plugin new` writes.

use std::collections::BTreeMap;
use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What `plugin new` writes: the path in the project, and the file that it is a copy of.
type Files = BTreeMap<String, PathBuf>;

const SDK: &str = "bessai-plugin";

fn main() -> Result<()> {
    // Of this run: a shared target folder may hold this script as it was compiled for another checkout.
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("..").canonicalize()?;
    embed_component(&root)?;
    embed_sources(&root)
}

fn embed_component(root: &Path) -> Result<()> {
    println!("cargo:rerun-if-env-changed=BESSAI_JSON_WASM");
    let given = env::var_os("BESSAI_JSON_WASM").map(PathBuf::from);
    let component = given.unwrap_or_else(|| root.join("dist/plugins/bessai-json.wasm"));
    println!("cargo:rerun-if-changed={}", component.display());
    if !component.is_file() {
        let component = component.display();
        let mend = "run scripts/setup and scripts/build-guests, or set BESSAI_JSON_WASM";
        return Err(format!("{component} is missing: {mend}").into());
    }
    println!("cargo:rustc-env=BESSAI_JSON_WASM={}", component.display());
    Ok(())
}

/// The SDK, what it is made of, and the contract, as tables for `scaffold/vendor.rs`.
fn embed_sources(root: &Path) -> Result<()> {
    for source in ["wit", "plugins/sdk", "Cargo.toml", "Cargo.lock", "LICENSE"] {
        println!("cargo:rerun-if-changed={}", root.join(source).display());
    }
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let packages = packages(root, &out)?;

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
            return Err(format!("{name} depends on {names:?}: {SDK} takes only crates that need no others").into());
        }
    }
    lock.push_str("]\n");
    fs::write(out.join("packages.rs"), lock)?;
    fs::write(out.join("files.rs"), table(&files, &out)?)?;
    Ok(())
}

/// The SDK and its dependencies as cargo describes them. That this program is built with the SDK makes cargo fetch them
/// before; to ask for the whole workspace would fetch what no build of the program needs.
fn packages(root: &Path, out: &Path) -> Result<Vec<Value>> {
    let alone = out.join("sdk-alone");
    fs::create_dir_all(&alone)?;
    fs::write(alone.join("lib.rs"), "")?;
    fs::copy(root.join("Cargo.lock"), alone.join("Cargo.lock"))?;
    let sdk = root.join("plugins/sdk");
    let manifest = format!(
        "[package]\nname = \"sdk-alone\"\nedition = \"2024\"\n[lib]\npath = \"lib.rs\"\n[workspace]\n\
         [dependencies]\n{SDK} = {{ path = {sdk:?} }}\n"
    );
    fs::write(alone.join("Cargo.toml"), manifest)?;

    let mut cargo = Command::new(env::var_os("CARGO").ok_or("CARGO is not set")?);
    cargo.args(["metadata", "--offline", "--format-version", "1", "--manifest-path"]).arg(alone.join("Cargo.toml"));
    // Where the repository's own cargo settings count.
    let output = cargo.current_dir(root).output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("cargo does not say where the sources of {SDK} are: {said}").into());
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

/// Name and `Cargo.toml` table of each dependency that is always there.
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

/// The SDK's own manifest takes its values from this workspace; alone it needs one that stands for itself.
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

/// Manifest, build script and licences of a package; its tests and benches are nobody's need.
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
        // Sources of other crates do not change, but they move with cargo's home. What this script itself wrote is newer
        // than its start, and would have it run each time.
        if !path.starts_with(out) {
            println!("cargo:rerun-if-changed={}", path.display());
        }
        writeln!(table, "    ({inside:?}, include_bytes!({path:?}).as_slice()),")?;
    }
    table.push_str("]\n");
    Ok(table)
}
