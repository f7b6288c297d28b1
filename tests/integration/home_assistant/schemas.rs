//! Home Assistant's own code checks what the gateway publishes.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use bessai_domain::profile::{Access, Point, Profile, built_in, built_in_names};
use bessai_simulator::plant::Plant;
use bessai_simulator::registers::Registers;
use bessai_simulator::server::Server;
use bessai_simulator::sunspec;

use super::*;
use crate::support::cache;

/// A simulated day: the values only have to be plausible.
const DAY: Duration = Duration::from_hours(1);

/// Whether Home Assistant's package is installed. scripts/setup leaves it out where there is no Python 3.13.
fn is_installed() -> bool {
    let is_installed = cache().join("home-assistant/bin/python").exists();
    if !is_installed {
        eprintln!("not compared with Home Assistant's own code: it needs Python 3.13; see scripts/setup");
    }
    is_installed
}

/// Home Assistant's answer to messages.
fn home_assistant<'a>(arguments: &[&str], messages: impl IntoIterator<Item = &'a ReceivedMessage>) -> Value {
    let python = cache().join("home-assistant/bin/python");
    let mut command = Command::new(python);
    command.arg(root().join("tests/peers/home_assistant.py")).args(arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    for ReceivedMessage { topic, payload, retain, .. } in messages {
        writeln!(input, "{}", json!({ "topic": topic, "payload": payload, "retain": retain })).unwrap();
    }
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A device of this profile, whose registers show a battery's state.
fn plant(profile: Profile, registers: Registers) -> Server {
    let _plant = Plant::new(profile, registers.clone(), DAY);
    Server::start(SocketAddr::from(([127, 0, 0, 1], 0)), registers).unwrap()
}

#[tokio::test]
async fn every_entity_of_all_built_in_profiles_is_accepted() {
    if !is_installed() {
        return;
    }
    let broker = Broker::start();
    let (mut servers, mut devices, mut write) = (Vec::new(), String::new(), Vec::new());
    let mut topics = vec![format!("{BASE}/safety")];
    let mut channels = 0;
    for name in built_in_names() {
        let registers = Registers::new();
        let (profile, unit) = match built_in(name).unwrap() {
            profile if profile.is_discovered => (sunspec::battery_inverter(&registers, 1).unwrap(), "unit = 1\n"),
            profile => (profile, ""),
        };
        if unit.is_empty() {
            let is_settable = |point: &&Point| point.access == Access::ReadWrite && !point.unverified;
            let settable = profile.points.iter().filter(is_settable);
            write.extend(settable.map(|point| format!("{name}/{}", point.channel)));
            channels += profile.readable().count();
        }
        let sources = 1 + profile.sources.len();
        topics.push(format!("{BASE}/{name}/state"));
        topics.extend((2..=sources).map(|source| format!("{BASE}/{name}/state-{source}")));
        let server = plant(profile, registers);
        devices += &format!("{}{unit}", device(name, name, server.address().port()));
        servers.push(server);
    }
    let mut subscriber = Subscriber::start(broker.port).await;
    let gateway = site(&broker, &devices, &write).run();
    while !topics.is_empty() {
        let message = subscriber.next("").await;
        topics.retain(|topic| *topic != message.topic);
    }
    assert!(gateway.stop().await.success());
    let messages = retained(&broker).await;
    let found = home_assistant(&["discovery"], messages.values());
    let count = |platform: &str| usize::try_from(found["platforms"][platform].as_u64().unwrap_or(0)).unwrap();
    let settable = count("number") + count("select") + count("switch");
    assert_eq!(settable, write.len(), "{found}");
    let all = settable + count("sensor") + count("binary_sensor");
    assert!(count("number") > 5 && count("select") > 1 && count("binary_sensor") > 1 && all > channels, "{found}");
    assert_eq!(found["with_a_state"], all, "{found}");
}

#[tokio::test]
async fn sensors_written_by_hand_find_their_values() {
    if !is_installed() {
        return;
    }
    let (device, broker) = (Device::huawei(), Broker::start());
    let mut subscriber = Subscriber::start(broker.port).await;
    let gateway = Setup::new().device(device.port()).broker(broker.url()).run();
    let status = subscriber.next("SITE-CL-001/system/status").await;
    let messages = [status, subscriber.next("SITE-CL-001/telemetry").await];
    let documented = std::fs::read_to_string(root().join("docs/brokers.md")).unwrap();
    let yaml = documented.split("```yaml configuration.yaml\n").nth(1).unwrap().split("```").next().unwrap();
    let own = gateway.path("configuration.yaml");
    std::fs::write(&own, yaml).unwrap();
    for file in [root().join("tests/vectors/home-assistant.yaml"), own] {
        let path: &Path = &file;
        let shown = home_assistant(&["yaml", path.to_str().unwrap()], &messages);
        assert_eq!(shown, json!({ "BESS SOC": 72.3, "BESS Power": -85.5 }), "{}", path.display());
    }
}
