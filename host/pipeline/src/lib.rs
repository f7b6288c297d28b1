//! The site's task: judges safety on every frame, hands frames to the models and appends all events to the journal.
//!
//! The heartbeat and the repeated safety verdict share one 5 s timer, so that an idle site wakes the processor once.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::float_cmp, clippy::panic, clippy::expect_used)
)]

mod unstamped;
mod verdicts;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bessai_domain::device::{DeviceReport, MissingPoints, ReadFailure};
use bessai_domain::event::{Anomaly, DeviceStatus, Dispatch, EventBody, Frame, SafetyState};
use bessai_domain::exchange::Exchange;
use bessai_domain::profile::{Point, Profile};
use bessai_domain::report::{ReportFilter, ReportRule};
use bessai_domain::safety::{SafetyLimits, SafetyMonitor};
use bessai_domain::site::{SOURCE_NAME, Site};
use bessai_domain::time::{Clock, Moment};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use unstamped::UnstampedEvents;
use verdicts::{Repetition, VerdictKey};

pub use verdicts::TripReset;

/// Time between two heartbeats, and between two repetitions of the safety verdict.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Heartbeats between two repetitions of the devices' status (one minute), so that a new feed learns the current state.
const REPEATED_EVERY: u32 = 12;
/// Added to the time of an expiry: timers have this resolution, and the value must have expired.
const TIMER_RESOLUTION: Duration = Duration::from_millis(1);

/// What the pipeline receives.
#[derive(Debug)]
pub enum PipelineInput {
    /// From a Modbus connection.
    Device(DeviceReport),
    /// A model's result for the frame of that time.
    Dispatch(Moment, Dispatch),
    /// How unusual a model finds the frame of that time.
    Anomaly(Moment, Anomaly),
    /// The settings were reloaded; what follows refers to the new description.
    Reconfigured(Box<Reconfiguration>),
    /// An operator resets trips.
    ResetTrips(TripReset),
}

/// Judges readings, and is asked by others whether a set-point is allowed. Borrowed for a moment only, never while waiting.
pub type SharedMonitor = Rc<RefCell<SafetyMonitor>>;

/// What a reload of the settings changes here.
pub struct Reconfiguration {
    /// The safe range of each limited channel.
    pub limits: SafetyLimits,
    /// The devices, if they have changed.
    pub devices: Option<Redescription>,
}

/// Other devices, or other settings of them.
pub struct Redescription {
    /// The new description, given that in force. Its revision is ignored.
    pub describe: Box<dyn FnOnce(&Site) -> Site + Send>,
    /// One per source of the new description.
    pub report_filters: Vec<ReportFilter>,
    /// The report rules of discovered devices.
    pub reports: ReportRules,
}

impl fmt::Debug for Reconfiguration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reconfiguration").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl From<DeviceReport> for PipelineInput {
    fn from(report: DeviceReport) -> Self {
        Self::Device(report)
    }
}

/// Receives each frame with what its requests met and the site description that it refers to.
pub type FrameSink = Box<dyn FnMut(Moment, &Frame, &Exchange, &Arc<Site>)>;

/// Receives a device's name and its points.
pub type DiscoverySink = Box<dyn FnMut(&str, &Profile)>;

/// The report rule of a device's point; none if every reading becomes an event.
pub type ReportRules = Box<dyn Fn(&str, &Point) -> Option<ReportRule> + Send>;

/// What the pipeline is connected to.
pub struct Sinks {
    /// Numbers an event and appends it to the journal.
    pub append: Box<dyn FnMut(Moment, EventBody)>,
    /// Is shown each verdict, also those that are no event: at the start, and while the clock was never set.
    pub judged: Box<dyn FnMut(SafetyState)>,
    /// Hands a frame to the models. Must not block.
    pub infer: FrameSink,
    /// Is shown the points of a device that describes itself.
    pub discovered: DiscoverySink,
    /// The report rules of discovered devices, whose points are known only later.
    pub reports: ReportRules,
    /// Takes note of why a device cannot be read.
    pub failed: Box<dyn FnMut(ReadFailure)>,
    /// Takes note of which points of a device have no values.
    pub missing: Box<dyn FnMut(MissingPoints)>,
}

