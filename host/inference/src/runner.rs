//! One model of the settings: the worker that runs it, the candidate that may replace it, and its answers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bessai_domain::anomaly::AnomalyJudge;
use bessai_domain::dispatch::DispatchLimiter;
use bessai_domain::event::{Anomaly, Dispatch, Frame};
use bessai_domain::site::Site;
use bessai_domain::time::{Moment, MonotonicTime};

use crate::binding::{Binding, NotBound};
use crate::manifest::{Kind, Manifest};
use crate::service::Surroundings;
use crate::watched::WatchedFiles;
use crate::worker::{Worker, WorkerId, WorkerReport};
use crate::{ModelOutput, ModelSettings, engine};

/// How long a model may take for one reading. What comes later is discarded.
pub(crate) const RUN_LIMIT: Duration = Duration::from_millis(100);
/// How long a model may take to be loaded and to run once. A model that takes longer is refused.
const LOAD_LIMIT: Duration = Duration::from_secs(30);

/// The numbers of workers, over all models.
static NEXT_WORKER: AtomicU64 = AtomicU64::new(0);

/// A loaded model, which runs if its inputs are found at the site.
struct Current {
    worker: Worker,
    manifest: Manifest,
    binding: Option<Binding>,
    run: Run,
}

/// What a worker is doing.
enum Run {
    Idle,
    /// Since when, for which reading, from which power.
    Running(Instant, Moment, Option<f64>),
    /// The time limit is over; the answer will be discarded.
    Late,
}

/// A worker that loads a model.
struct Candidate {
    worker: Worker,
    since: Instant,
}

/// One model of the settings.
pub(crate) struct Runner {
    settings: ModelSettings,
    files: WatchedFiles,
    current: Option<Current>,
    candidate: Option<Candidate>,
    limiter: DispatchLimiter,
    judge: AnomalyJudge,
    /// The reading that was judged last.
    judged: Option<MonotonicTime>,
    last_run: Option<MonotonicTime>,
}

impl Runner {
    /// Begins to load the model.
    pub(crate) fn start(settings: &ModelSettings, around: &Surroundings<'_>) -> Self {
        let mut runner = Self {
            settings: settings.clone(),
            files: WatchedFiles::default(),
            current: None,
            candidate: None,
            limiter: DispatchLimiter::new(settings.rules),
            judge: AnomalyJudge::new(settings.anomaly),
            judged: None,
            last_run: None,
        };
        runner.files.note_loaded(&settings.name, &settings.file);
        runner.load(around);
        runner
    }

    /// Whether a worker belongs to this model.
    pub(crate) fn has(&self, worker: WorkerId) -> bool {
        let current = self.current.as_ref().map(|current| current.worker.id);
        let candidate = self.candidate.as_ref().map(|candidate| candidate.worker.id);
        [current, candidate].contains(&Some(worker))
    }

