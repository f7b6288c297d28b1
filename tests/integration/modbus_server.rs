//! The Modbus server and the local socket: other programs use the gateway's one connection to a device.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use bessai_simulator::registers::{Registers, Table};
use bessai_simulator::server::{Fault, Server};
use bessai_simulator::sunspec::{SunSpecModel, lay_out};
use serde_json::{Value, json};
use tokio_modbus::client::{Context, tcp};
use tokio_modbus::prelude::{ExceptionCode, Reader, Slave, Writer};

use crate::support::gateway::{Gateway, Setup};
use crate::support::{cache, free_port, root, within};

mod local_socket;

const PROFILE: &str = r#"timeout = "2s"
[points]
soc = { channel = "soc_pct", address = 10, type = "uint16", scale = 0.1, unit = "%", access = "RW", min = 10, max = 100 }
power = { address = 11, type = "int32", scale = 0.001, unit = "kW", access = "RW", min = -50, max = 50 }
fixed = { address = 13, type = "uint16", scale = 1 }
fan = { table = "coil", address = 1, access = "RW" }
mode = { address = 14, type = "uint16", scale = 1, access = "RW", dangerous = true }
"#;

/// Unit 1 with registers that hold their own addresses, for one client only.
fn inverter() -> Server {
    let registers = Registers::new();
    for table in [Table::Holding, Table::Input] {
        registers.set(1, table, 0, &(0..200).collect::<Vec<u16>>());
    }
    registers.fill(1, Table::Coil, 0..=10, 0);
    let server = Server::start(SocketAddr::from(([127, 0, 0, 1], 0)), registers).unwrap();
    server.limit_connections(1);
    server
}

fn settings(device: &Server, servers: &str) -> String {
    let address = device.address();
    format!(
        "[[device]]\nname = \"box\"\naddress = \"tcp://{address}\"\nprofile = \"box\"\nperiod = \"200ms\"\n{servers}"
    )
}

fn server(port: u16, more: &str) -> String {
    format!("[[modbus_server]]\nlisten = \"127.0.0.1:{port}\"\n{more}\n")
}

fn setup(device: &Server, servers: &str) -> Setup {
    let setup = Setup::new().broker("mqtt://127.0.0.1:1").file("profiles/box.toml", PROFILE);
    setup.file("bessai.toml", settings(device, servers))
}

async fn polled(gateway: &Gateway) {
    gateway.wait_for_log("answers").await;
}

async fn connect(port: u16, unit: u8) -> Context {
    tcp::connect_slave(SocketAddr::from(([127, 0, 0, 1], port)), Slave(unit)).await.unwrap()
}

async fn listening(gateway: &Gateway, port: u16) {
    gateway.wait_for_log(&format!("Modbus server on 127.0.0.1:{port}")).await;
    polled(gateway).await;
}

