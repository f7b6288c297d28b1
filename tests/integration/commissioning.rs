//! SunSpec devices, whose points are discovered, and the `device` commands.

use std::net::SocketAddr;
use std::process::Output;

use bessai_simulator::registers::{Registers, Table};
use bessai_simulator::server::{Fault, FaultRule, Server};
use bessai_simulator::sunspec::{SunSpecModel, lay_out};
use serde_json::{Value, json};

use crate::support::broker::Broker;
use crate::support::device::Device;
use crate::support::gateway::{Setup, program};
use crate::support::readings::count;
use crate::support::subscriber::Subscriber;

/// The model of a three-phase inverter at -85.5 kW.
fn inverter() -> SunSpecModel {
    let mut words = vec![0x8000; 50];
    // W and its scale factor: -855 × 10^2 W.
    (words[12], words[13]) = (0xfca9, 2);
    SunSpecModel { id: 103, words }
}

/// The model of a battery at 72.3 %.
fn storage() -> SunSpecModel {
    SunSpecModel { id: 713, words: vec![1000, 723, 723, 990, 1, 2, 0xffff] }
}

fn serve(registers: &Registers) -> Server {
    Server::start(SocketAddr::from(([127, 0, 0, 1], 0)), registers.clone()).unwrap()
}

fn sunspec_device(models: &[SunSpecModel]) -> Server {
    let registers = Registers::new();
    lay_out(&registers, 1, 40_000, models);
    serve(&registers)
}

fn settings(port: u16, broker: &Broker) -> Setup {
    let device =
        format!("[[device]]\naddress = \"tcp://127.0.0.1:{port}\"\nprofile = \"sunspec\"\nperiod = \"100ms\"\n");
    Setup::new().broker(broker.url()).file("bessai.toml", device)
}

#[tokio::test]
async fn a_sunspec_device_is_discovered_and_rediscovered_when_it_changes() {
    let broker = Broker::start();
    let device = sunspec_device(&[SunSpecModel::common("Acme", "Hybrid", "SN-7"), inverter()]);
    let mut subscriber = Subscriber::with(broker.port, "SITE-CL-001/telemetry", None).await;
    let gateway = settings(device.address().port(), &broker).run();
    assert_eq!(subscriber.next("/telemetry").await.json()["power_kw"], json!(-85.5));
    // The device restarts with a battery.
    let (address, registers) = (device.address(), device.registers().clone());
    device.stop().await;
    gateway.wait_for_log("cannot be read").await;
    lay_out(&registers, 1, 40_000, &[SunSpecModel::common("Acme", "Hybrid", "SN-7"), inverter(), storage()]);
    let _device = Server::start(address, registers).unwrap();
    let with_battery = subscriber.wait_for("/telemetry", |message| message.json()["soc_pct"] == json!(72.3)).await;
    assert_eq!(with_battery.json()["power_kw"], json!(-85.5));
    let (_, setup) = gateway.stop_and_keep_setup().await;

    let events = exported(&setup);
    let sites: Vec<&Value> = events.iter().filter_map(|event| event.get("site")).collect();
    let revisions: Vec<_> = sites.iter().map(|site| site["revision"].as_u64().unwrap()).collect();
    assert_eq!(revisions, [1, 2, 3]);
    let attributes = &sites[1]["devices"][0]["attributes"];
    assert!(attributes.to_string().contains("Hybrid") && attributes.to_string().contains("Acme"), "{attributes}");
    // Every frame has one value for each channel of the description before it.
    let mut channels = Vec::new();
    for event in &events {
        if let Some(site) = event.get("site") {
            let of = |source: &Value| source["channels"].as_array().unwrap().len();
            channels = site["sources"].as_array().unwrap().iter().map(of).collect();
        }
        if let Some(frame) = event.get("frame") {
            let source = usize::try_from(frame["source"].as_u64().unwrap()).unwrap();
            assert_eq!(frame["values"].as_array().unwrap().len(), channels[source], "{event}");
        }
    }
    // A restart discovers the same device, so the revision stays.
    let gateway = setup.run();
    subscriber.next("/telemetry").await;
    let (_, setup) = gateway.stop_and_keep_setup().await;
    let events = exported(&setup);
    let last = events.iter().filter_map(|event| event.get("site")).next_back().unwrap();
    assert_eq!(last["revision"], json!(3));
}

