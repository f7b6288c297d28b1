//! `check` finds what a start would find: folders, disks, ports, certificates, client ids. A running gateway is not disturbed.

use std::process::Output;

use crate::support::broker::Broker;
use crate::support::certificates::{Authority, Pem};
use crate::support::gateway::Setup;
use crate::support::site::TestSite;
use crate::support::small_disk::SmallDisk;
use crate::support::{component, free_port};

fn setup() -> Setup {
    Setup::new().device(502).broker("mqtt://localhost")
}

/// What `check` prints where nothing is wrong; warnings are not.
fn valid(setup: &Setup) -> String {
    let output = setup.output(&["check"]);
    let printed = printed(&output);
    assert!(output.status.success() && printed.contains("configuration is valid"), "{printed}");
    printed
}

/// What `check` prints where something is wrong.
fn mistaken(setup: &Setup) -> String {
    let output = setup.output(&["check"]);
    assert_eq!(output.status.code(), Some(78), "{}", printed(&output));
    printed(&output)
}

fn printed(output: &Output) -> String {
    String::from_utf8([&output.stdout[..], &output.stderr[..]].concat()).unwrap()
}

#[test]
fn a_folder_that_cannot_be_written_to_is_a_mistake() {
    // Not a matter of permissions, which do not hold for root.
    let setup = setup().file("file", "");
    let data = setup.folder().join("file/data");
    let plugins = setup.folder().join("plugins");
    let setup = setup.with("BESSAI_DATA", data.display()).with("BESSAI_PLUGINS", plugins.display());
    let told = mistaken(&setup);
    assert!(
        told.contains(&format!("data folder = {}: cannot be written to: Not a directory", data.display())),
        "{told}"
    );
    let journal = "[journal]\ndir = \"file/journal\"\nsync = \"memory\"\n";
    let setup = self::setup().file("file", "").file("bessai.toml", journal);
    let told = valid(&setup);
    assert!(told.contains("warning: [journal] dir = ") && told.contains("kept in memory only"), "{told}");
    let told = mistaken(&setup.file("bessai.toml", journal.replace("memory", "1s")));
    assert!(told.contains("[journal] dir = "), "{told}");
}

#[test]
fn a_disk_without_space_is_reported() {
    let setup = setup();
    let Some(disk) = SmallDisk::mount(&setup.folder().join("data"), 100) else { return };
    let setup = setup.with("BESSAI_DATA", disk.path().display());
    let told = valid(&setup);
    assert!(told.contains("MiB free on its disk"), "{told}");
    assert!(told.contains("warning: the journal may grow by 1.0 GiB, but only "), "{told}");
    let setup = setup.file("bessai.toml", "[journal]\nmax_size = \"64MiB\"\n");
    let told = valid(&setup);
    assert!(!told.contains("warning"), "{told}");
    disk.fill();
    let told = mistaken(&setup);
    assert!(told.contains("cannot be written to: No space left on device (os error 28); free some space"), "{told}");
    assert!(told.contains("warning: the disk is nearly full: 0.0 MiB free"), "{told}");
    disk.free();
    valid(&setup);
    assert!(
        std::fs::read_dir(disk.path()).unwrap().all(|entry| !entry
            .unwrap()
            .file_name()
            .to_str()
            .unwrap()
            .contains("check"))
    );
}

#[tokio::test]
async fn a_running_gateway_is_recognised_and_not_disturbed() {
    let port = free_port();
    let mut site = TestSite::with(|setup| setup.with("HEALTH_PORT", port)).await;
    site.readings(3).await;
    site.gateway.wait_for_log("/health on ").await;
    for _ in 0..5 {
        let told = printed(&site.gateway.output(&["check"]));
        assert!(told.contains("in use by a running gateway") && told.contains("configuration is valid"), "{told}");
        assert!(told.contains(&format!("/health on 127.0.0.1:{port}, served by the running gateway")), "{told}");
        site.readings(2).await;
    }
    site.all_readings().await;
    let log = site.gateway.log();
    assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
    // Another site's gateway, and another program.
    let other = |port: u16| setup().with("SITE_ID", "OTHER").with("HEALTH_PORT", port);
    let told = valid(&other(port));
    assert!(told.contains("warning: the gateway of site SITE-CL-001 serves /health on"), "{told}");
    let broker = Broker::start();
    let told = valid(&other(broker.port));
    assert!(told.contains(&format!("warning: another program uses 127.0.0.1:{}", broker.port)), "{told}");
    assert!(valid(&other(free_port())).contains("/health on 127.0.0.1:"));
}

