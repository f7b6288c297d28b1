//! One model of the settings: the worker that runs it, the candidate that may replace it, and its answers.

use std::time::{Duration, Instant};

use bessai_domain::anomaly::AnomalyJudge;
use bessai_domain::dispatch::DispatchLimiter;
use bessai_domain::event::{Anomaly, Dispatch, Frame};
use bessai_domain::exchange::Exchange;
use bessai_domain::time::{Moment, MonotonicTime};

use crate::binding::{Binding, NoInputs};
use crate::manifest::{Kind, Manifest};
use crate::service::Surroundings;
use crate::status::SharedStatus;
use crate::watched::WatchedFiles;
use crate::worker::{Worker, WorkerId};
use crate::{ModelOutput, ModelSettings, SetPointTarget};

mod loading;

pub(crate) use loading::load_once;

/// How long a model may take for one reading. What comes later is discarded.
pub(crate) const RUN_LIMIT: Duration = Duration::from_millis(100);
/// How long a model may take to be loaded and to run once. A model that takes longer is refused.
const LOAD_LIMIT: Duration = Duration::from_secs(30);

/// A set-point holds for so many runs: one may fail for want of a value, and the next one takes its time.
const VALID_FOR_RUNS: u32 = 3;
/// A set-point holds at least so long: a device that is read often may not answer for some seconds.
const LEAST_VALID_FOR: Duration = Duration::from_secs(10);

/// How long a set-point holds of a model that runs with this period.
pub fn valid_for(period: Duration) -> Duration {
    period.saturating_mul(VALID_FOR_RUNS).max(LEAST_VALID_FOR)
}

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
    last_run: Option<MonotonicTime>,
    status: SharedStatus,
    /// The candidate was loaded and does not fit the site as it was then.
    is_refused_by_site: bool,
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
            last_run: None,
            status: SharedStatus::new(&settings.name),
            is_refused_by_site: false,
        };
        runner.status.update(|status| status.shadow = settings.shadow);
        runner.files.note_loaded(&settings.name, &settings.file);
        runner.load(around);
        runner
    }

    /// The name of the model.
    pub(crate) fn name(&self) -> &str {
        &self.settings.name
    }

    /// What the model does at present.
    pub(crate) fn status(&self) -> SharedStatus {
        self.status.clone()
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
        let next = [running, self.load_deadline()].into_iter().flatten().min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    /// Ends what takes too long.
    pub(crate) fn check_time(&mut self, around: &Surroundings<'_>) {
        self.check_candidate();
        let Some(current) = &mut self.current else { return };
        if let Run::Running(since, at, _) = current.run
            && since.elapsed() >= RUN_LIMIT
        {
            current.run = Run::Late;
            self.answer(at, Err(late()), since.elapsed(), None, around);
        }
    }

    /// A reading: its values are recorded, and the model runs on it if it is the turn of its source and its period is over.
    pub(crate) fn frame(&mut self, at: Moment, frame: &Frame, exchange: &Exchange, around: &Surroundings<'_>) {
        let Some(current) = &mut self.current else { return };
        let Some(binding) = &mut current.binding else { return };
        binding.record(at, frame, exchange);
        let is_due = self.last_run.is_none_or(|last| at.monotonic.since(last) >= self.settings.period);
        if binding.trigger != frame.source || frame.is_empty() || !is_due {
            return;
        }
        let sampled = binding.sample(&current.manifest, at, (around.local_time)(at.wall));
        let power_kw = binding.power_kw();
        // A reading without a good value is not the one of its period: the next one may have it.
        if !matches!(sampled, Err(NoInputs::Missing(_))) {
            self.last_run = Some(at.monotonic);
        }
        let started = match sampled {
            Err(NoInputs::Missing(reason) | NoInputs::TooFew(reason)) => Err(reason),
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
        if let Run::Running(since, at, power_kw) = std::mem::replace(&mut current.run, Run::Idle) {
            let output = outcome.and_then(|raw| current.manifest.output.value(raw));
            // The answer may have waited for this thread.
            let output = if since.elapsed() < RUN_LIMIT { output } else { Err(late()) };
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
        self.status.update(|status| status.note_answer(&output, took));
        let (device, channel) = (binding.device.clone(), manifest.output.channel.clone());
        let valid_for = valid_for(binding.period.max(self.settings.period));
        let exchange = binding.exchange();
        let output = match (manifest.kind, output) {
            (Kind::Anomaly, Ok(score)) => ModelOutput::Anomaly(self.anomaly(device, score, exchange)),
            // There is no score without an answer.
            (Kind::Anomaly, Err(reason)) => {
                tracing::debug!(model = %self.settings.name, "no anomaly score: {reason}");
                return;
            }
            (Kind::Dispatch, output) => {
                let target = output.map(|value| manifest.output.to_kw(value));
                let dispatch = self.dispatch(at, device, target, took, power_kw);
                let is_set = dispatch.target_kw.is_some() && !self.settings.shadow;
                ModelOutput::Dispatch { dispatch, target: is_set.then_some(SetPointTarget { channel, valid_for }) }
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
                let refusal = self.settings.shadow.then(|| format!("{SHADOW}: published, never written"));
                (Some(self.limiter.limit(at.monotonic, wanted, power_kw)), refusal)
            }
            Err(reason) => {
                self.limiter.reset();
                (None, Some(if self.settings.shadow { format!("{SHADOW}: {reason}") } else { reason }))
            }
        };
        let inference_ms = took.as_secs_f64() * 1000.0;
        Dispatch { model: self.settings.name.clone(), device, target_kw, applied: false, refusal, inference_ms }
    }

    fn anomaly(&mut self, device: String, score: f64, exchange: Exchange) -> Anomaly {
        let verdict = self.judge.judge(score, &exchange);
        Anomaly {
            model: self.settings.name.clone(),
            device,
            score: verdict.score,
            alert_count: verdict.alert_count,
            trained: verdict.trained,
            alarm: verdict.alarm,
            exchange: Some(exchange),
        }
    }
}

fn late() -> String {
    format!("the model gave no answer within {} ms", RUN_LIMIT.as_millis())
}

/// How the reason begins for which a set-point in shadow mode is not written; plugins look at it.
const SHADOW: &str = "shadow mode";
