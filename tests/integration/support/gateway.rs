//! The program itself, in a process of its own, with nothing in its environment but what the test gives it.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{folder, within};

/// A gateway to be started.
pub struct Setup {
    folder: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

/// A running gateway; it ends with the value.
pub struct Gateway {
    setup: Option<Setup>,
    child: Child,
    log: Arc<Mutex<String>>,
}

/// The program that was built beside this test.
pub fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.parent().unwrap().parent().unwrap().join("bessai-edge");
    assert!(program.is_file(), "{} is missing: run `cargo build -p bessai-edge`, or scripts/test", program.display());
    program
}

impl Setup {
    /// Site, a free health port, and nothing else.
    pub fn new() -> Self {
        let setup = Self { folder: folder(), variables: Vec::new() };
        setup.with("SITE_ID", "SITE-CL-001").with("HEALTH_PORT", "0").with("XDG_CACHE_HOME", cache())
    }

    /// One more variable.
    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.into(), value.to_string()));
        self
    }

    /// A device on this machine, read ten times a second.
    pub fn device(self, port: u16) -> Self {
        self.with("INVERTER_IP", "127.0.0.1").with("INVERTER_PORT", port).with("WATCHDOG_TIMEOUT", "0.1")
    }

    pub fn broker(self, url: impl ToString) -> Self {
        self.with("MQTT_BROKER_URL", url)
    }

    /// A file in the working folder.
    pub fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        self
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.args(arguments).env_clear().current_dir(self.folder.path());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a command to its end.
    pub fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Where it works.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Starts the service.
    pub fn run(self) -> Gateway {
        let mut child = self.command(&["run"]).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(String::new()));
        let written = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mut log = written.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        Gateway { setup: Some(self), child, log }
    }
}

/// One cache of compiled components for all tests: the gateway itself keeps it apart by content.
fn cache() -> String {
    let test = std::env::current_exe().unwrap();
    test.parent().unwrap().join("test-cache").to_str().unwrap().to_owned()
}

impl Gateway {
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits for a line in the log.
    pub async fn says(&self, text: &str) {
        let waiting = async {
            while !self.log().contains(text) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if tokio::time::timeout(super::LIMIT, waiting).await.is_err() {
            panic!("the gateway never said {text:?}, but:\n{}", self.log());
        }
    }

    /// How often a text is in the log.
    pub fn said(&self, text: &str) -> usize {
        self.log().matches(text).count()
    }

    /// What `/health` answers.
    pub async fn health(&self) -> serde_json::Value {
        self.says("/health on ").await;
        let log = self.log();
        let address = log.split("/health on ").nth(1).unwrap().lines().next().unwrap().trim();
        let (host, port) = address.rsplit_once(':').unwrap();
        let setup = Setup::new().device(502).broker("mqtt://localhost").with("HEALTH_HOST", host);
        let setup = setup.with("HEALTH_PORT", port);
        let output = setup.output(&["health"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Waits until `/health` is as wanted, and gives it.
    pub async fn until(&self, what: &str, wanted: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        let waiting = async {
            loop {
                let health = self.health().await;
                if wanted(&health) {
                    return health;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        match tokio::time::timeout(super::LIMIT, waiting).await {
            Ok(health) => health,
            Err(_) => panic!("{what} did not come; {}\n{}", self.health().await["feeds"], self.log()),
        }
    }

    /// A file or folder of the gateway's working folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.setup.as_ref().unwrap().folder().join(name)
    }

    /// Runs a command beside it, with its settings.
    pub fn output(&self, arguments: &[&str]) -> Output {
        self.setup.as_ref().unwrap().output(arguments)
    }

    /// SIGTERM, and the end of the process.
    pub async fn stop(mut self) -> ExitStatus {
        self.terminate();
        self.end().await
    }

    /// SIGTERM, and the end of the process; all that it needs to be started again where it was.
    pub async fn stop_for_now(mut self) -> (ExitStatus, Setup) {
        self.terminate();
        (self.end().await, self.setup.take().unwrap())
    }

    /// SIGKILL; all that it needs to be started again where it was.
    pub fn kill(mut self) -> Setup {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.setup.take().unwrap()
    }

    /// The end of the process, whatever ends it.
    pub async fn end(&mut self) -> ExitStatus {
        within("the gateway to stop", async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        signal(&self.child, libc::SIGTERM);
    }
}

/// A signal to a child that was not waited for yet.
#[allow(unsafe_code, reason = "a signal to our own child")]
pub fn signal(child: &Child, number: i32) {
    let pid = i32::try_from(child.id()).unwrap();
    // SAFETY: the child was not waited for yet, so the id is still its own.
    assert_eq!(unsafe { libc::kill(pid, number) }, 0);
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
