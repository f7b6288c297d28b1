//! The run: trouble, recovery and a moment of calm in turn; in its first third the gateway is also killed and restarted, so that
//! the rest shows one process for a long time.

use std::time::{Duration, Instant};

use crate::delivery::Deliveries;
use crate::gateway::Gateway;
use crate::options::Options;
use crate::report::Report;
use crate::sampling::{Sampled, Sampler, lag};
use crate::site::{FEEDS, Site};
use crate::trouble::Trouble;

/// Calm between two troubles.
const CALM: Duration = Duration::from_secs(4);
/// Time within which all feeds have to have caught up after a trouble.
pub const RECOVERED_WITHIN: Duration = Duration::from_secs(60);
/// A feed that lags no more events than this has caught up: these are on their way to the broker at any moment.
const EVENTS_IN_FLIGHT: f64 = 5.0;
/// Polling period of the feeds' lag.
const POLL_EVERY: Duration = Duration::from_millis(100);
/// Kills and restarts in the first third.
const INTERRUPTIONS: u32 = 8;

/// A run in progress.
struct Soak {
    site: Site,
    gateway: Gateway,
    sampler: Sampler,
    deliveries: Deliveries,
    starts: usize,
    troubles: usize,
    /// Seconds until all feeds had caught up, for each trouble.
    recoveries: Vec<f64>,
    violations: Vec<String>,
}

/// Runs for as long as the options say.
pub async fn soak(options: &Options) -> Report {
    let site = Site::start().await;
    let deliveries = Deliveries::start(&site).await;
    let gateway = Gateway::new(&options.program, &site.data(), &site.log());
    let sampler = Sampler::start(&site.data(), &site.log(), &FEEDS);
    let mut soak = Soak {
        site,
        gateway,
        sampler,
        deliveries,
        starts: 0,
        troubles: 0,
        recoveries: Vec::new(),
        violations: Vec::new(),
    };
    soak.start().await;
    soak.run(options.duration).await;
    soak.finish(options.duration).await
}

impl Soak {
    async fn run(&mut self, duration: Duration) {
        let (started, third) = (Instant::now(), duration / 3);
        let mut interruptions = 0;
        while started.elapsed() < duration {
            if interruptions < INTERRUPTIONS && started.elapsed() >= third * interruptions / INTERRUPTIONS {
                self.interrupt(interruptions % 4 == 3).await;
                interruptions += 1;
                self.recover().await;
            }
            self.trouble().await;
            self.recover().await;
            self.flapping(CALM).await;
        }
    }

    /// Waits while the hostile feed's network fails now and then.
    async fn flapping(&self, duration: Duration) {
        let _ = tokio::time::timeout(duration, self.site.flap()).await;
    }

    async fn trouble(&mut self) {
        let trouble = Trouble::nth(self.troubles);
        eprintln!("{:5} {trouble:?}", self.troubles);
        self.deliveries.allow_redeliveries(trouble.redeliveries());
        trouble.happen(&mut self.site, &self.gateway, self.troubles).await;
        self.troubles += 1;
    }

    /// Kills the gateway or restarts it.
    async fn interrupt(&mut self, is_orderly: bool) {
        eprintln!("{:5} {}", self.troubles, if is_orderly { "Restart" } else { "Kill" });
        self.sampler.set(None);
        let newest = self.newest();
        if is_orderly {
            let status = self.gateway.stop().await;
            if !status.success() {
                self.violations.push(format!("the gateway ended with {status} after SIGTERM"));
            }
        } else {
            self.gateway.kill();
        }
        self.deliveries.record_kill(self.site.battery.readings(), newest);
        self.start().await;
    }

    async fn start(&mut self) {
        self.gateway.start().await;
        let (pid, health) = (self.gateway.pid(), self.gateway.health());
        self.sampler.set(Some(Sampled { pid, run: self.starts, health }));
        self.starts += 1;
    }

    fn newest(&self) -> u64 {
        let health = self.gateway.health().get().unwrap();
        health["journal"]["newest"].as_u64().unwrap()
    }

    /// Waits until all feeds have caught up.
    async fn recover(&mut self) {
        let started = Instant::now();
        loop {
            self.gateway.assert_running();
            let health = self.gateway.health();
            let health = tokio::task::spawn_blocking(move || health.get()).await.unwrap();
            let lag = health.as_ref().map_or(f64::INFINITY, |health| lag(health, &FEEDS));
            if lag <= EVENTS_IN_FLIGHT {
                let seconds = started.elapsed().as_secs_f64();
                eprintln!("      caught up after {seconds:.1} s");
                self.recoveries.push(seconds);
                return;
            }
            if started.elapsed() > RECOVERED_WITHIN {
                let feeds = health.map_or_else(|error| error.to_string(), |health| health["feeds"].to_string());
                self.violations
                    .push(format!("a feed lags {lag} events {RECOVERED_WITHIN:?} after the trouble: {feeds}"));
                return;
            }
            tokio::time::sleep(POLL_EVERY).await;
        }
    }

    /// Stops the gateway and compares what arrived with what it has kept.
    async fn finish(mut self, duration: Duration) -> Report {
        self.recover().await;
        let delivered = self.newest();
        let readings = self.site.battery.readings();
        self.wait_until_arrived(delivered, readings).await;
        self.sampler.set(None);
        let status = self.gateway.stop().await;
        if !status.success() {
            self.violations.push(format!("the gateway ended with {status} after SIGTERM"));
        }
        let kept = kept_numbers(&self.gateway.command(&["journal", "export", "--dir", "journal"]));
        let arrived = self.deliveries.arrived();
        self.violations.extend(arrived.violations.iter().cloned());
        let missing: Vec<_> =
            kept.iter().filter(|number| **number <= delivered && !arrived.events.contains(**number)).collect();
        if !missing.is_empty() {
            self.violations.push(format!("events in the journal that have not arrived: {missing:?}"));
        }
        Report {
            duration,
            troubles: self.troubles,
            starts: self.starts,
            events: arrived.events.count(),
            event_redeliveries: arrived.events.redeliveries(),
            readings: arrived.readings.highest().map_or(0, |highest| highest + 1),
            readings_lost_to_kills: arrived.readings.lost_to_kills().len(),
            compared: kept.len(),
            recoveries: std::mem::take(&mut self.recoveries),
            violations: std::mem::take(&mut self.violations),
            samples: self.sampler.finish(),
        }
    }

    async fn wait_until_arrived(&mut self, event: u64, readings: u16) {
        let started = Instant::now();
        loop {
            let (highest, reading, has_all) = self.deliveries.progress(event, readings);
            if has_all {
                return;
            }
            if started.elapsed() > RECOVERED_WITHIN {
                let due = format!("event {event} and {readings} readings were delivered");
                self.violations.push(format!("{due}, event {highest:?} and reading {reading:?} arrived"));
                return;
            }
            tokio::time::sleep(POLL_EVERY).await;
        }
    }
}

/// The numbers of the events of an export. Its first line repeats the description in force, and gaps are no events.
fn kept_numbers(export: &str) -> Vec<u64> {
    let lines = export.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let events = lines.skip(1).filter(|event| event.get("gap").is_none());
    events.map(|event| event["sequence"].as_u64().unwrap()).collect()
}
