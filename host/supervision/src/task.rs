//! A task of a local runtime that is started again after a panic.

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::registry::Supervised;

/// What follows when a task panics or ends although nobody stopped it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// It is started again, after a pause.
    Restart,
    /// The process ends: see [`failure`](crate::failure).
    EndProcess,
}

/// Why a task ends before it is stopped.
const ENDED: &str = "ended unexpectedly";

/// Starts a task that runs until `stop` is true. `run` is called again for each restart. Must be called within a
/// `LocalSet`.
pub fn spawn<F: AsyncFnMut() + 'static>(
    name: impl Into<String>,
    on_failure: OnFailure,
    mut stop: watch::Receiver<bool>,
    mut run: F,
) -> JoinHandle<()> {
    let mut supervised = Supervised::new(name);
    tokio::task::spawn_local(async move {
        loop {
            let ended = supervised.run(run()).await;
            let error = match ended {
                // A dropped sender means stop, too.
                Ok(()) if *stop.borrow() || stop.has_changed().is_err() => return,
                Ok(()) => ENDED.to_owned(),
                Err(panic) => panic,
            };
            if on_failure == OnFailure::EndProcess {
                supervised.failed_for_good(&error);
                return;
            }
            let pause = supervised.failed(&error);
            tokio::select! {
                () = sleep(pause) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            supervised.restarted();
        }
    })
}
