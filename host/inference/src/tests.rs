//! The whole service with models in a folder: results, replacement, refusal and rules.

mod anomaly;

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
        is_folder: false,
        max_bytes: DEFAULT_MODEL_BYTES,
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
    site: Arc<Site>,
}

impl Running {
    fn start(settings: ModelSettings) -> Self {
        let (sender, results) = channel();
        let result = move |_, output| {
            if let ModelOutput::Dispatch { dispatch, .. } = output {
                let _ = sender.send(dispatch);
            }
        };
        let inference = Inference::start(vec![settings], &site(), noon, result).unwrap();
        Self { results, ..Self::of(inference) }
    }

    /// Without results.
    fn of(inference: Inference) -> Self {
        Self { inference, results: channel().1, second: 1_800_000_000, site: site() }
    }

    fn offer(&mut self, values: [f64; 3], faults: Vec<Fault>) {
        self.second += 1;
        let at = Moment::by_wall_clock(Timestamp::from_nanos(self.second * 1_000_000_000));
        let frame = Frame { source: 0, values: values.to_vec(), faults, texts: Vec::new() };
        self.inference.offer(at, &frame, &Exchange::default(), &self.site);
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
    let missing = vec![Fault { channel: 1, kind: FaultKind::Missing }];
    let result = running.one([50.0, f64::NAN, 25.0], missing);
    assert_eq!(result.refusal.as_deref(), Some("shadow mode: power_kw has no good value"));
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
fn a_reading_without_a_value_does_not_use_up_the_period() {
    let (_folder, file) = model("batch", TWO);
    let mut running = Running::start(ModelSettings { period: Duration::from_secs(3), ..settings(&file) });
    running.until([0.0, 0.0, 25.0], |_| true);
    running.offer([2.0, 0.0, 25.0], Vec::new());
    running.offer([4.0, 0.0, 25.0], Vec::new());
    let missing = vec![Fault { channel: 1, kind: FaultKind::Missing }];
    assert_eq!(running.one([6.0, 0.0, 25.0], missing).target_kw, None);
    assert_eq!(running.one([8.0, 0.0, 25.0], Vec::new()).target_kw, Some(4.0));
}

#[test]
fn set_points_ramp_and_small_changes_are_none() {
    let (_folder, file) = model("batch", TWO);
    // 1 kW a second from the battery's 10 kW, one reading a second.
    let rules = DispatchRules { ramp_kw_per_min: Some(60.0), ..DispatchRules::default() };
    let mut running = Running::start(ModelSettings { rules, ..settings(&file) });
    assert_eq!(running.until([90.0, 10.0, 25.0], |_| true).target_kw, Some(11.0));
    assert_eq!(running.one([90.0, 10.0, 25.0], Vec::new()).target_kw, Some(12.0));
    let rules = DispatchRules { min_step_kw: 2.0, ..DispatchRules::default() };
    let mut running = Running::start(ModelSettings { rules, ..settings(&file) });
    assert_eq!(running.until([50.0, 10.0, 25.0], |_| true).target_kw, Some(30.0));
    assert_eq!(running.one([53.0, 10.0, 25.0], Vec::new()).target_kw, Some(30.0));
    assert_eq!(running.one([54.0, 10.0, 25.0], Vec::new()).target_kw, Some(32.0));
}

#[test]
fn a_set_point_names_its_channel_and_ends_soon_unless_in_shadow_mode() {
    let (_folder, file) = model("batch", TWO);
    for shadow in [false, true] {
        let (sender, results) = channel();
        let result = move |_, output| {
            if let ModelOutput::Dispatch { target, .. } = output {
                let _ = sender.send(target);
            }
        };
        let settings = ModelSettings { shadow, period: Duration::from_secs(60), ..settings(&file) };
        let mut running = Running::of(Inference::start(vec![settings], &site(), noon, result).unwrap());
        let started = Instant::now();
        let target = loop {
            running.offer([50.0, 10.0, 25.0], Vec::new());
            match results.recv_timeout(Duration::from_millis(200)) {
                Ok(target) => break target,
                Err(_) => assert!(started.elapsed() < LONG),
            }
        };
        let expected = SetPointTarget { channel: "set_point_kw".into(), valid_for: Duration::from_secs(180) };
        assert_eq!(target, (!shadow).then_some(expected));
    }
}

#[test]
fn each_file_of_a_folder_is_a_model() {
    let folder = tempfile::tempdir().unwrap();
    let add = |name: &str| {
        let file = folder.path().join(name);
        std::fs::write(file.with_extension("toml"), TWO).unwrap();
        copy("batch", &file);
    };
    add("first.onnx");
    let mut running = Running::start(ModelSettings { is_folder: true, ..settings(folder.path()) });
    running.until([50.0, 10.0, 25.0], |result| result.model == "first");
    add("second.onnx");
    running.until([50.0, 10.0, 25.0], |result| result.model == "second");
    let names =
        |running: &Running| running.inference.statuses().into_iter().map(|status| status.name).collect::<Vec<_>>();
    assert_eq!(names(&running), ["first", "second"]);
    std::fs::remove_file(folder.path().join("first.onnx")).unwrap();
    let started = Instant::now();
    while names(&running) != ["second"] {
        assert!(started.elapsed() < LONG);
        std::thread::sleep(Duration::from_millis(20));
    }
    running.until([50.0, 10.0, 25.0], |result| result.model == "second");
}

#[test]
fn a_policy_of_eight_inputs_runs_by_its_manifest() {
    let manifest = "inputs = [\"hour_sin\", { channel = \"soc_pct\", scale = 0.01 }, \"hour_cos\", \
                    { channel = \"power_kw\", positive = \"charge\", scale = 0.01 }, \"day_fraction\", \
                    { channel = \"temp_c\", scale = 0.1, offset = -2.5 }, \"weekday\", { constant = 0.25 }]\n\
                    output = { tensor = \"action\", positive = \"charge\", unit = \"MW\", range = [-1, 1] }";
    let (_folder, file) = model("policy", manifest);
    let mut running = Running::start(settings(&file));
    let result = running.until([60.0, 40.0, 31.0], |_| true);
    // At noon of a Wednesday.
    let (sine, cosine) = std::f64::consts::PI.sin_cos();
    let inputs = [sine, 0.6, cosine, -0.4, 0.5, 31.0 * 0.1 - 2.5, 2.0, 0.25].map(|value| vec![value]);
    let raw = TriedModel::load(&file, None).unwrap().run(&inputs).unwrap();
    assert_eq!(result.target_kw, Some(-raw * 1000.0));
}

#[test]
fn a_model_runs_once_the_site_has_its_channel() {
    let (_folder, file) = model("batch", "inputs = [\"soc_pct\", \"price\"]");
    let mut running = Running::start(settings(&file));
    let disabled = || {
        let status = running.inference.statuses().pop();
        status.filter(|status| status.state == ModelState::Disabled)
    };
    let started = Instant::now();
    let status = loop {
        if let Some(status) = disabled() {
            break status;
        }
        assert!(started.elapsed() < LONG);
    };
    assert_eq!(status.refused.as_deref(), Some("inputs[1]: device battery has no channel price"));
    running.site = Arc::new({
        let mut site = Site::clone(&site());
        site.revision = 2;
        let mut channels = site.sources[0].channels.to_vec();
        channels[1].name = "price".into();
        site.sources[0].channels = channels.into();
        site
    });
    assert_eq!(running.until([50.0, 10.0, 25.0], |_| true).target_kw, Some(30.0));
    let status = running.inference.statuses().pop().unwrap();
    assert_eq!((status.state, status.refused), (ModelState::Running, None));
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
