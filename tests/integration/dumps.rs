//! Register dumps of real devices from public sources, replayed by the simulator and read by the program with the built-in
//! profiles.

use std::net::SocketAddr;
use std::process::Output;

use bessai_simulator::dump::{Dump, DumpReading};
use bessai_simulator::server::Server;
use serde_json::Value;

use crate::support::gateway::program;
use crate::support::root;

/// A value that is read and one that is written down differ by rounding at most.
const TOLERANCE: f64 = 1e-6;

/// All dumps, by the names of their files.
fn dumps() -> Vec<(String, Dump)> {
    let folder = std::fs::read_dir(root().join("tests/dumps")).unwrap();
    let read = |path: std::path::PathBuf| {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let dump = Dump::read(&std::fs::read_to_string(&path).unwrap());
        (name.clone(), dump.unwrap_or_else(|error| panic!("{name}: {error}")))
    };
    folder.map(|entry| read(entry.unwrap().path())).collect()
}

/// Reads all points of a profile, those that the device does not have included.
async fn read(server: &Server, reading: &DumpReading) -> Output {
    let (address, unit) = (format!("tcp://{}", server.address()), reading.unit.to_string());
    let profile = reading.profile.clone();
    let run = move || {
        let mut command = std::process::Command::new(program());
        command.args(["device", "read", "--address", &address, "--unit", &unit, "--profile", &profile, "--json"]);
        command.output().unwrap()
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

#[tokio::test]
async fn every_dump_of_a_real_device_is_read_right() {
    let dumps = dumps();
    let makers: std::collections::BTreeSet<_> = dumps.iter().filter_map(|(name, _)| name.split('-').next()).collect();
    assert!(dumps.len() >= 8 && makers.len() >= 5, "{makers:?}");
    for (name, dump) in dumps {
        assert!(dump.source.starts_with("https://") && !dump.readings.is_empty(), "{name}");
        let server = Server::start(SocketAddr::from(([127, 0, 0, 1], 0)), dump.registers.clone()).unwrap();
        for reading in &dump.readings {
            let output = read(&server, reading).await;
            let printed: Value = serde_json::from_slice(&output.stdout)
                .unwrap_or_else(|error| panic!("{name}: {error}: {}", String::from_utf8_lossy(&output.stderr)));
            for (point, expected) in &reading.values {
                let value = printed["values"][point].as_f64();
                let is_right =
                    value.is_some_and(|value| (value - expected).abs() < TOLERANCE * expected.abs().max(1.0));
                assert!(
                    is_right,
                    "{name} read with {}: {point} is {value:?}, not {expected}: {printed}",
                    reading.profile
                );
            }
        }
        server.stop().await;
    }
}
