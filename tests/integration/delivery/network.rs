//! A bad network between gateway and broker; the subscriber's own way to the broker stays good.

use std::time::Duration;

use bessai_simulator::proxy::{Cut, Direction, Proxy, Weather};

use super::counting;
use crate::support::broker::Broker;
use crate::support::device::Device;
use crate::support::gateway::Gateway;
use crate::support::readings::Readings;
use crate::support::subscriber::{Subscriber, Wish};
use crate::support::within;

struct Line {
    device: Device,
    proxy: Proxy,
    gateway: Gateway,
    subscriber: Subscriber,
    readings: Readings,
    _broker: Broker,
}

impl Line {
    /// Readings pass, with this key of `[broker]`.
    async fn start(settings: &str) -> Self {
        let (device, broker) = (Device::counting(), Broker::start());
        let proxy = Proxy::start(([127, 0, 0, 1], broker.port).into()).await.unwrap();
        let subscriber = Subscriber::start(Wish::telemetry(broker.port, 0)).await;
        let settings = format!("[broker]\nurl = \"mqtt://{}\"\n{settings}\n", proxy.address());
        let gateway = counting(&device).file("bessai.toml", settings).run();
        let readings = Readings::default();
        let mut line = Self { device, proxy, gateway, subscriber, readings, _broker: broker };
        line.all().await;
        line
    }

    async fn all(&mut self) {
        self.subscriber.all(&mut self.readings, &self.device, &self.gateway).await;
    }

    /// Waits until the device has been read so many times more.
    async fn readings_pass(&self, count: u16) {
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
async fn a_connection_that_is_cut() {
    let mut line = Line::start("").await;
    for cut in [Cut::Reset, Cut::Finish] {
        line.readings.seam();
        let connections = line.proxy.connections();
        line.proxy.cut(cut);
        line.all().await;
        assert_eq!(line.proxy.connections(), connections + 1, "{}", line.gateway.log());
    }
}

#[tokio::test]
async fn a_connection_that_is_cut_within_a_packet() {
    let mut line = Line::start("").await;
    for (bytes, cut) in [(1, Cut::Reset), (60, Cut::Finish), (131, Cut::Reset), (1000, Cut::Finish)] {
        line.readings.seam();
        line.proxy.cut_after(bytes, cut);
        within("the cut", async {
            while line.proxy.will_cut() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        line.all().await;
    }
}

#[tokio::test]
async fn a_broker_that_cannot_be_reached() {
    let mut line = Line::start("").await;
    line.proxy.set(Weather::Refused);
    line.proxy.cut(Cut::Reset);
    line.gateway.says("refused").await;
    line.readings_pass(30).await;
    line.proxy.set(Weather::Clear);
    line.readings.seam();
    line.all().await;
}

#[tokio::test]
async fn a_line_that_is_slower_than_the_readings() {
    let mut line = Line::start("").await;
    // About a third of what a gateway sends that publishes each reading.
    line.proxy.set(Weather::Slow(32, Duration::from_millis(25)));
    line.readings_pass(100).await;
    line.proxy.set(Weather::Clear);
    line.all().await;
    assert_eq!((line.readings.repeats(), line.proxy.connections()), (0, 1), "{}", line.gateway.log());
}

/// The line goes dead without a word: only the keep alive tells.
async fn goes_dead(weather: Weather) {
    let mut line = Line::start("keep_alive = \"5s\"").await;
    line.proxy.set(weather);
    line.gateway.says("not signed in").await;
    // What was held must not arrive later as if it were of now: the old connections are gone for good.
    line.proxy.cut(Cut::Reset);
    line.proxy.set(Weather::Clear);
    line.readings.seams(2);
    line.all().await;
}

#[tokio::test]
async fn a_line_that_goes_dead_is_given_up() {
    let up = goes_dead(Weather::HalfOpen(Direction::Up));
    let down = goes_dead(Weather::HalfOpen(Direction::Down));
    tokio::join!(up, down, goes_dead(Weather::BlackHole));
}
