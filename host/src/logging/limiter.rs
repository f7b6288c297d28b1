//! How many lines each source may log: a burst, then a steady rate. What is suppressed is counted and reported once a minute.
//!
//! A source is one statement of the program or of a library, for one feed or device: a customer's plugin or broker cannot use
//! up another's allowance, nor that of the site. A feed has a total allowance as well, over all statements.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// One statement for one feed or device: enough for a device that refuses each point of a profile.
const STATEMENT: Allowance = Allowance { burst: 100, interval: Duration::from_secs(10) };
/// What one plugin logs at INFO and above.
const PLUGIN: Allowance = Allowance { burst: 200, interval: Duration::from_secs(1) };
/// All statements for one feed together. More than [`PLUGIN`], so that a plugin does not hide what is said about its feed.
const FEED: Allowance = Allowance { burst: 500, interval: Duration::from_millis(500) };
/// One statement at DEBUG or TRACE, which somebody has asked for.
const VERBOSE_STATEMENT: Allowance = Allowance { burst: 1000, interval: Duration::from_millis(5) };
/// All statements at DEBUG and TRACE for one feed together.
const VERBOSE_FEED: Allowance = Allowance { burst: 5000, interval: Duration::from_millis(2) };
/// Time from a source's first suppressed line to the report.
const REPORT_EVERY: Duration = Duration::from_secs(60);
/// Sources with an allowance of their own; further ones share one.
const MAX_SOURCES: usize = 2048;
/// Least time between two searches for sources that can be forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(1);
/// Lines of one report; the sources with fewer suppressed lines share the last one.
const MAX_REPORT_LINES: usize = 50;

/// A number of lines at once, then one each interval.
#[derive(Clone, Copy)]
struct Allowance {
    burst: u32,
    interval: Duration,
}

/// Which allowances a line counts towards.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum LineKind {
    /// The program's and libraries' lines.
    Program,
    /// A plugin's lines.
    Plugin,
    /// DEBUG and TRACE: they do not use up what the others may log.
    Verbose,
}

/// Where a line comes from.
#[derive(Clone, Copy)]
pub(super) struct LineSource<'a> {
    /// Identifies the statement.
    pub(super) statement: usize,
    pub(super) kind: LineKind,
    pub(super) feed: Option<&'a str>,
    pub(super) device: Option<&'a str>,
    /// The statement in a library: they all share one of ours.
    pub(super) library: Option<&'a str>,
}

/// What happens to a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Admitted,
    /// It is counted.
    Suppressed,
    /// It is counted, and the report needs its text as an example.
    FirstSuppressed {
        /// For [`Limiter::set_example`].
        key: u64,
        /// When [`Limiter::take_reports`] has a report.
        report_at: Instant,
    },
}

/// Suppressed lines of one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Suppressed {
    pub(super) lines: u64,
    /// They exceed the total of their feed.
    pub(super) is_total: bool,
    pub(super) during: Duration,
    /// The text of the first one.
    pub(super) example: String,
    pub(super) feed: Option<String>,
    pub(super) device: Option<String>,
}

#[derive(Default)]
pub(super) struct Limiter {
    hasher: RandomState,
    sources: Mutex<Sources>,
}

#[derive(Default)]
struct Sources {
    by_key: HashMap<u64, SourceState>,
    forgotten_at: Option<Instant>,
    report_at: Option<Instant>,
}

struct SourceState {
    allowance: Allowance,
    /// When the whole burst is available again.
    full_at: Instant,
    suppressed: Option<(Instant, Suppressed)>,
}

impl Limiter {
    /// Whether a line may be written now.
    pub(super) fn decide(&self, source: &LineSource<'_>, now: Instant) -> Decision {
        let &LineSource { statement, kind, feed, device, library } = source;
        let (of_statement, of_feed) = match kind {
            LineKind::Program => (STATEMENT, FEED),
            LineKind::Plugin => (PLUGIN, FEED),
            LineKind::Verbose => (VERBOSE_STATEMENT, VERBOSE_FEED),
        };
        let is_verbose = kind == LineKind::Verbose;
        let key = self.key((statement, feed, device, library));
        let shared = self.key((is_verbose, feed.is_some()));
        let mut sources = self.sources();
        let decision = sources.decide(key, shared, of_statement, source, false, now);
        if decision != Decision::Admitted || feed.is_none() {
            return decision;
        }
        let key = self.key((is_verbose, feed));
        sources.decide(key, shared, of_feed, &LineSource { device: None, ..*source }, true, now)
    }

