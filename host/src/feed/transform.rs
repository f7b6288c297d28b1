//! Runs events through the plugin: fresh instances after a fault, the poisonous event found and set aside, what a plugin
//! returns checked before it goes anywhere.

use std::sync::Arc;
use std::time::Duration;

use bessai_domain::event::{Event, EventBody, Sequence};
use bessai_domain::message::{Message, Qos};
use bessai_domain::site::Site;
use bessai_domain::topic;
use bessai_domain::view::View;
use tokio::time::sleep;

use crate::feed::{CallError, Events, Plugin, Settings, SharedHealth};

/// Messages that one call may return: a site event of a large plant fans out to hundreds.
const MESSAGES_PER_CALL: usize = 1000;
/// Bytes of topics and payloads that one call may return.
const BYTES_PER_CALL: usize = 1 << 20;
/// Failures in a row, with no event passing in between, after which a plugin is switched off.
const FAILURES_TO_OFF: u32 = 10;
/// Pause before a plugin gets the events again that it wants later.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// A plugin with its view of the site.
pub(super) struct Transformer<P> {
    plugin: P,
    view: View,
    site: Option<Arc<Site>>,
    started: bool,
    feed: String,
    topics: Option<Vec<String>>,
    qos: Qos,
    health: SharedHealth,
    failures: u32,
}

impl<P: Plugin> Transformer<P> {
    pub(super) fn new(settings: &Settings, plugin: P, view: View, health: SharedHealth) -> Self {
        Self {
            plugin,
            view,
            site: None,
            started: false,
            feed: settings.name.clone(),
            topics: settings.topics.clone(),
            qos: settings.qos,
            health,
            failures: 0,
        }
    }

    /// Waits for events and runs them. An error means that the plugin fails on everything.
    pub(super) async fn next<E: Events>(&mut self, events: &mut E) -> (Vec<Arc<Event>>, Sequence) {
        if self.site.is_none() {
            self.site = events.site().map(|site| self.view.site(&site));
        }
        let batch = events.next().await;
        let through = batch.last().map_or(Sequence(0), |event| event.sequence);
        let seen = batch.iter().filter_map(|event| self.view.event(event)).collect();
        self.health.borrow_mut().lag = events.lag();
        (seen, through)
    }

    /// The messages of these events. An error means that the plugin is to be switched off.
    pub(super) async fn run(&mut self, events: &[Arc<Event>]) -> Result<Vec<Message>, String> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        // A batch gets a second try before it is cut down; a single event has its second try there.
        for _attempt in 0..events.len().min(2) {
            match self.call(events).await {
                Ok(messages) => return Ok(messages),
                Err(error) => self.note(&error)?,
            }
        }
        self.one_by_one(events).await
    }

    /// A batch that failed twice is cut down, so that only the event that is to blame is set aside.
    async fn one_by_one(&mut self, events: &[Arc<Event>]) -> Result<Vec<Message>, String> {
        let mut messages = Vec::new();
        for event in events {
            match self.call(std::slice::from_ref(event)).await {
                Ok(more) => messages.extend(more),
                Err(error) => {
                    self.note(&error)?;
                    self.health.borrow_mut().set_aside += 1;
                    let sequence = event.sequence.0;
                    tracing::error!(feed = %self.feed, sequence, "event {sequence} is set aside: {error}");
                }
            }
        }
        Ok(messages)
    }

    async fn call(&mut self, events: &[Arc<Event>]) -> Result<Vec<Message>, CallError> {
        loop {
            match self.call_once(events).await {
                Err(CallError::Retry(reason)) => {
                    tracing::warn!(feed = %self.feed, "the plugin waits: {reason}");
                    sleep(RETRY_PAUSE).await;
                }
                other => return other,
            }
        }
    }

    async fn call_once(&mut self, events: &[Arc<Event>]) -> Result<Vec<Message>, CallError> {
        if !self.started {
            self.start(events).await?;
        }
        let called = self.plugin.process(events).await;
        match called {
            Ok(messages) => {
                self.failures = 0;
                self.follow_description(events);
                self.checked(messages)
            }
            Err(error) => {
                self.started &= !matches!(error, CallError::Broken(_));
                Err(error)
            }
        }
    }

    async fn start(&mut self, events: &[Arc<Event>]) -> Result<(), CallError> {
        self.site = self.site.take().or_else(|| description(events));
        let Some(site) = self.site.clone() else {
            return Err(CallError::Retry("the site has no description yet".into()));
        };
        self.plugin.start(&site).await.map_err(CallError::Broken)?;
        self.started = true;
        Ok(())
    }

    /// A later fresh instance starts from the newest description that was processed.
    fn follow_description(&mut self, events: &[Arc<Event>]) {
        if let Some(site) = events.iter().rev().find_map(site_of) {
            self.site = Some(site);
        }
    }

    fn note(&mut self, error: &CallError) -> Result<(), String> {
        self.failures += 1;
        tracing::warn!(feed = %self.feed, "the plugin failed: {error}");
        if self.failures >= FAILURES_TO_OFF {
            return Err(format!("the plugin failed {FAILURES_TO_OFF} times in a row, last: {error}"));
        }
        Ok(())
    }

    /// Only sound messages that the feed has the right to publish, at no more than its quality of service.
    fn checked(&self, messages: Vec<Message>) -> Result<Vec<Message>, CallError> {
        let bytes: usize = messages.iter().map(|message| message.topic.len() + message.payload.len()).sum();
        if messages.len() > MESSAGES_PER_CALL || bytes > BYTES_PER_CALL {
            let count = messages.len();
            let limits = format!("{MESSAGES_PER_CALL} messages and {BYTES_PER_CALL} bytes");
            return Err(CallError::Broken(format!(
                "returned {count} messages of {bytes} bytes, a call may have {limits}"
            )));
        }
        let allowed = messages.into_iter().filter(|message| self.allows(&message.topic));
        Ok(allowed.map(|message| Message { qos: message.qos.min(self.qos), ..message }).collect())
    }

    fn allows(&self, topic: &str) -> bool {
        let refusal = match topic::check(topic) {
            Err(error) => error.to_string(),
            Ok(()) => match &self.topics {
                Some(filters) if !filters.iter().any(|filter| topic::matches(filter, topic)) => {
                    format!("the feed has no right to topic {topic:?}: add it to [rights] topics")
                }
                _ => return true,
            },
        };
        let mut health = self.health.borrow_mut();
        if health.refused == 0 {
            tracing::error!(feed = %self.feed, "a message is not published: {refusal}");
        }
        health.refused += 1;
        false
    }
}

fn site_of(event: &Arc<Event>) -> Option<Arc<Site>> {
    match &event.body {
        EventBody::Site(site) => Some(Arc::clone(site)),
        _ => None,
    }
}

fn description(events: &[Arc<Event>]) -> Option<Arc<Site>> {
    events.iter().find_map(site_of)
}
