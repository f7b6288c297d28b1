//! The read plan of a source, and when the points without values are asked for again.

use std::collections::BTreeSet;
use std::time::Duration;

use bessai_domain::blank_model::BlankModelFilter;
use bessai_domain::counter::CounterFilter;
use bessai_domain::event::Frame;
use bessai_domain::plan::{BlockFault, Cycle, Plan, ReadRequest};
use tokio::time::Instant;

use crate::connection::BusConnection;
use crate::missing::{FailedReads, MissingChannels};
use crate::wait_budget::{ReplyTime, WaitBudget};
use crate::{DeviceSettings, SourceSettings};

/// Shortest time after which points without values are asked for again; doubles with each attempt that finds none.
const MIN_RETRY: Duration = Duration::from_secs(10);
/// Longest time after which a point is asked for again that never had a value: the device may have been updated.
const MAX_MISSING_RETRY: Duration = Duration::from_hours(1);
/// Longest time after which a point is asked for again that once had a value, or that the device fails to read, or after
/// which a device is that refuses every point: it is starting up, or has a temporary fault.
const MAX_LOST_RETRY: Duration = Duration::from_secs(60);
/// Longest time after which a point is asked for again that never had a value, if each attempt costs a time limit or a
/// connection.
const MAX_COSTLY_RETRY: Duration = Duration::from_mins(5);
/// Time after which block limits and unreadable gaps are forgotten: a temporary fault may have caused them.
const PLAN_RESET_INTERVAL: Duration = Duration::from_hours(1);
/// Cycles in a row without a reply after which a device that once replied is not there: only one block is asked for in each.
const MAX_EMPTY_CYCLES: usize = 1;
/// The same of a device that never replied: the first blocks of its profile may be those that it does not have.
const MAX_EMPTY_CYCLES_AT_START: usize = 3;
/// Requests of a search for readable points in one cycle; the next cycle goes on with it.
const SEARCH_REQUESTS: usize = 100;

/// A source's plan and the state of its channels.
pub(crate) struct SourceState {
    pub(crate) settings: SourceSettings,
    pub(crate) plan: Plan,
    pub(crate) reply_time: ReplyTime,
    pub(crate) missing: MissingChannels,
    /// Whether the last cycle brought no value.
    pub(crate) is_empty: bool,
    /// The connection's generation at the last cycle.
    generation: u64,
    /// Channels that have never had a value.
    valueless: BTreeSet<usize>,
    last_plan_reset: Instant,
    /// Cycles in a row that ended without a value.
    empty_cycles: usize,
    /// A SunSpec model was not where it was discovered in the last cycle.
    pub(crate) has_moved: bool,
    /// The device replied to a request of the last cycle, if only with an exception.
    pub(crate) has_replied: bool,
    counters: CounterFilter,
    blank_models: BlankModelFilter,
    created: Instant,
    /// For points whose attempts cost little.
    cheap_retry: RetryTimer,
    /// For points whose attempts cost a time limit or a connection.
    costly_retry: RetryTimer,
}

