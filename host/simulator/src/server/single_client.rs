//! A server that answers one client at a time, and takes another one only after the first one's connection was reset.

/// Which connection is answered.
#[derive(Debug, Default)]
pub(super) enum Slot {
    /// Every one.
    #[default]
    Unlimited,
    /// The next one that asks.
    Free,
    /// This one, although it may have been closed in order.
    Held(u64),
}

impl Slot {
    /// Whether this connection is answered.
    pub(super) fn serves(&mut self, connection: u64) -> bool {
        match self {
            Self::Unlimited => true,
            Self::Free => {
                *self = Self::Held(connection);
                true
            }
            Self::Held(held) => *held == connection,
        }
    }

    /// Records the end of a connection.
    pub(super) fn end(&mut self, connection: u64, is_reset: bool) {
        if is_reset && matches!(self, Self::Held(held) if *held == connection) {
            *self = Self::Free;
        }
    }
}