/// The site's state between two inputs.
pub struct Pipeline {
    site: Arc<Site>,
    monitor: SharedMonitor,
    /// One per source, by its index.
    report_filters: Vec<ReportFilter>,
    verdict: Option<VerdictKey>,
    devices: BTreeMap<String, DeviceStatus>,
    sinks: Sinks,
    clock: Clock,
    unstamped: UnstampedEvents,
    heartbeats: u32,
}

impl Pipeline {
    /// Appends the site's description immediately.
    pub fn new(
        site: Arc<Site>,
        limits: &SafetyLimits,
        report_filters: Vec<ReportFilter>,
        clock: Clock,
        sinks: Sinks,
    ) -> Self {
        let monitor = Rc::new(RefCell::new(SafetyMonitor::new(&site, limits, clock().monotonic)));
        let mut pipeline = Self {
            site: Arc::clone(&site),
            monitor,
            report_filters,
            verdict: None,
            devices: BTreeMap::new(),
            sinks,
            clock,
            unstamped: UnstampedEvents::default(),
            heartbeats: 0,
        };
        pipeline.append(clock(), EventBody::Site(site));
        pipeline
    }

    /// The monitor, for those who ask whether a set-point is allowed.
    pub fn monitor(&self) -> SharedMonitor {
        Rc::clone(&self.monitor)
    }

