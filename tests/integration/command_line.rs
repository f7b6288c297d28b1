//! The command line itself: help, suggestions, durations, completions, manual pages and output.

use std::process::{Command, Output, Stdio};

use bessai_simulator::server::{Fault, FaultRule};

use crate::support::device::Device;
use crate::support::gateway::{Setup, program};

mod generated;
mod output;

/// The command that the plugin runtime uses and nobody types.
const INTERNAL_COMMAND: &str = "compile-component";

fn command(setup: &Setup, arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.args(arguments).env_clear().current_dir(setup.folder()).stdin(Stdio::null());
    command.env("HEALTH_PORT", "0").env("XDG_CACHE_HOME", setup.folder().join("cache"));
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What a successful command prints.
fn printed(arguments: &[&str]) -> String {
    let output = command(&Setup::new(), arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Runs commands without blocking the test's own devices.
async fn run(command: Command) -> Output {
    let mut command = command;
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// The names of a command's subcommands, from its help.
fn subcommands(command: &[&str]) -> Vec<String> {
    let help = printed(&[command, &["--help"]].concat());
    let section = help.split("Commands:\n").nth(1).unwrap_or_default().split("\n\n").next().unwrap_or_default();
    let lines = section.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names = lines.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help");
    names.map(str::to_owned).collect()
}

/// Every command, groups such as `device` included; the first is the program itself.
fn all_commands() -> Vec<Vec<String>> {
    let mut all = vec![Vec::new()];
    for name in subcommands(&[]) {
        let below = subcommands(&[&name]);
        all.push(vec![name.clone()]);
        all.extend(below.into_iter().map(|below| vec![name.clone(), below]));
    }
    assert!(all.len() > 20, "{all:?}");
    all
}

#[tokio::test]
async fn durations_are_given_in_microseconds() {
    let device = Device::huawei();
    device.server.set_fault_rules([FaultRule::new(Fault::Silence)]);
    let address = format!("tcp://127.0.0.1:{}", device.port());
    for timeout in ["400us", "400µs", "400\u{3bc}s", "0.4ms"] {
        let setup = Setup::new();
        let read = command(&setup, &["device", "read", "--raw", "0", "--address", &address, "--timeout", timeout]);
        let output = run(read).await;
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{timeout}: {error}");
        assert!(error.contains("400µs"), "{timeout}: {error}");
    }
    for period in ["100us", "100µs", "100\u{3bc}s"] {
        let settings = format!("[[device]]\naddress = \"tcp://127.0.0.1\"\nperiod = \"{period}\"\n");
        let output = Setup::new().broker("mqtt://localhost").file("bessai.toml", settings).output(&["check"]);
        assert!(text(&output.stdout).contains(", every 100µs\n"), "{period}: {output:?}");
    }
    let output = Setup::new().output(&["demo", "--for", "soon"]);
    let error = text(&output.stderr);
    assert!(error.contains("write a number with a unit: us, ms, s, m, h or d, such as 20s or 1h"), "{error}");
}

#[test]
fn the_help_of_every_command_has_examples() {
    for command in all_commands() {
        let words: Vec<_> = command.iter().map(String::as_str).collect();
        let name = [&["bessai-edge"], words.as_slice()].concat().join(" ");
        for option in ["--help", "-h"] {
            let help = printed(&[words.as_slice(), &[option]].concat());
            let examples = help.split("Examples:\n").nth(1).unwrap_or_else(|| panic!("{name}: {help}"));
            assert!(
                examples.contains(&format!("{name} ")) || examples.contains(&format!("{name}\n")),
                "{name}: {help}"
            );
        }
    }
}

#[test]
fn similar_words_suggest_completions_and_never_the_internal_command() {
    let suggestion = |word: &str| {
        let output = Setup::new().output(&[word]);
        assert_eq!(output.status.code(), Some(64), "{word}");
        text(&output.stderr).replace(&format!("unrecognized subcommand '{word}'"), "")
    };
    for word in ["comp", "compl", "complet", "completion", "compile", "compile-component-", "compile-componen"] {
        let suggestion = suggestion(word);
        assert!(suggestion.contains("a similar subcommand exists: 'completions'"), "{word}: {suggestion}");
        assert!(!suggestion.contains(INTERNAL_COMMAND), "{word}: {suggestion}");
    }
    assert!(suggestion("jurnal").contains("'journal'"));
}