    /// The time until [`Runner::check_time`] has something to do.
    pub(crate) fn remaining(&self) -> Option<Duration> {
        let running = self.current.as_ref().and_then(|current| match current.run {
            Run::Running(since, ..) => Some(since + RUN_LIMIT),
            Run::Idle | Run::Late => None,
        });
        let loading = self.candidate.as_ref().map(|candidate| candidate.since + LOAD_LIMIT);
        let next = [running, loading].into_iter().flatten().min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    /// Ends what takes too long.
    pub(crate) fn check_time(&mut self, around: &Surroundings<'_>) {
        if self.candidate.as_ref().is_some_and(|candidate| candidate.since.elapsed() >= LOAD_LIMIT) {
            self.candidate = None;
            self.refuse(&format!("it was not loaded within {} s", LOAD_LIMIT.as_secs()));
        }
        let Some(current) = &mut self.current else { return };
        if let Run::Running(since, at, _) = current.run
            && since.elapsed() >= RUN_LIMIT
        {
            current.run = Run::Late;
            let reason = format!("the model gave no answer within {} ms", RUN_LIMIT.as_millis());
            self.answer(at, Err(reason), since.elapsed(), None, around);
        }
    }

    /// Loads the model anew if its files have changed.
    pub(crate) fn look(&mut self, around: &Surroundings<'_>) {
        if self.files.has_changed(&self.settings.name, &self.settings.file) {
            let (model, file) = (&self.settings.name, self.settings.file.display());
            tracing::info!(%model, "model {file} has changed; loading it");
            self.load(around);
        }
    }

    fn load(&mut self, around: &Surroundings<'_>) {
        let id = NEXT_WORKER.fetch_add(1, Ordering::Relaxed);
        let file = self.settings.file.clone();
        match Worker::start(id, &self.settings.name, file, around.reports.clone()) {
            Ok(worker) => self.candidate = Some(Candidate { worker, since: Instant::now() }),
            Err(error) => self.refuse(&error),
        }
    }

    /// A report of one of the model's workers.
    pub(crate) fn report(&mut self, worker: WorkerId, report: WorkerReport, site: &Site, around: &Surroundings<'_>) {
        match report {
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

    /// The model was loaded: it replaces the one that runs, unless its manifest does not fit the site.
    fn replace(&mut self, worker: Worker, manifest: Manifest, site: &Site, around: &Surroundings<'_>) {
        let (model, file) = (&self.settings.name, self.settings.file.display());
        let binding = match Binding::new(&manifest, self.settings.device.as_deref(), site) {
            Ok(binding) => {
                tracing::info!(%model, "model {file} runs on {}", engine::name());
                Some(binding)
            }
            Err(NotBound::DeviceUnknown(device)) => {
                tracing::info!(%model, "model {file} waits until the channels of device {device} are discovered");
                None
            }
            Err(NotBound::Invalid(error)) => return self.refuse(&error),
        };
        if let Some(Current { run: Run::Running(since, at, _), .. }) = self.current {
            self.answer(at, Err("the model was replaced".to_owned()), since.elapsed(), None, around);
        }
        self.limiter.reset();
        self.current = Some(Current { worker, manifest, binding, run: Run::Idle });
    }

    fn refuse(&self, error: &str) {
        let (model, file) = (&self.settings.name, self.settings.file.display());
        match &self.current {
            Some(_) => tracing::error!(%model, "model {file} is refused, the previous one runs on: {error}"),
            None => tracing::error!(%model, "model {file} is disabled: {error}"),
        }
    }

    /// The site's description has changed.
    pub(crate) fn bind(&mut self, site: &Site) {
        let Some(current) = &mut self.current else { return };
        let (model, file) = (&self.settings.name, self.settings.file.display());
        let had_binding = current.binding.is_some();
        current.binding = match Binding::new(&current.manifest, self.settings.device.as_deref(), site) {
            Ok(binding) => {
                if !had_binding {
                    tracing::info!(%model, "model {file} runs on {}", engine::name());
                }
                Some(binding)
            }
            Err(NotBound::DeviceUnknown(device)) => {
                tracing::info!(%model, "model {file} waits until the channels of device {device} are discovered");
                None
            }
            Err(NotBound::Invalid(error)) => {
                tracing::error!(%model, "model {file} is disabled: {error}");
                None
            }
        };
        self.limiter.reset();
    }

    /// A reading: its values are recorded, and the model runs on it if it is the turn of its source and its period is over.
    pub(crate) fn frame(&mut self, at: Moment, frame: &Frame, around: &Surroundings<'_>) {
        let Some(current) = &mut self.current else { return };
        let Some(binding) = &mut current.binding else { return };
        binding.record(at, frame);
        let is_due = self.last_run.is_none_or(|last| at.monotonic.since(last) >= self.settings.period);
        if binding.trigger != frame.source || frame.is_empty() || !is_due {
            return;
        }
        self.last_run = Some(at.monotonic);
        let sampled = binding.sample(&current.manifest, at, (around.local_time)(at.wall));
        let power_kw = binding.power_kw();
        let started = match sampled {
            Err(reason) => Err(reason),
            Ok(_) if !matches!(current.run, Run::Idle) => Err("the model still works on an earlier reading".to_owned()),
            Ok(inputs) => current.worker.run(inputs),
        };
        match started {
            Ok(()) => current.run = Run::Running(Instant::now(), at, power_kw),
            Err(reason) => self.answer(at, Err(reason), Duration::ZERO, None, around),
        }
    }

    fn finished(&mut self, worker: WorkerId, outcome: Result<f64, String>, took: Duration, around: &Surroundings<'_>) {
        let Some(current) = self.current.as_mut().filter(|current| current.worker.id == worker) else { return };
        if let Run::Running(_, at, power_kw) = std::mem::replace(&mut current.run, Run::Idle) {
            let output = outcome.and_then(|raw| current.manifest.output.value(raw));
            self.answer(at, output, took, power_kw, around);
        }
    }

    /// Reports what the model said about a reading, or that it said nothing.
    fn answer(
        &mut self,
        at: Moment,
        output: Result<f64, String>,
        took: Duration,
        power_kw: Option<f64>,
        around: &Surroundings<'_>,
    ) {
        let Some(Current { manifest, binding: Some(binding), .. }) = &self.current else { return };
        let (device, channel) = (binding.device.clone(), manifest.output.channel.clone());
        let output = match (manifest.kind, output) {
            (Kind::Anomaly, Ok(score)) => ModelOutput::Anomaly(self.anomaly(at, device, score)),
            // There is no score without an answer.
            (Kind::Anomaly, Err(reason)) => {
                tracing::debug!(model = %self.settings.name, "no anomaly score: {reason}");
                return;
            }
            (Kind::Dispatch, output) => {
                let target = output.map(|value| manifest.output.to_kw(value));
                let dispatch = self.dispatch(at, device, target, took, power_kw);
                ModelOutput::Dispatch { dispatch, channel: (!self.settings.shadow).then_some(channel) }
            }
        };
        (around.results)(at, output);
    }

    /// A set-point within the site's rules, or why there is none.
    fn dispatch(
        &mut self,
        at: Moment,
        device: String,
        target: Result<f64, String>,
        took: Duration,
        power_kw: Option<f64>,
    ) -> Dispatch {
        let (target_kw, refusal) = match target {
            Ok(wanted) => {
                let refusal = self.settings.shadow.then(|| SHADOW.to_owned());
                (Some(self.limiter.limit(at.monotonic, wanted, power_kw)), refusal)
            }
            Err(reason) => {
                self.limiter.reset();
                (None, Some(reason))
            }
        };
        let inference_ms = took.as_secs_f64() * 1000.0;
        Dispatch { model: self.settings.name.clone(), device, target_kw, applied: false, refusal, inference_ms }
    }

    fn anomaly(&mut self, at: Moment, device: String, score: f64) -> Anomaly {
        let before = self.judged.replace(at.monotonic);
        let interval_ms = before.map(|before| at.monotonic.since(before).as_secs_f64() * 1000.0);
        let verdict = self.judge.judge(score, interval_ms);
        Anomaly {
            model: self.settings.name.clone(),
            device,
            score: verdict.score,
            alert_count: verdict.alert_count,
            trained: verdict.trained,
            alarm: verdict.alarm,
        }
    }
}

/// Why a model's set-point is not written although it has one.
const SHADOW: &str = "shadow mode: published, never written";
