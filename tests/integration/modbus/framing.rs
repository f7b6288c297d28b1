//! Devices and buses whose frames are not as the standard has them: read all the same, on one connection.

use std::time::Duration;

use bessai_simulator::registers::{Registers, Table};
use bessai_simulator::server::{Fault, FaultRule, Server, Transport};
use serde_json::Value;

use super::{device, expected, registers, serve, site, values};
use crate::support::broker::Broker;
use crate::support::gateway::{Gateway, Setup};
use crate::support::subscriber::Subscriber;

/// Readings in which a device with a quirk may miss values, until the gateway has learnt it.
const LEARNING: usize = 3;
/// Readings that must be right after that.
const READINGS: usize = 10;

/// A transport with its scheme.
const TRANSPORTS: [(Transport, &str); 2] = [(Transport::Tcp, "tcp"), (Transport::RtuOverTcp, "rtu+tcp")];

/// Starts a gateway with a device that has these faults, waits until its readings are right except for the missing
/// channels, and checks what `/health` counts, that the log says it once, and that one connection was enough.
async fn check(scheme: &str, server: &Server, missing: &[&str], counted: Option<&str>, sentence: &str) -> Gateway {
    let broker = Broker::start();
    let mut subscriber = Subscriber::start(broker.port).await;
    let address = format!("{scheme}://{}", server.address());
    let gateway = site(&broker, &device("box", &address, 7, "")).run();
    for reading in 0..LEARNING + READINGS {
        let telemetry = subscriber.next("SITE-CL-001/telemetry").await.json();
        for (name, value) in expected(7).as_object().unwrap() {
            let got = values(&telemetry).get(name).and_then(Value::as_f64);
            let is_missing = got.is_none() && (reading < LEARNING || missing.contains(&name.as_str()));
            assert!(is_missing || got == value.as_f64(), "{reading}: {name} in {telemetry}: {}", gateway.log());
            assert!(got.is_none() || !missing.contains(&name.as_str()), "{name} in {telemetry}");
        }
    }
    let health = gateway.health().await;
    assert_eq!(health["devices"]["box"]["online"], true, "{health}");
    let framing = health["devices"]["box"]["framing"].as_object().unwrap();
    assert_eq!(framing.keys().next().map(String::as_str), counted, "{health}");
    if counted.is_some() {
        gateway.assert_logged_once(sentence).await;
    }
    assert_eq!(server.accepted(), 1, "{}", gateway.log());
    assert_no_types(&gateway.log());
    gateway
}

/// No line of the log shows a type of the program.
fn assert_no_types(log: &str) {
    for text in ["Response", "Header {", "Ok(", "Err(", "Custom {", "ExceptionCode", "FunctionCode", "Protocol("] {
        assert!(!log.contains(text), "{text} in {log}");
    }
}

#[tokio::test]
async fn exceptions_that_state_a_wrong_length_name_the_missing_point() {
    for length in [2, 4, 9] {
        let server = serve(Transport::Tcp, registers([7]));
        server.set_fault_rules([Fault::RefuseAddress(20), Fault::ExceptionLength(length)].map(FaultRule::new));
        let gateway = check("tcp", &server, &["energy"], Some("wrong_lengths"), "states a wrong length").await;
        gateway.assert_logged_once("energy at 20").await;
    }
}

#[tokio::test]
async fn any_constant_transaction_id_is_accepted() {
    // The last one is the first that the gateway uses.
    for id in [0, 1, 7, u16::MAX, 0x4b1e, 0x4b1d] {
        let server = serve(Transport::Tcp, registers([7]));
        server.set_fault(Some(Fault::ConstantTransaction(id)));
        check("tcp", &server, &[], Some("wrong_ids"), "does not copy the transaction id").await;
    }
    let server = serve(Transport::Tcp, registers([7]));
    server.set_fault(Some(Fault::WrongTransaction));
    check("tcp", &server, &[], Some("wrong_ids"), "does not copy the transaction id").await;
}

#[tokio::test]
async fn bytes_that_belong_to_no_frame_are_skipped() {
    for (transport, scheme) in TRANSPORTS {
        for fault in [Fault::Noise, Fault::Padding] {
            let server = serve(transport.clone(), registers([7]));
            server.set_fault(Some(fault));
            check(scheme, &server, &[], Some("stray_bytes"), "bytes that belong to no frame").await;
        }
    }
}

#[tokio::test]
async fn frames_of_another_master_are_skipped() {
    for (transport, scheme) in TRANSPORTS {
        let server = serve(transport, registers([7]));
        server.set_fault(Some(Fault::OtherMaster));
        check(scheme, &server, &[], Some("foreign_frames"), "forwards frames of another master").await;
    }
}

