//! Translates a feed's settings into those of its parts: plugin, policy, broker, quarantine.

#![allow(clippy::disallowed_methods, reason = "components are read before the gateway runs or in a blocking task")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use bessai_domain::message::{Message, Qos};
use bessai_domain::settings::Mistake;
use bessai_feed::{FeedSettings, Policy};
use bessai_mqtt::BrokerSettings;
use bessai_plugin_runtime::{self as plugin, CompiledComponent, Engine, LogSink, PluginSettings, ReadSecret, Secrets};

use crate::app::BESSAI_JSON;
use crate::clock::now;
use crate::config::{self, ComponentSource, Config};
use crate::quarantine::QuarantineWriter;

/// Loads the feed's component: compiles it, or takes it from the cache.
pub(crate) fn load(engine: &Engine, feed: &config::FeedConfig) -> Result<CompiledComponent, String> {
    match &feed.component {
        ComponentSource::BuiltIn => engine.load(BESSAI_JSON),
        ComponentSource::File(path) => {
            let size = std::fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?.len();
            if size > plugin::MAX_COMPONENT_BYTES {
                let limit = plugin::MAX_COMPONENT_BYTES;
                return Err(format!("{} has {size} bytes; a component may have {limit}", path.display()));
            }
            let wasm = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
            engine.load(&wasm).map_err(|error| format!("{} {error}", path.display()))
        }
    }
}

/// What its plugin receives.
pub(super) fn of_plugin(feed: &config::FeedConfig) -> PluginSettings {
    let mut keys = BTreeMap::new();
    for (name, (secret, encoding)) in &feed.secrets {
        let (secret, encoding) = (secret.clone(), *encoding);
        let read: ReadSecret = Box::new(move || encoding.decode(&secret.read()?));
        keys.insert(name.clone(), read);
    }
    PluginSettings {
        feed: feed.name.clone(),
        config_json: feed.config_json.clone(),
        secrets: Arc::new(Secrets::new(keys)),
        memory_bytes: usize::try_from(feed.limits.memory_bytes).unwrap_or(plugin::DEFAULT_MEMORY_BYTES),
        call_limit: feed.limits.call,
        log: LogSink::Tracing,
    }
}

pub(super) fn of_feed(site: &str, feed: &config::FeedConfig, quarantine: &Rc<QuarantineWriter>) -> FeedSettings {
    FeedSettings {
        name: feed.name.clone(),
        status_topic: feed.is_default.then(|| status_topic(site)),
        clock: now,
        slow_call: plugin::SLOW_CALL,
        quarantine: Rc::<QuarantineWriter>::clone(quarantine),
    }
}

pub(super) fn policy(feed: &config::FeedConfig) -> Policy {
    Policy {
        read: feed.rights.read.clone(),
        connect: feed.rights.connect.clone(),
        topics: feed.rights.topics.clone(),
        qos: feed.limits.qos,
        rate_per_s: feed.limits.rate_per_s,
        max_age: feed.limits.max_age,
        processor: feed.limits.processor,
        quarantine_bytes: feed.limits.quarantine_bytes,
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
    let client_id = broker.client_id.clone().unwrap_or_else(|| match feed.is_default {
        true => format!("bessai-{site}"),
        false => format!("bessai-{site}-{}", feed.name),
    });
    let password = broker.password.clone().map(|secret| {
        let read: Box<dyn Fn() -> Result<String, String>> = Box::new(move || secret.read());
        read
    });
    BrokerSettings {
        host: broker.host.clone(),
        port: broker.port,
        websocket: broker.websocket.clone(),
        tls: broker.tls.clone(),
        client_id,
        username: broker.username.clone(),
        password,
        protocol: broker.protocol,
        keep_alive: broker.keep_alive,
        in_flight: broker.in_flight,
        qos: feed.limits.qos,
        will: feed.is_default.then(|| Message {
            topic: status_topic(site),
            payload: b"offline".to_vec(),
            qos: Qos::AtLeastOnce,
            retain: true,
            properties: None,
        }),
    }
}

/// Finds certificates and keys that cannot be used.
pub(crate) fn check_files(config: &Config) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    for feed in &config.feeds {
        let Some(tls) = &feed.broker.tls else { continue };
        if let Err(error) = bessai_tls::client(tls) {
            let files = [tls.ca.clone(), tls.identity.as_ref().map(|(certificate, _)| certificate.clone())];
            let named: Vec<_> = files.into_iter().flatten().map(|path: PathBuf| path.display().to_string()).collect();
            mistakes.push(Mistake::new(format!("feed {}: TLS", feed.name), named.join(", "), error));
        }
    }
    mistakes.dedup_by(|a, b| a.hint == b.hint);
    mistakes
}
