//! mosquitto, as an operator would run it.

use std::fmt::Write;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::certificates::Pem;
use super::gateway::signal;
use super::{LIMIT, folder, free_port};

/// A running broker; it ends with the value.
pub struct Broker {
    pub port: u16,
    folder: tempfile::TempDir,
    child: Option<Child>,
}

/// How the broker is to be set up.
#[derive(Default)]
pub struct Setup<'a> {
    /// User name and password that it wants; anonymous where none.
    pub login: Option<(&'a str, &'a str)>,
    /// Its certificate; plain TCP where none.
    pub certificate: Option<&'a Pem>,
    /// The CA whose clients it lets in.
    pub clients_ca: Option<&'a Pem>,
    /// A port to take; a free one where none.
    pub port: Option<u16>,
    /// Keeps sessions and their messages over [`Broker::end`].
    pub persists: bool,
    /// MQTT goes through WebSockets.
    pub websockets: bool,
    /// Further lines of its configuration.
    pub lines: &'a [&'a str],
}

impl Broker {
    /// An anonymous broker on a free port.
    pub fn start() -> Self {
        Self::with(&Setup::default())
    }

    /// A broker that is set up so, once it accepts connections.
    pub fn with(setup: &Setup<'_>) -> Self {
        let folder = folder();
        let port = setup.port.unwrap_or_else(free_port);
        std::fs::write(folder.path().join("mosquitto.conf"), configuration(folder.path(), port, setup)).unwrap();
        let mut broker = Self { port, folder, child: None };
        broker.run();
        broker
    }

    /// Starts again on the same port, after [`Broker::stop`].
    pub fn run(&mut self) {
        let log = std::fs::File::create(self.folder.path().join("log")).unwrap();
        let child = Command::new("/usr/sbin/mosquitto")
            .arg("-c")
            .arg(self.folder.path().join("mosquitto.conf"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("mosquitto is missing: run scripts/setup");
        self.child = Some(child);
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap();
            assert!(started.elapsed() < LIMIT, "mosquitto does not start: {log}");
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// SIGTERM: it saves what it keeps.
    pub fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            signal(&child, libc::SIGTERM);
            child.wait().unwrap();
        }
    }

    /// From now on this user has this password; who is signed in with another is sent away.
    pub fn set_password(&self, user: &str, password: &str) {
        add_password(&self.folder.path().join("passwords"), &["-b"], user, password);
        signal(self.child.as_ref().unwrap(), libc::SIGHUP);
    }

    /// Kills it.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// What it wrote about its clients.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stop();
    }
}

fn add_password(file: &Path, options: &[&str], user: &str, password: &str) {
    let made = Command::new("mosquitto_passwd").args(options).arg(file).args([user, password]).status();
    assert!(made.unwrap().success());
}

fn configuration(folder: &Path, port: u16, setup: &Setup<'_>) -> String {
    let persists = setup.persists;
    let mut text =
        format!("listener {port} 127.0.0.1\npersistence {persists}\nlog_type all\nmax_queued_messages 100000\n");
    let mut line = |key: &str, value: &str| writeln!(text, "{key} {value}").unwrap();
    match setup.login {
        None => line("allow_anonymous", "true"),
        Some((user, password)) => {
            let file = folder.join("passwords");
            add_password(&file, &["-b", "-c"], user, password);
            line("allow_anonymous", "false");
            line("password_file", file.to_str().unwrap());
        }
    }
    if persists {
        line("persistence_location", &format!("{}/", folder.display()));
    }
    // mosquitto gives up root for a user of its own, who must be able to read these.
    line("user", "root");
    if let Some(pem) = setup.certificate {
        line("certfile", pem.certificate.to_str().unwrap());
        line("keyfile", pem.key.to_str().unwrap());
    }
    if let Some(ca) = setup.clients_ca {
        line("cafile", ca.certificate.to_str().unwrap());
        line("require_certificate", "true");
    }
    if setup.websockets {
        line("protocol", "websockets");
        // With such listeners alone it does not start.
        line("listener", &format!("{} 127.0.0.1", free_port()));
    }
    for further in setup.lines {
        writeln!(text, "{further}").unwrap();
    }
    text
}
