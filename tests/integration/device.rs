//! Devices that are absent, refuse requests or send wrong replies: frames carry faults, the feed continues, and each fault
//! is logged once.

use std::time::Duration;

use bessai_simulator::registers::{Registers, Table};
use bessai_simulator::server::{Fault, Server};
use serde_json::json;

use crate::support::broker::Broker;
use crate::support::device::Device;
use crate::support::gateway::{Gateway, Setup};
use crate::support::subscriber::Subscriber;
use crate::support::{free_port, within};

#[tokio::test]
async fn an_absent_device_stops_only_telemetry_until_it_answers() {
    let (port, broker) = (free_port(), Broker::start());
    let mut subscriber = Subscriber::start(broker.port).await;
    let gateway = Setup::new().device(port).broker(broker.url()).run();
    let safety = subscriber.next("/safety").await.json();
    assert_eq!((&safety["is_safe"], &safety["watchdog"]), (&json!(false), &json!("failed")));
    subscriber.next("/system/heartbeat").await;
    let second = subscriber.next("/system/heartbeat").await;
    gateway.assert_logged_once("cannot be read").await;
    assert!(!second.payload.contains("soc"));
    assert_eq!(gateway.health().await["devices"]["battery"]["online"], json!(false));

    let registers = Registers::new();
    registers.fill(1, Table::Holding, 0..=u16::MAX, 0);
    registers.set(1, Table::Holding, 37760, &[500]);
    let _device = Server::start(([127, 0, 0, 1], port).into(), registers).unwrap();
    let telemetry = subscriber.next("/telemetry").await;
    assert_eq!(telemetry.json()["soc_pct"], json!(50.0));
    subscriber.wait_for("/safety", |message| message.json()["is_safe"] == json!(true)).await;
    gateway.assert_logged_once(&format!("127.0.0.1:{port} answers")).await;
}

#[tokio::test]
async fn a_device_recovers_from_every_fault() {
    let (device, broker) = (Device::huawei(), Broker::start());
    let mut subscriber = Subscriber::start(broker.port).await;
    let profile = "timeout = \"100ms\"\n[points]\nsoc = { channel = \"soc_pct\", address = 37760, type = \"uint16\", scale = 0.1 }\n";
    let setup = Setup::new().device(device.port()).broker(broker.url()).file("box.toml", profile);
    let gateway = setup.with("DRIVER_PROFILE_PATH", "box.toml").run();
    let mut soc = 50.0;
    device.set("soc_pct", soc);
    subscriber.wait_for("/telemetry", |message| message.json()["soc_pct"] == json!(50.0)).await;
    for fault in [
        Fault::ShortReply,
        Fault::LongReply,
        Fault::Truncate,
        Fault::Silence,
        Fault::Exception(4),
        Fault::WrongTransaction,
        Fault::WrongFunction,
        Fault::Garbage,
        Fault::Reset,
        Fault::HalfClose,
        Fault::Slow(Duration::from_millis(300)),
    ] {
        let logged = gateway.log_count("cannot be read");
        device.server.set_fault(Some(fault));
        // A new value, which is readable only without the fault: no stale or wrong value may arrive before it.
        soc += 1.0;
        device.set("soc_pct", soc);
        wait_for_next_fault(&gateway, logged).await;
        subscriber.discard_received();
        device.server.set_fault(None);
        let message = subscriber.next("/telemetry").await;
        assert_eq!(message.json()["soc_pct"], json!(soc), "after {fault:?}");
        assert_eq!(gateway.log_count("cannot be read"), logged + 1, "{fault:?}: {}", gateway.log());
    }
}

async fn wait_for_next_fault(gateway: &Gateway, before: usize) {
    within("the gateway to log the fault", async {
        while gateway.log_count("cannot be read") == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_device_that_refuses_blocks_is_read_point_by_point() {
    let (device, broker) = (Device::sparse_huawei(), Broker::start());
    let mut subscriber = Subscriber::start(broker.port).await;
    let _gateway = Setup::new().device(device.port()).broker(broker.url()).run();
    let telemetry = subscriber.next("/telemetry").await.json();
    assert_eq!((&telemetry["soc_pct"], &telemetry["power_kw"]), (&json!(72.3), &json!(-85.5)));
    assert_eq!(telemetry["temp_c"], json!(28.1));
    // Later cycles send no request that was refused.
    subscriber.next("/telemetry").await;
    let before = device.server.request_log().len();
    subscriber.next("/telemetry").await;
    subscriber.next("/telemetry").await;
    for request in device.server.request_log().iter().skip(before) {
        let read = device.registers.get(1, Table::Holding, request.address, request.count);
        assert!(read.is_some(), "{request:?} is sent although it is refused");
    }
}

#[tokio::test]
async fn a_channel_that_the_device_lacks_is_omitted() {
    let (device, broker) = (Device::huawei(), Broker::start());
    device.server.set_fault(Some(Fault::RefuseAddress(37022)));
    let mut subscriber = Subscriber::start(broker.port).await;
    let gateway = Setup::new().device(device.port()).broker(broker.url()).run();
    let telemetry = subscriber.next("/telemetry").await.json();
    let keys: Vec<_> = telemetry.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["ts", "site_id", "soc_pct", "power_kw"]);
    subscriber.next("/telemetry").await;
    gateway.assert_logged_once("refuses to read luna_temperature at 37022").await;
}

#[tokio::test]
async fn a_silent_default_unit_is_reported_with_the_manufacturers_unit() {
    let registers = Registers::new();
    registers.fill(3, Table::Holding, 0..=u16::MAX, 0);
    let device = Server::start(([127, 0, 0, 1], 0).into(), registers).unwrap();
    let broker = Broker::start();
    let setup = || Setup::new().device(device.address().port()).broker(broker.url());
    let gateway = setup().run();
    gateway.wait_for_log("set MODBUS_UNIT_ID=3").await;
    drop(gateway);
    let mut subscriber = Subscriber::start(broker.port).await;
    let _gateway = setup().with("MODBUS_UNIT_ID", 3).run();
    subscriber.next("/telemetry").await;
}
