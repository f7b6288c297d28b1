//! The plant, its brokers and its customers.

use std::path::PathBuf;
use std::time::Duration;

use bessai_simulator::proxy::{CloseMode, Proxy};

use crate::support::broker::{Broker, BrokerSetup};
use crate::support::component;
use crate::support::device::Device;
use crate::support::guests::{hostile, hostile_build};

/// The feeds that have to deliver everything, whatever happens.
pub const FEEDS: [&str; 3] = ["default", "power", "working"];
/// `[journal] max_size`: as small as possible, so that a short run reaches it.
pub const JOURNAL_BYTES: f64 = 1_048_576.0;
/// Time between two readings of the battery and of the meter.
const PERIODS: [&str; 2] = ["20ms", "100ms"];
/// Time between two resets of the network of the hostile feed.
const FLAP_EVERY: Duration = Duration::from_secs(7);
/// Without a log: it would have a line for each packet. A broker keeps the messages of subscribers that are away.
const BROKER: BrokerSetup<'static> = BrokerSetup {
    login: None,
    certificate: None,
    clients_ca: None,
    port: None,
    persists: true,
    websockets: false,
    newest_tls: None,
    lines: &["log_dest none"],
};

/// Everything around the gateway.
pub struct Site {
    /// Never in trouble: its readings are counted.
    pub battery: Device,
    /// In trouble now and then.
    pub meter: Device,
    /// The site's broker, for the default feed.
    pub site_broker: Broker,
    /// The customers' broker.
    pub customers_broker: Broker,
    /// The network between the hostile feed and that broker.
    pub network: Proxy,
    folder: tempfile::TempDir,
}

impl Site {
    /// Starts devices and brokers, and writes the gateway's files.
    pub async fn start() -> Self {
        let (battery, meter) = (Device::counting(), Device::huawei());
        let (site_broker, customers_broker) = (Broker::with(&BROKER), Broker::with(&BROKER));
        let network = Proxy::start(([127, 0, 0, 1], customers_broker.port).into()).await.unwrap();
        let site =
            Self { battery, meter, site_broker, customers_broker, network, folder: tempfile::tempdir().unwrap() };
        for folder in ["data", "data/config", "data/plugins"] {
            std::fs::create_dir(site.folder.path().join(folder)).unwrap();
        }
        std::fs::write(site.data().join("bessai.toml"), site.settings()).unwrap();
        site.write_plugin("hostile.wasm", hostile());
        site.write_plugin("working.wasm", hostile_build('a'));
        site.write_plugin("power.wasm", std::fs::read(component("example-rust")).unwrap());
        site.write_plugin("working.toml", site.customer("do = \"echo\"\ntopic = \"echo\"", None));
        site.write_plugin("power.toml", site.power_feed());
        // First of all, so that what its state takes in memory and on disk, which stays, is no growth later.
        site.set_hostile("state");
        site
    }

    /// The gateway's working folder, which is its data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The file of the gateway's log.
    pub fn log(&self) -> PathBuf {
        self.folder.path().join("gateway.log")
    }

    /// Resets the hostile feed's network for ever.
    pub async fn flap(&self) {
        loop {
            tokio::time::sleep(FLAP_EVERY).await;
            self.network.close_connections(CloseMode::Reset);
        }
    }

    /// Writes a file elsewhere and renames it into the plugins' folder.
    pub fn write_plugin(&self, name: &str, content: impl AsRef<[u8]>) {
        let part = self.folder.path().join("part");
        std::fs::write(&part, content).unwrap();
        std::fs::rename(part, self.data().join("plugins").join(name)).unwrap();
    }

    /// Changes what the hostile plugin does.
    pub fn set_hostile(&self, behaviour: &str) {
        let config = format!("do = \"{behaviour}\"\ntopic = \"hostile\"\nnth = 3");
        let feed = self.customer(&config, Some(self.network.address().port()));
        self.write_plugin("trouble.toml", format!("component = \"hostile.wasm\"\n{feed}"));
    }

    /// The file of the example plugin's feed.
    pub fn power_feed(&self) -> String {
        self.customer("topic = \"power\"", None)
    }

    fn customer(&self, config: &str, port: Option<u16>) -> String {
        let port = port.unwrap_or(self.customers_broker.port);
        format!("start = \"oldest\"\n[broker]\nurl = \"mqtt://127.0.0.1:{port}\"\n[config]\n{config}\n")
    }

    fn settings(&self) -> String {
        let device = |name: &str, device: &Device, period: &str| {
            let port = device.port();
            format!("[[device]]\nname = \"{name}\"\naddress = \"tcp://127.0.0.1:{port}\"\nperiod = \"{period}\"\n")
        };
        let [battery, meter] = PERIODS;
        let devices = device("battery", &self.battery, battery) + &device("meter", &self.meter, meter);
        let (url, size) = (self.site_broker.url(), "1MiB");
        format!("site = \"SITE-CL-001\"\n{devices}[broker]\nurl = \"{url}\"\n[journal]\nmax_size = \"{size}\"\n")
    }
}
