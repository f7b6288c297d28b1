//! The Device Provisioning Service: registers, polls, signs in at the assigned hub, and registers again when it refuses.

use super::*;
use crate::support::hub::provisioning::{Enrolment, Provisioning, derived_key};

const ID_SCOPE: &str = "0ne000A0A0A";
const REGISTRATION: &str = "sn-007:a1";
/// The hubs' addresses, which are their names: they listen on the service's port.
const HUBS: [[u8; 4]; 2] = [[127, 0, 0, 2], [127, 0, 0, 3]];

fn name(hub: usize) -> String {
    HUBS[hub].map(|byte| byte.to_string()).join(".")
}

/// A provisioning service and two hubs on one port.
struct Region {
    cloud: Cloud,
    service: Server<Provisioning>,
    hubs: [Server<IotHub>; 2],
}

impl Region {
    async fn start(cloud: Cloud, enrolment: impl Fn() -> Enrolment) -> Self {
        let clock = Clock::new(1.0);
        loop {
            let service = Provisioning::new(ID_SCOPE, enrolment(), &name(0), DEVICE);
            let address = SocketAddr::from(([127, 0, 0, 1], 0));
            let service = cloud.serve("localhost", address, clock, service).await.unwrap();
            let hub = |at: usize| {
                let address = SocketAddr::from((HUBS[at], service.port));
                let (cloud, name) = (&cloud, name(at));
                async move { cloud.serve(&name, address, clock, IotHub::new(&name)).await }
            };
            // Another program may have the port at one of the addresses.
            if let (Ok(first), Ok(second)) = (hub(0).await, hub(1).await) {
                return Self { cloud, service, hubs: [first, second] };
            }
        }
    }

    /// The feed's file; `broker`, `secrets`: further lines of those tables.
    fn feed(&self, broker: &str, secrets: &str) -> String {
        let port = self.service.port;
        format!(
            "{}[secrets]\n{secrets}\n[config]\ntoken_lifetime = \"1h\"\n\
             [config.provisioning]\nid_scope = \"{ID_SCOPE}\"\nregistration_id = \"{REGISTRATION}\"\n\
             [rights]\nconnect = [\"{}:{port}\", \"{}:{port}\"]\n\
             topics = [\"devices/+/messages/events/#\", \"$iothub/#\", \"$dps/#\"]\n\
             subscribe = [\"devices/+/messages/devicebound/#\", \"$iothub/#\", \"$dps/registrations/res/#\"]\n",
            self.cloud.broker(port, broker),
            name(0),
            name(1),
        )
    }
}

/// Registers, and delivers to the assigned hub.
async fn provisions(mut region: Region, feed: &str, key: &[u8], device: &Device) -> (Region, Gateway) {
    let gateway = setup(device, feed, key).run();
    let topics = [
        "$dps/registrations/PUT/iotdps-register/?$rid=1",
        "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=2&operationId=",
        "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=2&operationId=",
    ];
    for topic in topics {
        let message = region.service.find(topic, message).await;
        assert!(message.topic.starts_with(topic), "{message:?}");
    }
    let mut watch = Watch::new(&mut region.hubs[0], &gateway);
    watch.all_readings(device, |_| false).await;
    (region, gateway)
}

#[tokio::test]
async fn a_device_key_registers_and_a_hub_that_refuses_is_replaced() {
    let credential = || Credential::Key(KEY.to_vec());
    let region = Region::start(Cloud::new(), || Enrolment::One(credential())).await;
    region.hubs[0].service.register(DEVICE, credential());
    let device = Device::counting();
    let feed = region.feed("", "device-key = { file = \"key\", encoding = \"base64\" }");
    let (mut region, gateway) = provisions(region, &feed, KEY, &device).await;
    // The device moves to another hub, and to another name there; nobody tells the gateway.
    region.service.service.assign(&name(1), "site001-b");
    region.hubs[1].service.register("site001-b", credential());
    region.hubs[0].service.forget(DEVICE);
    let (status, setup) = gateway.stop_and_keep_setup().await;
    assert!(status.success());
    let gateway = setup.run();
    for _ in 0..3 {
        let refused = |event| matches!(event, CloudEvent::Refused(_)).then_some(());
        region.hubs[0].find("a refused sign-in", refused).await;
    }
    let sign_in = region.hubs[1].find("a sign-in at the other hub", connect).await;
    assert_eq!(sign_in.client_id, "site001-b");
    let find = |event| message(event).filter(|message| reading(message).is_some());
    let first = region.hubs[1].find("a reading at the other hub", find).await;
    assert!(first.topic.starts_with("devices/site001-b/messages/events/"), "{first:?}");
    gateway.wait_for_log("assigned the hub 127.0.0.3 and the device site001-b").await;
}

#[tokio::test]
async fn a_group_key_registers_and_no_derived_key_is_seen() {
    let group_key = b"the key of an enrolment group with 64 bytes, as the portal has them";
    let region = Region::start(Cloud::new(), || Enrolment::Group(group_key.to_vec())).await;
    let derived = derived_key(group_key, REGISTRATION);
    region.hubs[0].service.register(DEVICE, Credential::Key(derived.clone()));
    let device = Device::counting();
    let feed = region.feed("", "group-key = { file = \"key\", encoding = \"base64\" }");
    let (_region, gateway) = provisions(region, &feed, group_key, &device).await;
    assert_eq!(gateway.log_count(&encoded(&derived)), 0);
}

#[tokio::test]
async fn a_certificate_registers() {
    let cloud = Cloud::new();
    let client = cloud.authority.sign("client");
    let credential = || Credential::Certificate(super::renewal::der(&client.certificate));
    let region = Region::start(cloud, || Enrolment::One(credential())).await;
    region.hubs[0].service.register(DEVICE, credential());
    let device = Device::counting();
    let identity = format!("cert = \"{}\"\nkey = \"{}\"", client.certificate.display(), client.key.display());
    let feed = region.feed(&identity, "");
    provisions(region, &feed, KEY, &device).await;
}
