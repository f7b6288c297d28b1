//! Starts mosquitto.

use std::fmt::Write;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::certificates::Pem;
use super::gateway::signal;
use super::{LIMIT, folder, free_port};

/// A running mosquitto, killed when dropped.
pub struct Broker {
    pub port: u16,
    folder: tempfile::TempDir,
    child: Option<Child>,
}

/// The configuration of a broker.
#[derive(Default)]
pub struct BrokerSetup<'a> {
    /// The required user name and password; anonymous clients are accepted without them.
    pub login: Option<(&'a str, &'a str)>,
    /// Its certificate; without one it serves plain TCP.
    pub certificate: Option<&'a Pem>,
    /// The CA whose client certificates it requires.
    pub clients_ca: Option<&'a Pem>,
    /// The port; a free one by default.
    pub port: Option<u16>,
    /// Saves sessions and their messages at [`Broker::terminate`].
    pub persists: bool,
    /// Serves MQTT over WebSockets.
    pub websockets: bool,
    /// The newest version of TLS, as OpenSSL calls it; mosquitto itself limits only the oldest.
    pub newest_tls: Option<&'a str>,
    /// Further lines of mosquitto.conf.
    pub lines: &'a [&'a str],
}

impl Broker {
    /// An anonymous broker on a free port.
    pub fn start() -> Self {
        Self::with(&BrokerSetup::default())
    }

    /// Starts a broker; returns once it accepts connections.
    pub fn with(setup: &BrokerSetup<'_>) -> Self {
        let folder = folder();
        let port = setup.port.unwrap_or_else(free_port);
        std::fs::write(folder.path().join("mosquitto.conf"), configuration(folder.path(), port, setup)).unwrap();
        let version = setup.newest_tls.map_or_else(String::new, |version| format!("MaxProtocol = {version}\n"));
        let openssl =
            format!("openssl_conf = all\n[all]\nssl_conf = tls\n[tls]\nsystem_default = limits\n[limits]\n{version}");
        std::fs::write(folder.path().join("openssl.cnf"), openssl).unwrap();
        let mut broker = Self { port, folder, child: None };
        broker.restart();
        broker
    }

    /// Starts mosquitto again on the same port, after [`Broker::kill`] or [`Broker::terminate`].
    pub fn restart(&mut self) {
        let log = std::fs::File::create(self.folder.path().join("log")).unwrap();
        let child = Command::new("/usr/sbin/mosquitto")
            .arg("-c")
            .arg(self.folder.path().join("mosquitto.conf"))
            .env("OPENSSL_CONF", self.folder.path().join("openssl.cnf"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("mosquitto is missing: run scripts/setup");
        self.child = Some(child);
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap();
            assert!(started.elapsed() < LIMIT, "mosquitto did not start: {log}");
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// Sends SIGTERM, on which mosquitto saves its sessions, and waits for its exit.
    pub fn terminate(&mut self) {
        if let Some(mut child) = self.child.take() {
            signal(&child, libc::SIGTERM);
            child.wait().unwrap();
        }
    }

    /// Changes a user's password; mosquitto disconnects clients signed in with the previous one.
    pub fn set_password(&self, user: &str, password: &str) {
        add_password(&self.folder.path().join("passwords"), &["-b"], user, password);
        self.reload();
    }

    /// Reads passwords and access rights again.
    pub fn reload(&self) {
        signal(self.child.as_ref().unwrap(), libc::SIGHUP);
    }

    /// Sends SIGKILL and waits for the exit.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// The log that mosquitto has written.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

fn add_password(file: &Path, options: &[&str], user: &str, password: &str) {
    let status = Command::new("mosquitto_passwd").args(options).arg(file).args([user, password]).status();
    assert!(status.unwrap().success());
}

fn configuration(folder: &Path, port: u16, setup: &BrokerSetup<'_>) -> String {
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
    // By default mosquitto drops root for a user that cannot read these files.
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
        // mosquitto does not start with WebSocket listeners only.
        line("listener", &format!("{} 127.0.0.1", free_port()));
    }
    for line in setup.lines {
        writeln!(text, "{line}").unwrap();
    }
    text
}
