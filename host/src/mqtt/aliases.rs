//! Topic aliases of MQTT 5: a number in place of a topic that was sent before in the same session.

use std::collections::HashMap;

/// Aliases that are used at most, however many a broker offers: a feed that has more topics gains little.
const ALIASES: u16 = 64;
/// Topics that are watched for a repetition; those that come later get no alias.
const WATCHED: usize = 4 * ALIASES as usize;
/// Bytes of an alias in a packet; a topic that is no longer gains nothing.
const ALIAS_BYTES: usize = 3;

/// One session's aliases.
pub(super) struct Aliases {
    left: u16,
    next: u16,
    topics: HashMap<String, Option<u16>>,
}

/// How a topic is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// In full.
    Full,
    /// In full, with an alias for the next time.
    Introduced(u16),
    /// As its alias.
    Alias(u16),
}

impl Aliases {
    /// The broker takes aliases up to this one.
    pub(super) fn new(highest: u16) -> Self {
        Self { left: highest.min(ALIASES), next: 1, topics: HashMap::new() }
    }

    /// How the next message's topic is written. First come, first served; only what repeats gets an alias.
    pub(super) fn write(&mut self, topic: &str) -> Written {
        let watched = self.topics.len();
        match self.topics.get_mut(topic) {
            Some(Some(alias)) => Written::Alias(*alias),
            Some(alias) if self.left > 0 => {
                let new = self.next;
                *alias = Some(new);
                (self.left, self.next) = (self.left - 1, new + 1);
                Written::Introduced(new)
            }
            None if self.left > 0 && topic.len() > ALIAS_BYTES && watched < WATCHED => {
                self.topics.insert(topic.to_owned(), None);
                Written::Full
            }
            _ => Written::Full,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_that_repeat_get_aliases() {
        let mut aliases = Aliases::new(2);
        let check =
            |aliases: &mut Aliases, topic: &str, expected| assert_eq!(aliases.write(topic), expected, "{topic}");
        check(&mut aliases, "site/one", Written::Full);
        check(&mut aliases, "site/two", Written::Full);
        check(&mut aliases, "site/two", Written::Introduced(1));
        check(&mut aliases, "site/two", Written::Alias(1));
        check(&mut aliases, "site/one", Written::Introduced(2));
        check(&mut aliases, "a/b", Written::Full);
        check(&mut aliases, "a/b", Written::Full);
        check(&mut aliases, "site/three", Written::Full);
        check(&mut aliases, "site/three", Written::Full);
        check(&mut aliases, "site/one", Written::Alias(2));
        check(&mut aliases, "site/two", Written::Alias(1));
    }

    #[test]
    fn a_broker_without_aliases_gets_none_and_memory_is_bounded() {
        let mut none = Aliases::new(0);
        assert_eq!((none.write("site/one"), none.write("site/one")), (Written::Full, Written::Full));
        let mut many = Aliases::new(u16::MAX);
        for _ in 0..2 {
            for topic in 0..1000 {
                many.write(&format!("site/{topic}"));
            }
        }
        assert_eq!((many.topics.len(), many.next), (WATCHED, ALIASES + 1));
    }
}
