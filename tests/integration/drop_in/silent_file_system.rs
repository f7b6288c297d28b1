//! A file system that does not answer, as one in the network that is gone: a library in the gateway's process makes
//! opening and looking at certain files wait.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use super::echoing;
use crate::support::folder;
use crate::support::gateway::Setup;
use crate::support::guests::hostile;
use crate::support::site::TestSite;

/// Files whose names contain `silent` do not answer while the file that `SILENT` names exists.
const LIBRARY: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
static void wait_for(const char *path) {
    const char *gate = getenv("SILENT");
    while (path && gate && strstr(path, "silent") && strcmp(path, gate) && access(gate, F_OK) == 0) usleep(10000);
}
int open64(const char *path, int flags, ...) {
    va_list list;
    va_start(list, flags);
    mode_t mode = va_arg(list, mode_t);
    va_end(list);
    wait_for(path);
    return ((int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open64"))(path, flags, mode);
}
int statx(int folder, const char *path, int flags, unsigned mask, struct statx *result) {
    wait_for(path);
    return ((int (*)(int, const char *, int, unsigned, struct statx *))dlsym(RTLD_NEXT, "statx"))(
        folder, path, flags, mask, result);
}
"#;

/// The library, compiled, in a folder that must be kept.
fn library() -> (tempfile::TempDir, PathBuf) {
    let folder = folder();
    let (source, library) = (folder.path().join("silent.c"), folder.path().join("library.so"));
    std::fs::write(&source, LIBRARY).unwrap();
    let output = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).output();
    let output = output.expect("cc is missing: run scripts/setup");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (folder, library)
}

/// A gateway with the library; files answer once `gate` is removed.
fn with_library(setup: Setup, library: &Path) -> Setup {
    let gate = setup.folder().join("gate");
    setup.file("gate", "").with("SILENT", gate.display()).with("LD_PRELOAD", library.display())
}

#[tokio::test]
async fn feeds_whose_files_do_not_answer_are_off_alone_and_start_when_they_do() {
    let (_kept, library) = library();
    let mut site = TestSite::with(|setup| {
        let setup = setup.file("plugins/good.wasm", hostile()).file("plugins/good.toml", echoing("good", "1"));
        let setup = setup.file("plugins/silent-settings.wasm", hostile());
        let setup = setup.file("mounted/settings", echoing("settings", "1")).file("mounted/component", hostile());
        for (link, target) in [("silent-settings.toml", "settings"), ("silent-component.wasm", "component")] {
            symlink(setup.folder().join("mounted").join(target), setup.folder().join("plugins").join(link)).unwrap();
        }
        with_library(setup, &library)
    })
    .await;
    let mut echoes = site.echoes("good").await;
    echoes.receive(5).await;
    for name in ["silent-settings", "silent-component"] {
        let off = site.off(name).await["off"].clone();
        assert!(off.as_str().unwrap().contains("the file system does not answer"), "{off}");
    }
    site.write("good.toml", echoing("good", "2"));
    echoes.wait_for(|echo| echo.version == "2").await;
    site.all_readings().await;
    std::fs::remove_file(site.gateway.path("gate")).unwrap();
    for name in ["silent-settings", "silent-component"] {
        site.feed(name, |feed| feed["connected"] == json!(true)).await;
    }
    site.all_readings().await;
}

#[tokio::test]
async fn a_password_file_that_does_not_answer_delays_its_own_feed_alone() {
    let (_kept, library) = library();
    let mut site = TestSite::with(|setup| with_library(setup, &library)).await;
    site.reading().await;
    std::fs::remove_file(site.gateway.path("gate")).unwrap();
    let url = format!("url = \"mqtt://127.0.0.1:{}\"", site.broker.port);
    site.write("silent-password", "s");
    site.write("acme.wasm", hostile());
    let broker = format!("[broker]\n{url}\nusername = \"u\"\npassword = {{ file = \"silent-password\" }}\n");
    site.write("acme.toml", format!("{broker}{}", echoing("acme", "1")));
    let mut echoes = site.echoes("acme").await;
    echoes.receive(5).await;
    std::fs::write(site.gateway.path("gate"), "").unwrap();
    site.broker.kill();
    site.broker.restart();
    let unread = "failed to read certificates or password: the file system does not answer";
    site.gateway.wait_for_log(unread).await;
    site.all_readings().await;
    std::fs::remove_file(site.gateway.path("gate")).unwrap();
    echoes.receive_after_kill(5).await;
    site.all_readings().await;
}