fn with_identity(pem: &Pem, authority: &Authority) -> Setup {
    let setup = Setup::new().device(502).broker("mqtts://localhost");
    let setup = setup.with("MQTT_TLS_CERTFILE", pem.certificate.display()).with("MQTT_TLS_KEYFILE", pem.key.display());
    setup.with("MQTT_TLS_CA_CERT_PATH", authority.pem.certificate.display())
}

#[test]
fn certificates_are_shown_with_their_dates() {
    let folder = crate::support::folder();
    let authority = Authority::new(folder.path(), "authority");
    let own = authority.sign_for_days("gateway", 90);
    let told = valid(&with_identity(&own, &authority));
    assert!(told.contains(&format!("certificate {}: valid until 20", own.certificate.display())), "{told}");
    assert!(told.contains("(feed default)") && told.contains(&*authority.pem.certificate.to_string_lossy()), "{told}");
    assert!(!told.contains("warning"), "{told}");
    let told = valid(&with_identity(&authority.sign_for_days("gateway", 12), &authority));
    assert!(told.contains("warning: expires in 12 days; renew it"), "{told}");
    let expired = authority.sign_expired("gateway");
    let told = mistaken(&with_identity(&expired, &authority));
    let mistake = format!("certificate = {}: expired on 2021-01-01T00:00:00Z; renew it", expired.certificate.display());
    assert!(told.contains(&mistake), "{told}");
    // The key of another certificate.
    let mixed = Pem { certificate: own.certificate, key: expired.key };
    let told = mistaken(&with_identity(&mixed, &authority));
    assert!(told.contains("it is not the key of the certificate"), "{told}");
    // A device's certificates are looked at in the same way.
    let (certificate, key) = (expired.certificate.display().to_string(), mixed.key.display().to_string());
    let device = format!(
        "[[device]]\naddress = \"tls://127.0.0.1\"\nprofile = \"simulator\"\ncert = \"{certificate}\"\nkey = \"{key}\"\n"
    );
    let told = mistaken(&Setup::new().broker("mqtt://localhost").file("bessai.toml", device));
    assert!(told.contains("expired on 2021-01-01") && told.contains("(device "), "{told}");
}

#[test]
fn client_ids_are_shown_and_must_differ() {
    let feed = |id: &str| {
        format!("[broker]\nurl = \"mqtt://other.example\"\nclient_id = \"{id}\"\n[config]\ntopic = \"acme\"\n")
    };
    let wasm = std::fs::read(component("example-rust")).unwrap();
    let setup = setup().file("plugins/a.wasm", &wasm).file("plugins/b.wasm", &wasm);
    let setup = setup.file("plugins/a.toml", feed("one")).file("plugins/b.toml", feed("two"));
    let told = valid(&setup);
    for id in ["bessai-SITE-CL-001", "one", "two"] {
        assert!(told.contains(&format!("  client id {id}\n")), "{told}");
    }
    let told = mistaken(&setup.file("plugins/b.toml", feed("one")));
    let expected = "b.toml: broker.client_id = \"one\": is the client id of the feed `a` at the same broker, too";
    assert!(told.contains(expected), "{told}");
}

#[test]
fn a_serial_port_that_is_missing_is_a_warning() {
    let settings = |path: &str| format!("[[device]]\naddress = \"rtu://{path}\"\nprofile = \"simulator\"\n");
    let setup = Setup::new().broker("mqtt://localhost");
    let told = valid(&setup.file("bessai.toml", settings("/dev/ttyUSB99")));
    assert!(told.contains("warning: /dev/ttyUSB99 does not exist; is the adapter plugged in?"), "{told}");
    let setup = Setup::new().broker("mqtt://localhost").file("file", "");
    let path = setup.folder().join("file");
    let told = valid(&setup.file("bessai.toml", settings(path.to_str().unwrap())));
    assert!(told.contains("file is not a serial port"), "{told}");
}
