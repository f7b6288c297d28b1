//! Runs ONNX models on the readings, in a thread of its own, and returns their results as values.
//!
//! The only crate that knows ort. The engine is the built-in one (pure Rust) or the ONNX Runtime that `ORT_DYLIB_PATH`
//! names; the choice holds for the whole process. A model that is missing or does not fit the site is logged once and
//! does not affect the others.

#![allow(clippy::disallowed_methods, reason = "the inference thread blocks nobody")]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::float_cmp, clippy::panic, clippy::expect_used)
)]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Instant;

use bessai_domain::event::{Dispatch, Frame};
use bessai_domain::site::{Site, channel};
use bessai_domain::time::{Moment, Timestamp};
use bessai_supervision::{SupervisedThread, fault, spawn_thread};

mod engine;
mod manifest;

use engine::OnnxModel;
use manifest::{Input, Manifest, Sign};

/// A model to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelSettings {
    /// Its name in events and logs.
    pub name: String,
    /// The ONNX file, which need not exist yet; its manifest is the `.toml` file of the same name.
    pub file: PathBuf,
    /// The device whose readings are its input; the first device if none is named.
    pub device: Option<String>,
}

/// Hands frames to the inference thread. While a model runs one frame waits; further frames are skipped.
///
/// When this is dropped the thread ends after the frame that it works on, which nobody waits for: a model may take any time.
pub struct Inference {
    frames: SyncSender<QueuedFrame>,
    _thread: SupervisedThread,
}

/// A frame and the description that it refers to.
type QueuedFrame = (Moment, Frame, Arc<Site>);

/// A loaded model and the index of each of its inputs in a frame; none for the hour.
struct Runner {
    name: String,
    device: String,
    source: u32,
    manifest: Manifest,
    input_indices: Vec<Option<usize>>,
    model: OnnxModel,
}

impl Inference {
    /// Starts the thread, which loads the models; returns none if there is no model. `hour` gives the local hour of a time.
    pub fn start(
        models: Vec<ModelSettings>,
        site: &Arc<Site>,
        hour: fn(Timestamp) -> f64,
        results: impl Fn(Moment, Dispatch) + Send + 'static,
    ) -> Result<Option<Self>, String> {
        if models.is_empty() {
            return Ok(None);
        }
        let (frames, received) = sync_channel(1);
        let site = Arc::clone(site);
        // A panic loads the models anew.
        let run = move || serve(&models, Arc::clone(&site), &received, hour, &results);
        match spawn_thread("inference", None, run) {
            Ok(thread) => Ok(Some(Self { frames, _thread: thread })),
            Err(error) => Err(format!("failed to start the inference thread: {error}")),
        }
    }

    /// Hands a frame to the models. Never waits.
    pub fn offer(&self, at: Moment, frame: &Frame, site: &Arc<Site>) {
        match self.frames.try_send((at, frame.clone(), Arc::clone(site))) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => tracing::debug!("the models are busy; skipping a frame"),
            Err(TrySendError::Disconnected(_)) => tracing::debug!("the inference thread has ended; skipping a frame"),
        }
    }
}

fn load(models: &[ModelSettings], site: &Site) -> Vec<Runner> {
    let mut runners = Vec::new();
    for settings in models {
        match runner(settings, site) {
            Ok(runner) => {
                let (model, file) = (&runner.name, settings.file.display());
                tracing::info!(%model, "model {file} runs on {}", engine::name());
                runners.push(runner);
            }
            Err(NotLoaded::DeviceUnknown(device)) => {
                let (model, file) = (&settings.name, settings.file.display());
                tracing::info!(%model, "model {file} waits until the channels of device {device} are discovered");
            }
            Err(NotLoaded::Invalid(error)) => {
                let model = &settings.name;
                tracing::error!(%model, "model {} is disabled: {error}", settings.file.display());
            }
        }
    }
    runners
}

/// Why a model does not run.
enum NotLoaded {
    /// The channels of its device are not discovered yet.
    DeviceUnknown(String),
    /// The model does not fit the site, or its files cannot be used.
    Invalid(String),
}

impl From<String> for NotLoaded {
    fn from(reason: String) -> Self {
        Self::Invalid(reason)
    }
}

fn runner(settings: &ModelSettings, site: &Site) -> Result<Runner, NotLoaded> {
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
        return Err(NotLoaded::DeviceUnknown(description.device.clone()));
    }
    let mut input_indices = Vec::new();
    for input in &manifest.inputs {
        let Some(name) = input.channel() else {
            input_indices.push(None);
            continue;
        };
        let index = description.channels.iter().position(|channel| channel.name == name);
        input_indices.push(Some(index.ok_or_else(|| format!("device {} has no channel {name}", description.device))?));
    }
    let model = OnnxModel::load(&settings.file, manifest.inputs.len())?;
    let (name, device) = (settings.name.clone(), description.device.clone());
    Ok(Runner { name, device, source, manifest, input_indices, model })
}

fn serve(
    models: &[ModelSettings],
    mut site: Arc<Site>,
    frames: &Receiver<QueuedFrame>,
    hour: fn(Timestamp) -> f64,
    results: &impl Fn(Moment, Dispatch),
) {
    let mut runners = load(models, &site);
    while let Ok((at, frame, described_by)) = frames.recv() {
        fault::point("inference");
        // Channel indices change when a device's points are discovered.
        if described_by.revision != site.revision {
            site = described_by;
            runners = load(models, &site);
        }
        for runner in runners.iter_mut().filter(|runner| runner.source == frame.source) {
            if !frame.is_empty() {
                results(at, runner.dispatch(&frame, hour(at.wall)));
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
            Ok(output) => (None, Some(format!("the model returned {output}"))),
            Err(error) => (None, Some(error)),
        };
        let (model, device) = (self.name.clone(), self.device.clone());
        Dispatch { model, device, target_kw, applied: false, refusal, inference_ms }
    }

    #[allow(clippy::cast_possible_truncation, reason = "the model takes float32")]
    fn inputs(&self, frame: &Frame, hour: f64) -> Result<Vec<f32>, String> {
        let mut inputs = Vec::with_capacity(self.input_indices.len());
        for (input, index) in self.manifest.inputs.iter().zip(&self.input_indices) {
            let value = match index {
                None => hour,
                Some(index) => frame.good(*index).ok_or_else(|| format!("{input} has no good value"))?,
            };
            let signed = if *input == Input::Power { self.manifest.input_sign.to_discharge(value) } else { value };
            inputs.push(signed as f32);
        }
        Ok(inputs)
    }
}

impl Input {
    /// The channel that it is read from; none for the hour, which comes from the clock.
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
    /// Converts between the model's sign and the program's (+ = discharge), in either direction.
    fn to_discharge(self, power_kw: f64) -> f64 {
        match self {
            Self::Discharge => power_kw,
            Self::Charge => -power_kw,
        }
    }
}
