//! Topic names for publishing and filters that match them (MQTT 5.0 §4.7; the same in 3.1.1).

/// The most bytes of a topic in UTF-8, a limit of MQTT.
const MAX_TOPIC_BYTES: usize = 65_535;

/// Why a topic cannot be published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// It is empty.
    #[error("an empty topic cannot be published")]
    Empty,
    /// It is longer than the protocol allows.
    #[error("a topic of {0} bytes is too long; MQTT allows {MAX_TOPIC_BYTES}")]
    TooLong(usize),
    /// It contains a wildcard, or a character that must not occur in a packet.
    #[error("topic {topic:?} contains {character:?}, which is not allowed in a published topic")]
    Character {
        /// The topic.
        topic: String,
        /// The first such character.
        character: char,
    },
}

/// Checks that a message can be published under this topic.
pub fn check(topic: &str) -> Result<(), TopicError> {
    if topic.is_empty() {
        return Err(TopicError::Empty);
    }
    if topic.len() > MAX_TOPIC_BYTES {
        return Err(TopicError::TooLong(topic.len()));
    }
    match topic.chars().find(|c| matches!(c, '+' | '#') || !is_sendable(*c)) {
        Some(character) => Err(TopicError::Character { topic: topic.into(), character }),
        None => Ok(()),
    }
}

/// Whether a text in a packet may contain this character. A broker may end the session because of control characters
/// and Unicode noncharacters (MQTT 5.0 §1.5.4), and mosquitto does, so a message with one could never be delivered.
pub(crate) fn is_sendable(character: char) -> bool {
    let code = u32::from(character);
    let is_noncharacter = (0xfdd0..=0xfdef).contains(&code) || code & 0xfffe == 0xfffe;
    !character.is_control() && !is_noncharacter
}

/// The first character that must not occur in one level of a topic, such as the name of a site or a device.
pub fn invalid_level_character(level: &str) -> Option<char> {
    level.chars().find(|c| matches!(c, '+' | '#' | '/') || c.is_control())
}

/// Whether a filter, with `+` for one level and a final `#` for the rest, matches a topic.
pub fn matches(filter: &str, topic: &str) -> bool {
    let mut levels = topic.split('/');
    let mut filters = filter.split('/').peekable();
    if topic.starts_with('$') && !filter.starts_with('$') {
        return false;
    }
    while let Some(wanted) = filters.next() {
        match (wanted, levels.next()) {
            ("#", _) => return filters.peek().is_none(),
            ("+", Some(_)) => {}
            (wanted, Some(level)) if wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

/// Checks that a filter can be subscribed to (MQTT 5.0 §4.7.1); the error has no subject.
pub fn check_filter(filter: &str) -> Result<(), String> {
    if filter.is_empty() {
        return Err("is empty".into());
    }
    if filter.len() > MAX_TOPIC_BYTES {
        return Err(format!("has {} bytes; MQTT allows {MAX_TOPIC_BYTES}", filter.len()));
    }
    if let Some(character) = filter.chars().find(|character| !is_sendable(*character)) {
        return Err(format!("contains {character:?}, which a broker may refuse"));
    }
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        if level.contains('#') && (level != "#" || levels.peek().is_some()) {
            return Err("has a `#` that is not its last level".into());
        }
        if level.contains('+') && level != "+" {
            return Err("has a `+` beside other characters of a level".into());
        }
    }
    Ok(())
}

/// Whether every topic that `filter` matches is matched by `right`, too.
pub fn covers(right: &str, filter: &str) -> bool {
    // Wildcards at the beginning match no topic that begins with `$`.
    if filter.starts_with('$') && right.starts_with(['+', '#']) {
        return false;
    }
    let mut levels = filter.split('/');
    for allowed in right.split('/') {
        match (allowed, levels.next()) {
            ("#", _) => return true,
            ("+", Some(level)) if level != "#" => {}
            (allowed, Some(level)) if allowed == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_that_can_be_published() {
        assert_eq!((check("site/telemetry"), check("Süd \u{10000}\u{fffd}")), (Ok(()), Ok(())));
        assert_eq!(check(""), Err(TopicError::Empty));
        assert_eq!(check(&"t".repeat(65_536)), Err(TopicError::TooLong(65_536)));
        for bad in ["a/+", "#", "a\0b", "a\n", "\u{9f}", "\u{fdd0}", "\u{ffff}", "\u{1fffe}"] {
            assert!(matches!(check(bad), Err(TopicError::Character { .. })), "{bad}");
        }
    }

    #[test]
    fn characters_that_a_level_must_not_contain() {
        assert_eq!(invalid_level_character("SITE-CL-001"), None);
        assert_eq!(invalid_level_character("a/b"), Some('/'));
        assert_eq!(invalid_level_character("a\0"), Some('\0'));
    }

    #[test]
    fn filters_that_can_be_subscribed_to() {
        for filter in ["a", "#", "+", "a/+/b", "a/#", "$iothub/methods/POST/#", "/a//b"] {
            assert_eq!(check_filter(filter), Ok(()), "{filter}");
        }
        for (filter, expected) in
            [("", "empty"), ("a#", "`#`"), ("a/#/b", "`#`"), ("a+/b", "`+`"), ("a\0", "contains '\\0'")]
        {
            assert!(check_filter(filter).unwrap_err().contains(expected), "{filter}");
        }
        assert!(check_filter(&"t".repeat(65_536)).unwrap_err().contains("65536 bytes"));
    }

    #[test]
    fn a_right_covers_the_filters_that_match_no_other_topic() {
        for (right, filter, expected) in [
            ("a/#", "a/#", true),
            ("a/#", "a/+/c", true),
            ("a/#", "a", true),
            ("a/+", "a/b", true),
            ("a/+", "a/+", true),
            ("a/+", "a/#", false),
            ("a/b", "a/+", false),
            ("a/b", "a/b", true),
            ("a/+/c", "a/b/c", true),
            ("a/+/c", "a/b/#", false),
            ("a", "a/b", false),
            ("#", "a/#", true),
            ("#", "#", true),
            ("#", "$SYS/#", false),
            ("+/x", "$SYS/x", false),
            ("$SYS/#", "$SYS/x", true),
        ] {
            assert_eq!(covers(right, filter), expected, "{right} for {filter}");
        }
    }

    #[test]
    fn filters_match_as_in_mqtt() {
        for (filter, topic, expected) in [
            ("a/b", "a/b", true),
            ("a/+", "a/b", true),
            ("a/+", "a/b/c", false),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("#", "a/b", true),
            ("#", "$SYS/x", false),
            ("+/x", "$SYS/x", false),
            ("$SYS/#", "$SYS/x", true),
            ("a", "a/b", false),
            ("a/b", "a", false),
            ("a/#/b", "a/x/b", false),
        ] {
            assert_eq!(matches(filter, topic), expected, "{filter} on {topic}");
        }
    }
}
