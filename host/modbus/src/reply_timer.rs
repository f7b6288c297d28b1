//! The time limit of replies, without a timer for each request: almost all replies come in time.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;

use tokio::time::{Instant, Sleep, sleep_until};

/// Limits the time of one request after another.
///
/// Its timer may be set for an earlier request than the present one. When it expires, it is set to the end of the present
/// one, so that it is set once per time limit and not once per request.
#[derive(Default)]
pub(crate) struct ReplyTimer(Option<Pin<Box<Sleep>>>);

impl ReplyTimer {
    /// The future's output, or none if it takes until `end`.
    pub(crate) async fn limit<T>(&mut self, end: Instant, future: impl Future<Output = T>) -> Option<T> {
        let mut future = pin!(future);
        let timer = self.0.get_or_insert_with(|| Box::pin(sleep_until(end)));
        if timer.is_elapsed() || timer.deadline() > end {
            timer.as_mut().reset(end);
        }
        poll_fn(|context| {
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                return Poll::Ready(Some(output));
            }
            while timer.as_mut().poll(context).is_ready() {
                if timer.deadline() >= end {
                    return Poll::Ready(None);
                }
                timer.as_mut().reset(end);
            }
            Poll::Pending
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::sleep;

    use super::*;

    /// How long a request that takes `reply` is waited for.
    async fn wait(timer: &mut ReplyTimer, limit: u64, reply: u64) -> (bool, Duration) {
        let begin = Instant::now();
        let replied = timer.limit(begin + Duration::from_millis(limit), sleep(Duration::from_millis(reply))).await;
        (replied.is_some(), begin.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn each_request_has_its_own_limit_whatever_the_timer_was_set_to() {
        let mut timer = ReplyTimer::default();
        let ms = Duration::from_millis;
        assert_eq!(wait(&mut timer, 1000, 400).await, (true, ms(400)));
        assert_eq!(wait(&mut timer, 1000, 2000).await, (false, ms(1000)), "the timer was set for the one before");
        assert_eq!(wait(&mut timer, 1000, 10).await, (true, ms(10)));
        assert_eq!(wait(&mut timer, 50, 2000).await, (false, ms(50)), "a shorter limit than that of the one before");
        assert_eq!(wait(&mut timer, 1000, 900).await, (true, ms(900)));
        sleep(ms(5000)).await;
        assert_eq!(wait(&mut timer, 1000, 999).await, (true, ms(999)), "the timer has expired between two requests");
    }
}
