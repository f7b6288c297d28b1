//! Interoperability with pymodbus: the same vectors, every table read, every write function.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use bessai_domain::address::{Address, Scheme};
use bessai_domain::event::{FaultKind, Frame};
use bessai_domain::profile::{self, Profile};
use bessai_domain::time::Moment;
use bessai_modbus::{Bus, BusEndpoint, DeviceReport, DeviceSettings, PointWriter, SourceSettings};
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::Instant;

use crate::support::{cache, root, within};

/// The Python interpreter with pymodbus that scripts/setup installs.
fn python() -> Command {
    let python = cache().join("pymodbus/bin/python");
    assert!(python.exists(), "{} is missing: run scripts/setup", python.display());
    let mut command = Command::new(python);
    command.arg(root().join("tests/peers/pymodbus_vectors.py"));
    command
}

/// A pymodbus device that serves all vectors, stopped when dropped.
struct PymodbusDevice {
    child: Child,
    output: Lines<BufReader<ChildStdout>>,
    /// The values that it serves, one line each.
    vectors: Vec<String>,
    port: u16,
}

impl PymodbusDevice {
    fn start() -> Self {
        let mut child = python().arg("serve").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut vectors = Vec::new();
        let port = loop {
            let line = output.next().expect("pymodbus did not start").unwrap();
            match line.strip_prefix("port ") {
                Some(port) => break port.parse().unwrap(),
                None => vectors.push(line),
            }
        };
        Self { child, output, vectors, port }
    }

    /// The next write that it received.
    fn next_write(&mut self) -> String {
        self.output.next().unwrap().unwrap()
    }
}

impl Drop for PymodbusDevice {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().unwrap();
    }
}

fn settings(profile: Profile) -> DeviceSettings {
    DeviceSettings {
        name: "peer".into(),
        unit: profile.unit,
        unit_is_configured: true,
        timeout: Duration::from_secs(10),
        pacing: profile.pacing,
        read_limits: profile.read_limits,
        sources: vec![SourceSettings { name: None, period: Duration::from_millis(50), index: 0 }],
        models: None,
        profile: profile.into(),
    }
}

/// Polls the device as the gateway does.
fn poll(peer: &PymodbusDevice, profile: Profile) -> (mpsc::Receiver<DeviceReport>, PointWriter) {
    let address = Address::Network(Scheme::Tcp, "127.0.0.1".into(), peer.port);
    let bus = Bus { endpoint: BusEndpoint::new(address), devices: vec![settings(profile)] };
    let (sender, reports) = mpsc::channel(8);
    let mut writer = PointWriter::default();
    let writes = writer.connect(&bus.devices);
    tokio::task::spawn_local(bessai_modbus::run(bus, Instant::now(), Moment::default, sender, writes));
    (reports, writer)
}

async fn frame(reports: &mut mpsc::Receiver<DeviceReport>) -> Frame {
    within("a frame of pymodbus' device", async {
        loop {
            if let DeviceReport::Frame(_, frame, _) = reports.recv().await.unwrap() {
                return frame;
            }
        }
    })
    .await
}

/// The point that a vector's line describes, and its expected value.
fn point(name: &str, line: &str) -> (String, String) {
    let (left, expected) = line.rsplit_once(" = ").unwrap();
    let words: Vec<_> = left.split(' ').collect();
    let keys = match words[..] {
        ["number", table, at, format, order] => {
            format!("table = \"{table}\", address = {at}, type = \"{format}\", order = \"{order}\", scale = 1")
        }
        ["text", table, at, layout, count] => {
            format!(
                "table = \"{table}\", address = {at}, type = \"string\", string_layout = \"{layout}\", count = {count}"
            )
        }
        ["bit", table, at] => format!("table = \"{table}\", address = {at}"),
        _ => panic!("{line}"),
    };
    (format!("{name} = {{ {keys} }}"), expected.to_owned())
}

#[test]
fn pymodbus_reads_and_writes_the_same_vectors() {
    let output = python().arg("check").output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let checked: usize = printed.trim().strip_prefix("checked ").unwrap().parse().unwrap();
    assert!(checked >= 30, "{printed}");
}