    /// Runs until `stop` turns true, then handles what is still queued.
    pub async fn run(mut self, mut inputs: mpsc::Receiver<PipelineInput>, mut stop: watch::Receiver<bool>) {
        const BATCH: usize = 64;
        let mut ticks = interval(HEARTBEAT);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let expires_at = self.expires_at();
            tokio::select! {
                received = inputs.recv_many(&mut batch, BATCH) => {
                    if received == 0 {
                        return;
                    }
                    for input in batch.drain(..) {
                        self.handle(input);
                    }
                }
                _ = ticks.tick() => self.tick(),
                // A value becomes unknown by itself, without a reading that would show it.
                () = sleep_until(expires_at.unwrap_or_else(Instant::now)), if expires_at.is_some() => {
                    self.judge(Repetition::OnlyChanges);
                }
                _ = stop.wait_for(|stop| *stop), if !inputs.is_closed() => inputs.close(),
            }
        }
    }

    fn handle(&mut self, input: PipelineInput) {
        match input {
            PipelineInput::Dispatch(at, dispatch) => self.append(at, EventBody::Dispatch(dispatch)),
            PipelineInput::Anomaly(at, anomaly) => self.append(at, EventBody::Anomaly(anomaly)),
            PipelineInput::Device(DeviceReport::Failure(failure)) => (self.sinks.failed)(failure),
            PipelineInput::Device(DeviceReport::Missing(missing)) => (self.sinks.missing)(missing),
            PipelineInput::Reconfigured(new) => self.reconfigure(*new),
            PipelineInput::ResetTrips(TripReset { device, answer }) => {
                // The requester may be gone; the event and the log have the result.
                let _ = answer.send(self.reset_trips(device.as_deref()));
            }
            PipelineInput::Device(DeviceReport::Discovered(at, device, profile)) => {
                self.redescribe(at, &device, &profile)
            }
            PipelineInput::Device(DeviceReport::Frame(at, frame, exchange)) => self.frame(at, frame, &exchange),
            PipelineInput::Device(DeviceReport::Status(at, status)) => {
                self.devices.insert(status.device.clone(), status.clone());
                self.append(at, EventBody::Device(status));
            }
        }
    }

    fn frame(&mut self, at: Moment, frame: Frame, exchange: &Exchange) {
        self.monitor.borrow_mut().record(at.monotonic, &frame);
        (self.sinks.infer)(at, &frame, exchange, &self.site);
        let report_filter = usize::try_from(frame.source).ok().and_then(|source| self.report_filters.get_mut(source));
        if report_filter.is_none_or(|report_filter| report_filter.accepts(at.monotonic, &frame)) {
            self.append(at, EventBody::Frame(frame));
        }
        self.judge(Repetition::OnlyChanges);
    }

    /// A device's points were discovered: its channels change, and with them the description that later frames refer to.
    fn redescribe(&mut self, at: Moment, device: &str, profile: &Profile) {
        let mut site = Site::clone(&self.site);
        for known in site.devices.iter_mut().filter(|known| known.name == device) {
            known.attributes = profile.attributes();
        }
        for (index, source) in site.sources.iter_mut().enumerate().filter(|(_, source)| source.device == device) {
            let name = source.attributes.iter().find(|(key, _)| key == SOURCE_NAME).map(|(_, name)| name.as_str());
            source.channels = profile.source(name).map(Point::to_channel).collect();
            let reports = profile.source(name).map(|point| (self.sinks.reports)(device, point));
            if let Some(report_filter) = self.report_filters.get_mut(index) {
                *report_filter = ReportFilter::new(reports);
            }
        }
        self.describe(at, site);
        (self.sinks.discovered)(device, profile);
    }

    /// Takes over a new description of the site, if it differs from the one in force.
    fn describe(&mut self, at: Moment, mut site: Site) {
        if site == *self.site {
            self.judge(Repetition::OnlyChanges);
            return;
        }
        site.revision = site.revision.saturating_add(1);
        self.monitor.borrow_mut().update_site(&site);
        self.site = Arc::new(site);
        self.append(at, EventBody::Site(Arc::clone(&self.site)));
        // Repeated after each description, so that a feed that starts here learns the current state.
        for status in self.devices.clone().into_values() {
            self.append(at, EventBody::Device(status));
        }
        self.judge(Repetition::OnlyChanges);
    }

    /// The settings were reloaded: devices may be gone, new or described otherwise.
    fn reconfigure(&mut self, new: Reconfiguration) {
        let mut site = Site::clone(&self.site);
        if let Some(devices) = new.devices {
            site = Site { revision: site.revision, ..(devices.describe)(&self.site) };
            self.report_filters = devices.report_filters;
            self.sinks.reports = devices.reports;
            self.devices.retain(|device, _| site.devices.iter().any(|known| known.name == *device));
        }
        self.monitor.borrow_mut().set_limits(&new.limits, &site);
        if site == *self.site {
            self.judge(Repetition::OnlyChanges);
            return;
        }
        self.site = Arc::new(Site { revision: site.revision.saturating_add(1), ..site });
        let now = (self.clock)();
        self.append(now, EventBody::Site(Arc::clone(&self.site)));
        for status in self.devices.clone().into_values() {
            self.append(now, EventBody::Device(status));
        }
        self.judge(Repetition::OnlyChanges);
    }

    fn tick(&mut self) {
        let now = (self.clock)();
        if now.wall.is_plausible() {
            self.append(now, EventBody::Heartbeat);
        }
        self.judge(Repetition::Always);
        self.heartbeats = self.heartbeats.wrapping_add(1);
        if self.heartbeats.is_multiple_of(REPEATED_EVERY) && now.wall.is_plausible() {
            for status in self.devices.clone().into_values() {
                self.append(now, EventBody::Device(status));
            }
        }
    }

    /// When a value becomes too old, if no reading replaces it.
    fn expires_at(&self) -> Option<Instant> {
        let now = (self.clock)().monotonic;
        let remaining = self.monitor.borrow().next_expiry(now)?.since(now);
        Some(Instant::now() + remaining + TIMER_RESOLUTION)
    }
}

#[cfg(test)]
mod tests;
