//! Frames: the one kind of event that means something only together with the site's description.

use serde_json::Value;

use super::object::{Field, Object};
use super::value::{number, object, word};
use super::{FAULTS, Known};
use crate::event::{Fault, FaultKind, Frame, Text};
use crate::settings::Mistake;

/// A frame of the description in force. A null without a fault or a text of its own is missing.
pub(super) fn read(object: &Object<'_>, known: &Known) -> Frame {
    let mut channels = None;
    let source = object.required("source", |field| {
        let source = field.whole()?;
        channels = channel_count(field, source, known);
        Some(source)
    });
    let (values, nulls) = values(object, channels);
    let channels = channels.unwrap_or(values.len());
    let fault = |object: &Object<'_>| Fault {
        channel: channel(object, channels),
        kind: object.required("kind", |field| field.word(&FAULTS).map(Some)).unwrap_or(FaultKind::Other),
    };
    let text =
        |object: &Object<'_>| Text { channel: channel(object, channels), value: object.required("value", Field::text) };
    let faults = object.optional("faults", |field| field.objects(fault)).unwrap_or_default();
    let texts = object.optional("texts", |field| field.objects(text)).unwrap_or_default();
    Frame { source, values, faults: with_missing(&nulls, faults, &texts), texts }
}

/// How many channels the source has; none where that cannot be known, which is a mistake unless it was told before.
fn channel_count(field: &Field<'_>, source: u32, known: &Known) -> Option<usize> {
    let site = match known {
        Known::Site(site) => site,
        Known::Unsound => return None,
        Known::Nothing => {
            field.wrong("there is no site above this line that it could belong to; write one");
            return None;
        }
    };
    let found = usize::try_from(source).ok().and_then(|source| site.sources.get(source));
    if found.is_none() {
        field.wrong(format!("the site has {} sources; write a number below that", site.sources.len()));
    }
    found.map(|source| source.channels.len())
}

/// The values, and the channels whose value is null.
fn values(object: &Object<'_>, channels: Option<usize>) -> (Vec<f64>, Vec<u32>) {
    let list = object.required("values", Field::list);
    let is_given = object.field("values").is_some_and(|field| field.value().is_array());
    if let Some(channels) = channels.filter(|channels| is_given && *channels != list.len()) {
        let mend = format!("has {} values for {channels} channels; write one for each, or null", list.len());
        object.mistakes().add(Mistake::bare(object.key("values"), mend));
    }
    let nulls = (0..).zip(&list).filter(|(_, field)| field.value().is_null()).map(|(channel, _)| channel);
    (list.iter().filter_map(Field::number).collect(), nulls.collect())
}

/// The channel that a fault or a text is about.
fn channel(object: &Object<'_>, channels: usize) -> u32 {
    object.required("channel", |field| {
        let channel = field.whole()?;
        if usize::try_from(channel).is_ok_and(|channel| channel >= channels) {
            field.wrong(format!("the source has {channels} channels; write a number below that"));
        }
        Some(channel)
    })
}

/// The faults, and a missing one for each null that neither a fault nor a text names.
fn with_missing(nulls: &[u32], mut faults: Vec<Fault>, texts: &[Text]) -> Vec<Fault> {
    let before = faults.len();
    for &channel in nulls {
        if !is_named(channel, &faults, texts) {
            faults.push(Fault { channel, kind: FaultKind::Missing });
        }
    }
    if faults.len() > before {
        faults.sort_by_key(|fault| fault.channel);
    }
    faults
}

fn is_named(channel: u32, faults: &[Fault], texts: &[Text]) -> bool {
    faults.iter().any(|fault| fault.channel == channel) || texts.iter().any(|text| text.channel == channel)
}

/// A frame as [`read`] reads it.
pub(super) fn write(frame: &Frame) -> Value {
    let is_null = |channel: u32, value: f64| value.is_nan() && is_named(channel, &frame.faults, &frame.texts);
    let value = |(channel, value): (u32, &f64)| match *value {
        // A null alone would be read as missing.
        value if value.is_nan() && !is_null(channel, value) => "NaN".into(),
        value => number(value),
    };
    let nulls: Vec<_> =
        (0..).zip(&frame.values).filter(|(channel, value)| is_null(*channel, **value)).map(|(c, _)| c).collect();
    let faults = told_faults(frame, &nulls);
    let fault =
        |fault: &Fault| object([("channel", Some(fault.channel.into())), ("kind", Some(word(&FAULTS, fault.kind)))]);
    let text =
        |text: &Text| object([("channel", Some(text.channel.into())), ("value", Some(text.value.as_str().into()))]);
    object([
        ("source", Some(frame.source.into())),
        ("values", Some((0..).zip(&frame.values).map(value).collect())),
        ("faults", (!faults.is_empty()).then(|| faults.iter().map(fault).collect())),
        ("texts", (!frame.texts.is_empty()).then(|| frame.texts.iter().map(text).collect())),
    ])
}

/// The faults that reading would not add by itself.
fn told_faults(frame: &Frame, nulls: &[u32]) -> Vec<Fault> {
    let is_told = |fault: &&Fault| fault.kind != FaultKind::Missing || !nulls.contains(&fault.channel);
    let told: Vec<_> = frame.faults.iter().filter(is_told).copied().collect();
    if with_missing(nulls, told.clone(), &frame.texts) == frame.faults { told } else { frame.faults.clone() }
}
