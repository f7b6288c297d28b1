//! On a serial port: a pair of pseudo terminals.

use std::io::Write;
use std::os::unix::fs::symlink;

use bessai_simulator::server::{Fault, Server};

use super::{check_all_values, device, memory, site};
use crate::support::broker::Broker;
use crate::support::folder;
use crate::support::listener::Listener;

fn address(server: &Server) -> String {
    format!("rtu://{}?baud=19200&parity=even", server.path().unwrap().display())
}

#[tokio::test]
async fn every_table_is_read_on_a_serial_port() {
    let server = Server::start_line(memory([7])).unwrap();
    let gateway = check_all_values(&address(&server), "").await;
    assert_eq!(gateway.said("at 19200 baud, 8E1"), 0, "the address is shown by check alone");
}

#[tokio::test]
async fn what_a_client_before_left_half_said_does_not_matter() {
    let server = Server::start_line(memory([7])).unwrap();
    let mut port = std::fs::OpenOptions::new().write(true).open(server.path().unwrap()).unwrap();
    // The beginning of a request, and nothing more.
    port.write_all(&[7, 3, 0]).unwrap();
    drop(port);
    check_all_values(&address(&server), "").await;
    // A reply that nobody fetched: of a request that a client sent and died.
    let server = Server::start_line(memory([7])).unwrap();
    let mut port = std::fs::OpenOptions::new().write(true).open(server.path().unwrap()).unwrap();
    port.write_all(&[7, 1, 0, 3, 0, 1, 0x0d, 0xac]).unwrap();
    crate::support::within("the request of the client before", async {
        while server.requests() == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
    drop(port);
    check_all_values(&address(&server), "").await;
}

#[tokio::test]
async fn two_devices_share_a_serial_port() {
    let (broker, server) = (Broker::start(), Server::start_line(memory([1, 2])).unwrap());
    let mut listener = Listener::start(broker.port).await;
    let address = address(&server);
    let devices = [device("one", &address, 1, ""), device("two", &address, 2, "")].concat();
    let gateway = site(&broker, &devices).run();
    for _ in 0..5 {
        for (topic, soc) in [("-001/telemetry", 1.0), ("/two/telemetry", 2.0)] {
            assert_eq!(listener.next(topic).await.json()["soc_pct"].as_f64(), Some(soc), "{}", gateway.log());
        }
    }
    let check = gateway.output(&["check"]);
    let plan = String::from_utf8_lossy(&check.stdout);
    assert_eq!(plan.matches("at 19200 baud, 8E1").count(), 2, "{plan}");
    // One that does not answer is named, and the other goes on.
    server.misbehave_by([bessai_simulator::server::Rule::new(Fault::Silence).unit(2)]);
    gateway.says("unit 2").await;
    listener.forget();
    for _ in 0..5 {
        listener.next("-001/telemetry").await;
    }
    server.misbehave(None);
    assert_eq!(listener.next("/two/telemetry").await.json()["soc_pct"].as_f64(), Some(2.0));
}

#[tokio::test]
async fn a_port_that_is_unplugged_and_plugged_in_again_is_read_again() {
    let (broker, dev) = (Broker::start(), folder());
    let port = dev.path().join("ttyUSB0");
    let mut listener = Listener::start(broker.port).await;
    let server = Server::start_line(memory([1])).unwrap();
    symlink(server.path().unwrap(), &port).unwrap();
    let gateway = site(&broker, &device("box", &format!("rtu://{}", port.display()), 1, "")).run();
    listener.next("-001/telemetry").await;

    std::fs::remove_file(&port).unwrap();
    server.stop().await;
    gateway.says("is not read").await;
    gateway.says(&format!("failed to open {}", port.display())).await;
    let server = Server::start_line(memory([1])).unwrap();
    symlink(server.path().unwrap(), &port).unwrap();
    listener.forget();
    assert_eq!(listener.next("-001/telemetry").await.json()["soc_pct"].as_f64(), Some(1.0));
    assert_eq!(gateway.said("is not read"), 1, "{}", gateway.log());
}
