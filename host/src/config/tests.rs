//! Whole configurations: files in a temporary folder, and the mistakes in them.

#![allow(clippy::disallowed_methods, reason = "nothing else runs while a test writes its files")]

use std::time::Duration;

use bessai_domain::anomaly::AnomalyRules;
use bessai_domain::dispatch::DispatchRules;
use bessai_domain::journal::{StartAt, SyncPolicy};
use bessai_domain::message::Qos;
use bessai_domain::register::UnitId;
use bessai_domain::safety::Bounds;
use bessai_domain::session::{Protocol, ProtocolChoice};
use bessai_domain::time::Timestamp;

use super::secret::{Encoding, Secret};
use super::secret_file::SecretFile;
use super::*;

mod brokers;
mod control;
mod devices;
mod feeds;
mod fuzz;
mod kinds;
mod models;
mod safety;
mod variables;

/// The variables that every site needs.
const REQUIRED: &[(&str, &str)] =
    &[("SITE_ID", "S"), ("INVERTER_IP", "10.0.0.1"), ("MQTT_BROKER_URL", "mqtt://broker"), ("HOME", "/home/me")];

/// A working folder, and the environment of a process in it.
struct Case {
    folder: tempfile::TempDir,
    variables: Vec<(String, String)>,
    config_file: Option<PathBuf>,
}

impl Case {
    /// Without any settings.
    fn empty() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), variables: Vec::new(), config_file: None }
    }

    /// With the settings that every site needs.
    fn new() -> Self {
        REQUIRED.iter().fold(Self::empty(), |case, (name, value)| case.set(name, value))
    }

    fn set(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    fn file(self, path: &str, text: &str) -> Self {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn environment(&self) -> ProcessEnvironment {
        ProcessEnvironment {
            variables: self.variables.iter().cloned().collect(),
            working_dir: self.folder.path().to_owned(),
        }
    }

    /// The configuration, or all mistakes in it and in the feeds' files.
    fn load(&self) -> Result<Config, Vec<String>> {
        let config = self.start()?;
        match config.feed_mistakes() {
            mistakes if mistakes.is_empty() => Ok(config),
            mistakes => Err(self.shown(&mistakes)),
        }
    }

    /// The configuration with which a gateway starts.
    fn start(&self) -> Result<Config, Vec<String>> {
        load(self.config_file.as_deref(), &self.environment()).map_err(|mistakes| self.shown(&mistakes))
    }

    fn shown(&self, mistakes: &[Mistake]) -> Vec<String> {
        mistakes.iter().map(|mistake| self.without_folder(&mistake.to_string())).collect()
    }

    fn without_folder(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.folder.path().display()), "")
    }

    fn config(&self) -> Config {
        self.load().unwrap_or_else(|mistakes| panic!("{mistakes:#?}"))
    }

    fn mistakes(&self) -> Vec<String> {
        self.load().expect_err("no mistake")
    }

    fn warnings(&self) -> Vec<String> {
        self.config().warnings.iter().map(|warning| self.without_folder(warning)).collect()
    }

    fn notes(&self) -> Vec<String> {
        self.config().notes.iter().map(|note| self.without_folder(note)).collect()
    }
}

/// A `bessai.toml` that has these mistakes and no others.
fn check_file(text: &str, expected: &[&str]) {
    assert_eq!(Case::new().file("bessai.toml", text).mistakes(), expected, "{text}");
}

#[test]
fn the_environment_alone_is_enough() {
    let case = Case::new();
    let config = case.config();
    assert_eq!(config.site, "S");
    let device = &config.devices[0];
    assert_eq!((device.name.as_str(), device.address.to_string()), ("battery", "10.0.0.1:502".into()));
    assert_eq!((device.unit, device.unit_is_configured), (UnitId(1), false));
    assert_eq!((device.profile.name.as_str(), device.period), ("huawei-sun2000", Duration::from_secs(5)));
    let broker = config.broker.as_ref().unwrap();
    assert_eq!((broker.host.as_str(), broker.port, broker.tls.as_ref()), ("broker", 1883, None));
    assert_eq!((broker.protocol, broker.keep_alive.as_secs(), broker.in_flight), (ProtocolChoice::Auto, 60, 100));
    assert_eq!(config.feeds.len(), 1);
    let feed = &config.feeds[0];
    assert_eq!((feed.name.as_str(), &feed.component, feed.is_default), ("default", &ComponentSource::BuiltIn, true));
    assert_eq!((feed.start, feed.config_json.as_str()), (StartAt::Now, "{}"));
    assert_eq!((&feed.rights, &feed.limits), (&Rights::default(), &FeedLimits::default()));
    assert_eq!(config.safety, SafetyLimits::default());
    assert_eq!((config.models.len(), config.log_level), (0, LogLevel::Info));
    assert_eq!(config.health.to_string(), "127.0.0.1:8000");
    assert_eq!((config.data_dir, config.plugins.dir.clone()), (case.path(""), case.path("plugins")));
    assert_eq!(config.cache_dir, Some("/home/me/.cache/bessai-edge".into()));
    assert_eq!(config.journal.folder, case.path("journal"));
    assert_eq!(config.journal.sync, SyncPolicy::Interval(Duration::from_secs(1)));
    assert_eq!((config.journal.max_bytes, config.journal.max_age), (1 << 30, Duration::from_hours(72)));
    assert_eq!(config.notes, Vec::<String>::new());
}

