//! Topic aliases of MQTT 5: a number instead of a topic that was sent before in the same session.

use std::collections::HashMap;

/// Most aliases that are used, however many the broker accepts: a feed with more topics gains little.
const MAX_ALIASES: u16 = 64;
/// Topics that are remembered to find repetitions; later ones get no alias.
const MAX_TOPICS: usize = 4 * MAX_ALIASES as usize;
/// Bytes of an alias in a packet; a topic of no more bytes gains nothing.
const ALIAS_BYTES: usize = 3;

/// One session's aliases.
pub(crate) struct TopicAliases {
    free: u16,
    next: u16,
    topics: HashMap<String, Option<u16>>,
}

/// How a topic is written in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WrittenTopic {
    /// In full.
    Full,
    /// In full, together with the alias that it gets.
    Introduced(u16),
    /// Only as its alias.
    Alias(u16),
}

impl TopicAliases {
    /// The broker accepts aliases up to this one.
    pub(crate) fn new(highest: u16) -> Self {
        Self { free: highest.min(MAX_ALIASES), next: 1, topics: HashMap::new() }
    }

    /// How the next message's topic is written. First come, first served; only a topic that repeats gets an alias.
    pub(crate) fn write(&mut self, topic: &str) -> WrittenTopic {
        let known = self.topics.len();
        match self.topics.get_mut(topic) {
            Some(Some(alias)) => WrittenTopic::Alias(*alias),
            Some(alias) if self.free > 0 => {
                let new = self.next;
                *alias = Some(new);
                (self.free, self.next) = (self.free - 1, new + 1);
                WrittenTopic::Introduced(new)
            }
            None if self.free > 0 && topic.len() > ALIAS_BYTES && known < MAX_TOPICS => {
                self.topics.insert(topic.to_owned(), None);
                WrittenTopic::Full
            }
            _ => WrittenTopic::Full,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_that_repeat_get_aliases() {
        let mut aliases = TopicAliases::new(2);
        let check =
            |aliases: &mut TopicAliases, topic: &str, expected| assert_eq!(aliases.write(topic), expected, "{topic}");
        check(&mut aliases, "site/one", WrittenTopic::Full);
        check(&mut aliases, "site/two", WrittenTopic::Full);
        check(&mut aliases, "site/two", WrittenTopic::Introduced(1));
        check(&mut aliases, "site/two", WrittenTopic::Alias(1));
        check(&mut aliases, "site/one", WrittenTopic::Introduced(2));
        check(&mut aliases, "a/b", WrittenTopic::Full);
        check(&mut aliases, "a/b", WrittenTopic::Full);
        check(&mut aliases, "site/three", WrittenTopic::Full);
        check(&mut aliases, "site/three", WrittenTopic::Full);
        check(&mut aliases, "site/one", WrittenTopic::Alias(2));
        check(&mut aliases, "site/two", WrittenTopic::Alias(1));
    }

    #[test]
    fn a_broker_without_aliases_gets_none_and_memory_is_bounded() {
        let mut none = TopicAliases::new(0);
        assert_eq!((none.write("site/one"), none.write("site/one")), (WrittenTopic::Full, WrittenTopic::Full));
        let mut many = TopicAliases::new(u16::MAX);
        for _ in 0..2 {
            for topic in 0..1000 {
                many.write(&format!("site/{topic}"));
            }
        }
        assert_eq!((many.topics.len(), many.next), (MAX_TOPICS, MAX_ALIASES + 1));
    }
}
