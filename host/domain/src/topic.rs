//! Topics that may be published, and filters that select them (MQTT 5.0 §4.7; the same in 3.1.1).

/// Bytes of UTF-8 that a topic may have, MQTT's own bound.
pub const MAX_TOPIC_BYTES: usize = 65_535;

/// Why a topic cannot be published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// It has no character.
    #[error("an empty topic cannot be published")]
    Empty,
    /// It is longer than the protocol allows.
    #[error("a topic of {0} bytes is longer than MQTT's {MAX_TOPIC_BYTES}")]
    TooLong(usize),
    /// A wildcard, or a character that no text of a packet should have.
    #[error("topic {topic:?} has {character:?}, which is not allowed in a published topic")]
    Character {
        /// The topic.
        topic: String,
        /// The first such character.
        character: char,
    },
}

/// Whether a message may be published under this topic.
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

/// Whether a text of a packet may have this character. Control characters and Unicode's noncharacters let a broker end
/// the session as malformed (MQTT 5.0 §1.5.4), and mosquitto does: the message could never be delivered.
pub fn is_sendable(character: char) -> bool {
    let code = u32::from(character);
    let is_noncharacter = (0xfdd0..=0xfdef).contains(&code) || code & 0xfffe == 0xfffe;
    !character.is_control() && !is_noncharacter
}

/// The first character that keeps a text from being one level of a topic, such as a site's or a device's name.
pub fn bad_level_character(level: &str) -> Option<char> {
    level.chars().find(|c| matches!(c, '+' | '#' | '/') || c.is_control())
}

/// Whether a filter, with `+` for one level and a last `#` for the rest, selects a topic.
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
    fn topics() {
        assert_eq!((check("site/telemetry"), check("Süd \u{10000}\u{fffd}")), (Ok(()), Ok(())));
        assert_eq!(check(""), Err(TopicError::Empty));
        assert_eq!(check(&"t".repeat(65_536)), Err(TopicError::TooLong(65_536)));
        for bad in ["a/+", "#", "a\0b", "a\n", "\u{9f}", "\u{fdd0}", "\u{ffff}", "\u{1fffe}"] {
            assert!(matches!(check(bad), Err(TopicError::Character { .. })), "{bad}");
        }
    }

    #[test]
    fn levels() {
        assert_eq!(bad_level_character("SITE-CL-001"), None);
        assert_eq!(bad_level_character("a/b"), Some('/'));
        assert_eq!(bad_level_character("a\0"), Some('\0'));
    }

    #[test]
    fn filters() {
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
