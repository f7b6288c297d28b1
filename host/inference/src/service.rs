//! The inference thread: hands readings to the models' workers, waits for their answers within the time limit, and replaces a
//! model whose file changes.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use bessai_domain::event::Frame;
use bessai_domain::site::Site;
use bessai_domain::time::{Moment, Timestamp};
use bessai_supervision::fault;

use crate::runner::Runner;
use crate::worker::{WorkerId, WorkerReport};
use crate::{LocalTime, ModelOutput, ModelSettings};

/// Time between two looks at the models' files.
const LOOK_PERIOD: Duration = Duration::from_secs(2);

/// What reaches the inference thread.
pub(crate) enum Work {
    /// A reading, and the description that it refers to.
    Frame(Moment, Frame, Arc<Site>),
    /// From a model's thread.
    Report(WorkerId, WorkerReport),
}

/// What a runner is connected to.
pub(crate) struct Surroundings<'a> {
    pub(crate) reports: &'a SyncSender<Work>,
    pub(crate) local_time: fn(Timestamp) -> LocalTime,
    pub(crate) results: &'a dyn Fn(Moment, ModelOutput),
}

/// Serves until nobody hands over readings any more.
pub(crate) fn serve(
    models: &[ModelSettings],
    site: &Arc<Site>,
    received: &Receiver<Work>,
    around: &Surroundings<'_>,
    is_open: impl Fn() -> bool,
) {
    let mut runners: Vec<_> = models.iter().map(|settings| Runner::start(settings, around)).collect();
    let mut site = Arc::clone(site);
    let mut looked = Instant::now();
    while is_open() {
        let next_look = (looked + LOOK_PERIOD).saturating_duration_since(Instant::now());
        let wait = runners.iter().filter_map(Runner::remaining).fold(next_look, Duration::min);
        match received.recv_timeout(wait) {
            Ok(Work::Frame(at, frame, described_by)) => {
                fault::point("inference");
                // Channel indices change when a device's points are discovered.
                if described_by.revision != site.revision {
                    site = described_by;
                    runners.iter_mut().for_each(|runner| runner.bind(&site));
                }
                runners.iter_mut().for_each(|runner| runner.frame(at, &frame, around));
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
        if looked.elapsed() >= LOOK_PERIOD {
            looked = Instant::now();
            runners.iter_mut().for_each(|runner| runner.look(around));
        }
    }
}