#[tokio::test]
async fn a_bus_that_another_master_keeps_busy_is_read() {
    let (broker, server) = (Broker::start(), serve(Transport::RtuOverTcp, registers([7])));
    let mut subscriber = Subscriber::start(broker.port).await;
    let gateway = site(&broker, &device("box", &format!("rtu+tcp://{}", server.address()), 7, "")).run();
    subscriber.next("SITE-CL-001/telemetry").await;
    // Another master asks unit 3 for twenty registers, and then unit 7 for other ones, whenever it likes; units answer it.
    let traffic = async {
        loop {
            for (unit, request, values) in [(3, [3, 0, 0, 0, 20], 40), (7, [4, 0, 0, 0, 3], 6)] {
                server.forward(unit, &request);
                tokio::time::sleep(Duration::from_millis(15)).await;
                server.forward(unit, &[&[request[0], values], vec![0xee; usize::from(values)].as_slice()].concat());
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
        }
    };
    let reading = async {
        let mut complete = 0;
        for _ in 0..3 * READINGS {
            let telemetry = subscriber.next("SITE-CL-001/telemetry").await.json();
            let got = values(&telemetry);
            for (name, value) in expected(7).as_object().unwrap() {
                assert!(got.get(name).is_none_or(|got| got.as_f64() == value.as_f64()), "{name} in {telemetry}");
            }
            complete += usize::from(got.as_object().unwrap().len() == expected(7).as_object().unwrap().len());
        }
        complete
    };
    let complete = tokio::select! {
        () = traffic => unreachable!("it has no end"),
        complete = reading => complete,
    };
    assert!(complete >= 3 * READINGS - 3, "{complete}: {}", gateway.log());
    assert_eq!(server.accepted(), 1, "{}", gateway.log());
    gateway.assert_logged_once("forwards frames of another master").await;
}

#[tokio::test]
async fn a_silent_unit_costs_the_others_no_connection() {
    for (transport, scheme) in TRANSPORTS {
        let (broker, server) = (Broker::start(), serve(transport, registers([7, 8])));
        server.set_fault_rules([FaultRule::new(Fault::Silence).unit(8)]);
        let mut subscriber = Subscriber::start(broker.port).await;
        let address = format!("{scheme}://{}", server.address());
        let devices =
            [device("box", &address, 7, "timeout = \"200ms\""), device("dead", &address, 8, "timeout = \"200ms\"")];
        let gateway = site(&broker, &devices.concat()).run();
        gateway.wait_for_log("no reply from unit 8").await;
        for _ in 0..4 * READINGS {
            subscriber.next("SITE-CL-001/telemetry").await;
        }
        assert_eq!(server.accepted(), 1, "{scheme}: {}", gateway.log());
    }
}

#[tokio::test]
async fn a_local_echo_is_recognised() {
    let server = serve(Transport::RtuOverTcp, registers([7]));
    server.set_fault(Some(Fault::Echo));
    check("rtu+tcp", &server, &[], Some("local_echoes"), "local echo").await;
}

/// A profile with a coil and a register that are written with one request each.
const WRITABLE: &str = r#"timeout = "300ms"
[points]
relay = { table = "coil", address = 3, access = "RW" }
limit = { address = 40, type = "uint16", scale = 1, access = "RW" }
"#;

#[tokio::test]
async fn the_echo_of_a_write_is_not_its_confirmation() {
    let server = serve(Transport::RtuOverTcp, registers([1]));
    let address = format!("rtu+tcp://{}", server.address());
    let setup = Setup::new().file("box.toml", WRITABLE);
    // In a thread of its own, because the simulated device runs in this one.
    let write = async |point: &str, value: &str| {
        let arguments = ["device", "write", "--address", &address, "--profile", "box.toml", point, value];
        let mut command = setup.command(&arguments);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    };
    server.set_fault(Some(Fault::Echo));
    // The second value differs: a value that the device already shows needs no confirmation.
    for (point, value, other_value, function) in [("relay", "0", "1", 5), ("limit", "80", "70", 6)] {
        let output = write(point, value).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let silent = FaultRule::new(Fault::Silence).function(function);
        server.set_fault_rules([silent, FaultRule::new(Fault::Echo)]);
        let output = write(point, other_value).await;
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && errors.contains("no reply from unit 1"), "{point}: {errors}");
        assert!(errors.contains("received the echo of the request instead"), "{point}: {errors}");
        server.set_fault(Some(Fault::Echo));
    }
    assert_eq!(server.registers().get(1, Table::Holding, 40, 1), Some(vec![80]));
}

#[tokio::test]
async fn local_echo_is_a_setting_of_buses_with_rtu_frames() {
    let server = serve(Transport::RtuOverTcp, registers([7]));
    server.set_fault(Some(Fault::Echo));
    let broker = Broker::start();
    let mut subscriber = Subscriber::start(broker.port).await;
    let address = format!("rtu+tcp://{}", server.address());
    let gateway = site(&broker, &device("box", &address, 7, "local_echo = true")).run();
    assert_eq!(subscriber.next("SITE-CL-001/telemetry").await.json()["soc_pct"].as_f64(), Some(7.0));
    assert_eq!(gateway.log_count("local echo"), 0, "it is known: {}", gateway.log());
    let refused = site(&broker, &device("box", "tcp://127.0.0.1:502", 7, "local_echo = true")).output(&["check"]);
    let errors = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(78));
    assert!(errors.contains("local_echo applies only to rtu:// and rtu+tcp:// addresses"), "{errors}");
}

