//! A running gateway with the site's own feed and customers', and the one promise that holds whatever they do: every
//! reading arrives, in order, none missing.

use std::path::PathBuf;

use serde_json::Value;

use super::broker::Broker;
use super::device::Device;
use super::gateway::{Gateway, Setup};
use super::guests;
use super::listener::{Heard, Listener};

/// Device, broker, gateway, and whoever listens to them.
pub struct Plant {
    pub device: Device,
    pub broker: Broker,
    pub gateway: Gateway,
    /// Everything but the site's own topics.
    pub customers: Listener,
    own: Listener,
    heard: Option<u16>,
}

impl Plant {
    /// With the hostile plugin at hand, and these files beside it.
    pub async fn start(files: &[(&str, String)]) -> Self {
        Self::with(|setup| {
            let setup = setup.file("plugins/hostile.wasm", guests::hostile());
            files.iter().fold(setup, |setup, (name, content)| setup.file(&format!("plugins/{name}"), content))
        })
        .await
    }

    /// With whatever the test adds.
    pub async fn with(more: impl FnOnce(Setup) -> Setup) -> Self {
        let (device, broker) = (Device::counting(), Broker::start());
        let own = Listener::with(broker.port, "SITE-CL-001/telemetry", None).await;
        let customers = Listener::with(broker.port, "#", None).await;
        let gateway = more(Setup::new().device(device.port()).broker(broker.url())).run();
        Self { device, broker, gateway, customers, own, heard: None }
    }

    /// The next reading, which must be the one after the last.
    pub async fn reading(&mut self) -> u16 {
        let reading = self.own.next("/telemetry").await.json()["cycle_count"].as_u64().unwrap();
        let reading = u16::try_from(reading).unwrap();
        let due = self.heard.map_or(0, |heard| heard.wrapping_add(1));
        assert_eq!(reading, due, "a reading is missing: {}", self.gateway.log());
        self.heard = Some(reading);
        reading
    }

    /// Every reading that the device has given so far has arrived, and some more do.
    pub async fn all_readings(&mut self) {
        let some_more = self.device.readings().wrapping_add(5);
        while self.reading().await != some_more {}
    }

    /// So many more readings: time that passes for the gateway, however slow the machine is.
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

    /// Puts a file into the plugins' folder as a whole.
    pub fn move_in(&self, name: &str, content: impl AsRef<[u8]>) {
        let part = self.gateway.path("part");
        std::fs::write(&part, content).unwrap();
        std::fs::rename(part, self.plugin_file(name)).unwrap();
    }

    pub fn plugin_file(&self, name: &str) -> PathBuf {
        self.gateway.path("plugins").join(name)
    }

    /// Follows what an echoing feed publishes under a topic.
    pub async fn echoes(&self, topic: &str) -> Echoes {
        Echoes::start(self.broker.port, topic).await
    }

    /// What `/health` says of a feed, once that is as wanted.
    pub async fn feed(&self, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let what = format!("the wanted state of {name}");
        self.gateway.until(&what, |health| wanted(&health["feeds"][name])).await["feeds"][name].clone()
    }

    /// Waits until a feed is switched off, and gives what `/health` says of it.
    pub async fn off(&self, name: &str) -> Value {
        self.feed(name, |feed| feed["off"].is_string()).await
    }

    /// The next message of an echoing feed, by the topic of its settings.
    pub async fn echo(&mut self, topic: &str) -> Echo {
        let prefix = format!("{topic}/");
        let heard = self.customers.wait("", |heard| heard.topic.starts_with(&prefix)).await;
        Echo::of(&heard)
    }
}

/// Follows an echoing feed: no event is missing, none comes twice.
pub struct Echoes {
    listener: Listener,
    /// The number of the last event.
    pub last: Option<u64>,
}

impl Echoes {
    /// From the first event on that is published there.
    pub async fn start(port: u16, topic: &str) -> Self {
        Self { listener: Listener::with(port, &format!("{topic}/#"), None).await, last: None }
    }

    /// The next event, which must be the one after the last.
    pub async fn next(&mut self) -> Echo {
        let echo = Echo::of(&self.listener.next("").await);
        if let Some(last) = self.last {
            assert_eq!(echo.sequence, last + 1, "an event is missing, or comes twice");
        }
        self.last = Some(echo.sequence);
        echo
    }

    /// The next event, whatever was before it.
    pub async fn any(&mut self) -> Echo {
        self.last = None;
        self.next().await
    }

    /// So many more.
    pub async fn some(&mut self, count: usize) {
        for _ in 0..count {
            self.next().await;
        }
    }

    /// The next one that is as wanted; those before it are checked as well.
    pub async fn until(&mut self, wanted: impl Fn(&Echo) -> bool) -> Echo {
        loop {
            let echo = self.next().await;
            if wanted(&echo) {
                return echo;
            }
        }
    }
}

/// What an echoing feed publishes of an event.
#[derive(Clone, Debug, PartialEq)]
pub struct Echo {
    pub sequence: u64,
    pub version: String,
    pub build: String,
    /// The device's count, where the event is a frame.
    pub reading: Option<u16>,
}

impl Echo {
    pub fn of(heard: &Heard) -> Self {
        let json = heard.json();
        let text = |key: &str| json[key].as_str().unwrap().to_owned();
        // The profile's fourth channel.
        let reading = json["is_frame"].as_bool().unwrap().then(|| json["values"][3].as_f64().unwrap());
        let echo = Self {
            sequence: json["sequence"].as_u64().unwrap(),
            version: text("version"),
            build: text("build"),
            reading: reading.map(|reading| (0..=u16::MAX).find(|count| f64::from(*count) == reading).unwrap()),
        };
        assert!(heard.topic.ends_with(&format!("/{}", echo.sequence)), "{heard:?}");
        echo
    }
}
