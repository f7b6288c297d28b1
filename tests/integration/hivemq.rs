//! A gateway at a broker as HiveMQ Cloud runs them: TLS only, the cluster chosen by the name in the handshake, a user and a
//! password for every client.

use std::process::Output;

use crate::support::broker::{Broker, BrokerSetup};
use crate::support::certificates::Authority;
use crate::support::device::Device;
use crate::support::folder;
use crate::support::gateway::Setup;
use crate::support::sni_front::SniFront;
use crate::support::subscriber::Subscriber;

/// The gateway's user and password.
const LOGIN: (&str, &str) = ("bessai_edge", "s3cr3t-never-shown");
/// The cluster's host, as the console shows it.
const CLUSTER: &str = "0123456789abcdef.s1.eu.hivemq.cloud";

/// A cluster behind its front.
struct Cloud {
    folder: tempfile::TempDir,
    broker: Broker,
    front: SniFront,
}

impl Cloud {
    /// `host`: the name that clients have to send.
    fn start(host: &'static str) -> Self {
        let folder = folder();
        let authority = Authority::new(folder.path(), "ca");
        let broker = Broker::with(&BrokerSetup { login: Some(LOGIN), ..BrokerSetup::default() });
        let front = SniFront::start(host, &authority.sign(host), broker.port);
        Self { folder, broker, front }
    }

    /// A site whose default feed signs in there; `url`: without port, `more`: further lines of `[broker]`.
    fn site(&self, device: u16, url: &str, more: &str) -> Setup {
        let (user, password) = LOGIN;
        let ca = self.folder.path().join("ca.pem");
        let file = format!(
            "[[device]]\nname = \"battery\"\naddress = \"tcp://127.0.0.1:{device}\"\nperiod = \"100ms\"\n\
             [broker]\nkind = \"hivemq-cloud\"\nurl = \"{url}:{}\"\nca = \"{}\"\nusername = \"{user}\"\n\
             password = \"{password}\"\n{more}\n",
            self.front.port,
            ca.display(),
        );
        Setup::new().file("bessai.toml", file)
    }
}

fn printed(output: &Output) -> String {
    String::from_utf8([&output.stdout[..], &output.stderr[..]].concat()).unwrap()
}

/// `broker test` fails with an error that contains this.
fn refused(setup: &Setup, expected: &str) {
    let output = setup.output(&["broker", "test"]);
    let text = printed(&output);
    assert!(output.status.code() == Some(1) && text.contains(expected), "{expected:?} is missing: {text}");
    assert!(!text.contains(LOGIN.1), "{text}");
}

#[tokio::test]
async fn the_host_of_the_url_chooses_the_cluster() {
    let (device, cloud) = (Device::huawei(), Cloud::start("localhost"));
    let mut subscriber = Subscriber::with(cloud.broker.port, "#", Some(LOGIN)).await;
    let setup = cloud.site(device.port(), "mqtts://localhost", "");
    let checked = setup.output(&["check"]);
    let text = printed(&checked);
    let limits = "limits of HiveMQ Cloud (kind = \"hivemq-cloud\"): those that it announces";
    assert!(checked.status.success() && text.contains(limits), "{text}");
    let gateway = setup.run();
    assert_eq!(subscriber.next("SITE-CL-001/system/status").await.payload, "online");
    assert_eq!(subscriber.next("SITE-CL-001/telemetry").await.json()["soc_pct"], 72.3);
    assert!(cloud.front.names().iter().all(|name| name.as_deref() == Some("localhost")), "{:?}", cloud.front.names());
    assert_eq!(gateway.log_count(LOGIN.1), 0, "{}", gateway.log());
    assert!(gateway.stop().await.success());
    assert_eq!(subscriber.next("SITE-CL-001/system/status").await.payload, "offline");
}

#[tokio::test]
async fn an_address_needs_the_clusters_name() {
    let (device, cloud) = (Device::huawei(), Cloud::start(CLUSTER));
    let mut subscriber = Subscriber::with(cloud.broker.port, "#", Some(LOGIN)).await;
    // Over TLS an address is not sent as a name.
    let unnamed = cloud.site(device.port(), "mqtts://127.0.0.1", "");
    let text = printed(&unnamed.output(&["check"]));
    let hint =
        "HiveMQ Cloud needs its host name in the TLS handshake; write the name, not the address, or set server_name";
    assert!(text.contains(hint), "{text}");
    let hint = "where an address such as 127.0.0.1 is not sent, set broker.server_name to its host name";
    refused(&unnamed, hint);
    let other = cloud.site(device.port(), "mqtts://127.0.0.1", "server_name = \"another.s1.eu.hivemq.cloud\"");
    refused(&other, "\"another.s1.eu.hivemq.cloud\" may be none of them: set broker.server_name");
    assert_eq!(cloud.front.names(), [None, Some("another.s1.eu.hivemq.cloud".into())]);
    let named = cloud.site(device.port(), "mqtts://127.0.0.1", &format!("server_name = \"{CLUSTER}\""));
    let _gateway = named.run();
    assert_eq!(subscriber.next("SITE-CL-001/telemetry").await.json()["soc_pct"], 72.3);
}

#[tokio::test]
async fn a_wrong_password_is_named_and_the_feed_signs_in_once_the_cluster_has_it() {
    let (device, cloud) = (Device::huawei(), Cloud::start("localhost"));
    cloud.broker.set_password(LOGIN.0, "another");
    let setup = cloud.site(device.port(), "mqtts://localhost", "");
    refused(&setup, "refused user \"bessai_edge\"");
    let gateway = setup.run();
    gateway.wait_for_log("refused user \"bessai_edge\"").await;
    cloud.broker.set_password(LOGIN.0, LOGIN.1);
    gateway.wait_for_health("a sign-in", |health| health["feeds"]["default"]["connected"] == true).await;
    assert_eq!(gateway.log_count(LOGIN.1), 0, "{}", gateway.log());
}