#[tokio::test]
async fn invalid_replies_are_explained_in_a_sentence() {
    for (fault, sentence) in [
        (Fault::WrongUnit, "expected a reply of unit 7, received one of unit 8"),
        (Fault::WrongFunction, "expected function 1, received function 2"),
        (Fault::ShortReply, "expected 1 bytes of values, received 0"),
    ] {
        let (broker, server) = (Broker::start(), serve(Transport::Tcp, registers([7])));
        server.set_fault(Some(fault));
        let gateway = site(&broker, &device("box", &format!("tcp://{}", server.address()), 7, "")).run();
        gateway.wait_for_log(sentence).await;
        assert_no_types(&gateway.log());
        gateway
            .wait_for_health("the count", |health| health["devices"]["box"]["framing"]["contradictions"].is_u64())
            .await;
    }
}

#[tokio::test]
async fn a_connection_is_reset_after_silence_so_that_the_device_serves_the_next_one() {
    let (broker, server) = (Broker::start(), serve(Transport::Tcp, registers([7])));
    server.serve_one_client_until_reset();
    let mut subscriber = Subscriber::start(broker.port).await;
    let gateway = site(&broker, &device("box", &format!("tcp://{}", server.address()), 7, "timeout = \"200ms\"")).run();
    for _ in 0..2 {
        subscriber.discard_received();
        subscriber.next("SITE-CL-001/telemetry").await;
        let accepted = server.accepted();
        server.set_fault(Some(Fault::Silence));
        gateway.wait_for_health("the outage", |health| health["devices"]["box"]["online"] == false).await;
        // The gateway closes at most one connection a minute.
        let connected = tokio::time::timeout(2 * crate::support::LIMIT, async {
            while server.accepted() == accepted {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        connected.await.expect("another connection");
        server.set_fault(None);
        gateway.wait_for_health("the device", |health| health["devices"]["box"]["online"] == true).await;
    }
}

#[tokio::test]
async fn a_pause_of_five_seconds_after_connecting_is_learnt() {
    let (broker, server) = (Broker::start(), serve(Transport::Tcp, registers([7])));
    server.set_fault_rules([FaultRule::new(Fault::Silence).within_connect_pause(Duration::from_millis(4800))]);
    let mut subscriber = Subscriber::start(broker.port).await;
    let gateway = site(&broker, &device("box", &format!("tcp://{}", server.address()), 7, "timeout = \"200ms\"")).run();
    gateway.wait_for_log("needs a pause after connecting; waiting 5s from now on").await;
    subscriber.discard_received();
    let accepted = server.accepted();
    for _ in 0..READINGS {
        subscriber.next("SITE-CL-001/telemetry").await;
    }
    assert_eq!(server.accepted(), accepted, "{}", gateway.log());
}

/// Runs the program with this file as `/etc/hosts`, which it sees alone.
fn with_hosts(setup: Setup, hosts: &str) -> Setup {
    let setup = setup.file("hosts", hosts);
    let hosts = setup.folder().join("hosts");
    let script = format!(
        "#!/bin/sh\nexec unshare --map-root-user --mount /bin/sh -c 'mount --bind {} /etc/hosts && exec \"$0\" \"$@\"' {} \"$@\"\n",
        hosts.display(),
        crate::support::gateway::program().display(),
    );
    let setup = setup.file("bessai-edge", script);
    let path = setup.folder().join("bessai-edge");
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    setup.program(path)
}

fn at(ip: [u8; 4], port: u16, registers: Registers) -> Server {
    Server::start((ip, port).into(), registers).unwrap()
}

#[tokio::test]
async fn a_name_is_reached_at_another_address_if_the_first_swallows_connections_and_later_at_a_new_one() {
    let first = at([127, 0, 0, 3], 0, registers([7]));
    let port = first.address().port();
    let swallowing = crate::support::black_hole::BlackHole::start([127, 0, 0, 2], port).await;
    let broker = Broker::start();
    let mut subscriber = Subscriber::start(broker.port).await;
    let setup = site(&broker, &device("box", &format!("tcp://battery.example:{port}"), 7, ""));
    let hosts = "127.0.0.1 localhost\n127.0.0.2 battery.example\n127.0.0.3 battery.example\n";
    let gateway = with_hosts(setup, hosts).run();
    assert_eq!(subscriber.next("SITE-CL-001/telemetry").await.json()["soc_pct"].as_f64(), Some(7.0));
    assert_eq!(gateway.log_count("cannot be read"), 0, "{}", gateway.log());

    // The name gets another address while the gateway runs.
    let second = registers([7]);
    second.set(7, Table::Holding, 0, &[420]);
    let second = at([127, 0, 0, 4], port, second);
    std::fs::write(gateway.path("hosts"), "127.0.0.1 localhost\n127.0.0.4 battery.example\n").unwrap();
    first.stop().await;
    crate::support::within("the reading from the new address", async {
        while subscriber.next("SITE-CL-001/telemetry").await.json()["soc_pct"].as_f64() != Some(42.0) {}
    })
    .await;
    assert!(second.accepted() > 0);
    drop(swallowing);
}