#[tokio::test]
async fn values_that_pymodbus_serves_are_read() {
    let peer = PymodbusDevice::start();
    let mut text = "[points]\n".to_owned();
    let mut expected = Vec::new();
    for (index, line) in peer.vectors.iter().enumerate() {
        let (point, value) = point(&format!("p{index}"), line);
        writeln!(text, "{point}").unwrap();
        expected.push((line.as_str(), value));
    }
    let profile = profile::toml::read("peer", &text).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    let frame = LocalSet::new()
        .run_until(async {
            let (mut reports, _writer) = poll(&peer, profile);
            frame(&mut reports).await
        })
        .await;
    let faults: BTreeMap<_, _> = frame.faults.iter().map(|fault| (fault.channel, fault.kind)).collect();
    let texts: BTreeMap<_, _> = frame.texts.iter().map(|text| (text.channel, text.value.as_str())).collect();
    for (channel, (line, expected)) in (0..).zip(&expected) {
        if expected == "nothing" {
            assert_eq!(faults.get(&channel), Some(&FaultKind::Unavailable), "{line}");
        } else if line.starts_with("text") {
            assert_eq!(texts.get(&channel), Some(&expected.as_str()), "{line}");
        } else {
            let value = frame.values[usize::try_from(channel).unwrap()];
            assert_eq!((faults.get(&channel), value), (None, expected.parse().unwrap()), "{line}");
        }
    }
    for table in ["number holding", "number input", "text holding", "text input", "bit coil", "bit discrete"] {
        let count = peer.vectors.iter().filter(|line| line.starts_with(table)).count();
        assert!(count > 0, "pymodbus serves no {table}");
    }
}

#[tokio::test]
async fn pymodbus_understands_every_write_function() {
    let text = r#"
        coil = { table = "coil", address = 5000, access = "RW" }
        coils = { table = "coil", address = 5001, access = "RW", write_function = 15 }
        register = { address = 5000, type = "int16", scale = 0.1, access = "RW" }
        registers = { address = 5001, type = "uint16", scale = 1, access = "RW", write_function = 16 }
        float = { address = 5002, type = "float32", scale = -0.001, access = "RW" }
        swapped = { address = 5004, type = "int32", order = "CDAB", scale = 1, access = "RW" }
        watchdog = { address = 5006, type = "uint16", scale = 1, access = "W" }
    "#;
    let profile = profile::toml::read("peer", &format!("[points]\n{text}")).unwrap();
    let mut peer = PymodbusDevice::start();
    LocalSet::new()
        .run_until(async {
            let (mut reports, writer) = poll(&peer, profile);
            frame(&mut reports).await;
            for (point, value, read_back, expected) in [
                ("coil", 1.0, Some(1.0), "write 5 5000 1"),
                ("coils", 1.0, Some(1.0), "write 15 5001 1"),
                ("register", -8.5, Some(-8.5), "write 6 5000 65451"),
                ("registers", 312.0, Some(312.0), "write 16 5001 312"),
                ("float", 3.0, Some(3.0), "write 16 5002 50491 32768"),
                ("swapped", -8550.0, Some(-8550.0), "write 16 5004 56986 65535"),
                ("watchdog", 7.0, None, "write 6 5006 7"),
            ] {
                let written = within("a write", writer.write("peer", point, value)).await;
                assert_eq!(written.map(|written| written.read_back), Ok(read_back), "{point}");
                let received = peer.next_write();
                let is_expected = received == expected || received.starts_with(&format!("{expected} "));
                assert!(is_expected, "{received}, not {expected}");
            }
            frame(&mut reports).await;
            within("a frame that shows the writes", async {
                while frame(&mut reports).await.values != [1.0, 1.0, -8.5, 312.0, 3.0, -8550.0] {}
            })
            .await;
            let refused = writer.write("peer", "register", 4000.0).await.unwrap_err();
            assert!(refused.contains("-3276.8 to 3276.7"), "{refused}");
        })
        .await;
}
