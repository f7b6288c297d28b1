//! The topics of a hub and of its provisioning service.

use bessai_plugin::encoding::{percent_decode, percent_encode};

/// What the hub sends to the device, by the topic that it arrives on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Arrived {
    /// A direct method to be answered with this request id.
    Method { name: String, rid: String },
    /// A message from the cloud, with its message id.
    Message { id: String },
    /// The answer to a request about the twin.
    TwinAnswer { status: u16, rid: String },
    /// The twin's desired properties changed.
    Desired,
    /// The answer of the provisioning service.
    Registration { status: u16, retry_after_s: u64 },
}

/// The topic of telemetry, with its properties.
pub(crate) fn telemetry(device: &str, own: &[(String, String)], system: &[(&str, &str)]) -> String {
    format!("devices/{device}/messages/events/{}", properties(own, system))
}

/// Properties as the end of a topic: those of the system, then the others.
pub(crate) fn properties(own: &[(String, String)], system: &[(&str, &str)]) -> String {
    let own = own.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let pair = |(key, value): (&str, &str)| format!("{}={}", percent_encode(key), percent_encode(value));
    system.iter().copied().chain(own).map(pair).collect::<Vec<_>>().join("&")
}

/// What a topic says; none if it is none of a hub's.
pub(crate) fn arrived(topic: &str, device: &str) -> Option<Arrived> {
    if let Some(rest) = topic.strip_prefix("$iothub/methods/POST/") {
        let (name, query) = rest.split_once("/?")?;
        return Some(Arrived::Method { name: percent_decode(name), rid: value(query, "$rid")?.to_owned() });
    }
    if topic.starts_with("$iothub/twin/PATCH/properties/desired/") {
        return Some(Arrived::Desired);
    }
    if let Some(rest) = topic.strip_prefix("$iothub/twin/res/") {
        let (status, query) = rest.split_once("/?")?;
        return Some(Arrived::TwinAnswer { status: status.parse().ok()?, rid: value(query, "$rid")?.to_owned() });
    }
    if let Some(rest) = topic.strip_prefix("$dps/registrations/res/") {
        let (status, query) = rest.split_once("/?")?;
        let retry_after_s = value(query, "retry-after").and_then(|seconds| seconds.parse().ok()).unwrap_or(0);
        return Some(Arrived::Registration { status: status.parse().ok()?, retry_after_s });
    }
    let bag = topic.strip_prefix("devices/")?.strip_prefix(device)?.strip_prefix("/messages/devicebound/")?;
    let id = value(bag, "$.mid").or_else(|| value(bag, "%24.mid")).map(percent_decode).unwrap_or_default();
    Some(Arrived::Message { id })
}

/// The value of a key in `a=1&b=2`.
fn value<'a>(query: &'a str, key: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| pair.split_once('=').filter(|(name, _)| *name == key)).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn telemetry_has_its_properties_in_the_topic() {
        assert_eq!(telemetry("d", &[], &[]), "devices/d/messages/events/");
        let own = [("key".to_owned(), "value".to_owned()), ("key_two".to_owned(), "value2".to_owned())];
        assert_eq!(telemetry("my_device", &own, &[]), "devices/my_device/messages/events/key=value&key_two=value2");
        let own = [("a b".to_owned(), "100% + #1/é".to_owned())];
        assert_eq!(
            telemetry("d", &own, &[("$.ct", "application/json"), ("$.ce", "utf-8")]),
            "devices/d/messages/events/%24.ct=application%2Fjson&%24.ce=utf-8&a%20b=100%25%20%2B%20%231%2F%C3%A9"
        );
    }

    #[test]
    fn what_arrives_is_known_by_its_topic() {
        let check = |topic: &str, expected: Option<Arrived>| assert_eq!(arrived(topic, "d"), expected, "{topic}");
        let method = |rid: &str| Some(Arrived::Method { name: "TestMethod".into(), rid: rid.into() });
        check("$iothub/methods/POST/TestMethod/?$rid=1", method("1"));
        check("$iothub/methods/POST/TestMethod/?$rid=1a2F", method("1a2F"));
        check("$iothub/methods/POST/TestMethod", None);
        check("$iothub/twin/PATCH/properties/desired/?$version=5", Some(Arrived::Desired));
        check("$iothub/twin/res/204/?$rid=2&$version=7", Some(Arrived::TwinAnswer { status: 204, rid: "2".into() }));
        check("$iothub/twin/rez/200", None);
        check("$iothub/twin/res/200", None);
        check(
            "$dps/registrations/res/202/?$rid=1&retry-after=3",
            Some(Arrived::Registration { status: 202, retry_after_s: 3 }),
        );
        let id = "79eadb01-bd0d-472d-bd35-ccb76e70eab8";
        check(
            &format!("devices/d/messages/devicebound/$.mid={id}&$.to=/devices/d/messages/deviceBound&abc"),
            Some(Arrived::Message { id: id.into() }),
        );
        check("devices/d/messages/devicebound/%24.mid=a%20b", Some(Arrived::Message { id: "a b".into() }));
        check("devices/other/messages/devicebound/", None);
    }
}
