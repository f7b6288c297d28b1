//! Pauses before restarts.

use std::time::{Duration, Instant};

/// Pause before the first restart; doubles with each further one, up to [`MAX_PAUSE`].
const MIN_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause before a restart.
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// After running for this long, the next failure counts as the first one.
const STABLE_AFTER: Duration = Duration::from_mins(1);

/// The pauses of one task or thread.
#[derive(Debug)]
pub(crate) struct Backoff {
    pause: Duration,
    started: Instant,
}

impl Backoff {
    /// The task or thread starts now.
    #[allow(
        clippy::disallowed_methods,
        reason = "restarts happen in real time, also where a test pauses Tokio's clock"
    )]
    pub(crate) fn new() -> Self {
        Self { pause: MIN_PAUSE, started: Instant::now() }
    }

    /// The pause before the restart that follows a failure now.
    pub(crate) fn next(&mut self) -> Duration {
        let first = if self.started.elapsed() >= STABLE_AFTER { MIN_PAUSE } else { self.pause };
        self.pause = (first * 2).min(MAX_PAUSE);
        first
    }

    /// It was started again.
    #[allow(
        clippy::disallowed_methods,
        reason = "restarts happen in real time, also where a test pauses Tokio's clock"
    )]
    pub(crate) fn restarted(&mut self) {
        self.started = Instant::now();
    }
}
