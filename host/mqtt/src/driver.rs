//! Polls an event loop piece by piece.
//!
//! A step of the loop must be finished once begun, because the loop may be in the middle of a write. The unfinished step is
//! kept here between two polls, so waiting for a notice may be cancelled at any time.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::client::{ClientEvent, ClientLoop};
use crate::error::SessionError;

/// An event loop of either version.
pub(crate) trait Driver {
    /// Continues until something happened and appends it to `events`. The error ends the session; events before it count.
    fn poll(&mut self, context: &mut Context<'_>, events: &mut VecDeque<ClientEvent>)
    -> Poll<Result<(), SessionError>>;
    /// See [`ClientLoop::reset_in_flight`]; has no effect in the middle of a step.
    fn reset_in_flight(&mut self);
}

/// Drives this event loop.
pub(crate) fn drive<L: ClientLoop>(event_loop: L) -> Box<dyn Driver> {
    Box::new(LoopDriver::BetweenSteps(Box::new(event_loop)))
}

type StepFuture<L> = Pin<Box<dyn Future<Output = (Box<L>, Result<ClientEvent, SessionError>)>>>;

enum LoopDriver<L> {
    BetweenSteps(Box<L>),
    InStep(StepFuture<L>),
    Ended,
}

impl<L: ClientLoop> Driver for LoopDriver<L> {
    fn poll(
        &mut self,
        context: &mut Context<'_>,
        events: &mut VecDeque<ClientEvent>,
    ) -> Poll<Result<(), SessionError>> {
        let mut step: StepFuture<L> = match std::mem::replace(self, Self::Ended) {
            Self::BetweenSteps(mut event_loop) => Box::pin(async move {
                let result = event_loop.step().await;
                (event_loop, result)
            }),
            Self::InStep(step) => step,
            Self::Ended => return Poll::Ready(Err(SessionError::ConnectionClosed)),
        };
        let Poll::Ready((mut event_loop, result)) = step.as_mut().poll(context) else {
            *self = Self::InStep(step);
            return Poll::Pending;
        };
        let result = result.map(|event| events.push_back(event));
        while let Some(event) = event_loop.next_buffered() {
            events.push_back(event);
        }
        if result.is_ok() {
            *self = Self::BetweenSteps(event_loop);
        }
        Poll::Ready(result)
    }

    fn reset_in_flight(&mut self) {
        if let Self::BetweenSteps(event_loop) = self {
            event_loop.reset_in_flight();
        }
    }
}
