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
use bessai_domain::site::Site;
use bessai_domain::time::{Moment, Timestamp};
use bessai_supervision::{SupervisedThread, spawn_thread};

mod binding;
mod engine;
mod manifest;
mod model;
mod onnx_file;
mod runner;
mod service;
mod watched;
mod worker;

use service::{Surroundings, Work};

/// Readings and reports that may wait for the inference thread, which only distributes them.
const QUEUE: usize = 64;

/// A model to run.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSettings {
    /// Its name in events and logs.
    pub name: String,
    /// The ONNX file, which need not exist yet; its manifest is the `.toml` file of the same name.
    pub file: PathBuf,
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
        /// The channel that the set-point is for; none in shadow mode.
        channel: Option<String>,
    },
    /// How unusual the reading is.
    Anomaly(Anomaly),
}

/// Hands frames to the inference thread.
///
/// When this is dropped the threads end after what they work on, which nobody waits for: a model may take any time.
pub struct Inference {
    work: SyncSender<Work>,
    is_open: Arc<AtomicBool>,
    _thread: SupervisedThread,
}

impl Inference {
    /// Starts the thread, which loads the models; returns none if there is no model. `local_time` gives the local time of a
    /// reading.
    pub fn start(
        models: Vec<ModelSettings>,
        site: &Arc<Site>,
        local_time: fn(Timestamp) -> LocalTime,
        results: impl Fn(Moment, ModelOutput) + Send + 'static,
    ) -> Result<Option<Self>, String> {
        if models.is_empty() {
            return Ok(None);
        }
        let (work, received) = sync_channel(QUEUE);
        let is_open = Arc::new(AtomicBool::new(true));
        let (site, reports, open) = (Arc::clone(site), work.clone(), Arc::clone(&is_open));
        // A panic loads the models anew.
        let run = move || {
            let around = Surroundings { reports: &reports, local_time, results: &results };
            service::serve(&models, &site, &received, &around, || open.load(Ordering::Relaxed));
        };
        match spawn_thread("inference", None, run) {
            Ok(thread) => Ok(Some(Self { work, is_open, _thread: thread })),
            Err(error) => Err(format!("failed to start the inference thread: {error}")),
        }
    }

    /// Hands a frame to the models. Never waits.
    pub fn offer(&self, at: Moment, frame: &Frame, site: &Arc<Site>) {
        match self.work.try_send(Work::Frame(at, frame.clone(), Arc::clone(site))) {
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
