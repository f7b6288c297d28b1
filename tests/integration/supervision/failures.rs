//! What `/health` shows of a device and a broker that cannot be reached: why, since when, and when they are tried next.

use std::net::SocketAddr;

use bessai_simulator::registers::{Registers, Table};
use bessai_simulator::server::Server;
use serde_json::Value;

use crate::support::broker::{Broker, BrokerSetup};
use crate::support::free_port;
use crate::support::gateway::Setup;

#[tokio::test]
async fn a_device_and_a_broker_that_cannot_be_reached_show_their_error_and_the_next_try() {
    let (device_port, broker_port) = (free_port(), free_port());
    let gateway = Setup::new().device(device_port).broker(format!("mqtt://127.0.0.1:{broker_port}")).run();
    let is_failing = |part: &Value| {
        let has_error = part["last_error"].as_str().is_some_and(|error| error.contains("refused"));
        has_error && part["failing_s"].as_u64() >= Some(1) && part["next_try_s"].is_number()
    };
    let both_fail =
        |health: &Value| is_failing(&health["devices"]["battery"]) && is_failing(&health["feeds"]["default"]);
    gateway.wait_for_health("both failures", both_fail).await;
    let _broker = Broker::with(&BrokerSetup { port: Some(broker_port), ..BrokerSetup::default() });

    let has_recovered =
        |feed: &Value| feed["connected"] == true && feed["failing_s"].is_null() && feed["next_try_s"].is_null();
    let health = gateway.wait_for_health("the session", |health| has_recovered(&health["feeds"]["default"])).await;
    // The last error stays readable.
    assert!(health["feeds"]["default"]["last_error"].is_string(), "{health}");
    assert!(health["devices"]["battery"]["failing_s"].is_number(), "{health}");

    let registers = Registers::new();
    registers.fill(1, Table::Holding, 0..=65_534, 0);
    let _device = Server::start(SocketAddr::from(([127, 0, 0, 1], device_port)), registers).unwrap();
    let is_online = |health: &Value| health["devices"]["battery"]["online"] == true;
    let health = gateway.wait_for_health("the device", is_online).await;
    for key in ["last_error", "failing_s", "next_try_s"] {
        assert!(health["devices"]["battery"][key].is_null(), "{key}: {health}");
    }
}
