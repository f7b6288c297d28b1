//! The inference thread: hands readings to the models' workers, waits for their answers within the time limit, and replaces a
//! model whose file changes.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bessai_domain::event::Frame;
use bessai_domain::exchange::Exchange;
use bessai_domain::site::Site;
use bessai_domain::time::{Moment, Timestamp};
use bessai_supervision::fault;

use crate::folder;
use crate::runner::Runner;
use crate::status::StatusList;
use crate::worker::{WorkerId, WorkerReport};
use crate::{LocalTime, ModelOutput, ModelSettings};

/// Time between two looks at the models' files.
const LOOK_PERIOD: Duration = Duration::from_secs(2);

/// What reaches the inference thread.
pub(crate) enum Work {
    /// A reading, what its requests met, and the description that it refers to.
    Frame(Moment, Frame, Exchange, Arc<Site>),
    /// From a model's thread.
    Report(WorkerId, WorkerReport),
}

/// What a runner is connected to.
pub(crate) struct Surroundings<'a> {
    pub(crate) reports: &'a SyncSender<Work>,
    pub(crate) local_time: fn(Timestamp) -> LocalTime,
    pub(crate) results: &'a dyn Fn(Moment, ModelOutput),
    pub(crate) statuses: &'a StatusList,
}

/// The models of the settings, which a reload replaces.
pub(crate) struct WantedModels(Mutex<Arc<Vec<ModelSettings>>>);

impl WantedModels {
    pub(crate) fn new(models: Vec<ModelSettings>) -> Self {
        Self(Mutex::new(Arc::new(models)))
    }

    pub(crate) fn set(&self, models: Vec<ModelSettings>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(models);
    }

    pub(crate) fn get(&self) -> Arc<Vec<ModelSettings>> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Starts the models that are new, changes those that are known, and ends the others.
fn apply(runners: Vec<Runner>, models: &[ModelSettings], site: &Site, around: &Surroundings<'_>) -> Vec<Runner> {
    let mut known = runners;
    let of_settings = |settings: &ModelSettings| match known.iter().position(|runner| runner.name() == settings.name) {
        Some(index) => {
            let mut runner = known.swap_remove(index);
            runner.change(settings, site, around);
            runner
        }
        None => Runner::start(settings, around),
    };
    let runners: Vec<_> = models.iter().map(of_settings).collect();
    around.statuses.set(runners.iter().map(Runner::status).collect());
    runners
}

/// Serves until nobody hands over readings any more.
pub(crate) fn serve(
    wanted: &WantedModels,
    site: &Arc<Site>,
    received: &Receiver<Work>,
    around: &Surroundings<'_>,
    is_open: impl Fn() -> bool,
) {
    let mut site = Arc::clone(site);
    let mut models = wanted.get();
    let mut listed = folder::listed(&models);
    let mut runners = apply(Vec::new(), &listed, &site, around);
    let mut looked = Instant::now();
    while is_open() {
        let next_look = (looked + LOOK_PERIOD).saturating_duration_since(Instant::now());
        let wait = runners.iter().filter_map(Runner::remaining).fold(next_look, Duration::min);
        match received.recv_timeout(wait) {
            Ok(Work::Frame(at, frame, exchange, described_by)) => {
                fault::point("inference");
                // Channel indices change when a device's points are discovered.
                if described_by.revision != site.revision {
                    site = described_by;
                    runners.iter_mut().for_each(|runner| runner.bind(&site, around));
                }
                runners.iter_mut().for_each(|runner| runner.frame(at, &frame, &exchange, around));
            }
            Ok(Work::Report(worker, report)) => {
                if let Some(runner) = runners.iter_mut().find(|runner| runner.has(worker)) {
                    runner.report(worker, report, &site, around);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        runners.iter_mut().for_each(|runner| runner.check_time(around));
        let now_wanted = wanted.get();
        let mut may_differ = !Arc::ptr_eq(&models, &now_wanted);
        models = now_wanted;
        if looked.elapsed() >= LOOK_PERIOD {
            looked = Instant::now();
            runners.iter_mut().for_each(|runner| runner.look(around));
            may_differ |= models.iter().any(|model| model.is_folder);
        }
        if may_differ {
            let relisted = folder::relisted(&models, &listed);
            if relisted != listed {
                listed = relisted;
                runners = apply(runners, &listed, &site, around);
            }
        }
    }
}
