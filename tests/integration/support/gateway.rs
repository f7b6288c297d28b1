//! The gateway's program in a child process, whose environment holds only what the test sets.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{folder, within};

/// The settings and working folder of a gateway that is not running.
pub struct Setup {
    folder: tempfile::TempDir,
    variables: Vec<(String, String)>,
    user: Option<u32>,
    program: PathBuf,
    // A shell runs this before the program, to limit it.
    limits: Option<String>,
}

/// A running gateway, killed when dropped.
pub struct Gateway {
    setup: Option<Setup>,
    child: Child,
    log: Arc<Mutex<String>>,
}

/// The program, in the build folder of this test.
pub fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.parent().unwrap().parent().unwrap().join("bessai-edge");
    assert!(program.is_file(), "{} is missing: run `cargo build -p bessai-edge`, or scripts/test", program.display());
    program
}

impl Setup {
    /// Only a site id, a free health port and the shared cache.
    pub fn new() -> Self {
        let (program, limits, user) = (program(), None, None);
        let setup = Self { folder: folder(), variables: Vec::new(), user, program, limits };
        setup.with("SITE_ID", "SITE-CL-001").with("HEALTH_PORT", "0").with("XDG_CACHE_HOME", cache())
    }

    /// Sets an environment variable.
    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.into(), value.to_string()));
        self
    }

    /// Runs the program as another user, who gets the working folder; only root may do that.
    pub fn run_as(mut self, user: u32) -> Self {
        // That user may have no access to the build folder.
        let copy = self.folder().join("bessai-edge");
        std::fs::copy(&self.program, &copy).unwrap();
        self.user = Some(user);
        self.program(copy)
    }

    /// Runs another file than the program that was built.
    pub fn program(mut self, path: PathBuf) -> Self {
        self.program = path;
        self
    }

    /// A shell runs this command before it becomes the gateway. Commands other than `run` are not limited.
    pub fn limited_by(mut self, command: impl Into<String>) -> Self {
        self.limits = Some(command.into());
        self
    }

    /// Sets a device on this machine, read ten times a second.
    pub fn device(self, port: u16) -> Self {
        self.with("INVERTER_IP", "127.0.0.1").with("INVERTER_PORT", port).with("WATCHDOG_TIMEOUT", "0.1")
    }

    pub fn broker(self, url: impl ToString) -> Self {
        self.with("MQTT_BROKER_URL", url)
    }

    /// Writes a file in the working folder.
    pub fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        self
    }

    /// One of the program's commands, which is not started yet.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = match &self.limits {
            Some(limits) if arguments == ["run"] => {
                let mut shell = Command::new("/bin/sh");
                shell.arg("-c").arg(format!("{limits} && exec \"$0\" \"$@\"")).arg(&self.program);
                shell
            }
            _ => Command::new(&self.program),
        };
        command.args(arguments).env_clear().current_dir(self.folder.path());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        if let Some(user) = self.user {
            std::os::unix::fs::chown(self.folder.path(), Some(user), None).unwrap();
            std::os::unix::process::CommandExt::uid(&mut command, user);
        }
        command
    }

    /// Runs one of the program's commands to its exit.
    pub fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// As [`output`](Self::output), while the test's runtime serves simulated devices.
    pub async fn output_beside(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(arguments);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    /// The working folder.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Starts `bessai-edge run`.
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

/// One cache of compiled components for all tests: its entries are keyed by content.
fn cache() -> String {
    let test = std::env::current_exe().unwrap();
    test.parent().unwrap().join("test-cache").to_str().unwrap().to_owned()
}

impl Gateway {
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// The most memory that the process has had, in KiB. Linux counts a little late, so that it may seem to shrink.
    pub fn peak_memory_kb(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Waits until the log contains a text.
    pub async fn wait_for_log(&self, text: &str) {
        let waiting = async {
            while !self.log().contains(text) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if tokio::time::timeout(super::LIMIT, waiting).await.is_err() {
            panic!("the gateway did not log {text:?}; its log:\n{}", self.log());
        }
    }

    /// Waits until the log contains a text, and fails if it does more than once. The log is written by a thread of its own,
    /// so that what a line is about may be seen before the line.
    pub async fn assert_logged_once(&self, text: &str) {
        self.wait_for_log(text).await;
        assert_eq!(self.log_count(text), 1, "{text}:\n{}", self.log());
    }

    /// How often the log contains a text.
    pub fn log_count(&self, text: &str) -> usize {
        self.log().matches(text).count()
    }

    /// The answer of `/health`.
    pub async fn health(&self) -> serde_json::Value {
        let output = self.health_command().await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Waits until `/health` meets a condition; returns that answer.
    pub async fn wait_for_health(
        &self,
        what: &str,
        condition: impl Fn(&serde_json::Value) -> bool,
    ) -> serde_json::Value {
        let waiting = async {
            loop {
                let health = self.health().await;
                if condition(&health) {
                    return health;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        match tokio::time::timeout(super::LIMIT, waiting).await {
            Ok(health) => health,
            Err(_) => panic!("timed out waiting for {what}; {}\n{}", self.health().await["feeds"], self.log()),
        }
    }

    /// The path of a file or folder in the working folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.setup.as_ref().unwrap().folder().join(name)
    }

    /// Runs one of the program's commands with the settings of the running gateway.
    pub fn output(&self, arguments: &[&str]) -> Output {
        self.setup.as_ref().unwrap().output(arguments)
    }

    /// A command to be run in the same folder.
    pub fn command_beside(&self, arguments: &[&str]) -> Command {
        self.setup.as_ref().unwrap().command(arguments)
    }

    /// As [`output`](Self::output), while the test's runtime serves simulated devices.
    pub async fn output_beside(&self, arguments: &[&str]) -> Output {
        self.setup.as_ref().unwrap().output_beside(arguments).await
    }

    /// Sends SIGTERM and waits for the exit.
    pub async fn stop(mut self) -> ExitStatus {
        self.terminate();
        self.wait_for_exit().await
    }

    /// Sends SIGTERM and waits for the exit; the setup can be started again in the same folder.
    pub async fn stop_and_keep_setup(mut self) -> (ExitStatus, Setup) {
        self.terminate();
        (self.wait_for_exit().await, self.setup.take().unwrap())
    }

    /// Sends SIGKILL; the setup can be started again in the same folder.
    pub fn kill(mut self) -> Setup {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.setup.take().unwrap()
    }

    /// Waits for the exit of the process.
    pub async fn wait_for_exit(&mut self) -> ExitStatus {
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

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        signal(&self.child, libc::SIGTERM);
    }

    /// Stops the process in the middle of what it does.
    pub fn stop_running(&self) {
        signal(&self.child, libc::SIGSTOP);
    }

    /// Lets a stopped process run again.
    pub fn continue_running(&self) {
        signal(&self.child, libc::SIGCONT);
    }

    /// Sends SIGHUP.
    pub fn hang_up(&self) {
        signal(&self.child, libc::SIGHUP);
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The address that serves `/health`.
    pub async fn health_address(&self) -> SocketAddr {
        self.wait_for_log("/health on ").await;
        let log = self.log();
        log.split("/health on ").nth(1).unwrap().lines().next().unwrap().trim().parse().unwrap()
    }

    /// What `bessai-edge health` ends with.
    pub async fn health_command(&self) -> Output {
        let address = self.health_address().await;
        let setup = Setup::new().device(502).broker("mqtt://localhost").with("HEALTH_HOST", address.ip());
        setup.with("HEALTH_PORT", address.port()).output(&["health"])
    }
}

/// Sends a signal to a child whose exit was not yet waited for.
#[allow(unsafe_code, reason = "libc::kill has no safe form")]
pub fn signal(child: &Child, number: i32) {
    let pid = i32::try_from(child.id()).unwrap();
    // SAFETY: the child's exit was not yet waited for, so its id is not reused.
    assert_eq!(unsafe { libc::kill(pid, number) }, 0);
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
