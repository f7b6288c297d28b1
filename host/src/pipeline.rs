//! One task per site: takes readings, judges safety, asks the models, and appends what happened to the journal.
//!
//! Heartbeat and the repeated safety verdict share one 5 s timer, so that an idle site wakes the processor once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bessai_domain::event::{DeviceStatus, Dispatch, EventBody, Frame, Safety};
use bessai_domain::profile::{Point, Profile};
use bessai_domain::report::{Report, Reporter};
use bessai_domain::safety::{Guard, Limits};
use bessai_domain::site::{SOURCE_NAME, Site};
use bessai_domain::time::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};

/// Between two heartbeats, and between two repetitions of the safety verdict.
pub const HEARTBEAT: Duration = Duration::from_secs(5);
/// After so many heartbeats the devices' states are repeated, so that a new feed knows the present.
const REPEATED_EVERY: u32 = 12;

/// What the pipeline takes in.
#[derive(Debug)]
pub enum Input {
    /// A reading.
    Frame(Timestamp, Frame),
    /// A device came or went.
    Status(Timestamp, DeviceStatus),
    /// A device told what it has, for the first time or anew.
    Found(Timestamp, String, Arc<Profile>),
    /// A model's answer.
    Dispatch(Timestamp, Dispatch),
}

/// Something that is shown each frame, with the description that it refers to.
pub type TakesFrame = Box<dyn FnMut(Timestamp, &Frame, &Arc<Site>)>;

/// When a point of a device is worth a frame; none where each reading is.
pub type Reports = Box<dyn Fn(&str, &Point) -> Option<Report>>;

/// Where everything goes, given by whoever connects the rooms.
pub struct Outlets {
    /// Numbers and keeps an event.
    pub append: Box<dyn FnMut(Timestamp, EventBody)>,
    /// Hands a frame to the models; must not wait.
    pub infer: TakesFrame,
    /// Which readings are kept of devices that tell their points themselves.
    pub reports: Reports,
}

/// Safe or not, and the broken rules by device and channel.
type Essence = (bool, Vec<(String, String)>);

/// The site's state between two readings.
pub struct Pipeline {
    site: Arc<Site>,
    guard: Guard,
    /// By source.
    reporters: Vec<Reporter>,
    verdict: Option<Essence>,
    devices: BTreeMap<String, DeviceStatus>,
    outlets: Outlets,
    clock: fn() -> Timestamp,
    clock_was_doubted: bool,
    heartbeats: u32,
}

impl Pipeline {
    /// Appends the site's description at once.
    pub fn new(
        site: Arc<Site>,
        limits: &Limits,
        reporters: Vec<Reporter>,
        clock: fn() -> Timestamp,
        outlets: Outlets,
    ) -> Self {
        let guard = Guard::new(&site, limits, clock());
        let mut pipeline = Self {
            site: Arc::clone(&site),
            guard,
            reporters,
            verdict: None,
            devices: BTreeMap::new(),
            outlets,
            clock,
            clock_was_doubted: false,
            heartbeats: 0,
        };
        pipeline.append(clock(), EventBody::Site(site));
        pipeline
    }

