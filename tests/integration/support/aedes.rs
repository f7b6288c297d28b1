//! Starts aedes, an independent broker: it speaks MQTT 3.1.1 only, and ends the session of a client that publishes where it
//! may not.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::certificates::Pem;
use super::{cache, free_port, root, within};

/// The configuration of a broker.
#[derive(Default)]
pub struct AedesSetup<'a> {
    /// The required user name and password; anonymous clients are accepted without them.
    pub login: Option<(&'a str, &'a str)>,
    /// Its certificate; without one it serves plain TCP.
    pub certificate: Option<&'a Pem>,
    /// The end of the topic to which nobody may publish.
    pub forbidden: Option<&'a str>,
}

/// A running aedes, killed when dropped, and what it has reported since its first start.
pub struct Aedes {
    pub port: u16,
    setup: Value,
    running: Option<(Child, JoinHandle<()>)>,
    events: Arc<Mutex<Vec<Value>>>,
}

impl Aedes {
    /// Starts a broker on a free port; returns once it accepts connections.
    pub async fn start(setup: &AedesSetup<'_>) -> Self {
        let port = free_port();
        let mut file = Map::from_iter([("port".to_owned(), json!(port))]);
        let mut set = |key: &str, value: Value| file.insert(key.to_owned(), value);
        if let Some((user, password)) = setup.login {
            set("login", json!([user, password]));
        }
        if let Some(pem) = setup.certificate {
            set("certificate", json!(pem.certificate));
            set("key", json!(pem.key));
        }
        if let Some(forbidden) = setup.forbidden {
            set("forbidden", json!(forbidden));
        }
        let mut broker = Self { port, setup: file.into(), running: None, events: Arc::default() };
        broker.restart().await;
        broker
    }

    /// Starts it again on the same port, after [`Aedes::kill`]; it has forgotten everything.
    pub async fn restart(&mut self) {
        let before = self.count("listening");
        let mut child = node().arg(self.setup.to_string()).stdout(Stdio::piped()).spawn().expect("node does not start");
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let events = Arc::clone(&self.events);
        let reader = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                events.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        self.running = Some((child, reader));
        self.wait_for_events("listening", before + 1).await;
    }

    /// Sends SIGKILL; returns when everything that it reported is in [`Aedes::events`].
    pub fn kill(&mut self) {
        if let Some((mut child, reader)) = self.running.take() {
            child.kill().unwrap();
            child.wait().unwrap();
            reader.join().unwrap();
        }
    }

    /// What it has reported with this key, in order.
    pub fn events(&self, key: &str) -> Vec<Value> {
        self.events.lock().unwrap().iter().filter_map(|event| event.get(key).cloned()).collect()
    }

    fn count(&self, key: &str) -> usize {
        self.events(key).len()
    }

    /// Waits until it has reported this many events with this key.
    pub async fn wait_for_events(&self, key: &str, count: usize) {
        within(&format!("{count} events {key:?} of aedes"), async {
            while self.count(key) < count {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }
}

impl Drop for Aedes {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs the broker's script; scripts/setup installs aedes, and Node.js where the machine has none that is new enough.
fn node() -> Command {
    let (cache, own) = (cache(), cache().join("node/bin/node"));
    let installed = cache.join("aedes");
    assert!(installed.join("node_modules").is_dir(), "{} is missing: run scripts/setup", installed.display());
    let mut command = Command::new(if own.is_file() { own } else { PathBuf::from("node") });
    command.arg(root().join("tests/peers/aedes/broker.mjs")).arg(installed);
    command
}
