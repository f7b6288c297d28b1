//! Models that watch the readings: one thread of its own, the newest reading only, results as values.
//!
//! The only user of ort. The engine is the one built in (pure Rust), or the ONNX Runtime that `ORT_DYLIB_PATH` names; one
//! choice per process. A model that is missing or does not fit is said once, and everything else runs on.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Instant;

use bessai_domain::event::{Dispatch, Frame};
use bessai_domain::site::{Site, channel};
use bessai_domain::time::Timestamp;

mod engine;
mod manifest;

use engine::Model;
use manifest::{Input, Manifest, Sign};

/// A model to run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name in events and logs.
    pub name: String,
    /// The ONNX file; a manifest of the same name and the ending `.toml` may stand beside it.
    pub file: PathBuf,
    /// Whose readings it takes; the first device's where none is named.
    pub device: Option<String>,
}

/// Hands frames to the models' thread. A reading that comes while one is computed waits; a second one is passed over.
pub struct Inference {
    frames: SyncSender<Reading>,
}

/// A frame and the description that it refers to.
type Reading = (Timestamp, Frame, Arc<Site>);

/// One model with the places of its inputs in a frame.
struct Runner {
    name: String,
    device: String,
    source: u32,
    manifest: Manifest,
    positions: Vec<Option<usize>>,
    model: Model,
}

impl Inference {
    /// Starts the thread, which loads the models; none where there is no model. `hour` gives the local hour of a time.
    pub fn start(
        models: Vec<Settings>,
        site: &Arc<Site>,
        hour: fn(Timestamp) -> f64,
        results: impl Fn(Timestamp, Dispatch) + Send + 'static,
    ) -> Option<Self> {
        if models.is_empty() {
            return None;
        }
        let (frames, received) = sync_channel(1);
        let site = Arc::clone(site);
        let run = move || serve(&models, site, &received, hour, &results);
        match thread::Builder::new().name("inference".into()).spawn(run) {
            Ok(_) => Some(Self { frames }),
            Err(error) => {
                tracing::error!("failed to start the models' thread: {error}");
                None
            }
        }
    }

    /// Hands a frame over; never waits.
    pub fn offer(&self, at: Timestamp, frame: &Frame, site: &Arc<Site>) {
        match self.frames.try_send((at, frame.clone(), Arc::clone(site))) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => tracing::debug!("the models are busy: a reading is passed over"),
            Err(TrySendError::Disconnected(_)) => tracing::debug!("the models' thread has ended"),
        }
    }
}

fn load(models: &[Settings], site: &Site) -> Vec<Runner> {
    let mut runners = Vec::new();
    for settings in models {
        match runner(settings, site) {
            Ok(runner) => {
                let (model, file) = (&runner.name, settings.file.display());
                tracing::info!(%model, "model {file} runs on {}", engine::name());
                runners.push(runner);
            }
            Err(Unused::Early(device)) => {
                let (model, file) = (&settings.name, settings.file.display());
                tracing::info!(%model, "model {file} waits for device {device} to tell what it has");
            }
            Err(Unused::Unfit(error)) => {
                let model = &settings.name;
                tracing::error!(%model, "model {} is not used: {error}", settings.file.display());
            }
        }
    }
    runners
}

/// Why a model does not run.
enum Unused {
    /// Its device is still to be asked for its channels.
    Early(String),
    /// In words.
    Unfit(String),
}

impl From<String> for Unused {
    fn from(reason: String) -> Self {
        Self::Unfit(reason)
    }
}

fn runner(settings: &Settings, site: &Site) -> Result<Runner, Unused> {
    let manifest = Manifest::beside(&settings.file)?;
    let wanted = settings.device.as_deref().or(manifest.device.as_deref());
    let sources = (0..).zip(&site.sources);
    let found = sources.into_iter().find(|(_, source)| wanted.is_none_or(|device| source.device == device));
    let (source, description) = found.ok_or_else(|| match wanted {
        Some(device) => format!("the site has no device {device:?}"),
        None => "the site has no device".into(),
    })?;
    let mut of_device = site.sources.iter().filter(|source| source.device == description.device);
    if of_device.all(|source| source.channels.is_empty()) {
        return Err(Unused::Early(description.device.clone()));
    }
    let mut positions = Vec::new();
    for input in &manifest.inputs {
        let Some(name) = input.channel() else {
            positions.push(None);
            continue;
        };
        let position = description.channels.iter().position(|channel| channel.name == name);
        positions.push(Some(position.ok_or_else(|| format!("device {} has no channel {name}", description.device))?));
    }
    let model = Model::load(&settings.file, manifest.inputs.len())?;
    let (name, device) = (settings.name.clone(), description.device.clone());
    Ok(Runner { name, device, source, manifest, positions, model })
}

fn serve(
    models: &[Settings],
    mut site: Arc<Site>,
    frames: &Receiver<Reading>,
    hour: fn(Timestamp) -> f64,
    results: &impl Fn(Timestamp, Dispatch),
) {
    let mut runners = load(models, &site);
    while let Ok((at, frame, described_by)) = frames.recv() {
        // Channels have other places since a device told what it has.
        if described_by.revision != site.revision {
            site = described_by;
            runners = load(models, &site);
        }
        for runner in runners.iter_mut().filter(|runner| runner.source == frame.source) {
            if !frame.is_empty() {
                results(at, runner.dispatch(&frame, hour(at)));
            }
        }
    }
}

impl Runner {
    fn dispatch(&mut self, frame: &Frame, hour: f64) -> Dispatch {
        let started = Instant::now();
        let decided = self.inputs(frame, hour).and_then(|inputs| self.model.run(&inputs));
        let inference_ms = started.elapsed().as_secs_f64() * 1000.0;
        let (target_kw, refusal) = match decided {
            Ok(output) if output.is_finite() => (Some(self.manifest.output_sign.to_discharge(output)), None),
            Ok(output) => (None, Some(format!("the model gave {output}"))),
            Err(error) => (None, Some(error)),
        };
        let (model, device) = (self.name.clone(), self.device.clone());
        Dispatch { model, device, target_kw, applied: false, refusal, inference_ms }
    }

    #[allow(clippy::cast_possible_truncation, reason = "the model takes float32")]
    fn inputs(&self, frame: &Frame, hour: f64) -> Result<Vec<f32>, String> {
        let mut inputs = Vec::with_capacity(self.positions.len());
        for (input, position) in self.manifest.inputs.iter().zip(&self.positions) {
            let value = match position {
                None => hour,
                Some(position) => frame.good(*position).ok_or_else(|| format!("{input} has no good value"))?,
            };
            let signed = if *input == Input::Power { self.manifest.input_sign.to_discharge(value) } else { value };
            inputs.push(signed as f32);
        }
        Ok(inputs)
    }
}

impl Input {
    /// The channel it is read from; none for the clock.
    fn channel(self) -> Option<&'static str> {
        match self {
            Self::Soc => Some(channel::SOC),
            Self::Power => Some(channel::POWER),
            Self::Temperature => Some(channel::TEMPERATURE),
            Self::Hour => None,
        }
    }
}

impl Sign {
    /// Between the model's sign and ours; the same turn in both directions.
    fn to_discharge(self, power_kw: f64) -> f64 {
        match self {
            Self::Discharge => power_kw,
            Self::Charge => -power_kw,
        }
    }
}
