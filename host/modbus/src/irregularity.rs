//! What devices and buses do against the standard although their replies can be used: counted for each bus, logged once.

use std::sync::atomic::{AtomicU64, Ordering};

/// Something in the received bytes that the standard does not allow or that does not belong to the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Irregularity {
    /// The header of a reply states another length than its content has.
    WrongLength,
    /// A reply does not have the transaction id of its request.
    WrongId,
    /// A reply to a request that was given up.
    LateReply,
    /// A frame of another master, or the reply to it.
    ForeignFrame,
    /// Bytes that belong to no frame.
    StrayBytes,
    /// The request itself comes back before its reply.
    LocalEcho,
    /// A reply with the right transaction id whose unit, function or length is not the requested one.
    Contradiction,
    /// A reply to unit 0 or 255 that names another unit.
    OtherUnit,
}

impl Irregularity {
    /// All of them, in the order of `/health`.
    pub const ALL: [Self; 8] = [
        Self::WrongLength,
        Self::WrongId,
        Self::LateReply,
        Self::ForeignFrame,
        Self::StrayBytes,
        Self::LocalEcho,
        Self::Contradiction,
        Self::OtherUnit,
    ];

    /// The key in `/health`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::WrongLength => "wrong_lengths",
            Self::WrongId => "wrong_ids",
            Self::LateReply => "late_replies",
            Self::ForeignFrame => "foreign_frames",
            Self::StrayBytes => "stray_bytes",
            Self::LocalEcho => "local_echoes",
            Self::Contradiction => "contradictions",
            Self::OtherUnit => "other_units",
        }
    }

    /// What the log says after the bus's address; none if each case is reported as an error of its own.
    pub(crate) fn sentence(self) -> Option<&'static str> {
        let sentence = match self {
            Self::WrongLength => {
                "states a wrong length in the header of its replies; the gateway uses the length of their content"
            }
            Self::WrongId => {
                "does not copy the transaction id of a request; the gateway identifies its replies by unit, function and \
                 length"
            }
            Self::LateReply => "sends late or repeated replies to earlier requests; the gateway skips them",
            Self::ForeignFrame => {
                "forwards frames of another master; the gateway skips them (with two masters on one bus, readings can \
                 be lost)"
            }
            Self::StrayBytes => "sends bytes that belong to no frame; the gateway skips them",
            Self::LocalEcho => "returns what the gateway sends (local echo); the gateway skips it",
            Self::OtherUnit => "replies to the requested unit with another unit id; the gateway accepts it",
            Self::Contradiction => return None,
        };
        Some(sentence)
    }

    /// What came instead of a reply.
    fn noun(self) -> &'static str {
        match self {
            Self::WrongLength => "a frame with a wrong length",
            Self::WrongId => "a reply with another transaction id",
            Self::LateReply => "a reply to an earlier request",
            Self::ForeignFrame => "a frame of another master",
            Self::StrayBytes => "bytes that belong to no frame",
            Self::LocalEcho => "the echo of the request",
            Self::Contradiction => "an invalid reply",
            Self::OtherUnit => "a reply of another unit",
        }
    }

    fn bit(self) -> u8 {
        1 << (self as u8)
    }
}

/// Which irregularities were noticed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Notes(u8);

impl Notes {
    pub(crate) fn add(&mut self, noticed: Irregularity) {
        self.0 |= noticed.bit();
    }

    pub(crate) fn remove(&mut self, noticed: Irregularity) {
        self.0 &= !noticed.bit();
    }

    /// The end of a sentence about a reply that did not come; empty if nothing came.
    pub(crate) fn received_instead(self) -> String {
        let noticed: Vec<_> = Irregularity::ALL.iter().filter(|one| self.0 & one.bit() != 0).collect();
        let nouns: Vec<_> = noticed.into_iter().map(|one| one.noun()).collect();
        if nouns.is_empty() { String::new() } else { format!("; received {} instead", nouns.join(" and ")) }
    }

    /// Adds these notes and returns those that are new.
    pub(crate) fn merge(&mut self, others: Self) -> impl Iterator<Item = Irregularity> {
        let new = others.0 & !self.0;
        self.0 |= others.0;
        Irregularity::ALL.into_iter().filter(move |one| new & one.bit() != 0)
    }
}

/// How often a bus was irregular since the start.
#[derive(Debug, Default)]
pub struct FramingCounts([AtomicU64; Irregularity::ALL.len()]);

impl FramingCounts {
    /// The irregularities that occurred, by their name.
    pub fn occurred(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = Irregularity::ALL.iter().zip(&self.0);
        counts.map(|(one, count)| (one.name(), count.load(Ordering::Relaxed))).filter(|(_, count)| *count > 0)
    }

    /// How often something was received that belongs to no request. Habits of a device, such as wrong lengths, do not count.
    pub(crate) fn unexpected(&self) -> u64 {
        const UNEXPECTED: [Irregularity; 4] = [
            Irregularity::LateReply,
            Irregularity::ForeignFrame,
            Irregularity::StrayBytes,
            Irregularity::Contradiction,
        ];
        let counts = Irregularity::ALL.iter().zip(&self.0);
        counts.filter(|(one, _)| UNEXPECTED.contains(one)).map(|(_, count)| count.load(Ordering::Relaxed)).sum()
    }

    pub(crate) fn add(&self, noticed: Irregularity, count: u64) {
        let counts = Irregularity::ALL.iter().zip(&self.0);
        if let Some((_, counter)) = counts.into_iter().find(|(one, _)| **one == noticed) {
            counter.fetch_add(count, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn habits_of_a_device_are_not_unexpected() {
        let counts = FramingCounts::default();
        Irregularity::ALL.into_iter().for_each(|one| counts.add(one, 1));
        assert_eq!(counts.unexpected(), 4);
        counts.add(Irregularity::LocalEcho, 5);
        counts.add(Irregularity::ForeignFrame, 2);
        assert_eq!(counts.unexpected(), 6);
    }
}
