//! Keeps the turns of a feed's task short: all feeds share one thread.
//!
//! A feed may always have something to do: events to process, messages to send, acknowledgements to handle. Its task gives
//! the thread to the other tasks when its turn has lasted long enough, also where nothing makes it wait.

use std::cell::Cell;
use std::pin::pin;
use std::time::Duration;

use tokio::time::Instant;

use crate::context::TaskContext;

/// After this time a task gives way; far below the delay that a neighbour would notice, far above the cost of a switch.
const LONGEST_TURN: Duration = Duration::from_millis(2);

/// When the current turn of the task began.
pub(crate) struct Turn(Cell<Instant>);

impl Turn {
    pub(crate) fn new() -> Self {
        Self(Cell::new(Instant::now()))
    }
}

impl TaskContext {
    /// Runs the task's future and notes when each of its turns begins.
    pub(crate) async fn in_turns<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        std::future::poll_fn(|context| {
            self.turn.0.set(Instant::now());
            work.as_mut().poll(context)
        })
        .await
    }

    /// Gives way to the other tasks if the current turn has lasted long enough.
    pub(crate) async fn give_way(&self) {
        if self.turn.0.get().elapsed() >= LONGEST_TURN {
            tokio::task::yield_now().await;
        }
    }
}