/// DC measurements with so many ports; all their values are 6000.
fn dc_measurements(ports: u16) -> SunSpecModel {
    let mut words = vec![6000; 18 + 25 * usize::from(ports)];
    words[2] = ports;
    SunSpecModel { id: 714, words }
}

#[tokio::test]
async fn a_model_that_grows_while_connected_moves_no_wrong_value_into_another_channel() {
    let broker = Broker::start();
    let common = || SunSpecModel::common("Acme", "Hybrid", "SN-7");
    let device = sunspec_device(&[common(), dc_measurements(1), storage()]);
    let mut subscriber = Subscriber::with(broker.port, "SITE-CL-001/telemetry", None).await;
    let gateway = settings(device.address().port(), &broker).run();
    assert_eq!(subscriber.next("/telemetry").await.json()["soc_pct"], json!(72.3));
    let mut moved = storage();
    moved.words[2] = 655;
    // The sun rises: the battery's model moves by 25 registers, to where values of 6000 were.
    lay_out(device.registers(), 1, 40_000, &[common(), dc_measurements(2), moved]);
    loop {
        let telemetry = subscriber.next("/telemetry").await.json();
        let state = telemetry.get("soc_pct");
        assert!(state.is_none_or(|state| [json!(72.3), json!(65.5)].contains(state)), "{telemetry}");
        if state == Some(&json!(65.5)) {
            break;
        }
    }
    assert_eq!(device.accepted(), 1, "{}", gateway.log());
}

