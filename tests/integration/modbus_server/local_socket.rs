//! `device read`, `scan` and `write` beside a running gateway, on its connection.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Output;

use bessai_simulator::registers::Table;
use bessai_simulator::server::{Fault, FaultRule, Server};

use super::{inverter, polled, setup};
use crate::support::gateway::{Gateway, Setup};

const SHARED: &str = "using the running gateway's connection to";

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

async fn running(device: &Server) -> Gateway {
    let gateway = setup(device, "").run();
    polled(&gateway).await;
    gateway
}

#[tokio::test]
async fn commands_use_the_connection_of_the_running_gateway() {
    let device = inverter();
    let gateway = running(&device).await;
    let socket = std::fs::metadata(gateway.path("control.sock")).unwrap();
    assert!(socket.file_type().is_socket());
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);

    let (printed, errors) = texts(&gateway.output_beside(&["device", "read", "soc"]).await);
    assert!(printed.contains("soc_pct  1 %") && errors.contains(SHARED), "{printed}{errors}");
    // By another name of the host, without its profile.
    let address = format!("tcp://localhost:{}", device.address().port());
    let (printed, errors) =
        texts(&gateway.output_beside(&["device", "read", "--address", &address, "--raw", "100+2"]).await);
    assert!(printed.contains("100") && errors.contains(SHARED), "{printed}{errors}");
    let (printed, errors) = texts(&gateway.output_beside(&["device", "write", "soc", "44.5"]).await);
    assert!(printed.contains("soc set to 44.5 %") && errors.contains(SHARED), "{printed}{errors}");
    assert_eq!(device.registers().get(1, Table::Holding, 10, 1).unwrap(), [445]);
    let (printed, errors) = texts(&gateway.output_beside(&["device", "scan", "--units", "1-2"]).await);
    assert!(printed.contains("unit 1 answers") && errors.contains(SHARED), "{printed}{errors}");
    let refused = gateway.output_beside(&["device", "write", "soc", "5"]).await;
    assert!(!refused.status.success() && texts(&refused).1.contains("its profile allows 10 to 100"), "{refused:?}");
    assert_eq!(device.accepted(), 1, "the device serves one client");
    assert_eq!(gateway.health().await["devices"]["box"]["online"], serde_json::json!(true));

    // Another device is connected to directly.
    let other = inverter();
    let address = format!("tcp://{}", other.address());
    let (printed, errors) =
        texts(&gateway.output_beside(&["device", "read", "--address", &address, "--raw", "7"]).await);
    assert!(printed.contains('7') && !errors.contains(SHARED), "{printed}{errors}");
    // Without a gateway, so is this one.
    let (_, setup) = gateway.stop_and_keep_setup().await;
    assert!(!setup.folder().join("control.sock").exists(), "removed at the stop");
    let (printed, errors) = texts(&setup.output_beside(&["device", "read", "soc"]).await);
    assert!(printed.contains("soc_pct  44.5 %") && !errors.contains(SHARED), "{printed}{errors}");
}

#[tokio::test]
async fn writes_beside_a_gateway_are_events_without_control_too() {
    let device = inverter();
    let gateway = running(&device).await;
    let (printed, errors) = texts(&gateway.output_beside(&["device", "write", "soc", "44.5"]).await);
    assert!(printed.contains("soc set to 44.5 %") && errors.contains(SHARED), "{printed}{errors}");
    let (printed, errors) = texts(&gateway.output_beside(&["device", "write", "mode", "3", "--yes"]).await);
    assert!(printed.contains("mode set to 3") && errors.contains(SHARED), "{printed}{errors}");
    let export = ["journal", "export", "--last", "1h", "--out", "events.jsonl"];
    let output = gateway.output_beside(&export).await;
    assert!(output.status.success(), "{output:?}");
    let exported = std::fs::read_to_string(gateway.path("events.jsonl")).unwrap();
    let events = exported.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let shown = |event: serde_json::Value| {
        let write = event.get("write")?;
        let text = |key: &str| write[key].as_str().map_or_else(|| write[key].to_string(), str::to_owned);
        Some(format!(
            "{} {} {} {} {}",
            text("proposer"),
            text("device"),
            text("channel"),
            text("value"),
            text("outcome")
        ))
    };
    let written: Vec<_> = events.filter_map(shown).collect();
    let expected = [
        "device-write box soc 44.5 null",
        "device-write box soc 44.5 acknowledged",
        "device-write box mode 3.0 null",
        "device-write box mode 3.0 acknowledged",
    ];
    assert_eq!(written, expected);
}

