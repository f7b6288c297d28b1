//! Shell samples, run in the order of each page by one shell that keeps its folder, beside a simulated plant.
//!
//! The program and everything it does are real. What a test must not do, or cannot, is replaced by a function of the same
//! name: see [`NOT_RUN`] and `session/shell.sh`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use bessai_simulator::registers::{Registers, Table};
use bessai_simulator::server::Server;
use bessai_simulator::sunspec::{SunSpecModel, lay_out};

use crate::docs::page::{Block, page, pages};
use crate::support::broker::Broker;
use crate::support::device::Device;
use crate::support::gateway::{Gateway, Setup, program};
use crate::support::{folder, free_port, root};

/// Commands that are not run, and why; their arguments are looked at where that says something.
const NOT_RUN: [(&str, &str); 7] = [
    ("az", "needs an account"),
    ("cargo", "compiles for minutes what only developers need"),
    ("docker", "needs an engine, and an image that takes minutes to build"),
    ("journalctl", "needs systemd"),
    ("mosquitto_sub", "listens for ever"),
    ("sudo", "changes the machine"),
    ("systemctl", "needs systemd"),
];
/// Time that one block may take: the longest compiles a plugin.
const BLOCK_LIMIT_S: u32 = 300;
/// What every block runs in: functions in place of commands, and the folder that the last block ended in.
const SHELL: &str = include_str!("session/shell.sh");
/// The program as samples call it: with the test's devices, broker and data.
const PROGRAM: &str = include_str!("session/bessai-edge.sh");
/// `npm` and `python3` as build scripts call them: they find installed what scripts/build-examples has downloaded.
const TOOLS: [(&str, &str); 2] =
    [("npm", include_str!("session/npm.sh")), ("python3", include_str!("session/python3.sh"))];
/// A script of the checkout, as samples call it.
const SCRIPT: &str = include_str!("session/script.sh");
/// A test for the plugin that signs in by itself.
const SIGNS_IN: &str = r#"#[cfg(test)]
mod tests {
    use super::*;
    use bessai_plugin::testing::{Harness, secret, site};

    #[test]
    fn it_signs_in_with_a_token() {
        let mut harness = Harness::<Acme>::new(site("S"), "{}").unwrap();
        // An hour after the time of the harness's first event.
        secret("device-key", b"S\n1740154800", &[0xab]);
        let login = harness.connect(0).unwrap();
        assert_eq!(login.client_id.as_deref(), Some("S"));
        assert!(matches!(login.password, Some(Password::Text(text)) if text == "1740154800.ab"));
        assert_eq!(harness.connected().unwrap()[0].payload, b"online");
        assert_eq!(harness.closing()[0].payload, b"offline");
    }
}
"#;

/// The same for the one that receives messages.
const RECEIVES: &str = r#"#[cfg(test)]
mod tests {
    use super::*;
    use bessai_plugin::Action;
    use bessai_plugin::testing::{Harness, site};

    #[test]
    fn it_answers_what_is_not_old() {
        let mut harness = Harness::<Acme>::new(site("S"), "{}").unwrap();
        assert_eq!(harness.subscriptions(), [Subscription::new("acme/S/cmd/#")]);
        let answer = Action::Publish(Message::new("acme/S/answer", "on"));
        assert_eq!(harness.receive("acme/S/cmd/a", "on"), Ok(vec![answer]));
        assert!(harness.historical(true).receive("acme/S/cmd/a", "on").is_err());
    }
}
"#;

