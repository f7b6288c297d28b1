//! Frames, the only kind of event that cannot be read without the site's description.

use std::sync::Arc;

use serde_json::Value;

use super::json_reader::{JsonField, JsonObject};
use super::json_writer::{number, object, word};
use crate::event::{Fault, FaultKind, Frame, Text};
use crate::settings::Mistake;
use crate::site::Site;

/// The site's description, as far as it is known, that frames refer to.
#[derive(Default)]
pub(super) enum Described {
    /// There is none yet.
    #[default]
    Nothing,
    /// It has mistakes, so frames that refer to it are not checked against it.
    Invalid,
    /// The last description.
    Site(Arc<Site>),
}

/// Reads a frame. A null for which there is neither a fault nor a text is a missing value.
pub(super) fn read(object: &JsonObject<'_>, described: &Described) -> Frame {
    let mut channels = None;
    let source = object.required("source", |field| {
        let source = field.unsigned()?;
        channels = channel_count(field, source, described);
        Some(source)
    });
    let (values, nulls) = values(object, channels);
    let channels = channels.unwrap_or(values.len());
    let fault = |object: &JsonObject<'_>| Fault {
        channel: channel(object, channels),
        kind: object.required("kind", |field| field.word(&FaultKind::NAMES).map(Some)).unwrap_or(FaultKind::Other),
    };
    let text = |object: &JsonObject<'_>| Text {
        channel: channel(object, channels),
        value: object.required("value", JsonField::text),
    };
    let faults = object.optional("faults", |field| field.objects(fault)).unwrap_or_default();
    let texts = object.optional("texts", |field| field.objects(text)).unwrap_or_default();
    Frame { source, values, faults: with_missing(&nulls, faults, &texts), texts }
}

/// Number of channels of a source; none if it is not known, which is a mistake unless it follows from one reported
/// before.
fn channel_count(field: &JsonField<'_>, source: u32, described: &Described) -> Option<usize> {
    let site = match described {
        Described::Site(site) => site,
        Described::Invalid => return None,
        Described::Nothing => {
            field.add_mistake("there is no `site` line above it that describes the source; write one");
            return None;
        }
    };
    let found = usize::try_from(source).ok().and_then(|source| site.sources.get(source));
    if found.is_none() {
        field.add_mistake(format!("the site has {} sources; write a number below that", site.sources.len()));
    }
    found.map(|source| source.channels.len())
}

/// The values, and the channels whose value is null.
fn values(object: &JsonObject<'_>, channels: Option<usize>) -> (Vec<f64>, Vec<u32>) {
    let list = object.required("values", JsonField::list);
    let is_list = object.field("values").is_some_and(|field| field.value().is_array());
    if let Some(channels) = channels.filter(|channels| is_list && *channels != list.len()) {
        let hint = format!("has {} values for {channels} channels; write one for each, or null", list.len());
        object.mistakes().add(Mistake::without_value(object.key("values"), hint));
    }
    let nulls = (0..).zip(&list).filter(|(_, field)| field.value().is_null()).map(|(channel, _)| channel);
    (list.iter().filter_map(JsonField::number).collect(), nulls.collect())
}

/// The channel of a fault or a text.
fn channel(object: &JsonObject<'_>, channels: usize) -> u32 {
    object.required("channel", |field| {
        let channel = field.unsigned()?;
        if usize::try_from(channel).is_ok_and(|channel| channel >= channels) {
            field.add_mistake(format!("the source has {channels} channels; write a number below that"));
        }
        Some(channel)
    })
}

/// The faults, and a missing one for each null for which there is neither a fault nor a text.
fn with_missing(nulls: &[u32], mut faults: Vec<Fault>, texts: &[Text]) -> Vec<Fault> {
    let before = faults.len();
    for &channel in nulls {
        if !has_entry(channel, &faults, texts) {
            faults.push(Fault { channel, kind: FaultKind::Missing });
        }
    }
    if faults.len() > before {
        faults.sort_by_key(|fault| fault.channel);
    }
    faults
}

fn has_entry(channel: u32, faults: &[Fault], texts: &[Text]) -> bool {
    faults.iter().any(|fault| fault.channel == channel) || texts.iter().any(|text| text.channel == channel)
}

/// Writes a frame so that [`read`] returns the same.
pub(super) fn write(frame: &Frame) -> Value {
    let is_null = |channel: u32, value: f64| value.is_nan() && has_entry(channel, &frame.faults, &frame.texts);
    let value = |(channel, value): (u32, &f64)| match *value {
        // A null alone would be read as a missing value.
        value if value.is_nan() && !is_null(channel, value) => "NaN".into(),
        value => number(value),
    };
    let nulls: Vec<_> =
        (0..).zip(&frame.values).filter(|(channel, value)| is_null(*channel, **value)).map(|(c, _)| c).collect();
    let faults = explicit_faults(frame, &nulls);
    let fault = |fault: &Fault| {
        object([("channel", Some(fault.channel.into())), ("kind", Some(word(&FaultKind::NAMES, fault.kind)))])
    };
    let text =
        |text: &Text| object([("channel", Some(text.channel.into())), ("value", Some(text.value.as_str().into()))]);
    object([
        ("source", Some(frame.source.into())),
        ("values", Some((0..).zip(&frame.values).map(value).collect())),
        ("faults", (!faults.is_empty()).then(|| faults.iter().map(fault).collect())),
        ("texts", (!frame.texts.is_empty()).then(|| frame.texts.iter().map(text).collect())),
    ])
}

/// The faults that [`read`] would not add itself.
fn explicit_faults(frame: &Frame, nulls: &[u32]) -> Vec<Fault> {
    let is_explicit = |fault: &&Fault| fault.kind != FaultKind::Missing || !nulls.contains(&fault.channel);
    let explicit: Vec<_> = frame.faults.iter().filter(is_explicit).copied().collect();
    if with_missing(nulls, explicit.clone(), &frame.texts) == frame.faults { explicit } else { frame.faults.clone() }
}
