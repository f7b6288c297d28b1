//! Devices that are absent, refuse, lie or die: the frame carries faults, the feed carries on, the log says it once.

use std::time::Duration;

use bessai_simulator::registers::{Registers, Table};
use bessai_simulator::server::{Fault, Server};
use serde_json::json;

use crate::support::broker::Broker;
use crate::support::device::Device;
use crate::support::free_port;
use crate::support::gateway::Setup;
use crate::support::listener::Listener;

#[tokio::test]
async fn an_absent_device_silences_telemetry_alone_and_heals() {
    let (port, broker) = (free_port(), Broker::start());
    let mut listener = Listener::start(broker.port).await;
    let gateway = Setup::new().device(port).broker(broker.url()).run();
    let safety = listener.next("/safety").await.json();
    assert_eq!((&safety["is_safe"], &safety["watchdog"]), (&json!(false), &json!("failed")));
    listener.next("/system/heartbeat").await;
    let second = listener.next("/system/heartbeat").await;
    assert_eq!(gateway.said("is not read"), 1, "{}", gateway.log());
    assert!(!second.payload.contains("soc"));
    assert_eq!(gateway.health().await["devices"]["battery"]["online"], json!(false));

    let registers = Registers::new();
    registers.fill(1, Table::Holding, 0..=u16::MAX, 0);
    registers.set(1, Table::Holding, 37760, &[500]);
    let _device = Server::start(([127, 0, 0, 1], port).into(), registers).unwrap();
    let telemetry = listener.next("/telemetry").await;
    assert_eq!(telemetry.json()["soc_pct"], json!(50.0));
    listener.wait("/safety", |heard| heard.json()["is_safe"] == json!(true)).await;
    assert_eq!(gateway.said(&format!("127.0.0.1:{port} answers")), 1, "{}", gateway.log());
}

#[tokio::test]
async fn every_fault_ends_in_recovery() {
    let (device, broker) = (Device::huawei(), Broker::start());
    let mut listener = Listener::start(broker.port).await;
    let profile = "timeout = \"100ms\"\n[points]\nsoc = { channel = \"soc_pct\", address = 37760, type = \"uint16\", scale = 0.1 }\n";
    let setup = Setup::new().device(device.port()).broker(broker.url()).file("box.toml", profile);
    let gateway = setup.with("DRIVER_PROFILE_PATH", "box.toml").run();
    let mut soc = 50.0;
    device.set("soc_pct", soc);
    listener.wait("/telemetry", |heard| heard.json()["soc_pct"] == json!(50.0)).await;
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
        let said = gateway.said("is not read");
        device.server.misbehave(Some(fault));
        // A value that shows only once the device is sound again: nothing stale or wrong may come before it.
        soc += 1.0;
        device.set("soc_pct", soc);
        gateway_says_again(&gateway, said).await;
        listener.forget();
        device.server.misbehave(None);
        let heard = listener.next("/telemetry").await;
        assert_eq!(heard.json()["soc_pct"], json!(soc), "after {fault:?}");
        assert_eq!(gateway.said("is not read"), said + 1, "{fault:?}: {}", gateway.log());
    }
}

async fn gateway_says_again(gateway: &crate::support::gateway::Gateway, before: usize) {
    crate::support::within("the gateway to notice the fault", async {
        while gateway.said("is not read") == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_device_that_refuses_blocks_is_read_point_by_point() {
    let (device, broker) = (Device::sparse_huawei(), Broker::start());
    let mut listener = Listener::start(broker.port).await;
    let _gateway = Setup::new().device(device.port()).broker(broker.url()).run();
    let telemetry = listener.next("/telemetry").await.json();
    assert_eq!((&telemetry["soc_pct"], &telemetry["power_kw"]), (&json!(72.3), &json!(-85.5)));
    assert_eq!((&telemetry["temp_c"], &telemetry["cycle_count"]), (&json!(28.1), &json!(312)));
    // What was learnt holds: later cycles ask for nothing that was refused.
    listener.next("/telemetry").await;
    let learnt = device.server.request_log().len();
    listener.next("/telemetry").await;
    listener.next("/telemetry").await;
    for request in device.server.request_log().iter().skip(learnt) {
        let read = device.registers.get(1, Table::Holding, request.address, request.count);
        assert!(read.is_some(), "{request:?} is still refused");
    }
}

#[tokio::test]
async fn a_channel_that_the_device_does_not_have_is_left_out() {
    let (device, broker) = (Device::huawei(), Broker::start());
    device.server.misbehave(Some(Fault::RefuseAddress(37762)));
    let mut listener = Listener::start(broker.port).await;
    let gateway = Setup::new().device(device.port()).broker(broker.url()).run();
    let telemetry = listener.next("/telemetry").await.json();
    let keys: Vec<_> = telemetry.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["ts", "site_id", "soc_pct", "power_kw", "temp_c"]);
    listener.next("/telemetry").await;
    assert_eq!(gateway.said("refuses to read luna_cycle_count at 37762"), 1, "{}", gateway.log());
}

#[tokio::test]
async fn a_silent_default_unit_names_the_makers_own() {
    let registers = Registers::new();
    registers.fill(3, Table::Holding, 0..=u16::MAX, 0);
    let device = Server::start(([127, 0, 0, 1], 0).into(), registers).unwrap();
    let broker = Broker::start();
    let setup = || Setup::new().device(device.address().port()).broker(broker.url());
    let gateway = setup().run();
    gateway.says("set MODBUS_UNIT_ID=3").await;
    drop(gateway);
    let mut listener = Listener::start(broker.port).await;
    let _gateway = setup().with("MODBUS_UNIT_ID", 3).run();
    listener.next("/telemetry").await;
}
