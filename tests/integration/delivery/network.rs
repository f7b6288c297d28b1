//! Network faults between gateway and broker; the subscriber connects to the broker directly.

use std::time::Duration;

use bessai_simulator::proxy::{CloseMode, Direction, NetworkCondition, Proxy};

use super::counting;
use crate::support::broker::Broker;
use crate::support::device::Device;
use crate::support::gateway::Gateway;
use crate::support::reading_subscriber::{ReadingSubscriber, Subscription};
use crate::support::readings::DeliveredReadings;
use crate::support::within;

/// A gateway that reaches its broker through a proxy.
struct ProxiedGateway {
    device: Device,
    proxy: Proxy,
    gateway: Gateway,
    subscriber: ReadingSubscriber,
    readings: DeliveredReadings,
    _broker: Broker,
}

impl ProxiedGateway {
    /// Starts a gateway with further keys of `[broker]`; returns once readings arrive.
    async fn start(settings: &str) -> Self {
        let (device, broker) = (Device::counting(), Broker::start());
        let proxy = Proxy::start(([127, 0, 0, 1], broker.port).into()).await.unwrap();
        let subscriber = ReadingSubscriber::start(Subscription::telemetry(broker.port, 0)).await;
        let settings = format!("[broker]\nurl = \"mqtt://{}\"\n{settings}\n", proxy.address());
        let gateway = counting(&device).file("bessai.toml", settings).run();
        let readings = DeliveredReadings::default();
        let mut proxied = Self { device, proxy, gateway, subscriber, readings, _broker: broker };
        proxied.receive_all().await;
        proxied
    }

    /// Receives all readings so far, and some more.
    async fn receive_all(&mut self) {
        self.subscriber.receive_all(&mut self.readings, &self.device, &self.gateway).await;
    }

    /// Waits until the device was read this many times more.
    async fn wait_for_readings(&self, count: u16) {
        let wanted = self.device.readings() + count;
        within("readings", async {
            while self.device.readings() < wanted {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_closed_connection_loses_no_reading() {
    let mut proxied = ProxiedGateway::start("").await;
    for mode in [CloseMode::Reset, CloseMode::Fin] {
        proxied.readings.allow_redelivery();
        let connections = proxied.proxy.connections();
        proxied.proxy.close_connections(mode);
        proxied.receive_all().await;
        assert_eq!(proxied.proxy.connections(), connections + 1, "{}", proxied.gateway.log());
    }
}

#[tokio::test]
async fn a_connection_closed_within_a_packet_loses_no_reading() {
    let mut proxied = ProxiedGateway::start("").await;
    for (bytes, mode) in [(1, CloseMode::Reset), (60, CloseMode::Fin), (131, CloseMode::Reset), (1000, CloseMode::Fin)]
    {
        proxied.readings.allow_redelivery();
        proxied.proxy.close_after(bytes, mode);
        within("the connection to close", async {
            while proxied.proxy.has_pending_close() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        proxied.receive_all().await;
    }
}

#[tokio::test]
async fn readings_arrive_once_an_unreachable_broker_returns() {
    let mut proxied = ProxiedGateway::start("").await;
    proxied.proxy.set_condition(NetworkCondition::Refused);
    proxied.proxy.close_connections(CloseMode::Reset);
    proxied.gateway.wait_for_log("refused").await;
    proxied.wait_for_readings(30).await;
    proxied.proxy.set_condition(NetworkCondition::Normal);
    proxied.readings.allow_redelivery();
    proxied.receive_all().await;
}

#[tokio::test]
async fn a_connection_slower_than_the_readings_is_kept() {
    let mut proxied = ProxiedGateway::start("").await;
    // About a third of the rate at which the gateway sends readings.
    proxied.proxy.set_condition(NetworkCondition::Slow(32, Duration::from_millis(25)));
    proxied.wait_for_readings(100).await;
    proxied.proxy.set_condition(NetworkCondition::Normal);
    proxied.receive_all().await;
    assert_eq!((proxied.readings.redeliveries(), proxied.proxy.connections()), (0, 1), "{}", proxied.gateway.log());
}

/// The connection stays open but carries nothing: only the keep alive detects it.
async fn check_silent_connection(condition: NetworkCondition) {
    let mut proxied = ProxiedGateway::start("keep_alive = \"5s\"").await;
    proxied.proxy.set_condition(condition);
    proxied.gateway.wait_for_log("retrying in").await;
    // Data that the proxy held must not arrive later, so the old connections are closed.
    proxied.proxy.close_connections(CloseMode::Reset);
    proxied.proxy.set_condition(NetworkCondition::Normal);
    proxied.readings.allow_redeliveries(2);
    proxied.receive_all().await;
}

#[tokio::test]
async fn a_silent_connection_is_closed_after_its_keep_alive() {
    let up = check_silent_connection(NetworkCondition::HalfOpen(Direction::Up));
    let down = check_silent_connection(NetworkCondition::HalfOpen(Direction::Down));
    tokio::join!(up, down, check_silent_connection(NetworkCondition::BlackHole));
}
