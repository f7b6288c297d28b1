//! Programs in Python with the packages that scripts/setup installs: other implementations, as peers of the gateway. They
//! print JSON, one line each, and take commands on standard input.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};

use serde_json::Value;
use tokio::sync::mpsc;

use super::{cache, root, within};

/// A running peer, killed when dropped.
pub struct Peer {
    child: Child,
    input: ChildStdin,
    lines: mpsc::UnboundedReceiver<Value>,
}

/// The interpreter of the packages that a list of tests/peers names.
pub fn python(packages: &str) -> Command {
    let python = cache().join(packages).join("bin/python");
    assert!(python.exists(), "{} is missing: run scripts/setup", python.display());
    Command::new(python)
}

impl Peer {
    /// Starts a script of tests/peers.
    pub fn start(packages: &str, script: &str, arguments: &[&str]) -> Self {
        let mut command = python(packages);
        command.arg(root().join("tests/peers").join(script)).args(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        let input = child.stdin.take().unwrap();
        let (sender, lines) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for line in output.map_while(Result::ok) {
                let value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
                if sender.send(value).is_err() {
                    return;
                }
            }
        });
        Self { child, input, lines }
    }

    /// The next line.
    pub async fn next(&mut self) -> Value {
        within("a line of the peer", self.lines.recv()).await.expect("the peer has ended")
    }

    /// Sends a command.
    pub fn send(&mut self, command: &str) {
        writeln!(self.input, "{command}").unwrap();
        self.input.flush().unwrap();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
