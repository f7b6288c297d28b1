//! Runs ONNX models on the readings, each in a thread of its own, and returns their results as values.
//!
//! The only crate that knows ort. The engine is the built-in one (pure Rust) or the ONNX Runtime that `ORT_DYLIB_PATH`
//! names; the choice holds for the whole process. A model that is missing or does not fit its manifest or the site is logged
//! and affects no other one; if it should replace a model that runs, that one runs on.

#![allow(clippy::disallowed_methods, reason = "the inference thread blocks nobody")]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::float_cmp, clippy::panic, clippy::expect_used)
)]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use bessai_domain::anomaly::AnomalyRules;
use bessai_domain::dispatch::DispatchRules;
use bessai_domain::event::{Anomaly, Dispatch, Frame};
use bessai_domain::exchange::Exchange;
use bessai_domain::site::Site;
use bessai_domain::time::{Moment, Timestamp};
use bessai_supervision::{SupervisedThread, spawn_thread};

mod binding;
mod engine;
mod float_outputs;
mod folder;
mod manifest;
mod model;
mod onnx_file;
mod onnx_proto;
mod runner;
mod service;
mod status;
mod tract_model;
mod tree_ensemble;
mod tried;
mod watched;
mod worker;

use service::{Surroundings, WantedModels, Work};
use status::{SharedStatus, StatusList};

pub use folder::listed;
pub use runner::valid_for;
pub use status::{ModelState, ModelStatus};
pub use tried::{TriedModel, inspect, try_model};

/// The largest model file unless the settings allow more, in bytes. Dispatch models have a few kilobytes and forests a few
/// megabytes; an engine needs several times the file's size in memory, and memory that runs out would end the gateway.
pub const DEFAULT_MODEL_BYTES: u64 = 64 << 20;
/// The largest model file that the settings may allow, in bytes.
pub const LARGEST_MODEL_BYTES: u64 = 256 << 20;

/// Readings and reports that may wait for the inference thread, which only distributes them.
const QUEUE: usize = 64;

/// A model to run.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSettings {
    /// Its name in events and logs.
    pub name: String,
    /// The ONNX file, which need not exist yet; its manifest is the `.toml` file of the same name.
    pub file: PathBuf,
    /// The file is a folder: each `.onnx` file in it is a model with these settings, named after the file.
    pub is_folder: bool,
    /// A larger file is refused.
    pub max_bytes: u64,
    /// The device whose readings are its input; the manifest's or the first if none is named.
    pub device: Option<String>,
    /// Least time between two runs.
    pub period: Duration,
    /// Its set-points are published and never written.
    pub shadow: bool,
    /// What its set-points may be.
    pub rules: DispatchRules,
    /// How its scores are judged, if it detects anomalies.
    pub anomaly: AnomalyRules,
}

/// The local time of a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalTime {
    /// Seconds since midnight.
    pub second_of_day: u32,
    /// 0 for Monday to 6.
    pub weekday: u32,
}

/// What a model says about a reading.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelOutput {
    /// A set-point, or that there is none.
    Dispatch {
        /// The event.
        dispatch: Dispatch,
        /// What is to be set to it; none in shadow mode, and if there is no set-point.
        target: Option<SetPointTarget>,
    },
    /// How unusual the reading is.
    Anomaly(Anomaly),
}

/// What a model's set-point is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetPointTarget {
    /// The channel of the device.
    pub channel: String,
    /// How long it holds: long enough for the next run, and not much longer, so that it ends soon when the model does not answer.
    pub valid_for: Duration,
}

/// Hands frames to the inference thread.
///
/// When this is dropped the threads end after what they work on, which nobody waits for: a model may take any time.
pub struct Inference {
    work: SyncSender<Work>,
    wanted: Arc<WantedModels>,
    statuses: StatusList,
    is_open: Arc<AtomicBool>,
    _thread: SupervisedThread,
}

impl Inference {
    /// Starts the thread, which loads the models. `local_time` gives the local time of a reading.
    pub fn start(
        models: Vec<ModelSettings>,
        site: &Arc<Site>,
        local_time: fn(Timestamp) -> LocalTime,
        results: impl Fn(Moment, ModelOutput) + Send + 'static,
    ) -> Result<Self, String> {
        let (work, received) = sync_channel(QUEUE);
        let (is_open, wanted) = (Arc::new(AtomicBool::new(true)), Arc::new(WantedModels::new(models)));
        let statuses = StatusList::default();
        // Shown until the thread has begun.
        let models = wanted.get();
        let files = models.iter().filter(|model| !model.is_folder);
        statuses.set(files.map(|model| SharedStatus::new(&model.name)).collect());
        let handle = (Arc::clone(&is_open), Arc::clone(&wanted), statuses.clone());
        let (site, reports) = (Arc::clone(site), work.clone());
        // A panic loads the models anew.
        let run = move || {
            let around = Surroundings { reports: &reports, local_time, results: &results, statuses: &statuses };
            service::serve(&wanted, &site, &received, &around, || is_open.load(Ordering::Relaxed));
        };
        let thread = spawn_thread("inference", None, run)
            .map_err(|error| format!("failed to start the inference thread: {error}"))?;
        let (is_open, wanted, statuses) = handle;
        Ok(Self { work, wanted, statuses, is_open, _thread: thread })
    }

    /// Takes over other models, within some seconds. Those that stay run on; a model whose file is another one now runs until
    /// that is loaded.
    pub fn set_models(&self, models: Vec<ModelSettings>) {
        self.wanted.set(models);
    }

    /// The state of each model, in the order of the settings.
    pub fn statuses(&self) -> Vec<ModelStatus> {
        self.statuses.all()
    }

    /// Hands a frame to the models. Never waits.
    pub fn offer(&self, at: Moment, frame: &Frame, exchange: &Exchange, site: &Arc<Site>) {
        match self.work.try_send(Work::Frame(at, frame.clone(), *exchange, Arc::clone(site))) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => tracing::debug!("the inference thread is busy; skipping a frame"),
            Err(TrySendError::Disconnected(_)) => tracing::debug!("the inference thread has ended; skipping a frame"),
        }
    }
}

impl Drop for Inference {
    fn drop(&mut self) {
        // The thread itself holds a sender for the models' threads, so the channel does not close.
        self.is_open.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
