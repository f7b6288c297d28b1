//! A controlled device whose set-point needs three registers and which releases itself, and the gateway that controls it.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime};

use bessai_domain::time::parse_utc;
use bessai_simulator::registers::{Origin, Registers, RevertPeriod, RevertTimer, Table, WriteEffect, WriteRecord};
use bessai_simulator::server::Server;
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::support::gateway::{Gateway, Setup};
use crate::support::within;

/// The register of the device's own timer, in seconds.
const TIMER: u16 = 10;
/// The register of the power in W, + = discharge.
pub const TARGET: u16 = 11;
/// The register of the mode: 0 = by itself, 1 = the set-point applies.
pub const MODE: u16 = 12;
/// The register of a limit in %, which is no part of the set-point.
pub const CAP: u16 = 13;
/// The points of these registers.
const POINTS: [(u16, &str); 4] = [(TIMER, "timer"), (TARGET, "target"), (MODE, "mode"), (CAP, "cap")];
/// The unit id of the device.
const UNIT: u8 = 1;

/// The profile; `options` are further keys of the point `target`, `timer` the time of the device's own timer in s.
fn profile(options: &str, timer: u16) -> String {
    let set = |sign: i32| {
        format!(
            "[{{ point = \"timer\", value = {timer} }}, {{ point = \"target\", scale = {} }}, {{ point = \"mode\", value = 1 }}]",
            sign * 1000
        )
    };
    format!(
        "[set_point]\ncharge = {}\ndischarge = {}\n\
         release = [{{ point = \"mode\", value = 0 }}, {{ point = \"target\", value = 0 }}]\n\
         revert = {{ point = \"timer\" }}\n\
         [points]\n\
         soc = {{ channel = \"soc_pct\", address = 0, type = \"uint16\", scale = 0.1, unit = \"%\", min = 0, max = 100 }}\n\
         power = {{ channel = \"power_kw\", address = 1, type = \"int16\", scale = 0.001, unit = \"kW\" }}\n\
         temperature = {{ channel = \"temp_c\", address = 2, type = \"int16\", scale = 0.1, unit = \"Cel\" }}\n\
         timer = {{ address = {TIMER}, type = \"uint16\", scale = 1, unit = \"s\", access = \"RW\", settle = \"1s\" }}\n\
         target = {{ address = {TARGET}, type = \"int16\", scale = 1, unit = \"W\", access = \"RW\", settle = \"1s\"{options} }}\n\
         mode = {{ address = {MODE}, type = \"uint16\", scale = 1, min = 0, max = 1, access = \"RW\", settle = \"1s\", dangerous = true }}\n\
         cap = {{ address = {CAP}, type = \"uint16\", scale = 1, unit = \"%\", max = 100, access = \"RW\", settle = \"1s\" }}\n",
        set(-1),
        set(1)
    )
}

/// The settings of a controlled device, with further ones of `[control]` at the end.
pub fn named(name: &str, address: SocketAddr, settings: &str) -> String {
    format!(
        "[[device]]\nname = \"{name}\"\naddress = \"tcp://{address}\"\nprofile = \"box\"\nperiod = \"100ms\"\n\
         [control]\nenabled = true\n[control.devices.{name}]\n{settings}\n"
    )
}

/// A controlled device and its gateway.
pub struct SimulatedBox {
    pub server: Server,
    pub registers: Registers,
    pub gateway: Gateway,
}

impl SimulatedBox {
    /// A device whose timer is an hour: it plays no part.
    pub async fn start() -> Self {
        Self::with("", "", 3600).await
    }

