//! The gateway within the limits of a container or a service: memory, a share of a processor, address space. Its own work goes
//! on, and what does not fit is refused in words.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use crate::support::broker::Broker;
use crate::support::cgroup::Cgroup;
use crate::support::device::Device;
use crate::support::gateway::{Gateway, Setup, program};
use crate::support::guests::{component_from_text, contract, hostile, transformer_text};
use crate::support::site::TestSite;
use crate::support::within;

/// 64 MiB, what a small container gets.
const SMALL: u64 = 64 << 20;
/// The command of the child that compiles.
const COMPILER: &str = "compile-component";

/// The hostile plugin with so many bytes more, which a compiler reads and copies.
fn padded(bytes: u32) -> Vec<u8> {
    let mut wasm = hostile();
    // A custom section without a name: its id, its length in LEB128, the length of its name.
    let length = bytes + 1;
    wasm.push(0);
    wasm.extend([0, 7, 14, 21].map(|shift| u8::try_from(length >> shift & 0x7f).unwrap() | 0x80));
    wasm.extend([u8::try_from(length >> 28).unwrap(), 0]);
    wasm.resize(wasm.len() + usize::try_from(bytes).unwrap(), 0);
    wasm
}

/// A component of the world `transformer`, from the text of its core module.
fn transformer(text: &str) -> Vec<u8> {
    let resolve = contract("0.2.0", |text| text);
    let (_, package) = resolve.package_names.iter().find(|(name, _)| name.name == "edge").unwrap();
    let world = resolve.select_world(&[*package], Some("transformer")).unwrap();
    component_from_text(&resolve, world, text)
}

/// A plugin whose memory has 700 pages, 44 MiB, from the beginning.
fn large_at_start() -> Vec<u8> {
    let small = "(memory (export \"memory\") 1)";
    let text = transformer_text("", "", "");
    assert!(text.contains(small));
    transformer(&text.replace(small, "(memory (export \"memory\") 700)"))
}

/// A plugin with so many functions that compiling it takes seconds, also on a fast machine.
fn slow_to_compile() -> Vec<u8> {
    let step = "(local.set 0 (i32.add (i32.mul (local.get 0) (local.get 0)) (i32.load (local.get 0))))";
    let function = format!("(func (param i32) (result i32) {} (local.get 0))", step.repeat(20));
    transformer(&transformer_text("", &function.repeat(20_000), ""))
}

/// The setting of a cache folder that nothing was compiled into yet.
fn with_own_cache(setup: Setup) -> Setup {
    let cache = setup.folder().join("own-cache");
    setup.with("XDG_CACHE_HOME", cache.display())
}

/// The command line of a process, its words separated by spaces.
fn command_line(id: u32) -> String {
    let bytes = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

/// The children of a process.
fn children(id: u32) -> Vec<u32> {
    let threads = std::fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().map(|id| id.parse().unwrap()).collect::<Vec<_>>()).collect()
}