fn exported(setup: &Setup) -> Vec<Value> {
    let output = setup.output(&["journal", "export"]);
    text(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_sunspec_device_that_appears_after_the_start_is_discovered() {
    let broker = Broker::start();
    let registers = Registers::new();
    registers.fill(1, Table::Holding, 0..=u16::MAX, 0);
    let device = serve(&registers);
    let mut subscriber = Subscriber::with(broker.port, "SITE-CL-001/telemetry", None).await;
    let gateway = settings(device.address().port(), &broker).run();
    gateway.wait_for_log("no SunSpec device: \"SunS\" is not at register 40000, 0 or 50000").await;
    lay_out(device.registers(), 1, 0, &[SunSpecModel::common("Acme", "Late", "1"), storage()]);
    assert_eq!(subscriber.next("/telemetry").await.json()["soc_pct"], json!(72.3));
    gateway.wait_for_log("Acme Late: 2 SunSpec models").await;
}

fn run(arguments: &[&str]) -> Output {
    std::process::Command::new(program()).args(arguments).env_clear().output().unwrap()
}

/// Runs a `device` command on another thread, because the simulated device answers on the test's runtime.
async fn device(command: &str, port: u16, arguments: &[&str]) -> Output {
    let address = format!("tcp://127.0.0.1:{port}");
    let arguments: Vec<String> =
        ["device", command, "--address", &address].iter().chain(arguments).map(|a| (*a).to_owned()).collect();
    let run = move || run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    tokio::task::spawn_blocking(run).await.unwrap()
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn error(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[tokio::test]
async fn device_read_prints_points_and_register_ranges() {
    let inverter = Device::huawei();
    let read = async |arguments: &[&str]| text(&device("read", inverter.port(), arguments).await);
    let printed = read(&["--profile", "huawei-sun2000", "soc_pct", "active_power"]).await;
    let row = |name: &str| printed.lines().find(|line| line.trim_start().starts_with(name)).unwrap().to_owned();
    assert!(row("soc_pct").contains("72.3 %") && row("soc_pct").contains("luna_soc holding 37760"), "{printed}");
    assert!(row("power_kw").contains("-85.5 kW"), "{printed}");
    assert_eq!(printed.lines().count(), 3);
    let all: Value = serde_json::from_str(&read(&["--profile", "huawei-sun2000", "--json"]).await).unwrap();
    assert_eq!(all["values"]["temp_c"], json!(28.1));
    assert_eq!(all["values"].as_object().unwrap().len(), 38);
    let raw = read(&["--raw", "37760+2"]).await;
    assert!(raw.starts_with("holding 37760  02d3    723"), "{raw}");
    assert_eq!(raw.lines().count(), 2);
    // More registers than one request can read.
    assert_eq!(read(&["--raw", "0+300", "--table", "holding"]).await.lines().count(), 300);
    inverter.registers.set(1, Table::Input, 5, &[0x0000, 0x4120]);
    let floats = read(&["--raw", "5+2", "--table", "input", "--type", "float32", "--order", "CDAB"]).await;
    assert_eq!(floats, "input     5  0000 4120  10\n");
    inverter.registers.set(1, Table::Input, 5, &[0x4366, 0x199a, 0x4e53, 0x372d]);
    let read_input = async |arguments: &[&str]| read(&[&["--table", "input"], arguments].concat()).await;
    assert_eq!(read_input(&["--raw", "5+2", "--type", "float32"]).await, "input     5  4366 199a  230.1\n");
    assert_eq!(read_input(&["--raw", "7+2", "--type", "string"]).await, "input     7  4e53 372d  NS7-\n");
    let swapped = read_input(&["--raw", "7+2", "--type", "string", "--order", "low-high"]).await;
    assert_eq!(swapped, "input     7  4e53 372d  SN-7\n");
}

#[tokio::test]
async fn device_read_explains_what_it_cannot_read() {
    let inverter = Device::huawei();
    let read = async |arguments: &[&str]| device("read", inverter.port(), arguments).await;
    let printed = error(&read(&["--profile", "huawei-sun2000", "soc_pc"]).await, 64);
    assert!(printed.contains("the profile huawei-sun2000 has no such point; did you mean `soc_pct`?"), "{printed}");
    let printed = error(&read(&["--raw", "10", "--table", "input"]).await, 1);
    assert!(printed.contains("the device refuses to read input 10+1: Illegal data address"), "{printed}");
    let printed = error(&read(&["--profile", "huawei-sun200"]).await, 78);
    assert!(printed.contains("did you mean `huawei-sun2000`?"), "{printed}");
    let printed = error(&read(&[]).await, 64);
    assert!(printed.contains("nothing to read"), "{printed}");
    let printed = error(&read(&["--raw", "65530+10"]).await, 64);
    assert!(printed.contains("within 0 to 65535"), "{printed}");
    let printed = error(&read(&["--raw", "1", "--unit", "9"]).await, 1);
    assert!(printed.contains("127.0.0.1:"), "{printed}");
}

#[tokio::test]
async fn device_read_with_watch_prints_every_reading() {
    let inverter = Device::counting();
    let address = format!("tcp://127.0.0.1:{}", inverter.port());
    let watch = move || {
        let mut child = std::process::Command::new(program())
            .args(["device", "read", "--address", &address, "--profile", "huawei-sun2000", "power_kw", "--json"])
            .args(["--watch", "20ms"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
        let lines: Vec<_> = lines.take(5).map(Result::unwrap).collect();
        child.kill().unwrap();
        child.wait().unwrap();
        lines
    };
    let lines = tokio::task::spawn_blocking(watch).await.unwrap();
    let count = |line: &String| count(&serde_json::from_str::<Value>(line).unwrap()["values"]).unwrap();
    let counts: Vec<_> = lines.iter().map(count).collect();
    assert!(counts.is_sorted_by(|a, b| a + 1 == *b), "{counts:?}");
}

#[tokio::test]
async fn device_scan_prints_the_sunspec_models() {
    let server = sunspec_device(&[
        SunSpecModel::common("Acme", "Hybrid", "SN-7"),
        inverter(),
        SunSpecModel { id: 64_999, words: vec![1; 5] },
        storage(),
    ]);
    let port = server.address().port();
    let map = text(&device("scan", port, &[]).await);
    for expected in [
        "SunSpec at register 40000",
        "Acme Hybrid",
        "serial number SN-7",
        "model     1 at 40002",
        "model   103 at 40070",
        "model 64999 at 40122: unknown to SunSpec: skipped, 5 registers",
        "model   713 at 40129",
        "soc_pct is m713_SoC at 40133",
        "power_kw is m103_W at 40084",
    ] {
        assert!(map.contains(expected), "{expected} is missing in\n{map}");
    }
    assert!(text(&device("scan", port, &["--points"]).await).contains("m103_PhVphA"));
    let read: Value = serde_json::from_str(&text(
        &device("read", port, &["--profile", "sunspec", "--json", "soc_pct", "m1_SN"]).await,
    ))
    .unwrap();
    assert_eq!((&read["values"]["soc_pct"], &read["values"]["m1_SN"]), (&json!(72.3), &json!("SN-7")));
    let units = text(&device("scan", port, &["--units", "1-3"]).await);
    assert_eq!(units, "unit 1 answers\n");
    let printed = error(&device("scan", Device::huawei().port(), &[]).await, 1);
    assert!(printed.contains("no answer") || printed.contains("refused") || printed.contains("SunS"), "{printed}");
}

#[tokio::test]
async fn device_scan_continues_after_silent_units() {
    let registers = Registers::new();
    [2, 6].into_iter().for_each(|unit| registers.fill(unit, Table::Holding, 0..=9, 0));
    let server = serve(&registers);
    server.set_fault_rules([1, 3, 4, 5].map(|unit| FaultRule::new(Fault::Silence).unit(unit)));
    let units = text(&device("scan", server.address().port(), &["--units", "1-6"]).await);
    assert_eq!(units, "unit 2 answers\nunit 6 answers\n");
}

#[tokio::test]
async fn device_read_reaches_the_last_register() {
    let registers = Registers::new();
    registers.fill(1, Table::Holding, 65_530..=65_535, 7);
    let server = serve(&registers);
    let read = async |range: &str| text(&device("read", server.address().port(), &["--json", "--raw", range]).await);
    assert_eq!(read("65535+1").await, "{\"table\":\"holding\",\"values\":{\"65535\":[7]}}\n");
    assert!(read("65530+6").await.contains("\"65534\":[7],\"65535\":[7]"));
}

#[tokio::test]
async fn device_write_writes_a_point_and_reads_it_back() {
    let inverter = Device::huawei();
    let write = async |arguments: &[&str]| device("write", inverter.port(), arguments).await;
    let printed = text(&write(&["--profile", "huawei-sun2000", "luna_charge_target_soc", "87.54"]).await);
    assert_eq!(printed, "luna_charge_target_soc set to 87.54 %, read back as 87.5 %\n");
    assert_eq!(inverter.registers.get(1, Table::Holding, 47_081, 1), Some(vec![875]));
    let printed = error(&write(&["--profile", "huawei-sun2000", "soc_pct", "50"]).await, 1);
    assert!(printed.contains("luna_soc is read-only: its profile has access"), "{printed}");
    let printed = error(&write(&["--profile", "huawei-sun2000", "luna_charge_target_soc", "-1"]).await, 1);
    assert!(printed.contains("cannot be set to -1: its profile allows 0 to"), "{printed}");
    assert_eq!(inverter.registers.get(1, Table::Holding, 47_081, 1), Some(vec![875]));
    let printed = error(&write(&["--profile", "huawei-sun2000", "luna_charge_target_sok", "1"]).await, 64);
    assert!(printed.contains("did you mean `luna_charge_target_soc`?"), "{printed}");
    let printed = error(&write(&["--profile", "huawei-sun2000", "luna_charge_target_soc", "on"]).await, 64);
    assert!(printed.contains("on is 1 and off is 0"), "{printed}");
}

#[tokio::test]
async fn readings_within_the_deadband_are_not_reported() {
    let (broker, inverter) = (Broker::start(), Device::huawei());
    let device = format!(
        "[[device]]\naddress = \"tcp://127.0.0.1:{}\"\nperiod = \"20ms\"\ndeadband = 0\nchannels.soc_pct = {{ deadband = 1 }}\n",
        inverter.port()
    );
    let gateway = Setup::new().broker(broker.url()).file("bessai.toml", device).run();
    let mut subscriber = Subscriber::with(broker.port, "SITE-CL-001/telemetry", None).await;
    gateway.wait_for_log("answers").await;
    let requests = inverter.server.requests();
    let mut reported = async |soc: f64, power: f64| {
        inverter.set("soc_pct", soc);
        inverter.set("power_kw", power);
        let json = subscriber.wait_for("/telemetry", |message| message.json()["power_kw"] == json!(power)).await.json();
        json["soc_pct"].as_f64().unwrap()
    };
    // A change within the deadband is reported only together with another channel's change.
    assert_eq!(reported(73.0, -85.4).await, 73.0);
    inverter.set("soc_pct", 73.9);
    assert_eq!(reported(73.9, -85.3).await, 73.9);
    inverter.set("soc_pct", 75.0);
    let telemetry = subscriber.next("/telemetry").await.json();
    assert_eq!(telemetry["soc_pct"], json!(75.0));
    // Many more readings without a change.
    while inverter.server.requests() < requests + 1000 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let (_, setup) = gateway.stop_and_keep_setup().await;
    let frames = exported(&setup).iter().filter(|event| event.get("frame").is_some()).count();
    assert!((4..12).contains(&frames), "{frames} frames");
}
