//! The program's commands `demo` and `health`, and exit codes.

use crate::support::broker::Broker;
use crate::support::device::Device;
use crate::support::gateway::Setup;
use crate::support::subscriber::Subscriber;

#[test]
fn a_wrong_command_line_exits_with_64() {
    let code = |arguments: &[&str]| Setup::new().output(arguments).status.code();
    assert_eq!(code(&["fly"]), Some(64));
    assert_eq!(code(&[]), Some(64));
    assert_eq!(code(&["demo", "--for", "soon"]), Some(64));
    assert_eq!(code(&["--help"]), Some(0));
}

#[test]
fn the_demo_prints_telemetry() {
    check_demo(&["demo", "--for", "4s"]);
}

#[test]
fn the_demo_prints_telemetry_of_a_sunspec_device() {
    check_demo(&["demo", "--for", "4s", "--profile", "sunspec"]);
}

fn check_demo(arguments: &[&str]) {
    let output = Setup::new().output(arguments);
    let (printed, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{printed}");
    for part in ["SITE-CL-001/telemetry", "SOC ", "SITE-CL-001/ai/dispatch", "safe yes", "messages: "] {
        assert!(printed.contains(part), "{part:?} is not in:\n{printed}");
    }
    for fault in ["retrying in", "is disabled"] {
        assert!(!log.contains(fault), "{log}");
    }
}

#[test]
fn a_demo_without_telemetry_fails() {
    // No broker listens on that port.
    let port = crate::support::free_port();
    let output = Setup::new().broker(format!("mqtt://127.0.0.1:{port}")).output(&["demo", "--for", "1s"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no telemetry arrived"));
}

#[tokio::test]
async fn a_health_port_in_use_is_logged_and_the_gateway_runs() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (device, broker) = (Device::huawei(), Broker::start());
    let mut subscriber = Subscriber::start(broker.port).await;
    let gateway = Setup::new().device(device.port()).broker(broker.url()).with("HEALTH_PORT", port).run();
    gateway.wait_for_log("set HEALTH_PORT to a free port").await;
    subscriber.next("/telemetry").await;
}

#[test]
fn health_fails_without_a_running_gateway() {
    let setup = Setup::new().device(502).broker("mqtt://localhost");
    let output = setup.with("HEALTH_PORT", crate::support::free_port()).output(&["health"]);
    assert_eq!(output.status.code(), Some(1));
}
