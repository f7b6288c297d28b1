//! Output that nobody reads any more, and output that cannot be written.

use std::fs::File;
use std::process::{Command, Stdio};

use bessai_simulator::registers::Registers;
use bessai_simulator::server::Server;
use bessai_simulator::sunspec::{SunSpecModel, lay_out};

use super::{command, run, text};
use crate::support::broker::Broker;
use crate::support::device::Device;
use crate::support::gateway::{Setup, program, signal};
use crate::support::subscriber::Subscriber;
use crate::support::{component, root, within};

/// A site whose settings are in bessai.toml, so that a command needs no environment.
fn site(device_port: u16, broker_port: u16) -> Setup {
    let settings = format!(
        "site = \"S\"\n[broker]\nurl = \"mqtt://127.0.0.1:{broker_port}\"\n[[device]]\n\
         address = \"tcp://127.0.0.1:{device_port}\"\nperiod = \"100ms\"\n"
    );
    Setup::new().file("bessai.toml", settings)
}

/// The writing end of a pipe that nobody reads.
fn closed_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

async fn ends_quietly(setup: &Setup, arguments: &[&str]) {
    let mut command = command(setup, arguments);
    command.stdout(closed_pipe());
    let output = run(command).await;
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""), "{arguments:?}");
}

#[tokio::test]
async fn commands_end_quietly_if_nobody_reads_their_output() {
    let setup = site(502, 1883);
    for arguments in [
        &["check"][..],
        &["--help"],
        &["--version"],
        &["help", "device"],
        &["device", "read", "--help"],
        &["completions", "bash"],
        &["completions", "zsh"],
        &["completions", "fish"],
        &["man"],
        &["man", "--out", "man1"],
        &["plugin", "new", "acme"],
    ] {
        ends_quietly(&setup, arguments).await;
    }
    assert!(setup.folder().join("man1/bessai-edge.1").is_file());
    assert!(setup.folder().join("acme/Cargo.toml").is_file());
}

#[tokio::test]
async fn the_demo_ends_quietly_if_nobody_reads_its_output() {
    ends_quietly(&Setup::new(), &["demo", "--for", "60s"]).await;
    let pipeline = "set -o pipefail; \"$0\" demo --for 60s | head -n 6";
    let mut bash = Command::new("bash");
    bash.args(["-c", pipeline]).arg(program()).env_clear().env("PATH", "/usr/bin:/bin");
    let output = run(bash).await;
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
    assert_eq!(text(&output.stdout).lines().count(), 6);
}

#[tokio::test]
async fn plugin_commands_end_quietly_if_nobody_reads_their_output() {
    let setup = Setup::new().file("acme.toml", "[config]\ntopic = \"acme\"\n");
    let (wasm, cases) = (component("example-rust"), root().join("plugins/example-rust/cases"));
    let events = cases.join("power-changes/events.jsonl");
    let (wasm, cases, events) = (wasm.to_str().unwrap(), cases.to_str().unwrap(), events.to_str().unwrap());
    for arguments in [
        &["plugin", "inspect", wasm][..],
        &["plugin", "test", wasm, cases],
        &["plugin", "replay", wasm, "--events", events, "--settings", "acme.toml"],
        &["plugin", "bench", wasm, "--settings", "acme.toml"],
    ] {
        ends_quietly(&setup, arguments).await;
    }
}

#[tokio::test]
async fn device_commands_end_quietly_if_nobody_reads_their_output() {
    let (setup, inverter, registers) = (Setup::new(), Device::huawei(), Registers::new());
    lay_out(&registers, 1, 40_000, &[SunSpecModel::common("Acme", "Hybrid", "SN-7")]);
    let sunspec = Server::start(([127, 0, 0, 1], 0).into(), registers).unwrap();
    let address = format!("tcp://127.0.0.1:{}", inverter.port());
    let profile = ["--address", &address, "--profile", "huawei-sun2000"];
    for arguments in [
        &["read"][..],
        &["read", "--json"],
        &["read", "soc_pct", "--watch", "20ms"],
        &["write", "luna_charge_target_soc", "90"],
        &["scan", "--units", "1-2"],
    ] {
        ends_quietly(&setup, &[&["device"], arguments, &profile].concat()).await;
    }
    ends_quietly(&setup, &["device", "read", "--raw", "0+300", "--address", &address]).await;
    let address = format!("tcp://{}", sunspec.address());
    ends_quietly(&setup, &["device", "scan", "--address", &address, "--points"]).await;
}

