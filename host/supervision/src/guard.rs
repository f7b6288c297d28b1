//! A future that returns its panic as an error, and whose polls are measured.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::registry::{Entry, Supervised};
use crate::{fault, panics};

impl Supervised {
    /// Runs a future of this task; the error is the message of its panic.
    pub fn run<F: Future>(&self, future: F) -> impl Future<Output = Result<F::Output, String>> + use<F> {
        // Boxed, so that a panicking destructor can be caught and the task's own future stays small.
        let (entry, mut future) = (Arc::clone(&self.entry), Box::pin(future));
        async move {
            let outcome = poll_fn(|context| poll(&entry, future.as_mut(), context)).await;
            let dropped = caught(|| drop(future));
            outcome.and_then(|output| dropped.map(|()| output))
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "measures the real time, also where a test pauses Tokio's clock")]
fn poll<F: Future>(entry: &Entry, future: Pin<&mut F>, context: &mut Context<'_>) -> Poll<Result<F::Output, String>> {
    let begin = Instant::now();
    entry.begin_poll();
    let polled = caught(|| {
        fault::point(&entry.name);
        future.poll(context)
    });
    entry.end_poll(begin.elapsed());
    match polled {
        Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
        Ok(Poll::Pending) => Poll::Pending,
        Err(panic) => Poll::Ready(Err(panic)),
    }
}

/// Runs a closure; the error is the message of its panic. What it leaves behind is dropped by the caller.
pub(crate) fn caught<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|payload| panics::take_last().unwrap_or_else(|| message(&*payload)))
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    text.map_or_else(|| "panicked".to_owned(), |text| format!("panicked: {text}"))
}