/// Writes bessai.toml and waits until it is in force.
async fn reload(gateway: &Gateway, content: &str) {
    let before = gateway.log_count("the settings were reloaded");
    std::fs::write(gateway.path("bessai.toml"), content).unwrap();
    gateway.hang_up();
    let reloaded = async {
        while gateway.log_count("the settings were reloaded") == before {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within("the reload", reloaded).await;
}

#[tokio::test]
async fn pymodbus_reads_and_writes_beside_the_gateway() {
    let (device, port) = (inverter(), free_port());
    let gateway = setup(&device, &server(port, "write = true")).run();
    listening(&gateway, port).await;
    let client = move || {
        let mut python = Command::new(cache().join("pymodbus/bin/python"));
        python.arg(root().join("tests/peers/modbus_client.py")).arg(port.to_string()).output().unwrap()
    };
    let output = tokio::task::spawn_blocking(client).await.unwrap();
    let shown: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}\n{}", String::from_utf8_lossy(&output.stderr), gateway.log()));
    let expected = json!({
        "read": [10, 11, 12],
        "relayed": [100, 101],
        "input": [5],
        "coils": [false, false, false],
        "missing": { "exception": 2 },
        "write": [805],
        "written": [805],
        "several": shown["several"],
        "too large": { "exception": 3 },
        "read-only": { "exception": 2 },
        "coil": shown["coil"],
        "identification": { "exception": 1 },
    });
    assert_eq!(shown, expected);
    assert_eq!(device.registers().get(1, Table::Holding, 10, 3).unwrap(), [805, 0, 2500]);
    assert_eq!(device.registers().get_bits(1, Table::Coil, 1, 1).unwrap(), [true]);
    gateway.wait_for_log("set box/soc to 80.5 %").await;
    gateway.wait_for_log("its profile allows 10 to 100").await;
    assert_eq!(device.accepted(), 1, "one connection for all");
    let health = gateway.health().await;
    assert_eq!(health["devices"]["box"]["online"], json!(true));
    let counted = &health["modbus_servers"][0];
    assert!(counted["from_latest"].as_u64() >= Some(1) && counted["relayed"].as_u64() >= Some(6), "{counted}");
}

#[tokio::test]
async fn many_clients_at_once_are_answered_from_the_last_reading() {
    let (device, port) = (inverter(), free_port());
    let gateway = setup(&device, &server(port, "max_age = \"60s\"")).run();
    listening(&gateway, port).await;
    // The values are there once a reading was kept.
    let mut first = connect(port, 1).await;
    within("a reading", async {
        while gateway.health().await["modbus_servers"][0]["from_latest"] == json!(0) {
            first.read_holding_registers(10, 4).await.unwrap().unwrap();
        }
    })
    .await;
    let clients = (0..40).map(|_| {
        tokio::spawn(async move {
            let mut client = connect(port, 1).await;
            for _ in 0..50 {
                assert_eq!(client.read_holding_registers(10, 4).await.unwrap().unwrap(), [10, 11, 12, 13]);
            }
        })
    });
    for client in clients {
        within("a client", client).await.unwrap();
    }
    let counted = gateway.health().await["modbus_servers"][0].clone();
    assert!(counted["from_latest"].as_u64() > Some(2000), "{counted}");
    assert_eq!((device.accepted(), &counted["exceptions"]), (1, &json!(0)));
}

#[tokio::test]
async fn a_device_that_is_off_is_an_exception_in_time() {
    let (device, port) = (inverter(), free_port());
    let gateway = setup(&device, &server(port, "max_age = \"0s\"")).run();
    listening(&gateway, port).await;
    let mut client = connect(port, 1).await;
    assert_eq!(client.read_holding_registers(10, 1).await.unwrap(), Ok(vec![10]));
    device.set_fault(Some(Fault::Silence));
    let silent = within("an exception", client.read_holding_registers(10, 1)).await.unwrap();
    assert_eq!(silent, Err(ExceptionCode::GatewayTargetDevice));
    device.set_fault(None);
    within("the device's return", async {
        while client.read_holding_registers(10, 1).await.unwrap() != Ok(vec![10]) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    device.stop().await;
    gateway.wait_for_log("cannot be read").await;
    let off = async {
        while client.read_holding_registers(10, 1).await.unwrap() != Err(ExceptionCode::GatewayPathUnavailable) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within("the exception of a device that is off", off).await;
}

#[tokio::test]
async fn sunspec_discovery_and_other_unit_ids_are_passed_on() {
    let (device, port) = (inverter(), free_port());
    lay_out(device.registers(), 1, 40_000, &[SunSpecModel::common("Acme", "Hybrid", "SN-7")]);
    device.registers().set(200, Table::Holding, 0, &[77]);
    let gateway = setup(&device, &server(port, "devices = { box = 5 }")).run();
    listening(&gateway, port).await;
    let mut other = connect(port, 200).await;
    assert_eq!(other.read_holding_registers(0, 1).await.unwrap(), Ok(vec![77]), "the meter behind the inverter");
    let mut shown = connect(port, 5).await;
    assert_eq!(shown.read_holding_registers(100, 1).await.unwrap(), Ok(vec![100]), "under another unit id");
    let address = format!("tcp://127.0.0.1:{port}");
    let output = gateway.output_beside(&["device", "scan", "--address", &address, "--unit", "5"]).await;
    let found = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(found.contains("Acme Hybrid"), "{found}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(device.accepted(), 1);
}

#[tokio::test]
async fn writes_need_the_settings_and_reloads_apply_at_once() {
    let (device, port) = (inverter(), free_port());
    let gateway = setup(&device, &server(port, "")).run();
    listening(&gateway, port).await;
    let mut client = connect(port, 1).await;
    let refused = client.write_single_register(10, 500).await.unwrap();
    assert_eq!(refused, Err(ExceptionCode::IllegalFunction), "writing is off");
    reload(&gateway, &settings(&device, &server(port, "write = true"))).await;
    let mut client = connect(port, 1).await;
    let refused = client.write_single_register(14, 1).await.unwrap();
    assert_eq!(refused, Err(ExceptionCode::IllegalDataAddress), "a dangerous point has to be listed");
    gateway.wait_for_log("box/mode is marked as dangerous").await;
    reload(&gateway, &settings(&device, &server(port, "write = [\"box/mode\"]"))).await;
    let mut client = connect(port, 1).await;
    assert_eq!(client.write_single_register(14, 1).await.unwrap(), Ok(()));
    reload(&gateway, &settings(&device, &server(port, "write = [\"box/soc\"]"))).await;
    let mut client = connect(port, 1).await;
    assert_eq!(client.write_single_register(10, 500).await.unwrap(), Ok(()));
    let refused = client.write_multiple_registers(11, &[0, 5]).await.unwrap();
    assert_eq!(refused, Err(ExceptionCode::IllegalDataAddress), "a point that is not listed");
    gateway.wait_for_log("`write` does not list box/power").await;
    // A server that stays the same keeps its clients, also when others come.
    let second = free_port();
    let both = server(port, "write = [\"box/soc\"]") + &server(second, "allow = [\"10.9.8.0/24\"]");
    reload(&gateway, &settings(&device, &both)).await;
    assert_eq!(client.read_holding_registers(10, 1).await.unwrap(), Ok(vec![500]));
    gateway.wait_for_log(&format!("Modbus server on 127.0.0.1:{second}")).await;
    let mut stranger = connect(second, 1).await;
    assert!(stranger.read_holding_registers(10, 1).await.is_err());
    gateway.wait_for_log("refuses 127.0.0.1: `allow` does not list it").await;
    reload(&gateway, &settings(&device, "")).await;
    assert!(client.read_holding_registers(10, 1).await.is_err(), "the server has ended");
}

#[tokio::test]
async fn a_port_that_is_taken_does_not_keep_the_rest_from_running() {
    let (device, port) = (inverter(), free_port());
    let taken = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let gateway = setup(&device, &server(port, "")).run();
    gateway.assert_logged_once("another program uses the port, set `listen` to a free one").await;
    polled(&gateway).await;
    assert_eq!(gateway.health().await["modbus_servers"][0]["listening"], json!(false));
    drop(taken);
    listening(&gateway, port).await;
    assert_eq!(connect(port, 1).await.read_holding_registers(10, 1).await.unwrap(), Ok(vec![10]));
}

#[tokio::test]
async fn what_is_wrong_with_a_server_is_named_with_its_fix() {
    let device = inverter();
    let errors = |servers: &str| {
        let output = setup(&device, servers).output(&["check"]);
        assert_eq!(output.status.code(), Some(78), "{}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stderr).unwrap()
    };
    for (servers, expected) in [
        ("[[modbus_server]]\n", "modbus_server[0].listen: is missing; write an IP address and a port"),
        (
            "[[modbus_server]]\nlisten = \"1502\"\n",
            "modbus_server[0].listen = \"1502\": write an IP address and a port",
        ),
        ("[[modbus_server]]\nlisten = \"127.0.0.1:1502\"\ndevices = { boxx = 1 }\n", "did you mean `box`?"),
        ("[[modbus_server]]\nlisten = \"127.0.0.1:1502\"\ndevices = { box = 300 }\n", "write a unit id from 0 to 255"),
        ("[[modbus_server]]\nlisten = \"127.0.0.1:1502\"\nallow = [\"lan\"]\n", "write networks or addresses, such as"),
        ("[[modbus_server]]\nlisten = \"127.0.0.1:1502\"\nwrite = \"yes\"\n", "write true, false, or a list of points"),
        ("[[modbus_server]]\nlisten = \"127.0.0.1:1502\"\nwrite = [\"box/socc\"]\n", "did you mean `soc`?"),
        ("[[modbus_server]]\nlisten = \"127.0.0.1:1502\"\nwrite = [\"box/fixed\"]\n", "its profile does not allow it"),
        ("[[modbus_server]]\nlisten = \"127.0.0.1:1502\"\nmax_age = \"2h\"\n", "write a time from 0s to 3600s"),
        (
            "[[modbus_server]]\nlisten = \"127.0.0.1:1502\"\n[[modbus_server]]\nlisten = \"127.0.0.1:1502\"\n",
            "is the address of an earlier [[modbus_server]]",
        ),
        (
            "[[device]]\nname = \"b\"\naddress = \"tcp://127.0.0.1:9\"\n[[modbus_server]]\nlisten = \"127.0.0.1:1502\"\n",
            "box and b both have unit id 1",
        ),
    ] {
        let errors = errors(servers);
        assert!(errors.contains(expected), "{servers}: {errors}");
    }
    let open = setup(&device, "[[modbus_server]]\nlisten = \"0.0.0.0:1502\"\nwrite = true\n").output(&["check"]);
    let shown = String::from_utf8_lossy(&open.stdout).into_owned();
    assert!(
        open.status.success() && shown.contains("every machine that reaches this address may read and write"),
        "{shown}"
    );
    assert!(
        shown.contains("modbus server 0.0.0.0:1502: box as unit 1; every writable point can be written"),
        "{shown}"
    );
}
