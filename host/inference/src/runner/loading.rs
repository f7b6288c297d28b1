//! How a model comes to run: it is loaded as a candidate, compared with the site, and replaces the one before.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Instant;

use bessai_domain::anomaly::AnomalyJudge;
use bessai_domain::dispatch::DispatchLimiter;
use bessai_domain::site::Site;

use super::{Candidate, Current, LOAD_LIMIT, Run, Runner};
use crate::binding::{Binding, NotBound};
use crate::manifest::Manifest;
use crate::service::{Surroundings, Work};
use crate::status::ModelState;
use crate::worker::{Worker, WorkerId, WorkerReport};
use crate::{ModelSettings, engine};

/// The numbers of workers, over all models.
static NEXT_WORKER: AtomicU64 = AtomicU64::new(0);

impl Runner {
    /// Loads the model anew if its files have changed.
    pub(crate) fn look(&mut self, around: &Surroundings<'_>) {
        if self.files.has_changed(&self.settings.name, &self.settings.file) {
            let (model, file) = (&self.settings.name, self.settings.file.display());
            tracing::info!(%model, "model {file} has changed; loading it");
            self.load(around);
        }
    }

    /// Takes over other settings of the same model. The one that runs goes on until another file is loaded.
    pub(crate) fn change(&mut self, settings: &ModelSettings, site: &Site, around: &Surroundings<'_>) {
        let before = std::mem::replace(&mut self.settings, settings.clone());
        if before == *settings {
            return;
        }
        self.status.update(|status| status.shadow = settings.shadow);
        if before.rules != settings.rules {
            self.limiter = DispatchLimiter::new(settings.rules);
        }
        if before.anomaly != settings.anomaly {
            self.judge = AnomalyJudge::new(settings.anomaly);
        }
        if before.device != settings.device {
            self.bind(site, around);
        }
        if (&before.file, before.max_bytes) != (&settings.file, settings.max_bytes) {
            self.files.note_loaded(&settings.name, &settings.file);
            self.load(around);
        }
    }

    pub(super) fn load(&mut self, around: &Surroundings<'_>) {
        let id = NEXT_WORKER.fetch_add(1, Ordering::Relaxed);
        match Worker::start(id, &self.settings, around.reports.clone()) {
            Ok(worker) => self.candidate = Some(Candidate { worker, since: Instant::now() }),
            Err(error) => self.refuse(&error),
        }
    }

    /// Refuses a candidate that takes too long; its thread is left behind.
    pub(super) fn check_candidate(&mut self) {
        if self.candidate.take_if(|candidate| candidate.since.elapsed() >= LOAD_LIMIT).is_some() {
            self.refuse(&format!("it was not loaded within {} s", LOAD_LIMIT.as_secs()));
        }
    }

    /// A report of one of the model's workers.
    pub(crate) fn report(&mut self, worker: WorkerId, report: WorkerReport, site: &Site, around: &Surroundings<'_>) {
        match report {
            WorkerReport::Loaded(_) if self.runs_in(worker) => self.worker_was_restarted(around),
            WorkerReport::Loaded(loaded) => {
                let Some(candidate) = self.candidate.take_if(|candidate| candidate.worker.id == worker) else { return };
                match loaded {
                    Ok(manifest) => self.replace(candidate.worker, manifest, site, around),
                    Err(error) => self.refuse(&error),
                }
            }
            WorkerReport::Finished(outcome, took) => self.finished(worker, outcome, took, around),
        }
    }

    fn runs_in(&self, worker: WorkerId) -> bool {
        self.current.as_ref().is_some_and(|current| current.worker.id == worker)
    }

    /// The thread of the model that runs has panicked and loaded it again: the reading that it worked on has no answer.
    fn worker_was_restarted(&mut self, around: &Surroundings<'_>) {
        let Some(current) = &mut self.current else { return };
        if let Run::Running(since, at, _) = std::mem::replace(&mut current.run, Run::Idle) {
            self.answer(at, Err("the model's thread panicked".to_owned()), since.elapsed(), None, around);
        }
    }