/// Waits until the gateway compiles; returns the compiler's process.
async fn compiler(gateway: &Gateway) -> u32 {
    within("a compiler", async {
        loop {
            let found = children(gateway.pid()).into_iter().find(|id| command_line(*id).contains(COMPILER));
            match found {
                Some(id) => return id,
                None => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_component_that_does_not_fit_the_container_is_refused_and_the_gateway_lives() {
    let Some(cgroup) = Cgroup::create(SMALL, None) else { return };
    let limited =
        |setup: Setup| with_own_cache(setup.file("plugins/acme.wasm", padded(6 << 20))).limited_by(cgroup.enter());
    let mut site = TestSite::with(limited).await;
    site.readings(3).await;
    let off = site.off("acme").await["off"].as_str().unwrap().to_owned();
    assert!(off.contains("MiB of memory to compile, and the container's memory limit of 64 MiB leaves"), "{off}");
    assert!(off.contains("raise the limit to") && off.contains("`bessai-edge check`"), "{off}");
    site.gateway.wait_for_log("; trying again in 10 s").await;
    site.all_readings().await;
    // Once there is room it runs, without a change of its file.
    cgroup.allow(1 << 30);
    site.feed("acme", |feed| feed["off"].is_null() && feed["calls"].as_u64() > Some(0)).await;
    site.all_readings().await;
    assert!(site.gateway.stop().await.success());
}

#[tokio::test]
async fn a_plugin_that_does_not_fit_the_container_waits_and_the_gateway_lives() {
    let Some(cgroup) = Cgroup::create(SMALL, None) else { return };
    let limited = |setup: Setup| {
        let setup = with_own_cache(setup.file("plugins/acme.wasm", large_at_start()));
        setup.limited_by(cgroup.enter())
    };
    let mut site = TestSite::with(limited).await;
    site.gateway.wait_for_log("there is no memory for it: the container's memory limit of 64 MiB leaves").await;
    let feed = site.feed("acme", |feed| feed["starts"].as_u64() >= Some(2)).await;
    assert_eq!((&feed["failures"], &feed["off"]), (&json!(0), &json!(null)), "{feed}");
    site.all_readings().await;
    cgroup.allow(1 << 30);
    site.feed("acme", |feed| feed["calls"].as_u64() > Some(0)).await;
    site.all_readings().await;
    assert!(site.gateway.stop().await.success());
}

#[tokio::test]
async fn a_compiler_that_the_system_kills_is_started_again() {
    // Before the start, because the simulated device does not reply meanwhile.
    let plugin = slow_to_compile();
    let mut site = TestSite::with(with_own_cache).await;
    // The default plugin has been compiled.
    site.readings(3).await;
    site.write("acme.wasm", plugin);
    let compiler = compiler(&site.gateway).await;
    // The compiler sets it as its first step.
    within("a compiler that is killed first", async {
        while std::fs::read_to_string(format!("/proc/{compiler}/oom_score_adj")).unwrap().trim() != "1000" {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    kill(compiler);
    let off = site.off("acme").await["off"].as_str().unwrap().to_owned();
    assert!(off.contains("the system killed the compiler because memory ran out"), "{off}");
    site.feed("acme", |feed| feed["off"].is_null() && feed["calls"].as_u64() > Some(0)).await;
    site.all_readings().await;
}

/// As the kernel does when memory runs out.
#[allow(unsafe_code, reason = "libc::kill has no safe form")]
fn kill(id: u32) {
    // SAFETY: the process is a child of the gateway that this test has started.
    assert_eq!(unsafe { libc::kill(i32::try_from(id).unwrap(), libc::SIGKILL) }, 0);
}

#[tokio::test]
async fn the_default_feed_runs_in_a_small_address_space() {
    for kib in [4 << 20, 2 << 20, 1 << 20] {
        let limited = |setup| with_own_cache(setup).limited_by(format!("ulimit -v {kib}"));
        let mut site = TestSite::with(limited).await;
        site.readings(10).await;
        let feed = site.feed("default", |feed| feed["delivered"].as_u64() >= Some(10)).await;
        assert_eq!((&feed["failures"], &feed["off"]), (&json!(0), &json!(null)), "{kib} KiB: {feed}");
        assert!(site.gateway.stop().await.success());
    }
}

#[tokio::test]
async fn a_machine_that_refuses_memory_is_not_the_plugins_fault() {
    let mut site = TestSite::with(|setup| setup).await;
    site.readings(3).await;
    // From now on there is too little address space for the memory of an instance, but enough for a thread.
    let used = std::fs::read_to_string(format!("/proc/{}/statm", site.gateway.pid())).unwrap();
    let pages: u64 = used.split_whitespace().next().unwrap().parse().unwrap();
    limit_address_space(site.gateway.pid(), Some(pages * 4096 + (256 << 20)));
    site.write("acme.wasm", hostile());
    site.gateway.wait_for_log("the system refuses it memory").await;
    let feed = site.feed("acme", |feed| feed["starts"].as_u64() >= Some(3)).await;
    assert_eq!((&feed["failures"], &feed["off"]), (&json!(0), &json!(null)), "{feed}");
    limit_address_space(site.gateway.pid(), None);
    site.feed("acme", |feed| feed["calls"].as_u64() > Some(0)).await;
    site.all_readings().await;
}

/// Changes the limit of a running process, none for no limit.
fn limit_address_space(id: u32, bytes: Option<u64>) {
    let bytes = bytes.map_or_else(|| "unlimited".to_owned(), |bytes| bytes.to_string());
    let status =
        std::process::Command::new("prlimit").arg(format!("--pid={id}")).arg(format!("--as={bytes}:")).status();
    assert!(status.unwrap().success());
}

#[tokio::test]
async fn a_thread_that_cannot_be_started_is_tried_again() {
    let Some(cgroup) = Cgroup::of_tasks() else { return };
    let mut site = TestSite::with(|setup| setup.limited_by(cgroup.enter())).await;
    site.readings(3).await;
    cgroup.allow_further_tasks(false);
    site.write("acme.wasm", hostile());
    site.gateway.wait_for_log("no thread can be started for it").await;
    cgroup.allow_further_tasks(true);
    site.feed("acme", |feed| feed["off"].is_null() && feed["calls"].as_u64() > Some(0)).await;
    site.all_readings().await;
    assert!(site.gateway.stop().await.success());
}

#[tokio::test]
async fn components_are_compiled_after_the_program_was_replaced() {
    let mut path = PathBuf::new();
    let installed = |setup: Setup| {
        path = setup.folder().join("installed");
        std::fs::copy(program(), &path).unwrap();
        with_own_cache(setup).program(path.clone())
    };
    let mut site = TestSite::with(installed).await;
    site.readings(3).await;
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "the next version, which is not complete yet").unwrap();
    site.write("acme.wasm", hostile());
    let feed = site.feed("acme", |feed| feed["calls"].as_u64() > Some(0) || feed["off"].is_string()).await;
    assert_eq!(feed["off"], json!(null), "{feed}");
    site.all_readings().await;
}

#[tokio::test]
async fn a_small_container_runs_the_default_feed() {
    let Some(cgroup) = Cgroup::create(SMALL, Some(10)) else { return };
    let (device, broker) = (Device::counting(), Broker::start());
    let mut subscriber = crate::support::subscriber::Subscriber::with(broker.port, "SITE-CL-001/telemetry", None).await;
    let setup = with_own_cache(Setup::new().device(device.port()).broker(broker.url())).limited_by(cgroup.enter());
    let gateway = setup.run();
    for _ in 0..20 {
        subscriber.next("/telemetry").await;
    }
    let feed = gateway.health().await["feeds"]["default"].clone();
    assert_eq!((&feed["failures"], &feed["off"]), (&json!(0), &json!(null)), "{feed}");
    assert!(gateway.stop().await.success());
}