    /// With further keys of the point `target`, further settings of the device in `[control]`, and the time of the timer.
    pub async fn with(options: &str, settings: &str, timer: u16) -> Self {
        let registers = Registers::new();
        registers.fill(UNIT, Table::Holding, 0..=20, 0);
        registers.set(UNIT, Table::Holding, 0, &[500, 0, 250]);
        registers.keep_defaults();
        let (renewed_by, restores) = (vec![TIMER, TARGET, MODE], vec![(MODE, vec![0]), (TARGET, vec![0])]);
        let period = RevertPeriod::Register { address: TIMER, is_long: false, per_count: Duration::from_secs(1) };
        registers.add_revert_timer(RevertTimer { unit: UNIT, table: Table::Holding, renewed_by, period, restores });
        let server = Server::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), registers.clone()).unwrap();
        let text = named("battery", server.address(), settings);
        let setup = Setup::new().file("plugins/default.toml", "enabled = false\n").file("bessai.toml", text);
        let gateway = setup.file("profiles/box.toml", profile(options, timer)).run();
        let started = Self { server, registers, gateway };
        started.is_safe().await;
        started
    }

    /// Waits for the first verdict.
    pub async fn is_safe(&self) {
        let is_safe = |health: &Value| health["safety_status"] == "ok";
        self.gateway.wait_for_health("a safe battery", is_safe).await;
    }

    /// Writes `bessai.toml` and waits until it is in force.
    pub async fn reload(&self, settings: &str) {
        let log = "the settings were reloaded";
        let before = self.gateway.log_count(log);
        std::fs::write(self.gateway.path("bessai.toml"), settings).unwrap();
        self.gateway.hang_up();
        let reloaded = async {
            while self.gateway.log_count(log) == before {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        within("the reload", reloaded).await;
    }

    /// The gateway is replaced by what `restart` makes of it.
    pub async fn restarted(self, restart: impl AsyncFnOnce(Gateway) -> Setup) -> Self {
        let Self { server, registers, gateway } = self;
        let gateway = restart(gateway).await.run();
        Self { server, registers, gateway }
    }

    /// What a command of the operator prints, and whether it succeeds.
    pub async fn operator(&self, arguments: &[&str]) -> (bool, String) {
        let output = self.gateway.output_beside(&[&["control"], arguments].concat()).await;
        let printed = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(printed).unwrap())
    }

    /// Sets a power for ten minutes, which must be verified.
    pub async fn set(&self, kilowatts: &str) {
        let (is_done, printed) = self.operator(&["set", "battery", kilowatts, "--for", "10m"]).await;
        assert!(is_done, "{printed}\n{}", self.gateway.log());
    }

    /// Begins to set a power; returns what is printed at the end.
    pub fn begin_set(&self, kilowatts: &str) -> JoinHandle<String> {
        let mut command = self.gateway.command_beside(&["control", "set", "battery", kilowatts, "--for", "10m"]);
        tokio::task::spawn_blocking(move || String::from_utf8(command.output().unwrap().stderr).unwrap())
    }

    /// Sets a power, which must fail; returns what is printed.
    pub async fn set_fails(&self, kilowatts: &str) -> String {
        let (is_done, printed) = self.operator(&["set", "battery", kilowatts, "--for", "10m"]).await;
        assert!(!is_done, "{printed}");
        printed
    }

    /// What becomes of writes to a register.
    pub fn on_write(&self, address: u16, effect: Option<WriteEffect>) {
        self.registers.on_write(UNIT, Table::Holding, address, effect);
    }

    /// The registers of the power and of the mode.
    pub fn state(&self) -> [u16; 2] {
        let words = self.registers.get(UNIT, Table::Holding, TARGET, 2).unwrap();
        [words[0], words[1]]
    }

    /// Waits for the registers of the power and of the mode.
    pub async fn wait_for(&self, state: [u16; 2]) {
        let reached = async {
            while self.state() != state {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        within(&format!("the registers {state:?}"), reached).await;
    }

    /// Waits until the device is released: the last write of the recipe was taken.
    pub async fn released(&self) {
        let is_last = |log: &[WriteRecord]| {
            let last = log.iter().rfind(|record| record.origin == Origin::Client);
            last.is_some_and(|record| {
                let is_refused = matches!(record.effect, Some(WriteEffect::Refused(_)));
                (record.address, &record.words[..]) == (TARGET, &[0][..]) && !is_refused
            })
        };
        self.wait_for_writes("the release", |log| is_last(log) && self.state() == [0, 0]).await;
    }

    /// Waits until the status shows this.
    pub async fn wait_for_status(&self, text: &str) {
        let shown = async {
            while !self.operator(&["status"]).await.1.contains(text) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        within(&format!("the status {text:?}"), shown).await;
    }

    /// Waits until the log of writes meets a condition; returns it.
    pub async fn wait_for_writes(&self, what: &str, condition: impl Fn(&[WriteRecord]) -> bool) -> Vec<WriteRecord> {
        within(what, async {
            loop {
                let log = self.registers.write_log();
                if condition(&log) {
                    return log;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await
    }

    /// The events `write` of the journal, oldest first, each with its time as `at`.
    pub async fn audit(&self) -> Vec<Value> {
        let export = ["journal", "export", "--last", "1h", "--out", "events.jsonl"];
        let output = self.gateway.output_beside(&export).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let path = self.gateway.path("events.jsonl");
        let exported = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let events = exported.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let with_time = |event: Value| {
            let mut write = event["write"].clone();
            write["at"] = event["at"].clone();
            write
        };
        events.filter(|event| event["write"].is_object()).map(with_time).collect()
    }
}

/// The event that announces a register write, before the one with its outcome.
fn announcement<'a>(outcome: &Value, audit: &'a [Value]) -> &'a Value {
    let index = audit.iter().position(|event| event == outcome).unwrap();
    let is_of_it = |event: &&Value| {
        ["reference", "channel", "value", "proposer"].iter().all(|key| event[key] == outcome[key])
            && event["outcome"].is_null()
    };
    let announced = audit[..index].iter().rfind(is_of_it);
    announced.unwrap_or_else(|| panic!("{outcome} was not announced: {audit:#?}"))
}

/// Fails unless each of the clients' writes was announced by an event before it and has an event with its outcome, in order and
/// not before the write, and no event says that something was written that was not.
pub fn assert_complete(log: &[WriteRecord], audit: &[Value]) {
    let is_of_register = |event: &&Value| {
        let reference = event["reference"].as_str().unwrap_or_default();
        reference.starts_with("register-write/") && POINTS.iter().any(|(_, name)| event["channel"] == *name)
    };
    let mut events = audit.iter().filter(is_of_register).filter(|event| !event["outcome"].is_null());
    for record in log.iter().filter(|record| record.origin == Origin::Client) {
        let (_, name) = POINTS.iter().find(|(address, _)| *address == record.address).unwrap();
        let value = f64::from(record.words[0].cast_signed());
        let is_its_own = |event: &&Value| event["channel"] == *name && event["value"].as_f64() == Some(value);
        let is_unwritten = |event: &Value| event["outcome"]["failed"].is_string();
        let event = loop {
            let next = events.next();
            let event = next.unwrap_or_else(|| panic!("{name} = {value} has no event: {audit:#?}"));
            if is_its_own(&event) {
                break event;
            }
            assert!(is_unwritten(event), "{event} was not written before {name} = {value}: {log:#?}");
        };
        let at = parse_utc(event["at"].as_str().unwrap()).unwrap();
        let written = SystemTime::now() - record.at.elapsed();
        // The two clocks are read one after the other.
        let earliest = written.duration_since(SystemTime::UNIX_EPOCH).unwrap() - Duration::from_millis(20);
        assert!(Duration::from_nanos(at.nanos()) >= earliest, "{event} is older than its write");
        let announced = announcement(event, audit);
        let at = parse_utc(announced["at"].as_str().unwrap()).unwrap();
        let latest = earliest + Duration::from_millis(40);
        assert!(Duration::from_nanos(at.nanos()) <= latest, "{announced} is newer than its write");
    }
    let others: Vec<_> = events.filter(|event| !event["outcome"]["failed"].is_string()).collect();
    assert!(others.is_empty(), "{others:#?} were never written");
}
