//! The content of `/health`: the current state, updated with every event.

use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::time::Instant;

use bessai_domain::event::{EventBody, SafetyState};
use bessai_domain::site::Site;
use bessai_feed::{Lesson, RefusedByBroker, SharedFeedHealth};
use bessai_journal::{JournalHealth, Lag};
use bessai_modbus::{FramingCounts, MissingPoints, ReadFailure};
use bessai_plugin_runtime::PluginMetrics;
use serde_json::{Map, Value, json};

use crate::clock::{self, WallClock};
use crate::health::{self, HealthReport};
use crate::logging;

mod inbound;
mod missing;

/// The state of the site's devices, safety and feeds.
pub(super) struct StatusReport {
    site: String,
    started: Instant,
    devices: BTreeMap<String, Option<bool>>,
    failures: BTreeMap<String, DeviceFailure>,
    framing: BTreeMap<String, Arc<FramingCounts>>,
    /// The points without values of each device, by source.
    missing: BTreeMap<String, BTreeMap<u32, MissingPoints>>,
    safety: SafetyState,
    frames: u64,
    feeds: BTreeMap<String, SharedFeedHealth>,
    metrics: BTreeMap<String, Arc<PluginMetrics>>,
}

/// Why a device cannot be read; removed once it can.
struct DeviceFailure {
    error: String,
    since: Instant,
    next_try: Instant,
}

impl StatusReport {
    pub(super) fn new(site: &Site, started: Instant) -> Self {
        let devices = site.devices.iter().map(|device| (device.name.clone(), None)).collect();
        Self {
            site: site.id.clone(),
            started,
            devices,
            failures: BTreeMap::new(),
            framing: BTreeMap::new(),
            missing: BTreeMap::new(),
            safety: SafetyState::Unknown,
            frames: 0,
            feeds: BTreeMap::new(),
            metrics: BTreeMap::new(),
        }
    }

    /// The state of a feed, which the feed itself updates.
    pub(super) fn feed(&mut self, name: &str) -> SharedFeedHealth {
        self.feeds.entry(name.to_owned()).or_default().clone()
    }

    /// What a feed's plugin reports about itself.
    pub(super) fn metrics(&mut self, name: &str) -> Arc<PluginMetrics> {
        Arc::clone(self.metrics.entry(name.to_owned()).or_default())
    }

    /// Shows what the connection of a device counts.
    pub(super) fn show_framing(&mut self, device: &str, counts: &Arc<FramingCounts>) {
        self.framing.insert(device.to_owned(), Arc::clone(counts));
    }

    /// Removes a feed that has ended.
    pub(super) fn remove_feed(&mut self, name: &str) {
        self.feeds.remove(name);
        self.metrics.remove(name);
    }

    /// An attempt to read a device failed.
    pub(super) fn note_failure(&mut self, failure: ReadFailure) {
        let ReadFailure { device, error, next_try } = failure;
        let since = self.failures.get(&device).map_or_else(Instant::now, |known| known.since);
        let next_try = Instant::from_std(next_try);
        self.failures.insert(device, DeviceFailure { error, since, next_try });
    }

    /// Other points of a device than before have no values.
    pub(super) fn note_missing(&mut self, missing: MissingPoints) {
        let sources = self.missing.entry(missing.device.clone()).or_default();
        if missing.blocks.is_empty() {
            sources.remove(&missing.source);
        } else {
            sources.insert(missing.source, missing);
        }
    }

    pub(super) fn note(&mut self, body: &EventBody) {
        match body {
            EventBody::Device(status) => {
                if status.online {
                    self.failures.remove(&status.device);
                }
                self.devices.insert(status.device.clone(), Some(status.online));
            }
            EventBody::Frame(_) => self.frames += 1,
            EventBody::Site(site) => {
                let known = std::mem::take(&mut self.devices);
                let online = |name: &str| known.get(name).copied().flatten();
                let devices = site.devices.iter().map(|device| (device.name.clone(), online(&device.name)));
                self.devices = devices.collect();
                self.failures.retain(|name, _| self.devices.contains_key(name));
                self.framing.retain(|name, _| self.devices.contains_key(name));
                self.missing.retain(|name, _| self.devices.contains_key(name));
            }
            _ => {}
        }
    }

    pub(super) fn judged(&mut self, state: SafetyState) {
        self.safety = state;
    }