#[test]
fn an_empty_environment_lists_the_required_variables() {
    let case = Case::empty();
    let not_found = format!("config/.env and bessai.toml: not found in {}", case.folder.path().display());
    let address = "is missing; write the address of the inverter, or add a [[device]] to bessai.toml";
    let broker = "is missing; write mqtt://host:1883 (no broker for `default`)";
    let expected = [format!("INVERTER_IP: {address}; {not_found}"), format!("MQTT_BROKER_URL: {broker}; {not_found}")];
    assert_eq!(case.mistakes(), expected);
}

/// A model of the device `meter` without further settings.
fn model(file: PathBuf) -> ModelSettings {
    ModelSettings {
        name: "dispatch".into(),
        file,
        is_folder: false,
        max_bytes: bessai_inference::DEFAULT_MODEL_BYTES,
        device: Some("meter".into()),
        period: Duration::ZERO,
        shadow: false,
        rules: DispatchRules::default(),
        anomaly: AnomalyRules::default(),
    }
}

#[test]
fn a_complete_file() {
    let text = r#"
        site = "SITE-CL-001"
        [[device]]
        name = "battery"
        address = "tcp://192.168.1.20:1502"
        unit = 3
        profile = "simulator"
        period = "1s"
        [[device]]
        name = "meter"
        address = "tcp://[::1]"
        [broker]
        url = "mqtts://u:p%40@b.example"
        client_id = "me"
        protocol = "3.1.1"
        alpn = "mqtt"
        keep_alive = "30s"
        in_flight = 16
        [safety]
        soc_pct = { max = 90 }
        temp_c = false
        power_kw = { min = -5, max = 5.5 }
        [[model]]
        file = "models/dispatch.onnx"
        device = "meter"
        [journal]
        dir = "j"
        sync = "every-event"
        max_size = "2GiB"
        max_age = "1h"
        [plugins]
        dir = "p"
    "#;
    let mut case = Case::empty().file("etc/gateway.toml", text);
    case.config_file = Some("etc/gateway.toml".into());
    let config = case.config();
    assert_eq!(config.site, "SITE-CL-001");
    let devices: Vec<_> = config.devices.iter().map(|d| (d.name.as_str(), d.address.to_string(), d.unit.0)).collect();
    assert_eq!(devices, [("battery", "192.168.1.20:1502".into(), 3), ("meter", "[::1]:502".into(), 1)]);
    let broker = config.broker.unwrap();
    assert_eq!((broker.username.as_deref(), broker.client_id.as_deref()), (Some("u"), Some("me")));
    assert_eq!((broker.port, broker.password.unwrap().read().as_deref()), (8883, Ok("p@")));
    let tls = broker.tls.unwrap();
    assert_eq!((tls.ca, tls.identity, tls.alpn.as_deref()), (None, None, Some("mqtt")));
    assert_eq!(
        (broker.protocol, broker.keep_alive.as_secs(), broker.in_flight),
        (ProtocolChoice::Only(Protocol::V311), 30, 16)
    );
    let bounds = |channel: &str| config.safety.bounds.get(channel).map(|&Bounds { min, max, .. }| (min, max));
    assert_eq!(bounds("soc_pct"), Some((Some(10.0), Some(90.0))));
    assert_eq!(bounds("power_kw"), Some((Some(-5.0), Some(5.5))));
    assert_eq!(bounds("temp_c"), None);
    let file = case.path("etc/models/dispatch.onnx");
    assert_eq!(config.models, [model(file)]);
    let max_age = Duration::from_hours(1);
    let journal =
        JournalSettings { folder: case.path("etc/j"), sync: SyncPolicy::EveryEvent, max_bytes: 2 << 30, max_age };
    assert_eq!((config.journal, config.plugins.dir.clone()), (journal, case.path("etc/p")));
    assert_eq!(config.cache_dir, None);
}

