//! What a feed's settings mean to the rooms that it is made of.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use bessai_domain::message::{Message, Qos};
use bessai_domain::settings::Mistake;

use crate::app::{BESSAI_JSON, now};
use crate::config::{self, Component, Config};
use crate::plugin::{Engine, Lines, Loaded, Secrets};
use crate::{feed, mqtt, plugin, quarantine, tls};

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

/// What its plugin gets.
pub(super) fn of_plugin(feed: &config::Feed) -> plugin::Settings {
    let mut keys = BTreeMap::new();
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
        lines: Lines::Logged,
    }
}

pub(super) fn of_feed(site: &str, feed: &config::Feed, quarantine: &Path) -> feed::Settings {
    let (folder, messages) = (quarantine.to_owned(), quarantine.to_owned());
    feed::Settings {
        name: feed.name.clone(),
        status_topic: feed.is_default.then(|| status_topic(site)),
        clock: now,
        slow_call: plugin::SLOW_CALL,
        set_aside: Rc::new(move |aside: &feed::Aside<'_>| {
            let kept = quarantine::keep(&folder, aside.feed, aside.site, aside.event, aside.reason);
            kept.map(|path| path.display().to_string()).map_err(|error| error.to_string())
        }),
        set_message_aside: Rc::new(move |aside: &feed::AsideMessage<'_>| {
            let feed::AsideMessage { feed, through, index, message, size, largest } = *aside;
            let reason = format!("it has {size} bytes, and the broker takes {largest}");
            let set_aside = quarantine::SetAside { feed, through, index, size, limit: largest, reason: &reason };
            let kept = quarantine::keep_message(&messages, &set_aside, message);
            kept.map(|path| path.display().to_string()).map_err(|error| error.to_string())
        }),
    }
}

pub(super) fn policy(feed: &config::Feed) -> feed::Policy {
    feed::Policy {
        read: feed.rights.read.clone(),
        connect: feed.rights.connect.clone(),
        topics: feed.rights.topics.clone(),
        qos: feed.limits.qos,
        rate_per_s: feed.limits.rate_per_s,
        max_age: feed.limits.max_age,
    }
}

fn status_topic(site: &str) -> String {
    format!("{site}/system/status")
}

/// The same for a feed with this plugin: one that decides how to sign in has only its own will.
pub(super) fn broker_of(site: &str, feed: &config::Feed, loaded: &Loaded) -> mqtt::Settings {
    let settings = broker(site, feed);
    let will = settings.will.clone().filter(|_| !loaded.has_session());
    mqtt::Settings { will, ..settings }
}

/// How a feed signs in, as far as its plugin does not decide that.
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
        websocket: broker.websocket.clone(),
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
