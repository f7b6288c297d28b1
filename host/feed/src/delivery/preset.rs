//! The limits of a known kind of broker, which apply before a message is sent.

use bessai_domain::message::Message;
use bessai_domain::ports::Cursor;

use super::Delivery;

impl<C: Cursor> Delivery<C> {
    /// Whether a broker of the feed's kind takes a message; the error says why not.
    pub(super) fn admitted_by_kind(&self, message: &Message) -> Result<(), String> {
        self.context.broker_limits.get().map_or(Ok(()), |limits| limits.admit(message))
    }

    /// Whether it takes the message with its retain flag.
    pub(super) fn may_retain(&self, message: &Message) -> bool {
        !message.retain || self.context.broker_limits.get().is_none_or(|limits| limits.may_retain(&message.topic))
    }

    /// Messages per second: the feed's own limit or that of its broker's kind, whichever is lower.
    pub(super) fn rate_per_s(&self) -> Option<u32> {
        let of_kind = self.context.broker_limits.get().and_then(|limits| limits.paced_per_s());
        let own = self.context.rate_per_s.get();
        own.into_iter().chain(of_kind).min()
    }
}