#[test]
fn site_names() {
    let case = Case::new().set("SITE_ID", "");
    assert_eq!(case.notes(), ["SITE_ID is not set; using the site name `bessai`"]);
    assert_eq!(case.config().site, "bessai");
    let check = |site: &str, expected: &str| assert_eq!(Case::new().set("SITE_ID", site).mistakes(), [expected]);
    check("A/B", "SITE_ID = A/B: contains '/', which is not allowed in a topic level; remove it");
    check("A#", "SITE_ID = A#: contains '#', which is not allowed in a topic level; remove it");
    let long = "x".repeat(129);
    check(&long, &format!("SITE_ID = {long}: has 129 bytes; write at most 128"));
    check_file("site = \"a+b\"", &["site = \"a+b\": contains '+', which is not allowed in a topic level; remove it"]);
    check_file("site = \"\"", &["site = \"\": is empty; write a name"]);
}

#[test]
fn unreadable_files() {
    let mut case = Case::new();
    case.config_file = Some("no.toml".into());
    assert_eq!(case.mistakes(), ["no.toml: cannot be read: No such file or directory (os error 2)"]);
    let mut case = Case::empty();
    case.config_file = Some("no.toml".into());
    assert_eq!(case.mistakes().len(), 1, "device and broker are not reported as missing: the file may contain them");
    let case = Case::empty().file("bessai.toml", "site = \"x\"\n[broker]\npassword = \"hunter2\" hunter2\n");
    let [mistake] = case.mistakes().try_into().unwrap();
    assert!(mistake.starts_with("bessai.toml: is not TOML: line 3: ") && !mistake.contains("hunter2"), "{mistake}");
}

#[test]
fn unknown_keys_suggest_the_nearest_one() {
    check_file("sitte = 1", &["sitte: is unknown; did you mean `site`?"]);
    check_file("[health]", &["health: is unknown; remove it"]);
    check_file("[journal]\nmaxsize = 1", &["journal.maxsize: is unknown; did you mean `max_size`?"]);
    check_file("[plugins]\ndirr = 1", &["plugins.dirr: is unknown; did you mean `dir`?"]);
    check_file("[broker]\nurll = 1", &["broker.urll: is unknown; did you mean `url`?"]);
    check_file("[[device]]\nadress = 1", &["device[0].adress: is unknown; did you mean `address`?"]);
    check_file("[[model]]\nfile = \"a\"\nnmae = 1", &["model[0].nmae: is unknown; did you mean `name`?"]);
}

#[test]
fn invalid_models_and_journals() {
    let hint = "is the name of an earlier model; give each model a unique name";
    check_file("[[model]]\nfile = \"a\"\n[[model]]\nfile = \"b\"", &[&format!("model[1].name = dispatch: {hint}")]);
    check_file("[[model]]\nname = \"a\"", &["model[0].file: is missing; write the path of an ONNX file"]);
    check_file(
        "[[model]]\nfile = \"a\"\ndevice = \"batery\"",
        &["model[0].device = \"batery\": the device is unknown; did you mean `battery`?"],
    );
    let hint = "write a time from 1ms to 1h, such as \"1s\", or \"every-event\" or \"memory\"";
    check_file("[journal]\nsync = \"often\"", &[&format!("journal.sync = \"often\": {hint}")]);
    let hint = "write a size from 1MiB to 1048576MiB, such as \"64MiB\"";
    check_file("[journal]\nmax_size = \"big\"", &[&format!("journal.max_size = \"big\": {hint}")]);
    check_file("[journal]\nmax_size = 5", &[&format!("journal.max_size = 5: {hint}")]);
    let hint = "write a time from 60s to 315360000s, such as \"5s\"";
    check_file("[journal]\nmax_age = \"1s\"", &[&format!("journal.max_age = \"1s\": {hint}")]);
    for (text, sync) in [("memory", SyncPolicy::Memory), ("250ms", SyncPolicy::Interval(Duration::from_millis(250)))] {
        let case = Case::new().file("bessai.toml", &format!("[journal]\nsync = \"{text}\""));
        assert_eq!(case.config().journal.sync, sync);
    }
}

#[test]
fn mistakes_of_all_sources_are_reported_in_order() {
    let case = Case::new()
        .set("INVERTER_PORT", "x")
        .set("HEALTH_PORT", "y")
        .file("config/.env", "SITE_IDD=1\nLOG_LEVEL=loud")
        .file("bessai.toml", "sitte = 1\n[[device]]\naddress = \"tcp://a\"\nprofile = \"p.toml\"")
        .file("p.toml", "[points]\na = { address = 1, type = \"int7\", scale = 1 }")
        .file("plugins/a.toml", "");
    let mistakes = case.mistakes();
    let starts: Vec<_> = mistakes.iter().map(|mistake| mistake.split([' ', ':']).next().unwrap()).collect();
    assert_eq!(
        starts,
        ["INVERTER_PORT", "HEALTH_PORT", "SITE_IDD", "LOG_LEVEL", "sitte", "p.points.a.type", "a.toml"],
        "{mistakes:#?}"
    );
}
