//! What is published together: the columns of a source, or with a template those of a device.

use std::collections::BTreeMap;
use std::sync::Arc;

use bessai_plugin::{Message, Timestamp, json, log};
use minijinja::value::Value;

use crate::config::{Format, Settings};
use crate::context::{Context, NAMES};
use crate::engine::{Templates, place};
use crate::format::Layout;
use crate::row::{Column, Labels, Row};
use crate::sample::Sample;
use crate::source::{store_latest, stored_latest};

/// The key of a template.
pub(crate) const TOPIC: &str = "topic";
/// The key of the other one.
pub(crate) const PAYLOAD: &str = "payload";
/// The time of rows that only try a template: 2025-02-21T15:20:00Z.
const SAMPLE_AT: Timestamp = 1_740_151_200_000_000_000;

/// Rows with the same columns and labels.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) labels: Arc<Labels>,
    /// The newest values of all columns.
    latest: Vec<f64>,
    texts: BTreeMap<usize, String>,
    /// Where `latest` is stored, if some values come from a slower source.
    key: Option<String>,
    is_changed: bool,
    /// None if it is rendered for each message.
    topic: Option<String>,
    /// None if the payload is a template.
    layout: Option<Layout>,
    /// Whether the templates use channels that this device does not have.
    is_off: bool,
    has_warned: bool,
}

impl Group {
    /// A group whose columns are known; `key` is where values of slower sources are stored.
    pub(crate) fn new(mut labels: Labels, key: Option<String>, settings: &Settings) -> Self {
        let names =
            labels.columns.iter().enumerate().map(|(position, column): (_, &Column)| (column.name.clone(), position));
        labels.by_name = names.collect();
        let stored = key.as_deref().and_then(|key| stored_latest(key, labels.columns.len())).unwrap_or_default();
        let latest = if stored.values.is_empty() { vec![f64::NAN; labels.columns.len()] } else { stored.values };
        let format = settings.format.filter(|_| settings.payload.is_none());
        let layout = format.map(|format| Layout::new(format, settings, &labels));
        Self {
            labels: Arc::new(labels),
            latest,
            texts: stored.texts,
            key,
            is_changed: false,
            topic: None,
            layout,
            is_off: false,
            has_warned: false,
        }
    }

    /// Renders the templates once, so that a mistake is found now. Returns whether they use only what this device has.
    pub(crate) fn try_templates(&mut self, templates: &Templates, settings: &Settings) -> Result<bool, String> {
        let keys = if settings.payload.is_some() { &[TOPIC, PAYLOAD][..] } else { &[TOPIC] };
        let unknown = |key: &&str| templates.names(key).iter().any(|name| !self.has(name));
        let lacks_channels = keys.iter().any(unknown);
        let values = vec![1.0; self.latest.len()];
        let context = self.context(SAMPLE_AT, values, BTreeMap::new());
        for key in keys {
            let rendered = match templates.render(key, context.clone()) {
                Ok(rendered) => rendered,
                Err(_) if lacks_channels => {
                    self.is_off = true;
                    return Ok(false);
                }
                Err(error) => return Err(error),
            };
            if *key == TOPIC {
                check_topic(&rendered)?;
                let is_constant = templates.names(TOPIC).iter().all(|name| name == "site" || name == "device");
                self.topic = is_constant.then_some(rendered);
            } else if settings.format == Some(Format::Json) {
                json::read(&rendered).map_err(|error| {
                    format!("config.payload is not JSON when it is rendered: {error}, in {rendered:?}")
                })?;
            }
        }
        Ok(true)
    }

