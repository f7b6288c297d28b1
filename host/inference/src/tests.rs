//! The whole service with models in a folder: results, replacement, refusal and rules.

use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use bessai_domain::event::{Fault, FaultKind};
use bessai_domain::site::{Channel, ChannelKind, Device, Source};

use super::*;

/// More than any machine needs for what a test waits for.
const LONG: Duration = Duration::from_secs(30);

fn site() -> Arc<Site> {
    let channel = |(name, unit): (&str, &str)| Channel {
        name: name.into(),
        unit: unit.into(),
        kind: ChannelKind::Gauge,
        writable: false,
        attributes: Vec::new(),
    };
    let channels = [("soc_pct", "%"), ("power_kw", "kW"), ("temp_c", "°C")].map(channel);
    let battery = "battery".to_owned();
    Arc::new(Site {
        id: "SITE".into(),
        revision: 1,
        devices: vec![Device { name: battery.clone(), attributes: Vec::new() }],
        sources: vec![Source {
            device: battery,
            period: Duration::from_secs(1),
            channels: channels.into(),
            attributes: Vec::new(),
        }],
        attributes: Vec::new(),
    })
}

fn settings(file: &Path) -> ModelSettings {
    ModelSettings {
        name: "dispatch".into(),
        file: file.into(),
        device: None,
        period: Duration::ZERO,
        shadow: false,
        rules: DispatchRules::default(),
        anomaly: AnomalyRules::default(),
    }
}

fn noon(_: Timestamp) -> LocalTime {
    LocalTime { second_of_day: 43_200, weekday: 2 }
}

/// A running service and its results.
struct Running {
    inference: Inference,
    results: Receiver<Dispatch>,
    second: u64,
}

impl Running {
    fn start(settings: ModelSettings) -> Self {
        let (sender, results) = channel();
        let result = move |_, output| {
            if let ModelOutput::Dispatch { dispatch, .. } = output {
                let _ = sender.send(dispatch);
            }
        };
        let inference = Inference::start(vec![settings], &site(), noon, result).unwrap().unwrap();
        Self { inference, results, second: 1_800_000_000 }
    }

    fn offer(&mut self, values: [f64; 3], faults: Vec<Fault>) {
        self.second += 1;
        let at = Moment::by_wall_clock(Timestamp::from_nanos(self.second * 1_000_000_000));
        let frame = Frame { source: 0, values: values.to_vec(), faults, texts: Vec::new() };
        self.inference.offer(at, &frame, &site());
    }

    /// Offers the same reading until there is a result that fits.
    fn until(&mut self, values: [f64; 3], fits: impl Fn(&Dispatch) -> bool) -> Dispatch {
        let started = Instant::now();
        while started.elapsed() < LONG {
            self.offer(values, Vec::new());
            if let Ok(result) = self.results.recv_timeout(Duration::from_millis(200))
                && fits(&result)
            {
                return result;
            }
        }
        panic!("no such result")
    }

    /// The result of one reading, once a model runs.
    fn one(&mut self, values: [f64; 3], faults: Vec<Fault>) -> Dispatch {
        self.offer(values, faults);
        self.results.recv_timeout(LONG).unwrap()
    }
}

/// A model with its manifest in a folder of its own.
fn model(name: &str, manifest: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.onnx");
    std::fs::write(file.with_extension("toml"), manifest).unwrap();
    copy(name, &file);
    (folder, file)
}

/// Replaces a model in one step, as an administrator should.
fn copy(name: &str, to: &Path) {
    let models = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/models"));
    let part = to.with_extension("part");
    std::fs::copy(models.join(format!("{name}.onnx")), &part).unwrap();
    std::fs::rename(part, to).unwrap();
}

/// For the model `batch`, which returns the mean of two inputs.
const TWO: &str = "inputs = [\"soc_pct\", \"power_kw\"]";

#[test]
fn a_reading_without_a_good_value_has_no_set_point() {
    let (_folder, file) = model("batch", TWO);
    let mut running = Running::start(settings(&file));
    assert_eq!(running.until([50.0, 10.0, 25.0], |_| true).target_kw, Some(30.0));
    let missing = vec![Fault { channel: 1, kind: FaultKind::Missing }];
    let result = running.one([50.0, f64::NAN, 25.0], missing);
    assert_eq!((result.target_kw, result.refusal.as_deref()), (None, Some("power_kw has no good value")));
    assert_eq!(running.one([50.0, 20.0, 25.0], Vec::new()).target_kw, Some(35.0));
}

#[test]
fn rules_and_signs_apply_and_shadow_mode_says_so() {
    let (_folder, file) = model("batch", &format!("{TWO}\noutput = {{ positive = \"charge\", scale = 2 }}"));
    let rules = DispatchRules { max_charge_kw: Some(40.0), ..DispatchRules::default() };
    let mut running = Running::start(ModelSettings { rules, shadow: true, ..settings(&file) });
    let result = running.until([10.0, 0.0, 25.0], |_| true);
    assert_eq!(result.target_kw, Some(-10.0));
    assert_eq!(result.refusal.as_deref(), Some("shadow mode: published, never written"));
    assert_eq!(running.one([50.0, 0.0, 25.0], Vec::new()).target_kw, Some(-40.0));
}

#[test]
fn a_period_skips_readings() {
    let (_folder, file) = model("batch", TWO);
    let mut running = Running::start(ModelSettings { period: Duration::from_secs(3), ..settings(&file) });
    running.until([0.0, 0.0, 25.0], |_| true);
    for [first, second, third] in [[2.0, 4.0, 6.0], [8.0, 10.0, 12.0]] {
        running.offer([first, 0.0, 25.0], Vec::new());
        running.offer([second, 0.0, 25.0], Vec::new());
        assert_eq!(running.one([third, 0.0, 25.0], Vec::new()).target_kw, Some(third / 2.0));
    }
}

#[test]
fn a_changed_model_replaces_the_running_one_and_a_bad_one_does_not() {
    let (_folder, file) = model("batch", TWO);
    let mut running = Running::start(settings(&file));
    running.until([50.0, 10.0, 25.0], |result| result.target_kw == Some(30.0));
    for bad in ["empty", "truncated", "three", "nan"] {
        copy(bad, &file);
        let looked = Instant::now();
        // Two looks and a load.
        while looked.elapsed() < Duration::from_secs(6) {
            assert_eq!(running.one([50.0, 10.0, 25.0], Vec::new()).target_kw, Some(30.0), "{bad}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    copy("batch", &file);
    std::fs::write(file.with_extension("toml"), format!("{TWO}\noutput = {{ scale = 0.5 }}")).unwrap();
    running.until([50.0, 10.0, 25.0], |result| result.target_kw == Some(15.0));
}

#[test]
fn a_model_that_comes_later_is_loaded() {
    let (folder, file) = model("empty", TWO);
    std::fs::remove_file(&file).unwrap();
    let mut running = Running::start(settings(&file));
    running.offer([50.0, 10.0, 25.0], Vec::new());
    copy("batch", &file);
    assert_eq!(running.until([50.0, 10.0, 25.0], |_| true).target_kw, Some(30.0));
    drop(folder);
}
