//! How a session ends.

use crate::packet::reason;

/// Why a session has ended, or is to end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SessionEnd {
    #[error("DISCONNECT received")]
    Disconnected,
    #[error("DISCONNECT received, with the will to be published")]
    DisconnectedWithWill,
    #[error("connection closed by the client")]
    Closed,
    #[error("silent for longer than 1.5 times its keep alive")]
    KeepAlive,
    #[error("taken over by another connection of the same client id")]
    TakenOver,
    #[error("queue of unread messages full")]
    QueueFull,
    /// With the reason code.
    #[error("{1}")]
    Violation(u8, String),
}

impl SessionEnd {
    /// Whether the last will is discarded: only a client's own DISCONNECT does that [3.1.2.5].
    pub(super) fn discards_will(&self) -> bool {
        *self == Self::Disconnected
    }

    /// The reason of the broker's DISCONNECT; none where the client itself has ended the session.
    pub(super) fn reason(&self) -> Option<u8> {
        match self {
            Self::Disconnected | Self::DisconnectedWithWill | Self::Closed => None,
            Self::KeepAlive => Some(reason::KEEP_ALIVE_TIMEOUT),
            Self::TakenOver => Some(reason::SESSION_TAKEN_OVER),
            Self::QueueFull => Some(reason::QUOTA_EXCEEDED),
            Self::Violation(reason, _) => Some(*reason),
        }
    }
}
