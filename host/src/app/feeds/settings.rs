//! Translates a feed's settings into those of its parts: plugin, policy, broker, quarantine.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bessai_control::Holder;
use bessai_domain::broker_limits::BrokerLimits;
use bessai_domain::event::EventBody;
use bessai_domain::message::{Message, Qos};
use bessai_domain::settings::Mistake;
use bessai_feed::{BrokerGates, FeedSettings, Policy, Propose, RecordWrite};
use bessai_files::Access;
use bessai_journal::Journal;
use bessai_mqtt::{BrokerHabits, BrokerSettings, ProxySettings, ReadPassword};
use bessai_plugin_runtime::{
    self as plugin, CompiledComponent, Engine, LogSink, PluginMetrics, PluginSettings, ReadSecret, Secrets,
};

use crate::app::BESSAI_JSON;
use crate::app::control::Control;
use crate::clock::{earliest_arrival, now};
use crate::config::{self, ComponentSource, Config, READ_LIMIT};
use crate::quarantine::QuarantineWriter;

/// What belongs to the default feed below the site's own first level.
const RESERVED: [&str; 5] = ["telemetry", "+/telemetry", "safety", "ai/#", "system/#"];

/// Why a component is not loaded.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// The component or its file is at fault.
    #[error("{0}")]
    Component(String),
    /// The file system of its file does not answer; it may in a moment.
    #[error("{0}")]
    Unanswered(String),
    /// This machine cannot load it now, for example because memory is short.
    #[error("{0}")]
    Host(String),
}

impl LoadError {
    /// An error of the plugin runtime, with the component that it concerns.
    fn of(error: plugin::LoadError, name: &str) -> Self {
        match error {
            plugin::LoadError::Component(reason) => Self::Component(format!("{name} {reason}")),
            plugin::LoadError::Host(reason) => Self::Host(format!("{name} {reason}")),
        }
    }
}

/// Bytes of a component whose compilation is logged; smaller ones compile in less than a second.
const LARGE_COMPONENT_BYTES: usize = 1 << 20;

/// Loads the feed's component: compiles it, or takes it from the cache. Blocks.
pub(crate) fn load(engine: &Engine, feed: &config::FeedConfig) -> Result<CompiledComponent, LoadError> {
    match &feed.component {
        ComponentSource::BuiltIn => engine.load(BESSAI_JSON).map_err(|error| LoadError::of(error, "bessai-json")),
        ComponentSource::File(path) => {
            let (name, file) = (path.display().to_string(), path.clone());
            let read = move || bessai_files::read(&file, plugin::MAX_COMPONENT_BYTES);
            let wasm = Access::run(&config::feed_owner(&feed.name), READ_LIMIT, read)
                .map_err(|error| LoadError::Unanswered(format!("{name} cannot be read: {error}")))?
                .map_err(|error| LoadError::Component(format!("{name} cannot be read: {error}")))?;
            // A component with a language runtime compiles for seconds, on a small board for a minute.
            let compiling = || {
                if wasm.len() >= LARGE_COMPONENT_BYTES {
                    let mb = wasm.len() / 1_000_000;
                    tracing::info!(feed = %feed.name, "compiling {name} ({mb} MB), which can take a minute; then the feed starts");
                }
            };
            engine.load_noting(&wasm, &compiling).map_err(|error| LoadError::of(error, &name))
        }
    }
}

/// What its plugin receives.
pub(in crate::app) fn of_plugin(feed: &config::FeedConfig, metrics: Arc<PluginMetrics>) -> PluginSettings {
    let mut keys = BTreeMap::new();
    for (name, (secret, encoding)) in &feed.secrets {
        let (secret, encoding) = (secret.clone(), *encoding);
        let read: ReadSecret = Box::new(move || encoding.decode(&secret.recent()?));
        keys.insert(name.clone(), read);
    }
    PluginSettings {
        feed: feed.name.clone(),
        config_json: feed.config_json.clone(),
        write: feed.rights.write.clone(),
        secrets: Arc::new(Secrets::new(keys)),
        memory_bytes: usize::try_from(feed.limits.memory_bytes).unwrap_or(plugin::DEFAULT_MEMORY_BYTES),
        call_limit: feed.limits.call,
        log: LogSink::Tracing,
        metrics,
    }
}

/// Where the proposals of all feeds become events.
pub(super) fn record_in(journal: &Journal) -> RecordWrite {
    let journal = journal.clone();
    Rc::new(move |at, step| journal.append(at, EventBody::Write(Box::new(step))))
}

pub(super) fn of_feed(
    site: &str,
    feed: &config::FeedConfig,
    quarantine: &Rc<QuarantineWriter>,
    gates: &BrokerGates,
    record_write: &RecordWrite,
    control: &Control,
) -> FeedSettings {
    FeedSettings {
        name: feed.name.clone(),
        status_topic: feed.broker.habits.status_topic_of(feed.is_default.then(|| status_topic(site))),
        clock: now,
        arrival: earliest_arrival,
        slow_call: plugin::SLOW_CALL,
        quarantine: Rc::<QuarantineWriter>::clone(quarantine),
        gates: gates.clone(),
        record_write: Rc::clone(record_write),
        propose: Some(propose(control, &feed.name)),
    }
}