    /// The content of `/health`; `models_run`: none is disabled; `lag` tells how far a feed is behind.
    pub(super) fn write(&self, journal: &JournalHealth, models_run: bool, lag: impl Fn(&str) -> Lag) -> HealthReport {
        let feeds = self.feeds.iter().map(|(name, health)| (name.as_str(), self.feed_json(name, health, lag(name))));
        let feeds = health::object(feeds).into();
        let devices_answer = self.devices.values().all(|online| *online == Some(true));
        let runs = |health: &SharedFeedHealth| {
            let health = health.borrow();
            let is_refused = health.suspects > 0 || !health.lessons.is_empty() || health.is_short_of_capacity();
            health.connected && health.off.is_none() && health.quarantine_fault.is_none() && !is_refused
        };
        let feeds_run = self.feeds.values().all(runs);
        let clock = clock::state();
        let is_safe = self.safety == SafetyState::Safe;
        let parts_run = devices_answer && feeds_run && models_run;
        let healthy = parts_run && is_safe && journal.fault.is_none() && clock == WallClock::Set;
        let members = json!({
            "status": if healthy { "healthy" } else { "degraded" },
            "site_id": self.site,
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_s": self.started.elapsed().as_secs(),
            "safety_status": match self.safety {
                SafetyState::Unknown => "unknown",
                SafetyState::Safe => "ok",
                SafetyState::Unsafe => "BLOCKED",
            },
            "clock": match clock {
                WallClock::Set => "ok",
                WallClock::Reset => "before 2025: continuing with the time since it was right",
                WallClock::NeverSet => "before 2025: nothing is published until it is set",
            },
            "frames": self.frames,
            "devices": self.devices.iter().map(|(name, online)| (name.clone(), self.device(name, *online))).collect::<Map<_, _>>(),
            "journal": {
                "oldest": journal.oldest,
                "newest": journal.newest,
                "bytes": journal.bytes,
                "lost": journal.lost,
                "damaged": journal.damaged,
                "cut_bytes": journal.truncated_bytes,
                "set_aside": journal.quarantined_files,
                "trouble": journal.fault,
            },
            "log": { "dropped": logging::dropped_lines() },
        });
        // It is always one.
        let Value::Object(members) = members else { return HealthReport::default() };
        HealthReport { members, feeds }
    }

    fn feed_json(&self, name: &str, health: &SharedFeedHealth, lag: Lag) -> Value {
        let metrics = self.metrics.get(name).map_or_else(|| json!([]), |metrics| inbound::metrics(metrics));
        feed(health, lag, metrics)
    }

    fn device(&self, name: &str, online: Option<bool>) -> Value {
        let failure = self.failures.get(name);
        let framing = self.framing.get(name).into_iter().flat_map(|counts| counts.occurred());
        json!({
            "online": online,
            "last_error": failure.map(|failure| &failure.error),
            "failing_s": failure.map(|failure| failure.since.elapsed().as_secs()),
            "next_try_s": failure.map(|failure| seconds_until(failure.next_try)),
            "framing": framing.map(|(name, count)| (name.to_owned(), json!(count))).collect::<Map<_, _>>(),
            "missing": self.missing.get(name).map(missing::blocks).unwrap_or_default(),
            "missing_points": self.missing.get(name).map(missing::count).unwrap_or_default(),
        })
    }
}

/// With one decimal; zero for a time that has passed.
fn seconds_until(time: Instant) -> f64 {
    let seconds = time.saturating_duration_since(Instant::now()).as_secs_f64();
    (seconds * 10.0).round() / 10.0
}

/// What a feed has learnt about its broker.
fn lesson(lesson: &Lesson) -> Value {
    let (what, value) = match &lesson.refuses {
        RefusedByBroker::Topic(topic) => ("topic", json!(topic)),
        RefusedByBroker::Size(bytes) => ("bytes", json!(bytes)),
        RefusedByBroker::Retain => ("retain", json!(true)),
        RefusedByBroker::QosAbove(qos) => ("qos_above", json!(qos.level())),
    };
    json!({ what: value, "reason": lesson.reason, "learnt_s": lesson.learnt.elapsed().as_secs() })
}

/// `metrics`: of its plugin.
fn feed(health: &SharedFeedHealth, lag: Lag, metrics: Value) -> Value {
    let health = health.borrow();
    json!({
        "connected": health.connected,
        "last_error": health.last_error,
        "failing_s": health.failing_since.map(|since| since.elapsed().as_secs()),
        "next_try_s": health.next_try.map(seconds_until),
        "sign_ins": health.sign_ins,
        "failed_sign_ins": health.failed_sign_ins,
        "delivered": health.delivered,
        "lag": lag.events,
        "lag_s": lag.seconds,
        "lost": lag.lost + health.deleted,
        "backlog": lag.backlog,
        "backlog_off": health.backlog_off,
        "version": health.version,
        "calls": health.calls,
        "slow_calls": health.slow_calls,
        "longest_call_ms": health.longest_call.as_secs_f64() * 1e3,
        "cpu_share": (health.processor_share() * 1e3).round() / 1e3,
        "throttled_s": health.throttled.as_secs_f64(),
        "failures": health.failures,
        "starts": health.starts,
        "set_aside": health.quarantined,
        "quarantine_trouble": health.quarantine_fault,
        "requeued": health.requeued,
        "refused": health.refused,
        "suspects": health.suspects,
        "broker_refuses": health.lessons.iter().map(lesson).collect::<Vec<_>>(),
        "broker_rate": health.broker_rate.map(|rate| (rate * 10.0).round() / 10.0),
        "too_old": health.too_old,
        "commands": inbound::commands(&health.commands),
        "metrics": metrics,
        "not_taken": health.update_error,
        "off": health.off,
    })
}