    /// Whether a template may use this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        NAMES.contains(&name) || self.labels.by_name.contains_key(name)
    }

    /// Remembers the values of a source.
    pub(crate) fn remember(&mut self, offset: usize, row: &Sample) {
        for (latest, &value) in self.latest.iter_mut().skip(offset).zip(&row.values) {
            *latest = value;
        }
        let is_own = |column: &usize| (offset..offset + row.values.len()).contains(column);
        self.texts.retain(|column, _| !is_own(column));
        self.texts.extend(row.texts.iter().map(|(column, text)| (offset + column, text.clone())));
        self.is_changed = true;
    }

    /// The message of the newest values; none if there is nothing to publish.
    pub(crate) fn message(
        &mut self,
        at: Timestamp,
        templates: &Templates,
        settings: &Settings,
    ) -> Result<Option<Message>, String> {
        let row = Row { at, labels: Arc::clone(&self.labels), values: self.latest.clone(), texts: self.texts.clone() };
        if self.is_off || row.is_empty() {
            return Ok(None);
        }
        let is_complete =
            row.texts.len() + row.values.iter().filter(|value| !value.is_nan()).count() >= row.values.len();
        let written = match &mut self.layout {
            Some(layout) if self.topic.is_some() => Ok((self.topic.clone().unwrap_or_default(), layout.write(&row))),
            layout => render(self.topic.as_ref(), layout.as_mut(), row, templates),
        };
        let (topic, payload) = match written {
            Ok(written) => written,
            // What a template does with a value that is missing now works with the next one.
            Err(error) if !is_complete => {
                self.warn(&error);
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let message = Message::new(topic, payload).with_qos(settings.qos);
        Ok(Some(if settings.retain { message.retained() } else { message }))
    }

    fn warn(&mut self, error: &str) {
        if !std::mem::replace(&mut self.has_warned, true) {
            let device = &self.labels.device;
            log::warn(&format!("no message of {device} while a channel has no value: {error}"));
        }
    }

    fn context(&self, at: Timestamp, values: Vec<f64>, texts: BTreeMap<usize, String>) -> Value {
        Value::from_object(Context(Arc::new(Row { at, labels: Arc::clone(&self.labels), values, texts })))
    }

    /// Stores what rows of another call need.
    pub(crate) fn save(&mut self) -> Result<(), bessai_plugin::state::StateError> {
        match &self.key {
            Some(key) if std::mem::take(&mut self.is_changed) => store_latest(key, &self.latest, &self.texts),
            _ => Ok(()),
        }
    }
}

fn render(
    topic: Option<&String>,
    layout: Option<&mut Layout>,
    row: Row,
    templates: &Templates,
) -> Result<(String, Vec<u8>), String> {
    let row = Arc::new(row);
    let context = Value::from_object(Context(Arc::clone(&row)));
    let topic = topic.map_or_else(|| templates.render(TOPIC, context.clone()), |topic| Ok(topic.clone()))?;
    let payload = match layout {
        Some(layout) => layout.write(&row),
        None => templates.render(PAYLOAD, context)?.into_bytes(),
    };
    Ok((topic, payload))
}

fn check_topic(topic: &str) -> Result<(), String> {
    let hint = if topic.is_empty() {
        "a topic has at least one character"
    } else if topic.contains(['+', '#']) {
        "a topic has no + and no #"
    } else if topic.contains(char::is_control) {
        "a topic has no line breaks and no other control characters"
    } else {
        return Ok(());
    };
    Err(format!("config.topic is {topic:?} when it is rendered: {hint}"))
}

/// The first name that a template uses and no group has.
pub(crate) fn check_names(groups: &[Group], templates: &Templates, settings: &Settings) -> Result<(), String> {
    for (key, source) in [(TOPIC, Some(&settings.topic)), (PAYLOAD, settings.payload.as_ref())] {
        let names = templates.names(key);
        let Some(name) = names.iter().find(|name| !groups.iter().any(|group| group.has(name))) else { continue };
        let place = source.and_then(|source| place(source, name));
        let place = place.map_or_else(String::new, |(line, column)| format!(", line {line}, column {column}"));
        let mut known: Vec<_> =
            groups.iter().flat_map(|group| group.labels.by_name.keys().map(String::as_str)).collect();
        known.extend(NAMES);
        known.sort_unstable();
        known.dedup();
        return Err(format!("config.{key}{place}: {name} is unknown: write {}", known.join(" or ")));
    }
    Ok(())
}
