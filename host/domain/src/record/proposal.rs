//! Events `write`: proposed set-points and what became of them.

use serde_json::{Value, json};

use super::json_reader::{JsonField, JsonObject};
use super::json_writer::{number, object, text};
use super::read_time;
use crate::event::Sequence;
use crate::proposal::{Proposal, SetValue, WriteOutcome, WriteStep};

/// The outcomes that have no value or text.
const PLAIN: [(&str, WriteOutcome); 2] =
    [("acknowledged", WriteOutcome::Acknowledged), ("expired", WriteOutcome::Expired)];
/// An outcome with a text, and its name.
type WithText = (&'static str, fn(String) -> WriteOutcome);

/// The outcomes that have a text.
const WITH_TEXT: [WithText; 4] = [
    ("refused", WriteOutcome::Refused),
    ("failed", WriteOutcome::Failed),
    ("superseded", WriteOutcome::Superseded),
    ("released", WriteOutcome::Released),
];
/// The outcome that has a value.
const VERIFIED: &str = "verified";
/// What to write as an outcome.
const HINT: &str = "write \"acknowledged\", \"expired\", {\"verified\": VALUE}, or {\"refused\": \"why\"}, likewise failed, \
                    superseded or released";

pub(super) fn read(object: &JsonObject<'_>) -> WriteStep {
    WriteStep {
        proposed: object.optional("proposed", JsonField::unsigned).map(Sequence),
        proposer: object.required("proposer", JsonField::text),
        proposal: Proposal {
            device: object.required("device", JsonField::text),
            channel: object.required("channel", JsonField::text),
            value: object.optional("value", value),
            until: object.optional("until", read_time),
            reference: object.optional("reference", JsonField::text).unwrap_or_default(),
        },
        unit: object.optional("unit", JsonField::text).unwrap_or_default(),
        outcome: object.optional("outcome", outcome),
    }
}

/// A text that says "not a number" belongs to a channel whose value is text.
fn value(field: &JsonField<'_>) -> Option<SetValue> {
    match field.value() {
        Value::String(text) => Some(SetValue::Text(text.clone())),
        _ => field.number().map(SetValue::Number),
    }
}

fn outcome(field: &JsonField<'_>) -> Option<WriteOutcome> {
    if let Some(word) = field.value().as_str() {
        let known = PLAIN.into_iter().find(|(name, _)| *name == word);
        if known.is_none() {
            field.add_mistake(HINT);
        }
        return known.map(|(_, outcome)| outcome);
    }
    let object = field.object()?;
    let verified = object.optional(VERIFIED, value).map(WriteOutcome::Verified);
    let with_text =
        WITH_TEXT.into_iter().filter_map(|(name, outcome)| object.optional(name, JsonField::text).map(outcome));
    let mut outcomes = verified.into_iter().chain(with_text);
    let first = outcomes.next();
    if first.is_none() || outcomes.next().is_some() {
        field.add_mistake(HINT);
    }
    object.report_unknown_keys();
    first
}

pub(super) fn write(step: &WriteStep) -> Value {
    let WriteStep { proposed, proposer, proposal, unit, outcome } = step;
    let not_empty = |content: &String| (!content.is_empty()).then(|| content.as_str().into());
    object([
        ("proposed", proposed.map(|sequence| sequence.0.into())),
        ("proposer", text(proposer)),
        ("device", text(&proposal.device)),
        ("channel", text(&proposal.channel)),
        ("value", proposal.value.as_ref().map(value_written)),
        ("unit", not_empty(unit)),
        ("until", proposal.until.map(|until| until.to_string().into())),
        ("reference", not_empty(&proposal.reference)),
        ("outcome", outcome.as_ref().map(outcome_written)),
    ])
}

fn value_written(value: &SetValue) -> Value {
    match value {
        SetValue::Number(given) => number(*given),
        SetValue::Text(text) => text.as_str().into(),
    }
}

fn outcome_written(outcome: &WriteOutcome) -> Value {
    match outcome {
        WriteOutcome::Verified(value) => json!({ VERIFIED: value_written(value) }),
        WriteOutcome::Acknowledged => "acknowledged".into(),
        WriteOutcome::Expired => "expired".into(),
        WriteOutcome::Refused(reason) => json!({ "refused": reason }),
        WriteOutcome::Failed(reason) => json!({ "failed": reason }),
        WriteOutcome::Superseded(proposer) => json!({ "superseded": proposer }),
        WriteOutcome::Released(reason) => json!({ "released": reason }),
    }
}
