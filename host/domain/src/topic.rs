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