    /// The text of the first suppressed line of a source.
    pub(super) fn set_example(&self, key: u64, text: String) {
        let mut sources = self.sources();
        if let Some((_, suppressed)) = sources.by_key.get_mut(&key).and_then(|source| source.suppressed.as_mut()) {
            suppressed.example = text;
        }
    }

    /// What was suppressed, if it is time to report it; at the end, at any time.
    pub(super) fn take_reports(&self, now: Instant, is_end: bool) -> Vec<Suppressed> {
        let mut sources = self.sources();
        if !is_end && sources.report_at.is_none_or(|at| now < at) {
            return Vec::new();
        }
        sources.report_at = None;
        let taken = sources.by_key.values_mut().filter_map(|source| source.suppressed.take());
        let taken =
            taken.map(|(since, suppressed)| Suppressed { during: now.saturating_duration_since(since), ..suppressed });
        let mut all: Vec<_> = taken.collect();
        drop(sources);
        all.sort_by_key(|suppressed| std::cmp::Reverse(suppressed.lines));
        merge_rest(&mut all);
        all
    }

    fn key(&self, parts: impl Hash) -> u64 {
        self.hasher.hash_one(parts)
    }

    /// No code panics while holding the lock, so a poisoned lock is still consistent.
    fn sources(&self) -> MutexGuard<'_, Sources> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the largest, and one for all others.
fn merge_rest(all: &mut Vec<Suppressed>) {
    if all.len() <= MAX_REPORT_LINES {
        return;
    }
    let rest = all.split_off(MAX_REPORT_LINES - 1);
    all.push(Suppressed {
        lines: rest.iter().map(|suppressed| suppressed.lines).sum(),
        is_total: false,
        during: rest.iter().map(|suppressed| suppressed.during).max().unwrap_or_default(),
        example: format!("those of {} further sources", rest.len()),
        feed: None,
        device: None,
    });
}

impl Sources {
    fn decide(
        &mut self,
        key: u64,
        shared: u64,
        allowance: Allowance,
        source: &LineSource<'_>,
        is_total: bool,
        now: Instant,
    ) -> Decision {
        let key = if self.has_room_for(key, now) { key } else { shared };
        let new = || SourceState { allowance, full_at: now, suppressed: None };
        let state = self.by_key.entry(key).or_insert_with(new);
        if state.admits(now) {
            return Decision::Admitted;
        }
        if let Some((_, suppressed)) = &mut state.suppressed {
            suppressed.lines = suppressed.lines.saturating_add(1);
            return Decision::Suppressed;
        }
        let text = |text: Option<&str>| text.map(str::to_owned);
        let (feed, device) = (text(source.feed), text(source.device));
        let suppressed =
            Suppressed { lines: 1, is_total, during: Duration::ZERO, example: String::new(), feed, device };
        state.suppressed = Some((now, suppressed));
        let report_at = *self.report_at.get_or_insert(now + REPORT_EVERY);
        Decision::FirstSuppressed { key, report_at }
    }

    /// Whether a source is known or can be added. A source whose burst is available again is like a new one, so it can be
    /// forgotten.
    fn has_room_for(&mut self, key: u64, now: Instant) -> bool {
        if self.by_key.len() < MAX_SOURCES || self.by_key.contains_key(&key) {
            return true;
        }
        if self.forgotten_at.is_none_or(|at| now.saturating_duration_since(at) >= FORGET_EVERY) {
            self.forgotten_at = Some(now);
            self.by_key.retain(|_, source| source.full_at > now || source.suppressed.is_some());
        }
        self.by_key.len() < MAX_SOURCES
    }
}

impl SourceState {
    fn admits(&mut self, now: Instant) -> bool {
        let Allowance { burst, interval } = self.allowance;
        let full_at = self.full_at.max(now) + interval;
        let is_admitted = full_at.saturating_duration_since(now) <= interval * burst;
        if is_admitted {
            self.full_at = full_at;
        }
        is_admitted
    }
}

#[cfg(test)]
mod tests;
