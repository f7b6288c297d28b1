//! What a gateway has left behind is released by the next one, also if its file is lost or the device has another name.

use std::net::{Ipv4Addr, SocketAddr};

use bessai_simulator::registers::{Origin, Registers, Table};
use bessai_simulator::server::{Fault, Server};

use super::simulated_box::{SimulatedBox, assert_complete, named};

/// The file with what has to be released.
const FILE: &str = "control.json";

async fn killed(site: SimulatedBox, change: impl FnOnce(&std::path::Path)) -> SimulatedBox {
    site.restarted(async |gateway| {
        let setup = gateway.kill();
        change(&setup.folder().join(FILE));
        setup
    })
    .await
}

fn client_writes(site: &SimulatedBox) -> usize {
    site.registers.write_log().iter().filter(|record| record.origin == Origin::Client).count()
}

#[tokio::test]
async fn a_lost_file_is_replaced_by_what_the_journal_shows() {
    let site = SimulatedBox::start().await;
    site.set("-1").await;
    let site = killed(site, |file| std::fs::remove_file(file).unwrap()).await;
    site.wait_for([0, 0]).await;
    site.gateway.wait_for_log("the journal shows that the previous run set battery; releasing it").await;
    site.is_safe().await;
    site.released().await;

    // Half of the file.
    site.set("1").await;
    let site = killed(site, |file| {
        let text = std::fs::read_to_string(file).unwrap();
        std::fs::write(file, &text[..text.len() / 2]).unwrap();
    })
    .await;
    site.wait_for([0, 0]).await;
    site.gateway.wait_for_log("control.json is damaged (kept as ").await;
    assert!(site.gateway.path("control.json.damaged").is_file());
    site.is_safe().await;
    site.released().await;

    // What was released is not written again.
    let site = site
        .restarted(async |gateway| {
            let (status, setup) = gateway.stop_and_keep_setup().await;
            assert!(status.success());
            std::fs::remove_file(setup.folder().join(FILE)).unwrap();
            setup
        })
        .await;
    let before = client_writes(&site);
    site.is_safe().await;
    site.set("1").await;
    assert_eq!(client_writes(&site), before + 3, "the writes of the set-point alone");
    assert_complete(&site.registers.write_log(), &site.audit().await);
}

#[tokio::test]
async fn a_device_that_was_renamed_while_it_did_not_reply_is_released_under_its_new_name() {
    let site = SimulatedBox::start().await;
    site.set("1").await;
    site.server.set_fault(Some(Fault::Silence));
    let is_offline = |health: &serde_json::Value| health["devices"]["battery"]["online"] == false;
    site.gateway.wait_for_health("the silent battery", is_offline).await;
    site.reload(&named("box", site.server.address(), "")).await;
    assert_eq!(site.state(), [1000, 1]);
    site.server.set_fault(None);
    site.wait_for([0, 0]).await;
    let status = site.operator(&["status"]).await.1;
    assert!(!status.contains("battery"), "{status}");
    // The same at a start.
    site.is_safe().await;
    let (is_done, printed) = site.operator(&["set", "box", "2", "--for", "10m"]).await;
    assert!(is_done, "{printed}");
    let address = site.server.address();
    let site =
        killed(site, |file| std::fs::write(file.with_file_name("bessai.toml"), named("battery", address, "")).unwrap())
            .await;
    site.wait_for([0, 0]).await;
    site.gateway
        .wait_for_log("box/set_point_kw may still be set; that device is now named battery; releasing it")
        .await;
}

#[tokio::test]
async fn what_belongs_to_no_device_is_named_until_it_is_forgotten_or_the_device_is_back() {
    let site = SimulatedBox::start().await;
    site.set("1").await;
    let address = site.server.address();
    let other = Server::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), site.registers.clone()).unwrap();
    site.server.set_fault(Some(Fault::Silence));
    let is_offline = |health: &serde_json::Value| health["devices"]["battery"]["online"] == false;
    site.gateway.wait_for_health("the silent battery", is_offline).await;
    // A device with another address is another one.
    site.reload(&named("box", other.address(), "")).await;
    let left_over = format!("battery/set_point_kw at {address} unit 1");
    site.gateway.wait_for_log(&format!("{left_over} may still be set, and the settings have no such device")).await;
    let site = killed(site, |_| ()).await;
    site.wait_for_status(&format!("{left_over}: may still be set")).await;
    let (is_done, printed) = site.operator(&["forget", "nothing"]).await;
    assert!(
        !is_done && printed.contains("nothing is left over on nothing; there is something on battery"),
        "{printed}"
    );
    let (is_done, printed) = site.operator(&["forget", "battery"]).await;
    assert!(is_done && printed.contains("battery is forgotten"), "{printed}");
    let status = site.operator(&["status"]).await.1;
    assert!(!status.contains("battery"), "{status}");
    let site = killed(site, |_| ()).await;
    site.is_safe().await;
    let status = site.operator(&["status"]).await.1;
    assert!(!status.contains("battery"), "{status}");
    assert_eq!(site.state(), [1000, 1]);
}

#[tokio::test]
async fn a_device_whose_address_is_changed_is_released_at_its_old_address() {
    let site = SimulatedBox::start().await;
    site.set("1").await;
    let registers = Registers::new();
    registers.fill(1, Table::Holding, 0..=20, 0);
    registers.set(1, Table::Holding, 0, &[500, 0, 250]);
    let other = Server::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), registers.clone()).unwrap();
    site.reload(&named("battery", other.address(), "")).await;
    // Before the reload ends, not some time after it.
    assert_eq!(site.state(), [0, 0]);
    let written = client_writes(&site);
    let taken = async {
        // The holder may set the new device once it is read.
        while !site.operator(&["set", "battery", "2", "--for", "10m"]).await.0 {}
    };
    crate::support::within("the new device to take a set-point", taken).await;
    assert_eq!(registers.get(1, Table::Holding, 11, 2), Some(vec![2000, 1]));
    assert_eq!(client_writes(&site), written, "the old device is left alone");
}
