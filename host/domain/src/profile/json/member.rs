//! Access to JSON members that may be missing.

use serde_json::Value;

/// A member of an object, or null if it is missing.
pub(super) fn member<'a>(value: &'a Value, key: &str) -> &'a Value {
    value.get(key).unwrap_or(&Value::Null)
}

/// A member of a member, or null if either is missing.
pub(super) fn nested<'a>(value: &'a Value, outer: &str, inner: &str) -> &'a Value {
    member(member(value, outer), inner)
}