/// What the samples of one page meet, in a folder of their own.
struct Session {
    folder: tempfile::TempDir,
    gateway: Gateway,
    variables: Vec<(&'static str, String)>,
    _devices: (Device, Vec<Server>),
    _broker: Broker,
}

/// A device whose every holding register can be read and written.
fn plain_device() -> Server {
    let registers = Registers::new();
    registers.fill(1, Table::Holding, 0..=u16::MAX, 0);
    Server::start(([127, 0, 0, 1], 0).into(), registers).unwrap()
}

fn sunspec_device() -> Server {
    let registers = Registers::new();
    let inverter = SunSpecModel { id: 103, words: vec![0x8000; 50] };
    lay_out(&registers, 1, 40_000, &[SunSpecModel::common("Acme", "Hybrid", "SN-7"), inverter]);
    Server::start(([127, 0, 0, 1], 0).into(), registers).unwrap()
}

impl Session {
    async fn start() -> Self {
        let (battery, broker) = (Device::huawei(), Broker::start());
        let (sunspec, plain) = (sunspec_device(), plain_device());
        let health_port = free_port();
        let setup = Setup::new().device(battery.port()).broker(broker.url()).with("HEALTH_PORT", health_port);
        let gateway = setup.run();
        // A journal with a delivered event, for the commands that look into it.
        gateway
            .wait_for_health("a delivered message", |health| health["feeds"]["default"]["delivered"].as_u64() > Some(0))
            .await;
        let folder = folder();
        make_checkout(folder.path());
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        let test = std::env::current_exe().unwrap();
        let variables = vec![
            ("DOCS_PROGRAM", text(program())),
            ("DOCS_ROOT", text(root())),
            ("DOCS_BATTERY", format!("127.0.0.1:{}", battery.port())),
            ("DOCS_SUNSPEC", sunspec.address().to_string()),
            ("DOCS_PLAIN", plain.address().to_string()),
            ("DOCS_BATTERY_PORT", battery.port().to_string()),
            ("DOCS_BROKER", broker.url()),
            ("DOCS_DATA", text(gateway.path(""))),
            ("DOCS_HEALTH_PORT", health_port.to_string()),
            ("DOCS_CACHE", text(test.parent().unwrap().join("test-cache"))),
            ("DOCS_NOT_RUN", NOT_RUN.map(|(name, _)| name).join(" ")),
            ("DOCS_STATE", text(folder.path().join("state"))),
            ("DOCS_CHECKOUT", text(folder.path().join("checkout"))),
        ];
        Self { folder, gateway, variables, _devices: (battery, vec![sunspec, plain]), _broker: broker }
    }

