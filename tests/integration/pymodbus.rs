//! Another implementation of Modbus beside ours: the same vectors, every table read, every function written.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::{BufRead, BufReader, Lines};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use bessai_domain::event::{FaultKind, Frame};
use bessai_domain::profile::{self, Profile};
use bessai_domain::time::Timestamp;
use bessai_edge::modbus::{self, Address, Line, Reported, Settings, Source, Writer};
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::Instant;

use crate::support::{root, within};

/// The Python that scripts/setup made, with pymodbus in it.
fn python() -> Command {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache");
    let cache = std::env::var_os("XDG_CACHE_HOME").filter(|cache| !cache.is_empty()).map_or_else(home, PathBuf::from);
    let python = cache.join("bessai-edge/pymodbus/bin/python");
    assert!(python.exists(), "{} is missing: run scripts/setup", python.display());
    let mut command = Command::new(python);
    command.arg(root().join("tests/peers/pymodbus_vectors.py"));
    command
}

/// A device of pymodbus that shows all vectors; it ends with the value.
struct Peer {
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
    /// What it shows, a line for each value.
    shown: Vec<String>,
    port: u16,
}

impl Peer {
    fn start() -> Self {
        let mut child = python().arg("serve").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut shown = Vec::new();
        let port = loop {
            let line = said.next().expect("pymodbus did not start").unwrap();
            match line.strip_prefix("port ") {
                Some(port) => break port.parse().unwrap(),
                None => shown.push(line),
            }
        };
        Self { child, said, shown, port }
    }

    /// What was written to it next.
    fn written(&mut self) -> String {
        self.said.next().unwrap().unwrap()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().unwrap();
    }
}

fn settings(profile: Profile) -> Settings {
    Settings {
        name: "peer".into(),
        unit: profile.unit,
        unit_was_given: true,
        timeout: Duration::from_secs(10),
        pacing: profile.pacing,
        blocks: profile.blocks,
        sources: vec![Source { name: None, period: Duration::from_millis(50), place: 0 }],
        models: None,
        profile: profile.into(),
    }
}

/// Reads the device with the room, as the gateway does.
fn read(peer: &Peer, profile: Profile) -> (mpsc::Receiver<Reported>, Writer) {
    let line = Line { address: Address::Tcp("127.0.0.1".into(), peer.port), devices: vec![settings(profile)] };
    let (reports, reported) = mpsc::channel(8);
    let (orders, ordered) = mpsc::channel(modbus::WRITES_WAITING);
    let mut writer = Writer::default();
    writer.add(&line.devices, &orders);
    tokio::task::spawn_local(modbus::run(line, Instant::now(), || Timestamp::from_nanos(1), reports, ordered));
    (reported, writer)
}

async fn frame(reported: &mut mpsc::Receiver<Reported>) -> Frame {
    within("a frame of pymodbus' device", async {
        loop {
            if let Reported::Frame(_, frame) = reported.recv().await.unwrap() {
                return frame;
            }
        }
    })
    .await
}

/// The point that a line of the peer describes, and its expected value.
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
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let checked: usize = said.trim().strip_prefix("checked ").unwrap().parse().unwrap();
    assert!(checked >= 30, "{said}");
}

#[tokio::test]
async fn what_pymodbus_serves_is_read_alike() {
    let peer = Peer::start();
    let mut text = "[points]\n".to_owned();
    let mut expected = Vec::new();
    for (index, line) in peer.shown.iter().enumerate() {
        let (point, value) = point(&format!("p{index}"), line);
        writeln!(text, "{point}").unwrap();
        expected.push((line.as_str(), value));
    }
    let profile = profile::toml::read("peer", &text).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    let frame = LocalSet::new()
        .run_until(async {
            let (mut reported, _writer) = read(&peer, profile);
            frame(&mut reported).await
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
        let count = peer.shown.iter().filter(|line| line.starts_with(table)).count();
        assert!(count > 0, "pymodbus shows no {table}");
    }
}

#[tokio::test]
async fn every_function_that_writes_is_understood_by_pymodbus() {
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
    let mut peer = Peer::start();
    LocalSet::new()
        .run_until(async {
            let (mut reported, writer) = read(&peer, profile);
            frame(&mut reported).await;
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
                let said = peer.written();
                assert!(said == expected || said.starts_with(&format!("{expected} ")), "{said}, not {expected}");
            }
            // What follows the one bit of function 15 is padding.
            frame(&mut reported).await;
            within("a frame that shows the writes", async {
                while frame(&mut reported).await.values != [1.0, 1.0, -8.5, 312.0, 3.0, -8550.0] {}
            })
            .await;
            let refused = writer.write("peer", "register", 4000.0).await.unwrap_err();
            assert!(refused.contains("-3276.8 to 3276.7"), "{refused}");
        })
        .await;
}
