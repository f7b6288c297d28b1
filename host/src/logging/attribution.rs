//! Which feed a task works for, so that the lines of libraries count as the feed's too.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;

thread_local! {
    static FEED: RefCell<Option<Rc<str>>> = const { RefCell::new(None) };
}

/// Restores the feed from before, also if the task panics.
struct Restored(Option<Rc<str>>);

impl Drop for Restored {
    fn drop(&mut self) {
        FEED.set(self.0.take());
    }
}

/// Runs a future whose log lines are those of this feed, unless they name another one.
pub(crate) async fn of_feed<F: Future>(feed: &str, future: F) -> F::Output {
    let feed: Rc<str> = feed.into();
    let mut future = pin!(future);
    poll_fn(|context| {
        let _restored = Restored(FEED.replace(Some(Rc::clone(&feed))));
        future.as_mut().poll(context)
    })
    .await
}

/// The feed that the current task works for.
pub(super) fn current_feed() -> Option<Rc<str>> {
    // A line may be logged while the thread ends.
    FEED.try_with(|feed| feed.borrow().clone()).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_is_attributed_while_it_is_polled_and_only_then() {
        let of_acme = of_feed("acme", async {
            assert_eq!(current_feed().as_deref(), Some("acme"));
            tokio::task::yield_now().await;
            of_feed("inner", async { assert_eq!(current_feed().as_deref(), Some("inner")) }).await;
            assert_eq!(current_feed().as_deref(), Some("acme"));
        });
        let beside = async {
            assert_eq!(current_feed(), None);
            tokio::task::yield_now().await;
            assert_eq!(current_feed(), None);
        };
        tokio::join!(of_acme, beside);
        assert_eq!(current_feed(), None);
    }
}
