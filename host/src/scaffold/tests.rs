//! A created project is complete, and builds and passes its tests with an empty cargo cache.

use std::process::Command;

use clap::ValueEnum;

use super::*;

#[test]
fn a_project_is_complete() {
    let parent = tempfile::tempdir().unwrap();
    let project = create("acme-iot", Origin::Example(Language::Rust), parent.path()).unwrap();
    assert_eq!(project, parent.path().join("acme-iot"));
    let read = |path: &str| fs::read_to_string(project.join(path)).unwrap();
    for (path, _) in vendor::FILES {
        assert!(project.join(path).is_file(), "{path} is missing");
    }
    assert!(read("build.sh").contains("release/acme_iot.wasm"));
    assert!(read("vendor/wit/plugin.wit").contains("world transformer"));
    assert!(project.join("vendor/wit-bindgen/LICENSE-MIT").is_file());
    assert!(project.join("vendor/zmij/LICENSE-MIT").is_file());
    for manifest in ["Cargo.toml", "vendor/sdk/Cargo.toml"] {
        let folder = project.join(manifest).parent().unwrap().to_path_buf();
        let table: toml::Table = read(manifest).parse().unwrap();
        let dependencies = table["dependencies"].as_table().unwrap();
        for (name, dependency) in dependencies {
            let path = dependency["path"].as_str().unwrap();
            assert!(folder.join(path).join("Cargo.toml").is_file(), "{manifest}: {name} is not in {path}");
        }
    }
}

#[test]
fn a_project_of_each_language_has_the_contract_a_case_and_a_build_script() {
    use std::os::unix::fs::PermissionsExt;

    let parent = tempfile::tempdir().unwrap();
    for language in Language::value_variants() {
        let name = language.to_possible_value().unwrap().get_name().to_owned();
        let project = create(&name, Origin::Example(*language), parent.path()).unwrap();
        for (path, _) in language.templates() {
            let path = language.fill(path, &name);
            let text = fs::read_to_string(project.join(&path)).unwrap();
            for placeholder in ["{{name}}", "{{crate}}", "{{language}}", "{{source}}"] {
                assert!(!text.contains(placeholder), "{name}: {path} has an unreplaced placeholder");
            }
        }
        for path in ["vendor/wit/types.wit", "cases/first/events.jsonl", "README.md"] {
            assert!(project.join(path).is_file(), "{name}: {path} is missing");
        }
        assert!(fs::metadata(project.join(BUILD)).unwrap().permissions().mode() & 0o100 != 0, "{name}");
        assert_eq!(project.join("vendor/sdk").exists(), *language == Language::Rust, "{name}");
        assert_eq!(language.download().is_none(), *language == Language::Rust, "{name}");
    }
}

#[test]
fn nothing_is_overwritten_or_left_behind() {
    let parent = tempfile::tempdir().unwrap();
    let entries = || fs::read_dir(parent.path()).unwrap().count();
    fs::write(parent.path().join("acme"), "mine").unwrap();
    let error = create("acme", Origin::Example(Language::Rust), parent.path()).unwrap_err();
    assert!(error.contains("acme already exists"), "{error}");
    assert_eq!(fs::read_to_string(parent.path().join("acme")).unwrap(), "mine");

    let error = create("other", Origin::Example(Language::Rust), &parent.path().join("acme")).unwrap_err();
    assert!(error.contains("is not a folder"), "{error}");
    assert!(create("Other", Origin::Example(Language::Rust), parent.path()).unwrap_err().contains("lower-case"));
    assert_eq!(entries(), 1);
    create("other", Origin::Example(Language::Rust), parent.path()).unwrap();
    assert_eq!(entries(), 2);
}

/// Cargo's home is empty, so a missing dependency makes the build fail.
#[test]
fn a_project_builds_and_passes_its_tests_without_a_network() {
    let parent = tempfile::tempdir().unwrap();
    // The name sorts between `bessai-plugin` and `zmij` in the lock file, where cargo requires that order.
    let project = create("first-try", Origin::Example(Language::Rust), parent.path()).unwrap();
    let run = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(&project);
        command.env("CARGO_HOME", parent.path().join("cargo")).env("CARGO_NET_OFFLINE", "true");
        for inherited in ["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET", "CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS"] {
            command.env_remove(inherited);
        }
        let output = command.output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{program} {arguments:?} failed:\n{text}");
        text
    };
    let text = run(env!("CARGO"), &["test", "--offline", "--locked"]);
    assert!(text.contains("3 passed"), "{text}");
    run("./build.sh", &["--offline", "--locked"]);
    let component = fs::read(project.join("first-try.wasm")).unwrap();
    assert_eq!(component.get(..8), Some(b"\0asm\x0d\0\x01\0".as_slice()), "not a component");
}

#[test]
fn every_shipped_plugin_can_be_the_beginning_of_a_project() {
    let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins");
    let folders = fs::read_dir(plugins).unwrap().map(|entry| entry.unwrap());
    let packages = folders.filter(|folder| folder.path().join("Cargo.toml").is_file());
    let names = packages.map(|folder| folder.file_name().into_string().unwrap());
    let mut shipped: Vec<_> = names.filter(|name| name != "sdk" && !name.starts_with("example-")).collect();
    shipped.sort();
    assert_eq!(SHIPPED, shipped);

    let parent = tempfile::tempdir().unwrap();
    for plugin in SHIPPED {
        let project = create(&format!("my-{plugin}"), Origin::Shipped(plugin), parent.path()).unwrap();
        let manifest: toml::Table = fs::read_to_string(project.join("Cargo.toml")).unwrap().parse().unwrap();
        assert_eq!(manifest["package"]["name"].as_str(), Some(format!("my-{plugin}").as_str()));
        for path in ["src/lib.rs", "vendor/sdk/src/lib.rs", "vendor/wit/plugin.wit", "README.md", BUILD] {
            assert!(project.join(path).is_file(), "{plugin}: {path} is missing");
        }
        let has_lock = project.join("Cargo.lock").is_file();
        assert_eq!(has_lock, Origin::Shipped(plugin).download().is_none(), "{plugin}");
    }
}