/// When points without values are asked for again.
#[derive(Debug)]
struct RetryTimer {
    is_costly: bool,
    last: Instant,
    due: Instant,
    pause: Duration,
    /// The points at the beginning of the attempt that is under way.
    attempt: Option<usize>,
    attempts: usize,
    /// The points when the timer was last looked at.
    excluded: usize,
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
            reply_time: ReplyTime::default(),
            missing: MissingChannels::default(),
            is_empty: true,
            generation: 0,
            last_plan_reset: now,
            empty_cycles: 0,
            has_moved: false,
            has_replied: false,
            counters: CounterFilter::new(device.profile.source(source_name.as_deref())),
            blank_models: BlankModelFilter::new(device.profile.source(source_name.as_deref())),
            created: now,
            cheap_retry: RetryTimer::new(false, now),
            costly_retry: RetryTimer::new(true, now),
        }
    }

    /// The same source of the device whose points were discovered anew.
    pub(crate) fn replaced(&self, device: &DeviceSettings) -> Self {
        let missing = self.missing.replaced(device, &self.settings);
        Self { missing, ..Self::new(self.settings.clone(), device) }
    }

    /// The requests of the next reading, among them those for points that may have values again by now: at intervals, and
    /// sooner on a new connection. `others_answer`: the device answers another source.
    pub(crate) fn begin_cycle(&mut self, connection: &BusConnection, others_answer: bool) -> Cycle {
        let now = Instant::now();
        if now.duration_since(self.last_plan_reset) >= PLAN_RESET_INTERVAL {
            self.last_plan_reset = now;
            self.plan.discard_limits();
            self.reply_time.forget();
        }
        let is_new = std::mem::replace(&mut self.generation, connection.generation()) != connection.generation();
        self.cheap_retry.begin(&mut self.plan, now, is_new);
        self.costly_retry.begin(&mut self.plan, now, false);
        let mut cycle = self.plan.polling_cycle(SEARCH_REQUESTS);
        if self.empty_cycles > 0 {
            cycle.vary(&self.plan, self.empty_cycles);
        }
        if others_answer {
            cycle.others_answer();
        }
        cycle
    }

    /// How long the next cycle waits for replies that do not come.
    pub(crate) fn wait_budget(&self, timeout: Duration) -> WaitBudget {
        WaitBudget::new(timeout, &self.reply_time)
    }

    /// Records what was learned, and logs it.
    pub(crate) fn end_cycle(&mut self, settings: &DeviceSettings, cycle: Cycle, failed: &FailedReads) {
        self.missing.remember(failed);
        let has_learned = cycle.finish(&mut self.plan);
        let is_retrying = self.cheap_retry.attempt.is_some() || self.costly_retry.attempt.is_some();
        if !has_learned && !is_retrying {
            return;
        }
        let now = Instant::now();
        let absent = self.plan.absent_channels();
        let had_value = |is_costly: bool| {
            absent.iter().any(|(channel, (fault, _))| {
                fault.is_costly() == is_costly && (!self.valueless.contains(channel) || is_temporary(*fault))
            })
        };
        let is_refused = self.plan.is_fully_refused();
        let longest_cheap = if had_value(false) || is_refused { MAX_LOST_RETRY } else { MAX_MISSING_RETRY };
        let longest_costly =
            if had_value(true) || self.plan.has_oversized() { MAX_LOST_RETRY } else { MAX_COSTLY_RETRY };
        self.cheap_retry.end(&self.plan, now, longest_cheap);
        self.costly_retry.end(&self.plan, now, longest_costly);
        let next_try = |is_costly| retry(&self.cheap_retry, &self.costly_retry, is_costly);
        self.missing.update(settings, &self.settings, &absent, next_try);
    }

    /// Records which channels were read in a cycle that brought others, and logs those that are answered only sometimes.
    pub(crate) fn note_reliability(&mut self, settings: &DeviceSettings, failed: &FailedReads, frame: &Frame) {
        let next_try = |is_costly| retry(&self.cheap_retry, &self.costly_retry, is_costly);
        self.missing.note_cycle(settings, &self.settings, failed, frame, next_try);
    }

    /// Whether the device has answered nothing for so long that one more request without a reply is enough.
    pub(crate) fn seems_away(&self) -> bool {
        let was_read = self.valueless.len() < self.plan.channel_count();
        self.empty_cycles >= if was_read { MAX_EMPTY_CYCLES } else { MAX_EMPTY_CYCLES_AT_START }
    }

    /// Records which channels have had a value.
    pub(crate) fn record_values(&mut self, frame: &Frame) {
        self.is_empty = frame.is_empty();
        self.empty_cycles = if self.is_empty { self.empty_cycles.saturating_add(1) } else { 0 };
        let has_text = |channel: usize| frame.texts.iter().any(|text| usize::try_from(text.channel) == Ok(channel));
        self.valueless
            .retain(|&channel| frame.values.get(channel).is_none_or(|value| value.is_nan()) && !has_text(channel));
    }

    /// Takes values out of a frame that the device does not mean: those of blank SunSpec models, and of counters that have
    /// fallen until they have stayed down.
    pub(crate) fn withhold_values(&mut self, settings: &DeviceSettings, frame: &mut Frame) {
        self.blank_models.remove_blank(frame);
        let device = &settings.name;
        for channel in self.counters.hold_back(frame, self.created.elapsed()) {
            let point = settings.profile.source(self.settings.name.as_deref()).nth(channel);
            let name = point.map_or("", |point| point.name.as_str());
            tracing::debug!(%device, "the counter {name} has fallen; it has no value until it has stayed down for a minute");
        }
    }

    /// The channels that have no value without a request.
    pub(crate) fn channels(&self, request: &ReadRequest) -> Vec<usize> {
        self.plan.dependent_channels(request)
    }
}

/// Whether the device says itself that it cannot read a point now.
fn is_temporary(fault: BlockFault) -> bool {
    matches!(fault, BlockFault::Failing | BlockFault::Busy)
}

/// When points without values are asked for next, and after which pause.
fn retry(cheap: &RetryTimer, costly: &RetryTimer, is_costly: bool) -> (Instant, Duration) {
    let timer = if is_costly { costly } else { cheap };
    (timer.due, timer.pause)
}

impl RetryTimer {
    fn new(is_costly: bool, now: Instant) -> Self {
        Self { is_costly, last: now, due: now, pause: MIN_RETRY, attempt: None, attempts: 0, excluded: 0 }
    }

    /// Begins an attempt if it is time.
    fn begin(&mut self, plan: &mut Plan, now: Instant, is_new_connection: bool) {
        if self.attempt.is_some() || self.excluded == 0 {
            return;
        }
        let is_early = is_new_connection && now.duration_since(self.last) >= MIN_RETRY;
        if now >= self.due || is_early {
            self.last = now;
            self.attempt = Some(plan.excluded_count(self.is_costly));
            plan.retry_excluded(self.is_costly, self.attempts);
            self.attempts = self.attempts.wrapping_add(1);
        }
    }

    /// Sets the time of the next attempt when one is over, or when the first points are found.
    fn end(&mut self, plan: &Plan, now: Instant, longest: Duration) {
        if plan.is_searching(self.is_costly) {
            return;
        }
        let excluded = plan.excluded_count(self.is_costly);
        match self.attempt.take() {
            Some(before) if excluded < before => self.pause = MIN_RETRY,
            Some(_) => self.pause = (self.pause * 2).min(longest),
            None if self.excluded == 0 => self.pause = MIN_RETRY,
            None => {
                self.excluded = excluded;
                return;
            }
        }
        self.excluded = excluded;
        self.due = now + self.pause;
    }
}
