//! The plugin `azure-iot-hub` in the whole gateway, against a hub that enforces IoT Hub's rules.

use std::net::SocketAddr;

use serde_json::Value;

use crate::support::certificates::Authority;
use crate::support::component;
use crate::support::device::Device;
use crate::support::folder;
use crate::support::gateway::{Gateway, Setup};
use crate::support::hub::encoded;
use crate::support::hub::iot_hub::{Credential, IotHub};
use crate::support::hub::mqtt::{Connect, Publish};
use crate::support::hub::service::{Clock, CloudEvent, End, Endpoint, Server, Service};
use crate::support::readings::DeliveredReadings;

mod bad_input;
mod commands;
mod hour;
mod provisioning;
mod renewal;
mod vendor;

/// The hub's host name.
const HUB: &str = "localhost";
const DEVICE: &str = "site001";
const KEY: &[u8] = b"the key of the device site001 at its hub";
/// The rights that the documentation names.
const RIGHTS: &str = "[rights]\ntopics = [\"devices/site001/messages/events/#\", \"$iothub/#\"]\n\
                      subscribe = [\"devices/site001/messages/devicebound/#\", \"$iothub/#\"]\n";

/// The certificates of a cloud of this test.
struct Cloud {
    authority: Authority,
    // Its files live as long as this.
    _folder: tempfile::TempDir,
}

impl Cloud {
    fn new() -> Self {
        let folder = folder();
        let authority = Authority::new(folder.path(), "ca");
        Self { authority, _folder: folder }
    }

    /// Starts a service at this address; its certificate has this name.
    async fn serve<S: Service>(
        &self,
        name: &str,
        address: SocketAddr,
        clock: Clock,
        service: S,
    ) -> std::io::Result<Server<S>> {
        let certificate = self.authority.sign(name);
        Server::start(Endpoint { address, certificate: &certificate, clients: &self.authority, clock }, service).await
    }

    /// A hub with one device.
    async fn hub(&self, credential: Credential, clock: Clock) -> Server<IotHub> {
        let hub = IotHub::new(HUB).with(DEVICE, credential);
        self.serve(HUB, SocketAddr::from(([127, 0, 0, 1], 0)), clock, hub).await.unwrap()
    }

    /// The settings of the feed's broker; `more`: further lines of `[broker]`.
    fn broker(&self, port: u16, more: &str) -> String {
        let ca = self.authority.pem.certificate.display();
        format!("[broker]\nkind = \"azure-iot-hub\"\nurl = \"mqtts://localhost:{port}\"\nca = \"{ca}\"\n{more}\n")
    }

    /// A feed's file with the device's key; `config`: further lines of `[config]`.
    fn feed(&self, port: u16, config: &str) -> String {
        format!(
            "{}[secrets]\ndevice-key = {{ file = \"key\", encoding = \"base64\" }}\n{RIGHTS}\
             [config]\ndevice_id = \"{DEVICE}\"\n{config}\n",
            self.broker(port, "")
        )
    }
}

/// A gateway whose only feed is this one, with this key in its file.
fn setup(device: &Device, feed: &str, key: &[u8]) -> Setup {
    with_feed(Setup::new().device(device.port()), feed, key)
}

/// Adds the feed, as the only one.
fn with_feed(setup: Setup, feed: &str, key: &[u8]) -> Setup {
    let wasm = std::fs::read(component("azure-iot-hub")).unwrap();
    let setup = setup.file("plugins/default.toml", "enabled = false\n");
    setup.file("plugins/key", encoded(key)).file("plugins/azure.toml", feed).file("plugins/azure.wasm", wasm)
}

/// The feed's entry in `/health`.
async fn health(gateway: &Gateway) -> Value {
    gateway.health().await["feeds"]["azure"].clone()
}

/// The device's count in a reading, if the message is one.
fn reading(message: &Publish) -> Option<u16> {
    let payload: Value = serde_json::from_slice(&message.payload).ok()?;
    payload.get("power_kw").map(count)
}

/// A count as JSON, which is the power in kW.
fn count(value: &Value) -> u16 {
    let watts = value.as_f64().unwrap() * 1000.0;
    format!("{watts:.0}").parse().unwrap()
}

/// What a test waits for at a hub, while it checks that every reading arrives and that no rule is broken.
struct Watch<'a> {
    hub: &'a mut Server<IotHub>,
    gateway: &'a Gateway,
    readings: DeliveredReadings,
    sessions: usize,
}

impl<'a> Watch<'a> {
    fn new(hub: &'a mut Server<IotHub>, gateway: &'a Gateway) -> Self {
        Self { hub, gateway, readings: DeliveredReadings::default(), sessions: 0 }
    }

    /// The next event. A session may end as `is_allowed` says.
    async fn next(&mut self, is_allowed: impl Fn(&End) -> bool) -> CloudEvent {
        let event = self.hub.next().await;
        match &event {
            CloudEvent::Connected(_) => self.sessions += 1,
            CloudEvent::Message(message) => {
                if let Some(reading) = reading(message) {
                    self.readings.add(reading).unwrap();
                }
            }
            CloudEvent::Ended(end) if !is_allowed(end) => panic!("{end:?}\n{}", self.gateway.log()),
            CloudEvent::Refused(reason) => panic!("{reason}\n{}", self.gateway.log()),
            _ => {}
        }
        event
    }

    /// Waits until all readings that the device has given so far have arrived.
    async fn all_readings(&mut self, device: &Device, is_allowed: impl Fn(&End) -> bool) {
        let count = device.readings().wrapping_add(5);
        while !self.readings.has_all_below(count) {
            self.next(&is_allowed).await;
        }
    }
}

/// The sign-in of an event.
fn connect(event: CloudEvent) -> Option<Connect> {
    match event {
        CloudEvent::Connected(connect) => Some(connect),
        _ => None,
    }
}

/// The message of an event.
fn message(event: CloudEvent) -> Option<Publish> {
    match event {
        CloudEvent::Message(message) => Some(message),
        _ => None,
    }
}
