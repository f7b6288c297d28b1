//! The site's task: judges safety on every frame, hands frames to the models and appends all events to the journal.
//!
//! The heartbeat and the repeated safety verdict share one 5 s timer, so that an idle site wakes the processor once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bessai_domain::event::{DeviceStatus, Dispatch, EventBody, Frame, Safety, Watchdog};
use bessai_domain::profile::{Point, Profile};
use bessai_domain::report::{ReportFilter, ReportRule};
use bessai_domain::safety::{SafetyLimits, SafetyMonitor};
use bessai_domain::site::{SOURCE_NAME, Site};
use bessai_domain::time::Timestamp;
use bessai_modbus::DeviceReport;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};

/// Time between two heartbeats, and between two repetitions of the safety verdict.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Heartbeats between two repetitions of the devices' status (one minute), so that a new feed learns the current state.
const REPEATED_EVERY: u32 = 12;

/// What the pipeline receives.
#[derive(Debug)]
pub(crate) enum PipelineInput {
    /// From a Modbus connection.
    Device(DeviceReport),
    /// A model's result for the frame of that time.
    Dispatch(Timestamp, Dispatch),
}

impl From<DeviceReport> for PipelineInput {
    fn from(report: DeviceReport) -> Self {
        Self::Device(report)
    }
}

/// Receives each frame with the site description that it refers to.
pub(crate) type FrameSink = Box<dyn FnMut(Timestamp, &Frame, &Arc<Site>)>;

/// The report rule of a device's point; none if every reading becomes an event.
pub(crate) type ReportRules = Box<dyn Fn(&str, &Point) -> Option<ReportRule>>;

/// What the pipeline is connected to.
pub(crate) struct Sinks {
    /// Numbers an event and appends it to the journal.
    pub(crate) append: Box<dyn FnMut(Timestamp, EventBody)>,
    /// Hands a frame to the models. Must not block.
    pub(crate) infer: FrameSink,
    /// The report rules of discovered devices, whose points are known only later.
    pub(crate) reports: ReportRules,
}

/// What makes two verdicts equal: which rules are broken on which channel, not by how much.
#[derive(PartialEq)]
struct VerdictKey {
    is_safe: bool,
    watchdog: Watchdog,
    broken: Vec<(String, String, String)>,
}

/// The site's state between two inputs.
pub(crate) struct Pipeline {
    site: Arc<Site>,
    monitor: SafetyMonitor,
    /// One per source, by its index.
    report_filters: Vec<ReportFilter>,
    verdict: Option<VerdictKey>,
    devices: BTreeMap<String, DeviceStatus>,
    sinks: Sinks,
    clock: fn() -> Timestamp,
    clock_is_implausible: bool,
    heartbeats: u32,
}

impl Pipeline {
    /// Appends the site's description immediately.
    pub(crate) fn new(
        site: Arc<Site>,
        limits: &SafetyLimits,
        report_filters: Vec<ReportFilter>,
        clock: fn() -> Timestamp,
        sinks: Sinks,
    ) -> Self {
        let monitor = SafetyMonitor::new(&site, limits, clock());
        let mut pipeline = Self {
            site: Arc::clone(&site),
            monitor,
            report_filters,
            verdict: None,
            devices: BTreeMap::new(),
            sinks,
            clock,
            clock_is_implausible: false,
            heartbeats: 0,
        };
        pipeline.append(clock(), EventBody::Site(site));
        pipeline
    }

