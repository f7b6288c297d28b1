//! A running gateway with the default feed and customers' feeds. Whatever those do, every reading must arrive through the
//! default feed, in order.

use std::path::PathBuf;

use serde_json::Value;

use super::broker::Broker;
use super::device::Device;
use super::gateway::{Gateway, Setup};
use super::guests;
use super::readings::count;
use super::stalls::assert_no_stall;
use super::subscriber::{ReceivedMessage, Subscriber};

/// A device, a broker, a gateway and two subscribers.
pub struct TestSite {
    pub device: Device,
    pub broker: Broker,
    pub gateway: Gateway,
    /// Receives every topic.
    pub customers: Subscriber,
    /// Receives the telemetry of the default feed.
    telemetry: Subscriber,
    last_reading: Option<u16>,
}

impl TestSite {
    /// Starts a gateway with the hostile plugin and these files in its plugins' folder.
    pub async fn start(files: &[(&str, String)]) -> Self {
        Self::with(|setup| {
            let setup = setup.file("plugins/hostile.wasm", guests::hostile());
            files.iter().fold(setup, |setup, (name, content)| setup.file(&format!("plugins/{name}"), content))
        })
        .await
    }

    /// Starts a gateway with the settings and files that `extend` adds.
    pub async fn with(extend: impl FnOnce(Setup) -> Setup) -> Self {
        let (device, broker) = (Device::counting(), Broker::start());
        let telemetry = Subscriber::with(broker.port, "SITE-CL-001/telemetry", None).await;
        let customers = Subscriber::with(broker.port, "#", None).await;
        let gateway = extend(Setup::new().device(device.port()).broker(broker.url())).run();
        Self { device, broker, gateway, customers, telemetry, last_reading: None }
    }

    /// The next reading; fails unless it follows the last one.
    pub async fn reading(&mut self) -> u16 {
        let reading = count(&self.telemetry.next("/telemetry").await.json()).unwrap();
        let reading = u16::try_from(reading).unwrap();
        let due = self.last_reading.map_or(0, |last| last.wrapping_add(1));
        assert_eq!(reading, due, "a reading is missing: {}", self.gateway.log());
        self.last_reading = Some(reading);
        reading
    }

    /// Receives all readings that the device has given so far, and five more to show that delivery continues.
    pub async fn all_readings(&mut self) {
        let last = self.device.readings().wrapping_add(5);
        while self.reading().await != last {}
    }

    /// As [`Self::all_readings`], and nothing has held up the gateway's main loop.
    pub async fn undisturbed(&mut self) {
        self.all_readings().await;
        assert_no_stall(&self.gateway).await;
    }

    /// Receives this many readings: a measure of time that does not depend on the machine's speed.
    pub async fn readings(&mut self, count: usize) {
        for _ in 0..count {
            self.reading().await;
        }
    }

    /// Writes a file of the plugins' folder in place.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.plugin_file(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// Writes a file elsewhere and renames it into the plugins' folder.
    pub fn move_in(&self, name: &str, content: impl AsRef<[u8]>) {
        let (part, path) = (self.gateway.path("part"), self.plugin_file(name));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&part, content).unwrap();
        std::fs::rename(part, path).unwrap();
    }

    pub fn plugin_file(&self, name: &str) -> PathBuf {
        self.gateway.path("plugins").join(name)
    }

    /// Subscribes to what an echoing feed publishes under a topic.
    pub async fn echoes(&self, topic: &str) -> EchoStream {
        EchoStream::start(self.broker.port, topic).await
    }

    /// Waits until a feed's entry in `/health` meets a condition; returns that entry.
    pub async fn feed(&self, name: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let what = format!("the expected health of feed {name}");
        self.gateway.wait_for_health(&what, |health| condition(&health["feeds"][name])).await["feeds"][name].clone()
    }

    /// Waits until a feed is switched off; returns its entry in `/health`.
    pub async fn off(&self, name: &str) -> Value {
        self.feed(name, |feed| feed["off"].is_string()).await
    }

    /// The next message of an echoing feed with this topic in its settings.
    pub async fn echo(&mut self, topic: &str) -> Echo {
        let prefix = format!("{topic}/");
        let message = self.customers.wait_for("", |message| message.topic.starts_with(&prefix)).await;
        Echo::parse(&message)
    }
}

/// The messages of an echoing feed; fails when an event is missing or repeated.
pub struct EchoStream {
    subscriber: Subscriber,
    /// The sequence number of the last event.
    pub last: Option<u64>,
}

impl EchoStream {
    /// Begins with the next event that is published under this topic.
    pub async fn start(port: u16, topic: &str) -> Self {
        Self { subscriber: Subscriber::with(port, &format!("{topic}/#"), None).await, last: None }
    }

    /// The next event; fails unless it follows the last one.
    pub async fn next(&mut self) -> Echo {
        let echo = Echo::parse(&self.subscriber.next("").await);
        if let Some(last) = self.last {
            assert_eq!(echo.sequence, last + 1, "an event is missing or repeated");
        }
        self.last = Some(echo.sequence);
        echo
    }

    /// The next event, whether it follows the last one or not.
    pub async fn next_after_gap(&mut self) -> Echo {
        self.last = None;
        self.next().await
    }

    /// Receives this many events.
    pub async fn receive(&mut self, count: usize) {
        for _ in 0..count {
            self.next().await;
        }
    }

    /// Receives this many events after the broker was killed: those that it had not acknowledged may be repeated first.
    pub async fn receive_after_kill(&mut self, count: usize) {
        let mut received = 0;
        while received < count {
            let echo = Echo::parse(&self.subscriber.next("").await);
            let due = self.last.map_or(echo.sequence, |last| last + 1);
            assert!(echo.sequence <= due, "event {due} is missing: {} follows", echo.sequence);
            if echo.sequence == due {
                self.last = Some(due);
                received += 1;
            }
        }
    }

    /// The next event that meets a condition; the order of those before it is checked too.
    pub async fn wait_for(&mut self, condition: impl Fn(&Echo) -> bool) -> Echo {
        loop {
            let echo = self.next().await;
            if condition(&echo) {
                return echo;
            }
        }
    }
}

/// An event as an echoing feed publishes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Echo {
    pub sequence: u64,
    pub version: String,
    pub build: String,
    /// The device's count, if the event is a frame.
    pub reading: Option<u16>,
}

impl Echo {
    fn parse(message: &ReceivedMessage) -> Self {
        let json = message.json();
        let text = |key: &str| json[key].as_str().unwrap().to_owned();
        // The power in kW is the profile's second channel; a counting device gives the number of the reading in W.
        let kilowatts = json["is_frame"].as_bool().unwrap().then(|| json["values"][1].as_f64().unwrap());
        let echo = Self {
            sequence: json["sequence"].as_u64().unwrap(),
            version: text("version"),
            build: text("build"),
            reading: kilowatts.map(|kilowatts| format!("{:.0}", kilowatts * 1000.0).parse().unwrap()),
        };
        assert!(message.topic.ends_with(&format!("/{}", echo.sequence)), "{message:?}");
        echo
    }
}
