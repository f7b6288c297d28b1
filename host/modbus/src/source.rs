//! The read plan of a source and what its refusals have shown.

use std::collections::BTreeSet;
use std::time::Duration;

use bessai_domain::counter::CounterFilter;
use bessai_domain::event::Frame;
use bessai_domain::plan::{Plan, ReadRequest};
use tokio::time::Instant;

use crate::connection::BusConnection;
use crate::{DeviceSettings, SourceSettings};

/// Shortest time after which refused points are read again; doubles with each refusal.
const MIN_REFUSAL_RETRY: Duration = Duration::from_secs(10);
/// Longest time after which a point is read again that never had a value: the device may have been updated.
const MAX_MISSING_RETRY: Duration = Duration::from_hours(1);
/// Longest time after which a point is read again that once had a value, or after which a device is that refuses every
/// point: it is starting up, or has a temporary fault.
const MAX_LOST_RETRY: Duration = Duration::from_secs(60);
/// Longest time after which a point is read again that gets no reply: each try costs a whole timeout.
const MAX_SILENCE_RETRY: Duration = Duration::from_mins(5);
/// Time after which block limits and unreadable gaps are forgotten: a temporary fault may have caused them.
const PLAN_RESET_INTERVAL: Duration = Duration::from_hours(1);

/// Why a device refuses points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RefusalKind {
    /// It does not have them (exceptions 1 to 3).
    Missing,
    /// It cannot read them now (exception 4 and others).
    Failing,
    /// It does not reply.
    Silent,
}

/// A source's plan and the state of its channels.
pub(crate) struct SourceState {
    pub(crate) settings: SourceSettings,
    pub(crate) plan: Plan,
    /// Whether the last cycle brought no value.
    pub(crate) is_empty: bool,
    /// The connection's generation at the last cycle.
    generation: u64,
    /// Channels whose refusal has been logged.
    logged_refusals: Vec<usize>,
    /// Channels that have never had a value.
    valueless: BTreeSet<usize>,
    last_refusal: Instant,
    retry_after: Duration,
    max_retry_after: Duration,
    last_plan_reset: Instant,
    /// Cycles in a row that ended without a value.
    pub(crate) empty_cycles: usize,
    /// A SunSpec model was not where it was discovered in the last cycle.
    pub(crate) has_moved: bool,
    counters: CounterFilter,
    created: Instant,
    /// When the next block without a reply is asked for.
    silence_retry_at: Instant,
    silence_pause: Duration,
}

impl SourceState {
    pub(crate) fn new(source: SourceSettings, device: &DeviceSettings) -> Self {
        let plan = device.profile.plan(source.name.as_deref(), device.unit, device.read_limits);
        let now = Instant::now();
        let source_name = source.name.clone();
        Self {
            settings: source,
            valueless: (0..plan.channel_count()).collect(),
            plan,
            is_empty: true,
            generation: 0,
            logged_refusals: Vec::new(),
            last_refusal: now,
            retry_after: MIN_REFUSAL_RETRY,
            max_retry_after: MAX_MISSING_RETRY,
            last_plan_reset: now,
            empty_cycles: 0,
            has_moved: false,
            counters: CounterFilter::new(device.profile.source(source_name.as_deref())),
            created: now,
            silence_retry_at: now,
            silence_pause: MIN_REFUSAL_RETRY,
        }
    }

    /// Lets the plan include refused points again when the device may have them by now: at intervals, and sooner on a new
    /// connection.
    pub(crate) fn retry_refused(&mut self, connection: &BusConnection) {
        if self.last_plan_reset.elapsed() >= PLAN_RESET_INTERVAL {
            self.last_plan_reset = Instant::now();
            self.plan.discard_learned();
        }
        let is_new = std::mem::replace(&mut self.generation, connection.generation()) != connection.generation();
        if self.last_refusal.elapsed() < if is_new { MIN_REFUSAL_RETRY } else { self.retry_after } {
            return;
        }
        let longest = if self.plan.is_fully_refused() { MAX_LOST_RETRY } else { self.max_retry_after };
        self.retry_after =
            if self.plan.retry_refused() { (self.retry_after * 2).min(longest) } else { MIN_REFUSAL_RETRY };
        self.last_refusal = Instant::now();
    }

    /// Records which channels have had a value.
    pub(crate) fn record_values(&mut self, frame: &Frame) {
        self.is_empty = frame.is_empty();
        self.empty_cycles = if self.is_empty { self.empty_cycles.saturating_add(1) } else { 0 };
        let has_text = |channel: usize| frame.texts.iter().any(|text| usize::try_from(text.channel) == Ok(channel));
        self.valueless
            .retain(|&channel| frame.values.get(channel).is_none_or(|value| value.is_nan()) && !has_text(channel));
    }

    /// Takes counters that have fallen out of a frame until they have stayed down.
    pub(crate) fn hold_back_counters(&mut self, settings: &DeviceSettings, frame: &mut Frame) {
        let device = &settings.name;
        for channel in self.counters.hold_back(frame, self.created.elapsed()) {
            let point = settings.profile.source(self.settings.name.as_deref()).nth(channel);
            let name = point.map_or("", |point| point.name.as_str());
            tracing::debug!(%device, "the counter {name} has fallen; it has no value until it has stayed down for a minute");
        }
    }

    /// A block to ask for although it got no reply before, if it is time.
    pub(crate) fn silent_request(&self) -> Option<ReadRequest> {
        if Instant::now() < self.silence_retry_at { None } else { self.plan.silent_request() }
    }

    /// Records that a block got no reply again: at once its halves are asked for, a single point less and less often.
    pub(crate) fn record_silence(&mut self, settings: &DeviceSettings, reason: &str) {
        let channels = self.plan.split_silent();
        if !channels.is_empty() {
            self.record_refusal(settings, channels, reason, RefusalKind::Silent);
        }
        if self.plan.is_silence_located() {
            self.silence_retry_at = Instant::now() + self.silence_pause;
            let longest = if self.max_retry_after == MAX_MISSING_RETRY { MAX_SILENCE_RETRY } else { MAX_LOST_RETRY };
            self.silence_pause = (self.silence_pause * 2).min(longest);
        }
    }

    /// Records that the device replied to a block that got no reply before.
    pub(crate) fn end_silence(&mut self) {
        self.plan.end_silence();
        self.silence_pause = MIN_REFUSAL_RETRY;
        self.silence_retry_at = Instant::now();
    }

    /// Records that the device refuses these channels. Each is logged once, not in every cycle.
    pub(crate) fn record_refusal(
        &mut self,
        settings: &DeviceSettings,
        channels: Vec<usize>,
        reason: &str,
        kind: RefusalKind,
    ) {
        let device = &settings.name;
        self.last_refusal = Instant::now();
        let had_value = channels.iter().any(|channel| !self.valueless.contains(channel));
        self.max_retry_after =
            if had_value || kind == RefusalKind::Failing { MAX_LOST_RETRY } else { MAX_MISSING_RETRY };
        for channel in channels {
            if self.logged_refusals.contains(&channel) {
                continue;
            }
            self.logged_refusals.push(channel);
            let point = settings.profile.source(self.settings.name.as_deref()).nth(channel);
            let (point, address) = point.map_or(("", 0), |point| (point.name.as_str(), point.address));
            let retry_after = if kind == RefusalKind::Silent { self.silence_pause } else { self.retry_after };
            let verb = if kind == RefusalKind::Silent { "does not answer the read of" } else { "refuses to read" };
            tracing::warn!(
                %device,
                point,
                address,
                "the device {verb} {point} at {address}: {reason}; retrying in {retry_after:?}"
            );
        }
    }
}