    /// Runs until `stop` turns true, then handles what is still queued.
    pub(crate) async fn run(mut self, mut inputs: mpsc::Receiver<PipelineInput>, mut stop: watch::Receiver<bool>) {
        const BATCH: usize = 64;
        let mut ticks = interval(HEARTBEAT);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut batch = Vec::with_capacity(BATCH);
        loop {
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
                _ = stop.wait_for(|stop| *stop), if !inputs.is_closed() => inputs.close(),
            }
        }
    }

    fn handle(&mut self, input: PipelineInput) {
        match input {
            PipelineInput::Dispatch(at, dispatch) => self.append(at, EventBody::Dispatch(dispatch)),
            PipelineInput::Device(DeviceReport::Discovered(at, device, profile)) => {
                self.redescribe(at, &device, &profile)
            }
            PipelineInput::Device(DeviceReport::Frame(at, frame)) => {
                if self.trusts(at) {
                    self.frame(at, frame);
                }
            }
            PipelineInput::Device(DeviceReport::Status(at, status)) => {
                if self.trusts(at) {
                    self.devices.insert(status.device.clone(), status.clone());
                    self.append(at, EventBody::Device(status));
                }
            }
        }
    }

    fn frame(&mut self, at: Timestamp, frame: Frame) {
        self.monitor.record(at, &frame);
        (self.sinks.infer)(at, &frame, &self.site);
        let report_filter = usize::try_from(frame.source).ok().and_then(|source| self.report_filters.get_mut(source));
        if report_filter.is_none_or(|report_filter| report_filter.accepts(at, &frame)) {
            self.append(at, EventBody::Frame(frame));
        }
        let safety = self.monitor.evaluate(at);
        if self.verdict.as_ref() != Some(&VerdictKey::of(&safety)) {
            self.publish_safety(at, safety);
        }
    }

    /// A device's points were discovered: its channels change, and with them the description that later frames refer to.
    fn redescribe(&mut self, at: Timestamp, device: &str, profile: &Profile) {
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
        if site == *self.site {
            return;
        }
        site.revision = site.revision.saturating_add(1);
        self.monitor.update_site(&site);
        self.site = Arc::new(site);
        self.append(at, EventBody::Site(Arc::clone(&self.site)));
        // Repeated after each description, so that a feed that starts here learns the current state.
        for status in self.devices.clone().into_values() {
            self.append(at, EventBody::Device(status));
        }
    }

    fn tick(&mut self) {
        let now = (self.clock)();
        if !self.trusts(now) {
            return;
        }
        self.append(now, EventBody::Heartbeat);
        // Nothing to judge before the first reading or the first failed one.
        if self.verdict.is_some() {
            let safety = self.monitor.evaluate(now);
            self.publish_safety(now, safety);
        }
        self.heartbeats = self.heartbeats.wrapping_add(1);
        if self.heartbeats.is_multiple_of(REPEATED_EVERY) {
            for status in self.devices.clone().into_values() {
                self.append(now, EventBody::Device(status));
            }
        }
    }

    fn publish_safety(&mut self, at: Timestamp, safety: Safety) {
        if self.verdict.as_ref().is_none_or(|verdict| verdict.is_safe != safety.is_safe) {
            self.log_verdict(&safety);
        }
        self.verdict = Some(VerdictKey::of(&safety));
        self.append(at, EventBody::Safety(safety));
    }

    fn log_verdict(&self, safety: &Safety) {
        if safety.is_safe && self.verdict.is_some() {
            tracing::info!("the battery is back within its limits");
        }
        for violation in &safety.violations {
            let (rule, device, channel) = (&violation.rule, &violation.device, &violation.channel);
            let (value, limit) = (violation.value, violation.limit);
            tracing::error!(%rule, %device, %channel, value, limit, "the battery is not safe: {channel} breaks {rule}");
        }
    }

    fn append(&mut self, at: Timestamp, body: EventBody) {
        (self.sinks.append)(at, body);
    }

    /// Events are stamped only by a plausible clock: one that was never set would give them a wrong time for ever.
    fn trusts(&mut self, at: Timestamp) -> bool {
        let plausible = at.is_plausible();
        if !plausible && !self.clock_is_implausible {
            tracing::error!("the system clock shows a time before 2025; nothing is published until it is set");
        }
        if plausible && self.clock_is_implausible {
            tracing::info!("the system clock is set; publishing for site {}", self.site.id);
        }
        self.clock_is_implausible = !plausible;
        plausible
    }
}

impl VerdictKey {
    fn of(safety: &Safety) -> Self {
        let broken = safety.violations.iter().map(|v| (v.device.clone(), v.channel.clone(), v.rule.clone()));
        Self { is_safe: safety.is_safe, watchdog: safety.watchdog, broken: broken.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;

    fn never_set() -> Timestamp {
        Timestamp::from_nanos(86_400_000_000_000)
    }

    fn in_2026() -> Timestamp {
        Timestamp::from_nanos(1_790_000_000_000_000_000)
    }

    fn site() -> Arc<Site> {
        Arc::new(Site { id: "S".into(), revision: 1, devices: vec![], sources: vec![], attributes: vec![] })
    }

    /// The events that a pipeline appends after its description, given a frame with that time and one timer tick.
    fn appended(at: Timestamp, clock: fn() -> Timestamp) -> Vec<EventBody> {
        let events = Rc::new(RefCell::new(Vec::new()));
        let kept = Rc::clone(&events);
        let append = Box::new(move |_, body| kept.borrow_mut().push(body));
        let sinks = Sinks { append, infer: Box::new(|_, _, _| {}), reports: Box::new(|_, _| None) };
        let mut pipeline = Pipeline::new(site(), &SafetyLimits::default(), Vec::new(), clock, sinks);
        let frame = Frame { source: 0, values: vec![1.0], faults: vec![], texts: vec![] };
        pipeline.handle(DeviceReport::Frame(at, frame).into());
        pipeline.tick();
        drop(pipeline);
        let mut events = Rc::into_inner(events).unwrap().into_inner();
        events.remove(0);
        events
    }

    #[test]
    fn nothing_is_appended_while_the_clock_was_never_set() {
        assert_eq!(appended(never_set(), never_set), []);
        let kinds: Vec<_> = appended(in_2026(), in_2026).iter().map(std::mem::discriminant).collect();
        let frame = EventBody::Frame(Frame { source: 0, values: vec![], faults: vec![], texts: vec![] });
        assert_eq!(kinds[0], std::mem::discriminant(&frame));
        assert!(kinds.contains(&std::mem::discriminant(&EventBody::Heartbeat)));
        // Frame, verdict, heartbeat, the verdict again.
        assert_eq!(kinds.len(), 4);
    }
}