#[tokio::test]
async fn commands_beside_a_gateway_end_as_without_one() {
    let device = inverter();
    let gateway = running(&device).await;
    // The device takes the value, but its confirmation is lost.
    device.set_fault_rules([FaultRule::new(Fault::Late).function(6)]);
    let command = ["device", "write", "--timeout", "300ms", "soc", "44.5"];
    let written = gateway.output_beside(&command).await;
    let (printed, errors) = texts(&written);
    assert!(written.status.success() && errors.contains(SHARED), "{printed}{errors}");
    assert_eq!(printed, "soc set to 44.5 %, read back as 44.5 %\n");
    // Its own exception, which a gateway for another bus sends too.
    device.set_fault_rules([FaultRule::new(Fault::Exception(11)).registers(10, 10)]);
    let refused = gateway.output_beside(&["device", "write", "soc", "50"]).await;
    let expected = "the device refuses to set soc to 50 %: Gateway target device failed to respond (exception 11)";
    assert!(!refused.status.success() && texts(&refused).1.contains(expected), "{refused:?}");
    // Silence.
    device
        .set_fault_rules([FaultRule::new(Fault::Silence).registers(100, 110), FaultRule::new(Fault::Silence).unit(3)]);
    let silent = gateway.output_beside(&["device", "read", "--timeout", "300ms", "--raw", "100+2"]).await;
    let (printed, errors) = texts(&silent);
    assert!(
        !silent.status.success() && !errors.contains("refuses") && !errors.contains("exception"),
        "{printed}{errors}"
    );
    let (printed, errors) = texts(&gateway.output_beside(&["device", "scan", "--units", "3"]).await);
    assert!(errors.contains("no unit from 3 to 3 answers") && !errors.contains("exist:"), "{printed}{errors}");
    // A closed port.
    drop(device);
    gateway.wait_for_log("cannot be read").await;
    for command in
        [&["device", "read", "soc"][..], &["device", "write", "soc", "50"], &["device", "scan", "--units", "1-3"]]
    {
        let failed = gateway.output_beside(command).await;
        let (printed, errors) = texts(&failed);
        assert!(!failed.status.success() && errors.contains(SHARED), "{command:?}: {printed}{errors}");
        assert!(!errors.contains("refuses") && !errors.contains("exist"), "{command:?}: {printed}{errors}");
    }
}

#[tokio::test]
async fn an_error_beside_a_gateway_reads_as_without_one() {
    let device = inverter();
    let faults = [Fault::Silence, Fault::Exception(2), Fault::Exception(6), Fault::WrongUnit, Fault::WrongFunction];
    let commands = [
        &["device", "read", "--timeout", "300ms", "--raw", "100+2"][..],
        &["device", "write", "--timeout", "300ms", "--settle", "1s", "soc", "60"],
    ];
    let mut setup = setup(&device, "");
    for fault in faults {
        let gateway = setup.run();
        polled(&gateway).await;
        // A write is read back whatever replies to it; only these fail it.
        let of_write = if matches!(fault, Fault::Exception(_)) { fault } else { Fault::Silence };
        let rules = || [FaultRule::new(of_write).function(6), FaultRule::new(fault).registers(100, 101)];
        let mut beside = Vec::new();
        for command in commands {
            device.set_fault_rules(rules());
            let (printed, errors) = texts(&gateway.output_beside(command).await);
            assert!(printed.is_empty() && errors.contains(SHARED), "{fault:?}: {printed}{errors}");
            beside.push(errors.lines().filter(|line| !line.contains(SHARED)).collect::<Vec<_>>().join("\n"));
        }
        device.set_fault(None);
        (_, setup) = gateway.stop_and_keep_setup().await;
        for (command, beside) in commands.into_iter().zip(beside) {
            device.set_fault_rules(rules());
            let (_, errors) = texts(&setup.output_beside(command).await);
            assert_eq!(beside, errors.trim_end(), "{fault:?}: {command:?}");
            assert!(!beside.is_empty(), "{fault:?}: {command:?}");
        }
        device.set_fault(None);
    }
}

