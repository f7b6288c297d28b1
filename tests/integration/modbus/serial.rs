//! Devices on a serial port, simulated by a pseudo terminal.

use std::io::Write;
use std::os::unix::fs::symlink;

use bessai_simulator::server::{Fault, Server};

use super::{check_all_values, device, registers, site};
use crate::support::broker::Broker;
use crate::support::folder;
use crate::support::subscriber::Subscriber;

fn address(server: &Server) -> String {
    format!("rtu://{}?baud=19200&parity=even", server.path().unwrap().display())
}

#[tokio::test]
async fn every_table_is_read_on_a_serial_port() {
    let server = Server::start_serial(registers([7])).unwrap();
    let gateway = check_all_values(&address(&server), "").await;
    assert_eq!(gateway.log_count("at 19200 baud, 8E1"), 0, "only `check` prints the line settings");
}

#[tokio::test]
async fn the_rest_of_a_previous_clients_frame_is_discarded() {
    let server = Server::start_serial(registers([7])).unwrap();
    let mut port = std::fs::OpenOptions::new().write(true).open(server.path().unwrap()).unwrap();
    // The beginning of a request.
    port.write_all(&[7, 3, 0]).unwrap();
    drop(port);
    check_all_values(&address(&server), "").await;
    // A complete request of a client that exited before the reply.
    let server = Server::start_serial(registers([7])).unwrap();
    let mut port = std::fs::OpenOptions::new().write(true).open(server.path().unwrap()).unwrap();
    port.write_all(&[7, 1, 0, 3, 0, 1, 0x0d, 0xac]).unwrap();
    crate::support::within("the request of the previous client", async {
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
    let (broker, server) = (Broker::start(), Server::start_serial(registers([1, 2])).unwrap());
    let mut subscriber = Subscriber::start(broker.port).await;
    let address = address(&server);
    let devices = [device("one", &address, 1, ""), device("two", &address, 2, "")].concat();
    let gateway = site(&broker, &devices).run();
    for _ in 0..5 {
        for (topic, soc) in [("-001/telemetry", 1.0), ("/two/telemetry", 2.0)] {
            assert_eq!(subscriber.next(topic).await.json()["soc_pct"].as_f64(), Some(soc), "{}", gateway.log());
        }
    }
    let check = gateway.output(&["check"]);
    let plan = String::from_utf8_lossy(&check.stdout);
    assert_eq!(plan.matches("at 19200 baud, 8E1").count(), 2, "{plan}");
    // A silent device is logged with its unit, and the other is still read.
    server.set_fault_rules([bessai_simulator::server::FaultRule::new(Fault::Silence).unit(2)]);
    gateway.wait_for_log("unit 2").await;
    subscriber.discard_received();
    for _ in 0..5 {
        subscriber.next("-001/telemetry").await;
    }
    server.set_fault(None);
    assert_eq!(subscriber.next("/two/telemetry").await.json()["soc_pct"].as_f64(), Some(2.0));
}

#[tokio::test]
async fn a_serial_port_is_read_again_after_it_was_unplugged() {
    let (broker, dev) = (Broker::start(), folder());
    let port = dev.path().join("ttyUSB0");
    let mut subscriber = Subscriber::start(broker.port).await;
    let server = Server::start_serial(registers([1])).unwrap();
    symlink(server.path().unwrap(), &port).unwrap();
    let gateway = site(&broker, &device("box", &format!("rtu://{}", port.display()), 1, "")).run();
    subscriber.next("-001/telemetry").await;

    std::fs::remove_file(&port).unwrap();
    server.stop().await;
    gateway.wait_for_log("cannot be read").await;
    gateway.wait_for_log(&format!("failed to open {}", port.display())).await;
    let server = Server::start_serial(registers([1])).unwrap();
    symlink(server.path().unwrap(), &port).unwrap();
    subscriber.discard_received();
    assert_eq!(subscriber.next("-001/telemetry").await.json()["soc_pct"].as_f64(), Some(1.0));
    gateway.assert_logged_once("cannot be read").await;
}