#[tokio::test]
async fn a_gateway_runs_on_if_nobody_reads_its_log() {
    let (device, broker) = (Device::huawei(), Broker::start());
    let mut subscriber = Subscriber::with(broker.port, "S/telemetry", None).await;
    let setup = site(device.port(), broker.port);
    let mut child = command(&setup, &["run"]).stdout(closed_pipe()).stderr(closed_pipe()).spawn().unwrap();
    for _ in 0..5 {
        subscriber.next("/telemetry").await;
    }
    // Stopping logs several lines, too.
    signal(&child, libc::SIGTERM);
    let ended = tokio::task::spawn_blocking(move || child.wait().unwrap());
    assert_eq!(within("the gateway to stop", ended).await.unwrap().code(), Some(0));

    for arguments in [&["ls"][..], &["ls", "--json"], &["feeds"], &["feeds", "--json"]] {
        ends_quietly(&setup, &[&["journal"], arguments].concat()).await;
    }
    // The number of events goes to standard error, but only after the events.
    ends_quietly(&setup, &["journal", "export"]).await;
}

#[tokio::test]
async fn health_ends_quietly_if_nobody_reads_it() {
    let gateway = Setup::new().device(502).broker("mqtt://127.0.0.1:1").run();
    gateway.wait_for_log("/health on ").await;
    let log = gateway.log();
    let port = log.split("/health on 127.0.0.1:").nth(1).unwrap().lines().next().unwrap().trim().to_owned();
    let setup = Setup::new();
    let mut health = command(&setup, &["health"]);
    health.env("HEALTH_PORT", port).stdout(closed_pipe());
    let output = run(health).await;
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
}

#[test]
fn head_takes_the_lines_it_wants() {
    let setup = site(502, 1883);
    let pipeline = "set -o pipefail; \"$0\" check | head -n 1";
    let mut bash = Command::new("bash");
    bash.args(["-c", pipeline]).arg(program()).env_clear().current_dir(setup.folder()).env("PATH", "/usr/bin:/bin");
    let output = bash.output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
    assert_eq!(text(&output.stdout), "site S\n");
}

#[test]
fn output_that_cannot_be_written_fails_with_the_reason() {
    let setup = site(502, 1883);
    for arguments in [&["check"][..], &["man"], &["completions", "zsh"], &["--help"]] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = command(&setup, arguments).stdout(full).output().unwrap();
        let expected = "failed to write to standard output: No space left on device (os error 28)\n";
        assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(1), expected), "{arguments:?}");
    }
}

#[tokio::test]
async fn an_export_that_cannot_be_written_fails_with_the_reason() {
    let (device, broker) = (Device::huawei(), Broker::start());
    let mut subscriber = Subscriber::start(broker.port).await;
    let gateway = Setup::new().device(device.port()).broker(broker.url()).run();
    subscriber.next("/telemetry").await;
    let (_, setup) = gateway.stop_and_keep_setup().await;
    let output = setup.output(&["journal", "export", "--out", "/dev/full"]);
    let expected = "failed to write to /dev/full: No space left on device (os error 28)\n";
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(1), expected));
}

#[test]
fn a_usage_error_has_its_exit_code_if_nobody_reads_it() {
    let status = command(&Setup::new(), &["fly"]).stderr(closed_pipe()).status().unwrap();
    assert_eq!(status.code(), Some(64));
}
