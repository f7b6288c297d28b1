//! JSON objects as text, written member by member: a tree of values for all of them would need many times the memory.

use serde_json::{Map, Value};

/// An object of these members.
pub(crate) fn object<'a>(members: impl Iterator<Item = (&'a str, Value)>) -> String {
    let mut text = String::from("{");
    members.for_each(|(name, value)| push(&mut text, name, &value.to_string()));
    text.push('}');
    text
}

/// An object of `members` and of `parts`, whose values are JSON already.
pub(super) fn with_members<'a>(members: Map<String, Value>, parts: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = Value::Object(members).to_string();
    text.pop();
    parts.for_each(|(name, value)| push(&mut text, name, value));
    text.push('}');
    text
}

/// Adds a member to an object that is not closed yet.
fn push(text: &mut String, name: &str, value: &str) {
    if text.len() > 1 {
        text.push(',');
    }
    text.push_str(&Value::from(name).to_string());
    text.push(':');
    text.push_str(value);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn members_and_parts_are_one_object() {
        let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let feeds = object([("a \"b\"", json!({ "x": 1 })), ("ü", Value::Null)].into_iter());
        assert_eq!(parse(&feeds), json!({ "a \"b\"": { "x": 1 }, "ü": null }));
        assert_eq!(object(std::iter::empty()), "{}");
        let Value::Object(members) = json!({ "status": "healthy" }) else { unreachable!() };
        let parts = [("feeds", feeds.as_str()), ("tasks", "{}")];
        let expected = json!({ "status": "healthy", "feeds": parse(&feeds), "tasks": {} });
        assert_eq!(parse(&with_members(members, parts.into_iter())), expected);
        assert_eq!(with_members(Map::new(), [("feeds", "{}")].into_iter()), r#"{"feeds":{}}"#);
    }
}
