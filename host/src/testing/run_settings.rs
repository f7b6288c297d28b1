//! The settings with which a plugin runs outside the gateway.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bessai_domain::ports::CALL_LIMIT;
use bessai_feed::{DeliveryOrder, Policy};
use bessai_plugin_runtime::{
    CompileIn, CompileLimits, DEFAULT_MEMORY_BYTES, EngineSettings, LogSink, PluginSettings, ReadSecret, Secrets,
};

use crate::config::{FeedLimits, Rights};

use super::case::TestCase;

/// Time limit for compiling a component, above the gateway's default: a developer's machine may be busy.
const COMPILE_TIME: Duration = Duration::from_mins(10);
/// The feed's name as the plugin receives it.
const FEED: &str = "test";

/// Settings of the engine, with the folder of compiled components.
pub(super) fn engine_settings(cache_folder: Option<PathBuf>) -> EngineSettings {
    let limits = CompileLimits { time: COMPILE_TIME, ..CompileLimits::default() };
    EngineSettings { cache_folder, compile_in: CompileIn::ChildProcess(limits), ..EngineSettings::default() }
}

/// The settings of one run. No `Debug`: a secret may be real.
#[derive(Clone)]
pub(crate) struct RunSettings {
    /// `[config]` as JSON.
    pub(crate) config_json: String,
    /// Secrets that the plugin may use, by name.
    pub(crate) secrets: BTreeMap<String, Vec<u8>>,
    /// The plugin's state before the first call.
    pub(crate) state: BTreeMap<String, Vec<u8>>,
    /// What the plugin may read and publish.
    pub(crate) rights: Rights,
    /// Its limits.
    pub(crate) limits: FeedLimits,
    /// Most events per call.
    pub(crate) events_per_call: usize,
    /// Age of an event when it is processed.
    pub(crate) delay: Duration,
    /// Use a new instance for each call, which reveals what the plugin does not keep in its state.
    pub(crate) fresh_instances: bool,
}

impl RunSettings {
    /// Settings for events that are processed at once, in calls of full size and by one instance.
    pub(crate) fn new(config_json: String, rights: Rights, limits: FeedLimits) -> Self {
        Self {
            config_json,
            secrets: BTreeMap::new(),
            state: BTreeMap::new(),
            rights,
            limits,
            events_per_call: CALL_LIMIT.events,
            delay: Duration::ZERO,
            fresh_instances: false,
        }
    }

    /// The settings of a test case.
    pub(super) fn of_case(case: &TestCase) -> Self {
        Self {
            config_json: case.config_json.clone(),
            secrets: case.secrets.clone(),
            state: case.state.clone(),
            rights: case.rights.clone(),
            limits: case.limits,
            events_per_call: case.events_per_call.unwrap_or(CALL_LIMIT.events),
            delay: case.delay,
            fresh_instances: true,
        }
    }

    pub(super) fn policy(&self) -> Policy {
        Policy {
            read: self.rights.read.clone(),
            connect: self.rights.connect.clone(),
            subscribe: self.rights.subscribe.clone(),
            topics: self.rights.topics.clone(),
            // No proposal is carried out.
            write: Vec::new(),
            // Known only where there is a site's broker.
            reserved: Vec::new(),
            qos: self.limits.qos,
            // Nothing is published, so the rate does not matter.
            rate_per_s: None,
            max_age: self.limits.max_age,
            processor: self.limits.processor,
            quarantine_bytes: self.limits.quarantine_bytes,
            broker: None,
            order: DeliveryOrder::InOrder,
        }
    }

    pub(super) fn plugin_settings(&self, log: LogSink) -> PluginSettings {
        let key = |(name, value): (&String, &Vec<u8>)| {
            let value = value.clone();
            (name.clone(), Box::new(move || Ok(value.clone())) as ReadSecret)
        };
        PluginSettings {
            feed: FEED.into(),
            config_json: self.config_json.clone(),
            write: self.rights.write.clone(),
            secrets: Arc::new(Secrets::new(self.secrets.iter().map(key).collect())),
            memory_bytes: usize::try_from(self.limits.memory_bytes).unwrap_or(DEFAULT_MEMORY_BYTES),
            call_limit: self.limits.call,
            log,
            metrics: Arc::default(),
        }
    }
}
