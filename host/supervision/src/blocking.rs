//! Blocking threads of the runtime, which must be there when the system refuses new ones.

use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::registry::Supervised;

/// How long an idle blocking thread is kept; to be set for the runtime.
pub const KEEP_ALIVE: Duration = Duration::from_mins(1);
/// Time between two uses that keep one thread alive: well below half of [`KEEP_ALIVE`], so that a late one costs nothing.
const USED_EVERY: Duration = Duration::from_secs(20);

/// Keeps one blocking thread alive for ever. Without any, Tokio panics in the task that needs one when the system refuses a
/// new thread; with one, the work waits for it.
pub async fn keep_a_thread() {
    loop {
        // Fails only if the runtime is shutting down.
        let _ = spawn_blocking(|| ()).await;
        sleep(USED_EVERY).await;
    }
}

/// Runs work on a blocking thread; if there is none and the system refuses one, or the work panics, tries again after a
/// pause.
pub async fn run_blocking<T: Send + 'static>(name: &str, work: impl Fn() -> T + Clone + Send + 'static) -> T {
    let mut supervised = Supervised::new(name);
    loop {
        let attempt = work.clone();
        let outcome = supervised.run(async { spawn_blocking(attempt).await }).await;
        let error = match outcome {
            Ok(Ok(output)) => return output,
            Ok(Err(error)) => error.to_string(),
            Err(panic) => panic,
        };
        let pause = supervised.failed(&error);
        sleep(pause).await;
        supervised.restarted();
    }
}
