//! What people put into the folder besides feeds: links, FIFOs, devices, secrets, files with other names, and components
//! that come later.

use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::json;

use super::{echoing, shared};
use crate::support::guests::{hostile, hostile_build};
use crate::support::site::TestSite;

fn fifo(path: &Path) {
    rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
}

#[tokio::test]
async fn what_is_no_regular_file_is_refused_at_a_start_and_later() {
    let mut site = TestSite::with(|setup| {
        let setup = setup.file("plugins/x.md", "").file("secret", "hunter2\n");
        let folder = setup.folder().join("plugins");
        fifo(&folder.join("early-fifo.wasm"));
        symlink("/dev/zero", folder.join("early-zero.wasm")).unwrap();
        symlink("../secret", folder.join("early-secret.toml")).unwrap();
        setup
    })
    .await;
    site.reading().await;
    fifo(&site.plugin_file("fifo.toml"));
    fifo(&site.plugin_file("fifo.wasm"));
    symlink("/dev/zero", site.plugin_file("zero.toml")).unwrap();
    symlink("../secret", site.plugin_file("secret.wasm")).unwrap();
    std::fs::create_dir(site.plugin_file("folder.wasm")).unwrap();
    // A change of a regular file makes the gateway read the folder.
    site.write("good.wasm", hostile());
    for (name, reason) in [
        ("early-fifo", "early-fifo.wasm cannot be read: it is a FIFO, not a regular file"),
        ("early-zero", "early-zero.wasm cannot be read: it is a device, not a regular file"),
        ("early-secret", "early-secret.toml: is not TOML: line 1: "),
        ("fifo", "fifo.toml: cannot be read: it is a FIFO, not a regular file"),
        ("zero", "zero.toml: cannot be read: it is a device, not a regular file"),
        ("secret", "secret.wasm is a text file, not a component"),
        ("folder", "folder.wasm cannot be read: it is a directory, not a regular file"),
    ] {
        let feed = site.off(name).await;
        assert!(feed["off"].as_str().unwrap().contains(reason), "{name}: {feed}");
    }
    site.feed("good", |feed| feed["connected"] == json!(true)).await;
    let (log, health) = (site.gateway.log(), site.gateway.health().await.to_string());
    assert!(!log.contains("hunter2") && !health.contains("hunter2"), "{log}{health}");
    site.all_readings().await;
}

#[tokio::test]
async fn a_bad_feed_file_at_a_start_switches_that_feed_off_alone() {
    let mut site = TestSite::with(|setup| {
        let setup = setup.file("plugins/good.wasm", hostile()).file("plugins/good.toml", echoing("good", "1"));
        setup.file("plugins/bad.wasm", hostile()).file("plugins/bad.toml", "enabeld = true\n")
    })
    .await;
    let mut echoes = site.echoes("good").await;
    echoes.receive(5).await;
    let off = site.off("bad").await["off"].clone();
    assert!(off.as_str().unwrap().contains("bad.toml: enabeld: is unknown; did you mean `enabled`?"), "{off}");
    let check = site.gateway.output(&["check"]);
    let printed = String::from_utf8_lossy(&check.stderr).into_owned();
    assert_eq!(check.status.code(), Some(78), "{printed}");
    assert!(printed.contains("bad.toml: enabeld: is unknown; did you mean `enabled`?"), "{printed}");
    let mut fixed = site.echoes("bad").await;
    site.write("bad.toml", echoing("bad", "1"));
    fixed.receive(5).await;
    site.all_readings().await;
}

#[tokio::test]
async fn names_of_ignored_files_are_logged_once_with_the_reason() {
    let mut site = TestSite::with(|setup| setup.file("plugins/ACME.WASM", hostile())).await;
    site.reading().await;
    site.write("delta.wasm.txt", hostile());
    site.write("\u{1b}[2Jevil\u{202e}.toml", "x = 1");
    for version in ["1", "2"] {
        site.write("good.toml", format!("component = \"ACME.WASM\"\n{}", echoing("good", version)));
        let mut echoes = site.echoes("good").await;
        echoes.wait_for(|echo| echo.version == version).await;
    }
    for line in [
        "ignored in the plugins folder: ACME.WASM: the ending must be written `.wasm`; rename it to ACME.wasm",
        "ignored in the plugins folder: delta.wasm.txt: its name does not end in `.wasm`; rename it to delta.wasm",
        "\\u{1b}[2Jevil\\u{202e}.toml: the file name contains characters that are not visible; rename the file",
    ] {
        site.gateway.assert_logged_once(line).await;
    }
    assert!(!site.gateway.log().contains(['\u{1b}', '\u{202e}']), "{}", site.gateway.log());
    site.all_readings().await;
}

#[tokio::test]
async fn a_component_outside_the_folder_is_watched_before_it_exists() {
    let settings = format!("component = \"../elsewhere/late.wasm\"\n{}", echoing("late", "1"));
    let mut site = TestSite::with(|setup| setup.file("plugins/late.toml", settings).file("elsewhere/x", "")).await;
    let off = site.off("late").await["off"].clone();
    assert!(off.as_str().unwrap().contains("late.wasm does not exist; copy the component there"), "{off}");
    let mut echoes = site.echoes("late").await;
    std::fs::write(site.gateway.path("elsewhere/late.wasm"), hostile_build('A')).unwrap();
    echoes.wait_for(|echo| echo.build == "A").await;
    std::fs::write(site.gateway.path("elsewhere/late.wasm"), hostile_build('B')).unwrap();
    echoes.wait_for(|echo| echo.build == "B").await;
    site.all_readings().await;
}

/// A folder as Kubernetes mounts a ConfigMap: links to files below `..data`, itself a link to a folder with a time.
#[tokio::test]
async fn a_mounted_config_map_is_followed_through_its_swaps() {
    let mut site = TestSite::with(|setup| setup.file("plugins/x.md", "")).await;
    site.reading().await;
    let file = |name: &str| site.gateway.path("plugins").join(name);
    let publish = |time: &str, version: &str, build: char| {
        std::fs::create_dir(file(time)).unwrap();
        std::fs::write(file(time).join("shared.wasm"), hostile_build(build)).unwrap();
        std::fs::write(file(time).join("acme.toml"), shared("acme", version)).unwrap();
        symlink(time, file("..data_tmp")).unwrap();
        std::fs::rename(file("..data_tmp"), file("..data")).unwrap();
    };
    publish("..2026_01_02_03_04_05.1", "1", 'A');
    let mut echoes = site.echoes("acme").await;
    for name in ["shared.wasm", "acme.toml"] {
        symlink(Path::new("..data").join(name), file(name)).unwrap();
    }
    echoes.wait_for(|echo| echo.version == "1" && echo.build == "A").await;
    publish("..2026_01_02_03_14_05.2", "2", 'B');
    std::fs::remove_dir_all(file("..2026_01_02_03_04_05.1")).unwrap();
    echoes.wait_for(|echo| echo.version == "2" && echo.build == "B").await;
    assert_eq!(site.gateway.log_count("ignored in the plugins folder"), 0, "{}", site.gateway.log());
    site.all_readings().await;
}
