//! Modbus devices on every transport.

mod blocks;
mod framing;
mod secure;
mod serial;

use bessai_simulator::registers::{Registers, Table};
use bessai_simulator::server::{Server, Transport};
use serde_json::{Value, json};

use crate::support::broker::Broker;
use crate::support::gateway::{Gateway, Setup};
use crate::support::subscriber::Subscriber;

/// Points of every table.
const PROFILE: &str = r#"timeout = "1s"
[points]
soc = { channel = "soc_pct", address = 0, type = "uint16", scale = 0.1, unit = "%" }
power = { channel = "power_kw", table = "input", address = 10, type = "float32", scale = 1, unit = "kW" }
energy = { address = 20, type = "uint64", scale = 1, unit = "Wh", word_order = "little" }
name = { address = 30, type = "string", count = 4 }
limit = { address = 40, type = "int16", scale = 1, scale_register = 41, access = "RW" }
running = { table = "coil", address = 3 }
alarm = { table = "discrete", address = 100 }
"#;

/// The registers of these units; each unit's state of charge is its own id.
fn registers(units: impl IntoIterator<Item = u8>) -> Registers {
    let registers = Registers::new();
    for unit in units {
        let bits = 5.5_f32.to_bits().to_be_bytes();
        registers.set(unit, Table::Holding, 0, &[u16::from(unit) * 10]);
        let words = [u16::from_be_bytes([bits[0], bits[1]]), u16::from_be_bytes([bits[2], bits[3]])];
        registers.set(unit, Table::Input, 10, &words);
        registers.set(unit, Table::Holding, 20, &[0x0304, 0x0102, 0, 0]);
        registers.set(unit, Table::Holding, 30, &[0x424f, 0x5820, 0x3500, 0]);
        registers.set(unit, Table::Holding, 40, &[123, (-1_i16).cast_unsigned()]);
        registers.set_bits(unit, Table::Coil, 3, &[true]);
        registers.set_bits(unit, Table::Discrete, 100, &[false]);
    }
    registers
}

fn device(name: &str, address: &str, unit: u8, more: &str) -> String {
    format!(
        "[[device]]\nname = \"{name}\"\naddress = \"{address}\"\nunit = {unit}\nprofile = \"box.toml\"\nperiod = \"100ms\"\n{more}\n"
    )
}

/// A gateway with these devices that publishes all channels.
fn site(broker: &Broker, devices: &str) -> Setup {
    Setup::new()
        .broker(broker.url())
        .file("box.toml", PROFILE)
        .file("plugins/default.toml", "[config]\nchannels = \"all\"\n")
        .file("bessai.toml", devices)
}

fn serve(transport: Transport, registers: Registers) -> Server {
    Server::start_with_transport(([127, 0, 0, 1], 0).into(), transport, registers).unwrap()
}

/// A telemetry message without time and site.
fn values(telemetry: &Value) -> Value {
    let mut values = telemetry.clone();
    let object = values.as_object_mut().unwrap();
    for key in ["ts", "site_id"] {
        assert!(object.remove(key).is_some(), "{telemetry}");
    }
    values
}

fn expected(unit: u8) -> Value {
    json!({
        "soc_pct": f64::from(unit), "power_kw": 5.5, "energy": 16_909_060.0, "limit": 12.3,
        "running": 1, "alarm": 0, "name": "BOX 5",
    })
}

/// The output of `check`, which contains the read plan.
fn plan(gateway: &Gateway) -> String {
    let output = gateway.output(&["check"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Starts a gateway with unit 7 at this address and checks all values that it publishes.
async fn check_all_values(address: &str, more: &str) -> Gateway {
    let broker = Broker::start();
    let mut subscriber = Subscriber::start(broker.port).await;
    let gateway = site(&broker, &device("box", address, 7, more)).run();
    let telemetry = subscriber.next("SITE-CL-001/telemetry").await.json();
    let expected: Value = expected(7);
    for (name, value) in values(&telemetry).as_object().unwrap() {
        let is_expected = match value.as_f64() {
            Some(number) => expected[name].as_f64() == Some(number),
            None => expected[name] == *value,
        };
        assert!(is_expected, "{name} is {value} in {telemetry}");
    }
    assert_eq!(values(&telemetry).as_object().unwrap().len(), 7, "{telemetry}");
    assert_eq!(gateway.health().await["devices"]["box"]["online"], json!(true));
    assert_eq!(gateway.log_count("cannot be read"), 0, "{}", gateway.log());
    let plan = plan(&gateway);
    assert!(plan.contains("7 points in 5 requests"), "{plan}");
    for (function, what) in [
        (1, "bits 3 to 3"),
        (2, "bits 100 to 100"),
        (3, "registers 0 to 0"),
        (3, "registers 20 to 41"),
        (4, "registers 10 to 11"),
    ] {
        assert!(plan.contains(&format!("unit 7 function {function} {what}")), "{plan}");
    }
    gateway
}

#[tokio::test]
async fn every_table_is_read_over_tcp_and_rtu_over_tcp() {
    for (transport, scheme) in [(Transport::Tcp, "tcp"), (Transport::RtuOverTcp, "rtu+tcp")] {
        let server = serve(transport, registers([7]));
        let _gateway = check_all_values(&format!("{scheme}://{}", server.address()), "").await;
        assert_eq!(server.accepted(), 1, "{scheme}");
    }
}

#[tokio::test]
async fn ten_units_are_read_on_one_connection() {
    let broker = Broker::start();
    let mut subscriber = Subscriber::start(broker.port).await;
    let server = serve(Transport::Tcp, registers(1..=10));
    let address = format!("tcp://{}", server.address());
    let devices: String = (1..=10).map(|unit| device(&format!("box-{unit}"), &address, unit, "")).collect();
    let gateway = site(&broker, &devices).run();
    for round in 0..3 {
        for unit in 1..=10_u8 {
            let topic = if unit == 1 { "-001/telemetry".to_owned() } else { format!("/box-{unit}/telemetry") };
            let telemetry = subscriber.next(&topic).await.json();
            assert_eq!(telemetry["soc_pct"].as_f64(), Some(f64::from(unit)), "round {round}: {telemetry}");
        }
    }
    assert_eq!((server.accepted(), server.connections()), (1, 1), "{}", gateway.log());
    assert_eq!(plan(&gateway).matches("7 points in 5 requests").count(), 10);
}
