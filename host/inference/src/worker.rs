//! The thread of one loaded model: loads it, reports whether it fits, and then answers one reading after the other.
//!
//! A model that hangs keeps its thread, which nobody waits for: it is left behind when the model's file changes.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use bessai_supervision::spawn_thread;

use crate::ModelSettings;
use crate::engine::caught;
use crate::manifest::Manifest;
use crate::model::OnnxModel;
use crate::onnx_file::OnnxFile;
use crate::service::Work;

/// What a worker reports, with the number of the worker.
pub(crate) enum WorkerReport {
    /// The model was loaded, or why not.
    Loaded(Result<Manifest, String>),
    /// The raw output of a run, or why there is none, and how long it took.
    Finished(Result<f64, String>, Duration),
}

/// The number of a worker; none is used twice.
pub(crate) type WorkerId = u64;

/// Hands readings to a model's thread, which ends when this is dropped, after the run that it works on.
pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    jobs: SyncSender<Vec<Vec<f64>>>,
}

impl Worker {
    /// Starts the thread, which loads the model.
    pub(crate) fn start(id: WorkerId, settings: &ModelSettings, reports: SyncSender<Work>) -> Result<Self, String> {
        let (jobs, received) = sync_channel(1);
        let (file, max_bytes) = (settings.file.clone(), settings.max_bytes);
        let run = move || serve(id, &file, max_bytes, &received, &reports);
        spawn_thread(&format!("model {}", settings.name), None, run)
            .map_err(|error| format!("failed to start its thread: {error}"))?;
        Ok(Self { id, jobs })
    }

    /// Hands over a reading.
    pub(crate) fn run(&self, inputs: Vec<Vec<f64>>) -> Result<(), String> {
        self.jobs.try_send(inputs).map_err(|_| "the model's thread has ended".to_owned())
    }
}

fn serve(id: WorkerId, file: &Path, max_bytes: u64, jobs: &Receiver<Vec<Vec<f64>>>, reports: &SyncSender<Work>) {
    let report = |report| reports.send(Work::Report(id, report)).is_ok();
    let loaded = caught(|| {
        let onnx = OnnxFile::read(file, max_bytes)?;
        let manifest = Manifest::of(file, onnx.manifest.as_deref())?;
        OnnxModel::load(&onnx, &manifest).map(|model| (model, manifest))
    });
    let mut model = match loaded {
        Ok((model, manifest)) => {
            if !report(WorkerReport::Loaded(Ok(manifest))) {
                return;
            }
            model
        }
        Err(error) => {
            report(WorkerReport::Loaded(Err(error)));
            return;
        }
    };
    while let Ok(inputs) = jobs.recv() {
        bessai_supervision::fault::point("model");
        let started = Instant::now();
        let outcome = caught(|| model.run(&inputs));
        if !report(WorkerReport::Finished(outcome, started.elapsed())) {
            return;
        }
    }
}