#[tokio::test]
async fn a_socket_that_a_killed_gateway_left_is_replaced() {
    let device = inverter();
    let setup = setup(&device, "");
    drop(UnixListener::bind(setup.folder().join("control.sock")).unwrap());
    let (printed, errors) = texts(&setup.output_beside(&["device", "read", "soc"]).await);
    assert!(printed.contains("soc_pct  1 %") && errors.is_empty(), "{printed}{errors}");
    let gateway = setup.run();
    polled(&gateway).await;
    let (_, errors) = texts(&gateway.output_beside(&["device", "read", "soc"]).await);
    assert!(errors.contains(SHARED), "{errors}{}", gateway.log());
}

#[tokio::test]
async fn a_file_with_the_name_of_the_socket_is_left_alone() {
    let device = inverter();
    let gateway = setup(&device, "").file("control.sock", "mine").run();
    gateway.wait_for_log("another file has this name; remove it").await;
    polled(&gateway).await;
    assert_eq!(std::fs::read_to_string(gateway.path("control.sock")).unwrap(), "mine");
}

#[tokio::test]
async fn the_data_folder_is_created_for_the_socket() {
    let device = inverter();
    let setup = setup(&device, "[journal]\ndir = \"events\"\n").with("BESSAI_DATA", "data/of/site");
    let gateway = setup.run();
    polled(&gateway).await;
    let (_, errors) = texts(&gateway.output_beside(&["device", "read", "soc"]).await);
    assert!(errors.contains(SHARED), "{errors}{}", gateway.log());
}

/// A program that replies to one line on the socket.
fn impostor(setup: &Setup, reply: &'static str) {
    let listener = UnixListener::bind(setup.folder().join("control.sock")).unwrap();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        BufReader::new(&stream).read_line(&mut String::new()).unwrap();
        (&stream).write_all(reply.as_bytes()).unwrap();
    });
}

#[tokio::test]
async fn a_gateway_that_cannot_be_asked_is_named_and_the_device_connected_to() {
    let device = inverter();
    for (reply, expected) in [
        (
            "{\"version\":9,\"error\":{\"code\":\"version\",\"message\":\"the running gateway speaks version 9\"}}\n",
            "the running gateway speaks version 9; connecting to the device itself",
        ),
        ("220 mail.example\n", "the reply is not that of a gateway's local socket; connecting to the device itself"),
        ("", "the gateway closed the connection"),
    ] {
        let setup = setup(&device, "");
        impostor(&setup, reply);
        let (printed, errors) = texts(&setup.output_beside(&["device", "read", "soc"]).await);
        assert!(printed.contains("soc_pct  1 %") && errors.contains(expected), "{printed}{errors}");
    }
}

#[tokio::test]
async fn the_socket_answers_requests_of_any_length_and_version() {
    let device = inverter();
    let gateway = running(&device).await;
    let ask = |line: &str| {
        let mut stream = UnixStream::connect(gateway.path("control.sock")).unwrap();
        stream.write_all(line.as_bytes()).unwrap();
        let mut reply = String::new();
        BufReader::new(stream).read_line(&mut reply).unwrap_or_default();
        reply
    };
    assert!(ask("{\"version\":9,\"request\":\"has-connection\"}\n").contains("speaks version 2"));
    assert!(ask("{\"version\":2,\"request\":\"dance\"}\n").contains("unknown-request"));
    assert!(ask("hello\n").contains("invalid"));
    assert_eq!(ask(&"x".repeat(100_000)), "", "an endless line ends the connection");
    let other =
        "{\"version\":2,\"request\":\"open\",\"device\":{\"host\":\"127.0.0.1\",\"port\":9},\"timeout_ms\":100}\n";
    assert!(ask(other).contains("has no connection to this device"));
    assert!(texts(&gateway.output_beside(&["device", "read", "soc"]).await).1.contains(SHARED));
}