    /// The model was loaded: it replaces the one that runs, unless its manifest does not fit the site.
    fn replace(&mut self, worker: Worker, manifest: Manifest, site: &Site, around: &Surroundings<'_>) {
        let binding = match Binding::new(&manifest, self.settings.device.as_deref(), site) {
            Err(NotBound::Invalid(error)) => {
                self.is_refused_by_site = true;
                return self.refuse(&error);
            }
            bound => self.bound(bound, false),
        };
        if let Some(Current { run: Run::Running(since, at, _), .. }) = self.current {
            self.answer(at, Err("the model was replaced".to_owned()), since.elapsed(), None, around);
        }
        self.is_refused_by_site = false;
        self.limiter.reset();
        self.current = Some(Current { worker, manifest, binding, run: Run::Idle });
        self.status.update(|status| {
            status.refused = None;
            status.engine = Some(engine::name());
            status.loads = status.loads.saturating_add(1);
        });
    }

    fn refuse(&self, error: &str) {
        let (model, file) = (&self.settings.name, self.settings.file.display());
        match &self.current {
            Some(_) => tracing::error!(%model, "model {file} is refused, the previous one runs on: {error}"),
            None => tracing::error!(%model, "model {file} is disabled: {error}"),
        }
        self.status.update(|status| {
            status.refused = Some(error.to_owned());
            if self.current.is_none() {
                status.state = ModelState::Disabled;
            }
        });
    }

    /// The site's description or the model's device has changed.
    pub(crate) fn bind(&mut self, site: &Site, around: &Surroundings<'_>) {
        // The channel that it wants may exist now.
        if std::mem::take(&mut self.is_refused_by_site) {
            self.load(around);
        }
        let Some(current) = &self.current else { return };
        let bound = Binding::new(&current.manifest, self.settings.device.as_deref(), site);
        let binding = self.bound(bound, current.binding.is_some());
        if let Some(current) = &mut self.current {
            current.binding = binding;
        }
        self.limiter.reset();
    }

    /// Logs and shows what became of a binding; `had_one`: the model was bound before.
    fn bound(&self, bound: Result<Binding, NotBound>, had_one: bool) -> Option<Binding> {
        let (model, file) = (&self.settings.name, self.settings.file.display());
        let (state, refused) = match &bound {
            Ok(_) => {
                if !had_one {
                    tracing::info!(%model, "model {file} runs on {}", engine::name());
                }
                (ModelState::Running, None)
            }
            Err(NotBound::DeviceUnknown(device)) => {
                tracing::info!(%model, "model {file} waits until the channels of device {device} are discovered");
                (ModelState::Waiting, None)
            }
            Err(NotBound::Invalid(error)) => {
                tracing::error!(%model, "model {file} is disabled: {error}");
                (ModelState::Disabled, Some(error.clone()))
            }
        };
        self.status.update(|status| {
            let was_disabled = status.state == ModelState::Disabled;
            status.state = state;
            // A file that was refused while an earlier one runs stays refused.
            if refused.is_some() || was_disabled {
                status.refused = refused;
            }
        });
        bound.ok()
    }

    /// The time at which a candidate is refused.
    pub(super) fn load_deadline(&self) -> Option<Instant> {
        self.candidate.as_ref().map(|candidate| candidate.since + LOAD_LIMIT)
    }
}

/// Loads a model outside of the service, within the same time.
pub(crate) fn load_once(settings: &ModelSettings) -> Result<Manifest, String> {
    let (reports, received) = sync_channel(1);
    let _worker = Worker::start(NEXT_WORKER.fetch_add(1, Ordering::Relaxed), settings, reports)?;
    let late = |_| format!("it was not loaded within {} s", LOAD_LIMIT.as_secs());
    match received.recv_timeout(LOAD_LIMIT).map_err(late)? {
        Work::Report(_, WorkerReport::Loaded(loaded)) => loaded,
        _ => Err("its thread ended".into()),
    }
}
