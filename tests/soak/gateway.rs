//! The gateway's process, which is killed and started again in the same folder, and its `/health`.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::gateway::signal;
use crate::support::{LIMIT, free_port};

/// Time limit for an answer of `/health`.
const HEALTH_LIMIT: Duration = Duration::from_secs(10);
/// Polling period of the process's state.
const POLL_EVERY: Duration = Duration::from_millis(20);

/// A gateway in a folder of its own.
pub struct Gateway {
    program: PathBuf,
    folder: PathBuf,
    log: PathBuf,
    health: HealthClient,
    child: Option<Child>,
}

/// The address of `/health`.
#[derive(Clone, Copy)]
pub struct HealthClient(SocketAddr);

impl Gateway {
    /// A gateway that is not started yet; its log is outside of its folder.
    pub fn new(program: &Path, folder: &Path, log: &Path) -> Self {
        let health = HealthClient(([127, 0, 0, 1], free_port()).into());
        Self { program: program.into(), folder: folder.into(), log: log.into(), health, child: None }
    }

    /// Starts it and waits until `/health` answers.
    pub async fn start(&mut self) {
        let log = OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        let mut command = Command::new(&self.program);
        command.arg("run").current_dir(&self.folder).env_clear();
        command.env("BESSAI_DATA", &self.folder).env("HEALTH_PORT", self.health.0.port().to_string());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().unwrap());
        let started = Instant::now();
        while self.health.get().is_err() {
            assert!(started.elapsed() < LIMIT, "the gateway does not serve /health; its log:\n{}", self.log_tail());
            self.assert_running();
            tokio::time::sleep(POLL_EVERY).await;
        }
    }

    pub fn health(&self) -> HealthClient {
        self.health
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Panics with the end of the log if the process has ended by itself.
    pub fn assert_running(&mut self) {
        if let Some(status) = self.child.as_mut().unwrap().try_wait().unwrap() {
            panic!("the gateway has ended by itself with {status}; its log:\n{}", self.log_tail());
        }
    }

    /// Sends SIGKILL and waits for the exit.
    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Sends SIGTERM and waits for the exit.
    pub async fn stop(&mut self) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        signal(&child, libc::SIGTERM);
        let started = Instant::now();
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status;
            }
            assert!(started.elapsed() < LIMIT, "the gateway does not stop; its log:\n{}", self.log_tail());
            tokio::time::sleep(POLL_EVERY).await;
        }
    }

    /// Whether it handles SIGHUP; the signal would end it otherwise.
    pub fn handles_hangup(&self) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        // Bit 0 is signal 1.
        u64::from_str_radix(caught.trim(), 16).unwrap() & 1 == 1
    }

    pub fn hang_up(&self) {
        signal(self.child.as_ref().unwrap(), libc::SIGHUP);
    }

    /// Runs a command of the program with the gateway's folder; returns what it prints.
    pub fn command(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(&self.program);
        command.args(arguments).current_dir(&self.folder).env_clear().env("BESSAI_DATA", &self.folder);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn log_tail(&self) -> String {
        /// Lines that help to find out what happened.
        const LINES: usize = 30;
        let mut log = String::new();
        let _ = File::open(&self.log).and_then(|mut file| file.read_to_string(&mut log));
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl HealthClient {
    /// The whole answer.
    pub fn get(self) -> std::io::Result<Value> {
        let mut stream = TcpStream::connect_timeout(&self.0, HEALTH_LIMIT)?;
        stream.set_read_timeout(Some(HEALTH_LIMIT))?;
        stream.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply)?;
        let body = reply.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        serde_json::from_str(body).map_err(std::io::Error::other)
    }
}
