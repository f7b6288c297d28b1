//! The program's commands and their exit codes.

use crate::support::broker::Broker;
use crate::support::device::Device;
use crate::support::gateway::Setup;
use crate::support::listener::Listener;

#[test]
fn a_wrong_command_line_is_usage() {
    let code = |arguments: &[&str]| Setup::new().output(arguments).status.code();
    assert_eq!(code(&["fly"]), Some(64));
    assert_eq!(code(&[]), Some(64));
    assert_eq!(code(&["demo", "--for", "soon"]), Some(64));
    assert_eq!(code(&["--help"]), Some(0));
}

#[test]
fn the_demo_shows_telemetry() {
    shows_telemetry(&["demo", "--for", "4s"]);
}

#[test]
fn the_demo_shows_the_telemetry_of_a_device_that_tells_its_points_itself() {
    shows_telemetry(&["demo", "--for", "4s", "--profile", "sunspec"]);
}

fn shows_telemetry(arguments: &[&str]) {
    let output = Setup::new().output(arguments);
    let (shown, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{shown}");
    for part in ["SITE-CL-001/telemetry", "SOC ", "SITE-CL-001/ai/dispatch", "safe yes", "messages: "] {
        assert!(shown.contains(part), "{part:?} is not in:\n{shown}");
    }
    for trouble in ["not signed in", "is not used"] {
        assert!(!said.contains(trouble), "{said}");
    }
}

#[test]
fn a_demo_without_telemetry_fails() {
    // Nobody listens on that port.
    let port = crate::support::free_port();
    let output = Setup::new().broker(format!("mqtt://127.0.0.1:{port}")).output(&["demo", "--for", "1s"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no telemetry arrived"));
}

#[tokio::test]
async fn a_taken_health_port_is_said_and_the_gateway_runs() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let (device, broker) = (Device::huawei(), Broker::start());
    let mut listener = Listener::start(broker.port).await;
    let gateway = Setup::new().device(device.port()).broker(broker.url()).with("HEALTH_PORT", port).run();
    gateway.says("set HEALTH_PORT to a free port").await;
    listener.next("/telemetry").await;
}

#[test]
fn health_of_a_gateway_that_is_not_there_fails() {
    let setup = Setup::new().device(502).broker("mqtt://localhost");
    let output = setup.with("HEALTH_PORT", crate::support::free_port()).output(&["health"]);
    assert_eq!(output.status.code(), Some(1));
}
