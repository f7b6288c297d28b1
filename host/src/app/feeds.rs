//! Starts the feeds: each its plugin, its broker and its place in the journal. One that cannot run leaves the rest alone.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use bessai_domain::message::{Message, Qos};
use bessai_domain::settings::Mistake;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::app::report::Report;
use crate::app::{BESSAI_JSON, now};
use crate::config::{self, Component, Config};
use crate::journal::Journal;
use crate::plugin::{Engine, Loaded, Plugin, Secrets};
use crate::{feed, mqtt, plugin, tls};

pub(super) fn start(
    config: &Config,
    engine: &Engine,
    journal: &Journal,
    report: &Rc<RefCell<Report>>,
    stop: &watch::Receiver<bool>,
) -> Vec<JoinHandle<()>> {
    let mut tasks = Vec::new();
    for settings in &config.feeds {
        let health = report.borrow_mut().feed(&settings.name);
        match load(engine, settings) {
            Ok(loaded) => {
                let plugin = Plugin::new(loaded, plugin_settings(settings));
                let broker = mqtt::Broker::new(broker(&config.site, settings));
                let reader = journal.reader();
                let task =
                    feed::run(feed_settings(&config.site, settings), reader, plugin, broker, health, stop.clone());
                tasks.push(tokio::task::spawn_local(task));
            }
            Err(error) => {
                tracing::error!(feed = %settings.name, "the feed is off: {error}");
                health.borrow_mut().off = Some(error);
            }
        }
    }
    tasks
}

/// The feed's component, compiled or from the cache.
pub fn load(engine: &Engine, feed: &config::Feed) -> Result<Loaded, String> {
    match &feed.component {
        Component::BuiltIn => engine.load(BESSAI_JSON),
        Component::File(path) => {
            let size = std::fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?.len();
            if size > plugin::COMPONENT_BYTES {
                let limit = plugin::COMPONENT_BYTES;
                return Err(format!("{} has {size} bytes; a component may have {limit}", path.display()));
            }
            let wasm = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
            engine.load(&wasm).map_err(|error| format!("{} {error}", path.display()))
        }
    }
}

fn plugin_settings(feed: &config::Feed) -> plugin::Settings {
    let mut keys = std::collections::BTreeMap::new();
    for (name, (secret, encoding)) in &feed.secrets {
        let (secret, encoding) = (secret.clone(), *encoding);
        let read: plugin::ReadKey = Box::new(move || encoding.decode(&secret.read()?));
        keys.insert(name.clone(), read);
    }
    plugin::Settings {
        feed: feed.name.clone(),
        config: feed.config_json.clone(),
        secrets: Arc::new(Secrets::new(keys)),
        memory: usize::try_from(feed.limits.memory_bytes).unwrap_or(plugin::MEMORY),
        call: feed.limits.call,
    }
}

fn feed_settings(site: &str, feed: &config::Feed) -> feed::Settings {
    feed::Settings {
        name: feed.name.clone(),
        topics: feed.rights.topics.clone(),
        qos: feed.limits.qos,
        read: feed.rights.read.clone(),
        status_topic: feed.is_default.then(|| status_topic(site)),
        clock: now,
    }
}

fn status_topic(site: &str) -> String {
    format!("{site}/system/status")
}

/// How a feed signs in.
pub fn broker(site: &str, feed: &config::Feed) -> mqtt::Settings {
    let broker = &feed.broker;
    let client_id = broker.client_id.clone().unwrap_or_else(|| match feed.is_default {
        true => format!("bessai-{site}"),
        false => format!("bessai-{site}-{}", feed.name),
    });
    let tls: Option<mqtt::TlsSource> = broker.tls.clone().map(|tls| {
        let settings = tls_settings(&tls);
        Box::new(move || tls::client(&settings)) as mqtt::TlsSource
    });
    let password = broker.password.clone().map(|secret| {
        let read: Box<dyn Fn() -> Result<String, String>> = Box::new(move || secret.read());
        read
    });
    mqtt::Settings {
        host: broker.host.clone(),
        port: broker.port,
        tls,
        explain: tls::explain,
        client_id,
        username: broker.username.clone(),
        password,
        protocol: match broker.protocol {
            config::Protocol::Auto => mqtt::Protocol::Auto,
            config::Protocol::V311 => mqtt::Protocol::V311,
            config::Protocol::V5 => mqtt::Protocol::V5,
        },
        keep_alive: broker.keep_alive,
        in_flight: broker.in_flight,
        will: feed.is_default.then(|| Message {
            topic: status_topic(site),
            payload: b"offline".to_vec(),
            qos: Qos::AtLeastOnce,
            retain: true,
            properties: None,
        }),
    }
}

fn tls_settings(tls: &config::Tls) -> tls::Settings {
    tls::Settings { ca: tls.ca.clone(), identity: tls.identity.clone(), alpn: tls.alpn.clone() }
}

/// What the configuration's files hold wrongly: certificates and keys that cannot be used.
pub fn check_files(config: &Config) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    for feed in &config.feeds {
        let Some(tls) = &feed.broker.tls else { continue };
        if let Err(error) = tls::client(&tls_settings(tls)) {
            let files = [tls.ca.clone(), tls.identity.as_ref().map(|(certificate, _)| certificate.clone())];
            let named: Vec<_> = files.into_iter().flatten().map(|path: PathBuf| path.display().to_string()).collect();
            mistakes.push(Mistake::new(format!("feed {}: TLS", feed.name), named.join(", "), error));
        }
    }
    mistakes.dedup_by(|a, b| a.mend == b.mend);
    mistakes
}