/// Hands the plugin's proposals to the control room.
fn propose(control: &Control, feed: &str) -> Propose {
    let (control, name) = (control.clone(), feed.to_owned());
    Rc::new(move |proposal, unit, right| {
        let (control, holder) = (control.clone(), Holder::Feed(name.clone()));
        Box::pin(async move { control.propose(holder, proposal, unit, right).await })
    })
}

/// The topics of the default feed, which another feed may publish to only if its rights list them.
pub(crate) fn reserved_topics(site: &str, feed: &config::FeedConfig) -> Vec<String> {
    let reserved = RESERVED.iter().filter(|_| feed.shares_site_broker);
    reserved.map(|topic| format!("{site}/{topic}")).collect()
}

pub(in crate::app) fn policy(site: &str, feed: &config::FeedConfig) -> Policy {
    Policy {
        read: feed.rights.read.clone(),
        connect: feed.rights.connect.clone(),
        subscribe: feed.rights.subscribe.clone(),
        topics: feed.rights.topics.clone(),
        write: feed.rights.write.clone(),
        reserved: reserved_topics(site, feed),
        qos: feed.limits.qos,
        rate_per_s: feed.limits.rate_per_s,
        max_age: feed.limits.max_age,
        processor: feed.limits.processor,
        quarantine_bytes: feed.limits.quarantine_bytes,
        broker: feed.broker.kind,
        order: feed.order,
    }
}

fn status_topic(site: &str) -> String {
    format!("{site}/system/status")
}

/// [`broker`] for a feed with this plugin: a plugin with `session` sets its own last will.
pub(super) fn broker_of(site: &str, feed: &config::FeedConfig, component: &CompiledComponent) -> BrokerSettings {
    let settings = broker(site, feed);
    let will = settings.will.clone().filter(|_| !component.has_session());
    BrokerSettings { will, ..settings }
}

/// How a feed signs in, as far as its plugin does not decide it.
pub(crate) fn broker(site: &str, feed: &config::FeedConfig) -> BrokerSettings {
    let broker = &feed.broker;
    let read_password = |secret: config::Secret| -> ReadPassword { Box::new(move || secret.read()) };
    let password = broker.password.clone().map(read_password);
    BrokerSettings {
        host: broker.host.clone(),
        port: broker.port,
        websocket: broker.websocket.clone(),
        proxy: broker.proxy.as_ref().map(proxy),
        tls: broker.tls.clone(),
        client_id: feed.client_id(site),
        username: broker.username.clone(),
        password,
        key_password: broker.key_password.clone().map(read_password),
        names: broker.names.clone(),
        protocol: broker.protocol,
        keep_alive: broker.keep_alive,
        in_flight: broker.in_flight,
        qos: feed.limits.qos,
        will: broker.habits.will_of(feed.is_default.then(|| status_topic(site))).map(|topic| Message {
            topic,
            payload: b"offline".to_vec(),
            qos: Qos::AtLeastOnce,
            retain: true,
            properties: None,
        }),
        habits: habits(&broker.habits, broker.kind),
    }
}

fn proxy(proxy: &config::ProxyConfig) -> ProxySettings {
    let login = proxy
        .login
        .clone()
        .map(|(user, password)| -> (String, ReadPassword) { (user, Box::new(move || password.read())) });
    ProxySettings { host: proxy.host.clone(), port: proxy.port, login }
}

fn habits(habits: &config::BrokerHabits, kind: Option<&BrokerLimits>) -> BrokerHabits {
    let seconds = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
    BrokerHabits {
        retain: habits.retain,
        max_packet: habits.max_packet,
        clean_start: habits.clean_start,
        session_expiry_s: habits.session_expiry.map(seconds),
        keep_alive: kind.map(|kind| kind.keep_alive),
    }
}

/// Finds certificates and keys of the site's broker that cannot be used.
pub(crate) fn check_site_files(config: &Config) -> Vec<Mistake> {
    config.broker.as_ref().and_then(check_broker_files).into_iter().collect()
}

/// Finds those of feeds with a broker of their own.
pub(crate) fn check_feed_files(config: &Config) -> Vec<Mistake> {
    let site = config.broker.as_ref().and_then(|broker| broker.tls.as_ref());
    let own = config.feeds.iter().map(|feed| &feed.broker).filter(|broker| broker.tls.as_ref() != site);
    own.filter_map(check_broker_files).collect()
}

/// Finds those of one broker.
pub(crate) fn check_broker_files(broker: &config::BrokerConfig) -> Option<Mistake> {
    let tls = broker.tls.as_ref()?;
    let password = match broker.key_password.as_ref().map(config::Secret::read).transpose() {
        Ok(password) => password,
        Err(error) => return Some(Mistake::without_value(tls.names.of("key_password"), error)),
    };
    let error = bessai_tls::Client::new(tls, password.as_deref()).err()?;
    Some(Mistake { key: error.setting, value: error.value, hint: error.reason })
}