    /// Runs until `stop` turns true, then takes what waits.
    pub async fn run(mut self, mut inputs: mpsc::Receiver<Input>, mut stop: watch::Receiver<bool>) {
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
                        self.take(input);
                    }
                }
                _ = ticks.tick() => self.tick(),
                _ = stop.wait_for(|stop| *stop), if !inputs.is_closed() => inputs.close(),
            }
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Frame(at, frame) if self.trusts(at) => self.frame(at, frame),
            Input::Status(at, status) if self.trusts(at) => {
                self.devices.insert(status.device.clone(), status.clone());
                self.append(at, EventBody::Device(status));
            }
            Input::Found(at, device, profile) => self.found(at, &device, &profile),
            Input::Dispatch(at, dispatch) => self.append(at, EventBody::Dispatch(dispatch)),
            Input::Frame(..) | Input::Status(..) => {}
        }
    }

    fn frame(&mut self, at: Timestamp, frame: Frame) {
        self.guard.observe(at, &frame);
        (self.outlets.infer)(at, &frame, &self.site);
        let reporter = usize::try_from(frame.source).ok().and_then(|source| self.reporters.get_mut(source));
        if reporter.is_none_or(|reporter| reporter.wants(at, &frame)) {
            self.append(at, EventBody::Frame(frame));
        }
        let safety = self.guard.judge(at);
        if self.verdict.as_ref() != Some(&essence(&safety)) {
            self.publish_safety(at, safety);
        }
    }

    /// The device's channels change, and with them what the frames after this refer to.
    fn found(&mut self, at: Timestamp, device: &str, profile: &Profile) {
        let mut site = Site::clone(&self.site);
        for known in site.devices.iter_mut().filter(|known| known.name == device) {
            known.attributes = profile.attributes();
        }
        for (index, source) in site.sources.iter_mut().enumerate().filter(|(_, source)| source.device == device) {
            let name = source.attributes.iter().find(|(key, _)| key == SOURCE_NAME).map(|(_, name)| name.as_str());
            source.channels = profile.source(name).map(Point::to_channel).collect();
            let reports = profile.source(name).map(|point| (self.outlets.reports)(device, point));
            if let Some(reporter) = self.reporters.get_mut(index) {
                *reporter = Reporter::new(reports);
            }
        }
        if site == *self.site {
            return;
        }
        site.revision = site.revision.saturating_add(1);
        self.guard.describe(&site);
        self.site = Arc::new(site);
        self.append(at, EventBody::Site(Arc::clone(&self.site)));
        // Whoever joins now knows the present again.
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
        // Before the first reading, or the first failure to read, there is nothing to judge.
        if self.verdict.is_some() {
            let safety = self.guard.judge(now);
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
        let essence = essence(&safety);
        if self.verdict.as_ref().is_some_and(|(was_safe, _)| *was_safe != safety.is_safe) || self.verdict.is_none() {
            self.log_verdict(&safety);
        }
        self.verdict = Some(essence);
        self.append(at, EventBody::Safety(safety));
    }

    fn log_verdict(&self, safety: &Safety) {
        if safety.is_safe && self.verdict.is_some() {
            tracing::info!("the battery is within its limits again");
        }
        for violation in &safety.violations {
            let (rule, device, channel) = (&violation.rule, &violation.device, &violation.channel);
            let (value, limit) = (violation.value, violation.limit);
            tracing::error!(%rule, %device, %channel, value, limit, "the battery is not safe: {channel} breaks {rule}");
        }
    }

    fn append(&mut self, at: Timestamp, body: EventBody) {
        (self.outlets.append)(at, body);
    }

    /// A clock that was never set would give every reading a wrong time for ever.
    fn trusts(&mut self, at: Timestamp) -> bool {
        let plausible = at.is_plausible();
        if !plausible && !self.clock_was_doubted {
            tracing::error!("the clock says a time before 2025: nothing is published until it is set");
        }
        if plausible && self.clock_was_doubted {
            tracing::info!("the clock is set: site {} publishes", self.site.id);
        }
        self.clock_was_doubted = !plausible;
        plausible
    }
}

/// What makes two verdicts the same: which rules are broken, not by how much.
fn essence(safety: &Safety) -> Essence {
    let broken = safety.violations.iter().map(|v| (format!("{}/{}", v.device, v.channel), v.rule.clone()));
    let mut broken: Vec<_> = broken.collect();
    broken.push((format!("{:?}", safety.watchdog), String::new()));
    (safety.is_safe, broken)
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

    /// What a pipeline appends after its description when it takes a frame of that time and its clock ticks.
    fn appended(at: Timestamp, clock: fn() -> Timestamp) -> Vec<EventBody> {
        let events = Rc::new(RefCell::new(Vec::new()));
        let kept = Rc::clone(&events);
        let append = Box::new(move |_, body| kept.borrow_mut().push(body));
        let outlets = Outlets { append, infer: Box::new(|_, _, _| {}), reports: Box::new(|_, _| None) };
        let mut pipeline = Pipeline::new(site(), &Limits::default(), Vec::new(), clock, outlets);
        pipeline.take(Input::Frame(at, Frame { source: 0, values: vec![1.0], faults: vec![], texts: vec![] }));
        pipeline.tick();
        drop(pipeline);
        let mut events = Rc::into_inner(events).unwrap().into_inner();
        events.remove(0);
        events
    }

    #[test]
    fn nothing_is_kept_under_a_clock_that_was_never_set() {
        assert_eq!(appended(never_set(), never_set), []);
        let kinds: Vec<_> = appended(in_2026(), in_2026).iter().map(std::mem::discriminant).collect();
        let frame = EventBody::Frame(Frame { source: 0, values: vec![], faults: vec![], texts: vec![] });
        assert_eq!(kinds[0], std::mem::discriminant(&frame));
        assert!(kinds.contains(&std::mem::discriminant(&EventBody::Heartbeat)));
        // Frame, verdict, heartbeat, the verdict again.
        assert_eq!(kinds.len(), 4);
    }
}
