//! What a feed does with its pending events.

use tokio::time::Instant;

/// How many of the pending events the next call gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallSize {
    /// All of them.
    All,
    /// The first one only: the plugin failed on all of them, and the event that it fails on is searched.
    One,
}

/// What a feed does with its pending events.
///
/// ```text
///             plugin fails twice         only more events can tell whether
///                                        plugin or event is at fault
/// Ready(All) ──────────────────▶ Ready(One) ──────────────────▶ AwaitingEvents
///     ▲  all are processed          │  ▲                              │
///     └─────────────────────────────┘  └──────────────────────────────┘
///                                           events arrive
/// Ready(…) ◀──▶ Paused: the plugin asked for the events again later
/// any ──▶ Off ──▶ Ready(All): too many failures, until there is a new version
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// Calls the plugin as soon as there are events.
    Ready(CallSize),
    /// Ready to call with one event, but only more events can tell whether it or the plugin is at fault.
    AwaitingEvents,
    /// The plugin asked for the events again later.
    Paused { until: Instant, then: CallSize },
    /// Does nothing until there is a new version.
    Off,
}

impl Work {
    /// The state of a version that has not failed.
    pub(super) const START: Self = Self::Ready(CallSize::All);

    pub(super) fn wants_events(self, has_pending: bool) -> bool {
        match self {
            Self::Ready(_) | Self::Paused { .. } => !has_pending,
            Self::AwaitingEvents => true,
            Self::Off => false,
        }
    }

    pub(super) fn can_call(self, has_pending: bool) -> bool {
        has_pending && matches!(self, Self::Ready(_))
    }

    pub(super) fn paused_until(self) -> Option<Instant> {
        match self {
            Self::Paused { until, .. } => Some(until),
            _ => None,
        }
    }

    pub(super) fn calls_with_one(self) -> bool {
        self == Self::Ready(CallSize::One)
    }

    /// The plugin failed on all events: finds the one that it fails on.
    pub(super) fn isolate(&mut self) {
        *self = Self::Ready(CallSize::One);
    }

    /// The plugin asked for the events again.
    pub(super) fn pause(&mut self, until: Instant) {
        if let Self::Ready(then) = *self {
            *self = Self::Paused { until, then };
        }
    }

    /// The pause is over.
    pub(super) fn resume(&mut self) {
        if let Self::Paused { then, .. } = *self {
            *self = Self::Ready(then);
        }
    }

    /// Only more events can tell what is at fault.
    pub(super) fn await_events(&mut self) {
        *self = Self::AwaitingEvents;
    }

    /// Events arrived.
    pub(super) fn events_arrived(&mut self) {
        if let Self::AwaitingEvents = self {
            self.isolate();
        }
    }

    /// All pending events are processed: none is to be isolated any more.
    pub(super) fn all_processed(&mut self) {
        if let Self::Ready(_) = self {
            *self = Self::START;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_ends_when_all_events_are_processed() {
        let mut work = Work::START;
        assert!(work.can_call(true) && !work.can_call(false) && work.wants_events(false) && !work.wants_events(true));
        work.isolate();
        assert!(work.calls_with_one() && work.can_call(true));
        work.await_events();
        assert!(work.wants_events(true) && !work.can_call(true) && !work.calls_with_one());
        work.events_arrived();
        assert!(work.calls_with_one());
        work.all_processed();
        assert_eq!(work, Work::START);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_returns_to_what_was_interrupted() {
        let until = Instant::now();
        for size in [CallSize::All, CallSize::One] {
            let mut work = Work::Ready(size);
            work.pause(until);
            assert_eq!(
                (work.paused_until(), work.can_call(true), work.wants_events(true)),
                (Some(until), false, false)
            );
            work.events_arrived();
            work.resume();
            assert_eq!(work, Work::Ready(size));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn off_is_left_by_nothing_but_a_new_version() {
        let mut work = Work::Off;
        work.pause(Instant::now());
        work.events_arrived();
        work.resume();
        work.all_processed();
        assert_eq!(work, Work::Off);
        assert!(!work.wants_events(false) && !work.can_call(true));
    }
}