    /// Runs lines of a shell where the last ones ended, or at the root of the checkout.
    async fn run(&self, lines: &str, at_root: bool) -> Output {
        let lines = lines.replace("/run/secrets/", &format!("{}/secrets/", self.folder.path().display()));
        let begin = if at_root { "cd \"$DOCS_CHECKOUT\"" } else { ":" };
        let script = format!("{SHELL}\n{begin}\n{lines}\npwd >\"$DOCS_STATE\"\n");
        let mut command = Command::new("timeout");
        command.arg(BLOCK_LIMIT_S.to_string()).args(["bash", "-euo", "pipefail", "-c", &script]);
        command.current_dir(self.folder.path()).envs(self.variables.iter().map(|(name, value)| (name, value)));
        let path = format!("{}:{}", self.folder.path().join("bin").display(), std::env::var("PATH").unwrap());
        command
            .env("PATH", path)
            .env_remove("CARGO_TARGET_DIR")
            .env("CARGO_NET_OFFLINE", "true")
            .env("PIP_NO_INDEX", "1");
        // In a thread of its own, as the devices answer on the runtime of the test.
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    fn is_new(&self) -> bool {
        !self.folder.path().join("state").exists()
    }

    /// The folder that the next block begins in.
    fn current(&self) -> PathBuf {
        let state = std::fs::read_to_string(self.folder.path().join("state")).unwrap_or_default();
        if state.is_empty() { self.folder.path().join("checkout") } else { state.trim().into() }
    }

    fn write(&self, file: &str, content: &str) {
        let path = self.current().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
}

fn write_program(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// A checkout that samples may write into: what is only read is linked.
fn make_checkout(folder: &Path) {
    let checkout = folder.join("checkout");
    let link = |from: PathBuf, to: PathBuf| {
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(from, to).unwrap();
    };
    for name in ["wit", "models", "docs", "Dockerfile"] {
        link(root().join(name), checkout.join(name));
    }
    for entry in std::fs::read_dir(root().join("plugins")).unwrap() {
        let path = entry.unwrap().path();
        link(path.clone(), checkout.join("plugins").join(path.file_name().unwrap()));
    }
    for entry in std::fs::read_dir(root().join("scripts")).unwrap() {
        write_program(&checkout.join("scripts").join(entry.unwrap().file_name()), SCRIPT);
    }
    link(root().join("dist/plugins"), checkout.join("dist/plugins"));
    write_program(&checkout.join("dist/bessai-edge"), PROGRAM);
    write_program(&folder.join("bin/bessai-edge"), PROGRAM);
    TOOLS.iter().for_each(|(name, text)| write_program(&folder.join("bin").join(name), text));
    std::fs::create_dir_all(folder.join("secrets")).unwrap();
}

/// Files that samples describe, for the samples of commands that use them.
fn file_of(block: &Block) -> Option<&str> {
    let (language, name) = block.info.split_once(' ')?;
    match language {
        "js" | "python" | "rust" => Some(name).filter(|name| !name.contains(' ')),
        "toml" => Some(name).filter(|name| name.starts_with("profiles/") || name.starts_with("plugins/")),
        _ => None,
    }
}

async fn follow(name: &str) {
    let session = Session::start().await;
    let mut printed = String::new();
    for block in page(name).blocks {
        let at = format!("{name}:{}", block.line);
        match block.info.as_str() {
            "sh" | "sh checkout" => {
                let output = session.run(&block.body, block.info == "sh checkout" || session.is_new()).await;
                printed = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned();
                assert!(output.status.success(), "{at}: {}\n{printed}\n{}", output.status, session.gateway.log());
            }
            "text output" => check_output(&at, &block.body, &printed),
            _ => {
                let Some(file) = file_of(&block) else { continue };
                session.write(file, &block.body);
                if file == "src/lib.rs" {
                    let (test, interfaces) = match block.body.contains("impl Commands") {
                        true => (RECEIVES, "transform, commands"),
                        false => (SIGNS_IN, "transform, session"),
                    };
                    session.write(file, &format!("{}\n{test}", block.body));
                    let build = "cargo test --quiet && ./build.sh && bessai-edge plugin inspect acme.wasm";
                    let output = session.run(&format!("unset -f cargo\n{build}"), false).await;
                    let shown =
                        String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned();
                    assert!(output.status.success() && shown.contains(interfaces), "{at}: {shown}");
                }
            }
        }
    }
}

/// Every documented line was printed, apart from numbers and units of time.
fn check_output(at: &str, expected: &str, printed: &str) {
    let printed: Vec<_> = printed.lines().map(normalized).collect();
    for line in expected.lines().filter(|line| !line.trim().is_empty()) {
        assert!(printed.contains(&normalized(line)), "{at}: nothing printed {line:?}:\n{}", printed.join("\n"));
    }
}

fn normalized(line: &str) -> String {
    let mut text = String::new();
    for character in line.chars() {
        let is_of_number = character.is_ascii_digit() || (text.ends_with('#') && matches!(character, '.' | ',' | ':'));
        match character {
            _ if is_of_number && text.ends_with('#') => {}
            _ if is_of_number => text.push('#'),
            // A sign, unless it joins two words.
            '-' if text.is_empty() || text.ends_with([' ', ':', '[', ',']) => {}
            _ => text.push(character),
        }
    }
    let words = text.split_whitespace().map(|word| {
        let unit = word.trim_end_matches([':', ',', ';', '.']);
        let after = &word[unit.len()..];
        match unit {
            "ns" | "µs" | "ms" | "s" => format!("time{after}"),
            "#ns" | "#µs" | "#ms" | "#s" => format!("# time{after}"),
            _ => word.to_owned(),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// The component of the plugin that `plugin new` writes; built once.
pub fn built_plugin() -> Vec<u8> {
    static BUILT: OnceLock<Vec<u8>> = OnceLock::new();
    let build = || {
        let setup = Setup::new();
        assert!(setup.output(&["plugin", "new", "acme"]).status.success());
        let project = setup.folder().join("acme");
        let mut build = Command::new("./build.sh");
        build.current_dir(&project).env("CARGO_NET_OFFLINE", "true").env_remove("CARGO_TARGET_DIR");
        let output = build.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::read(project.join("acme.wasm")).unwrap()
    };
    BUILT.get_or_init(build).clone()
}

#[tokio::test]
async fn samples_of_the_plugins_page_run() {
    follow("docs/write-a-plugin.md").await;
}

#[tokio::test]
async fn samples_of_the_readme_run() {
    follow("README.md").await;
}

#[tokio::test]
async fn samples_of_the_other_pages_run() {
    for page in pages() {
        let has_samples = page.blocks.iter().any(|block| matches!(block.info.as_str(), "sh" | "sh checkout"));
        let is_elsewhere = ["docs/write-a-plugin.md", "README.md"].contains(&page.name.as_str());
        // A translation has the same samples.
        let is_translation = page.name == "README.es.md" || page.name.starts_with("docs/es/");
        if has_samples && !is_elsewhere && !is_translation {
            follow(&page.name).await;
        }
    }
}

#[test]
fn lines_are_compared_apart_from_numbers() {
    let alike = |one: &str, other: &str| assert_eq!(normalized(one), normalized(other));
    alike("ok   first   6 events   fuel 58,316", "ok first 6 events fuel 1");
    alike("S/telemetry  20:26:55   power -3.751 kW", "S/telemetry 01:02:03 power 0 kW");
    alike("in 940.52 µs: loaded", "in 1.2 ms: loaded");
    assert_ne!(normalized("6 events"), normalized("6 messages"));
}
