//! What the running instance knows of the feed's session.

use bessai_domain::session::Welcome;

use crate::batches::SessionMessages;

/// What the running instance of a plugin that decides how its feed signs in knows of the session.
pub(super) enum SessionState {
    /// There is no session, or the plugin has no part in it.
    None,
    /// `connected` was not called on this instance.
    NotAnnounced(Welcome),
    /// `connected` was called on this instance. If that happened within the session, because the instance is fresh, its
    /// messages are sent with its next batch.
    Announced { welcome: Welcome, unsent: Option<SessionMessages> },
    /// The plugin was replaced: these are the last messages of the one before, after which the session ends.
    Closing(SessionMessages),
}

impl SessionState {
    /// What the broker granted, while the plugin has part in the session.
    pub(super) fn welcome(&self) -> Option<Welcome> {
        match self {
            Self::NotAnnounced(welcome) | Self::Announced { welcome, .. } => Some(*welcome),
            Self::None | Self::Closing(_) => None,
        }
    }

    /// The instance is gone: the next one gets `connected` again.
    pub(super) fn forget_announcement(&mut self) {
        if let Self::Announced { welcome, .. } = self {
            *self = Self::NotAnnounced(*welcome);
        }
    }

    /// The messages that are sent with the next batch.
    pub(super) fn take_unsent(&mut self) -> Option<SessionMessages> {
        match self {
            Self::Announced { unsent, .. } => unsent.take(),
            _ => None,
        }
    }
}
