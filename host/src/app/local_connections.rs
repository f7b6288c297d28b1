//! The connections to the local socket: bounded. Idle ones make room for others, so that no program keeps the operator out.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

/// Connections at the same time.
const MAX_CONNECTIONS: usize = 64;
/// A connection that has been idle for this long makes room for another one when all are taken. A command sends its request at
/// once.
const SHORTEST_IDLE: Duration = Duration::from_millis(100);

/// The connected clients.
#[derive(Default)]
pub(super) struct LocalConnections {
    tasks: JoinSet<()>,
    connected: Vec<Connection>,
}

struct Connection {
    activity: Rc<Activity>,
    task: AbortHandle,
}

/// What a client does.
pub(super) struct Activity {
    /// None while one of its requests is carried out.
    idle_since: Cell<Option<Instant>>,
}

/// A request is carried out while this exists.
pub(super) struct Busy<'a>(&'a Activity);

impl Activity {
    /// Notes that a request is carried out.
    pub(super) fn busy(&self) -> Busy<'_> {
        self.idle_since.set(None);
        Busy(self)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.idle_since.set(Some(Instant::now()));
    }
}

impl LocalConnections {
    /// Waits until another client can be served: one disconnects, or has been idle for a moment and is disconnected.
    pub(super) async fn have_room(&mut self) {
        loop {
            while self.tasks.try_join_next().is_some() {}
            self.connected.retain(|connection| !connection.task.is_finished());
            if self.connected.len() < MAX_CONNECTIONS {
                return;
            }
            let idlest = self.connected.iter().filter_map(|connection| connection.activity.idle_since.get()).min();
            let due = idlest.map(|since| since + SHORTEST_IDLE);
            if due.is_some_and(|due| due <= Instant::now()) {
                self.disconnect(idlest);
                continue;
            }
            // With none idle there is none to disconnect until a request ends.
            let due = due.unwrap_or_else(|| Instant::now() + SHORTEST_IDLE);
            tokio::select! {
                () = sleep_until(due) => {}
                // A panic was logged by the panic hook and concerns one client.
                _ = self.tasks.join_next() => {}
            }
        }
    }

    /// Serves a client in a task of its own.
    pub(super) fn add<F: Future<Output = ()> + 'static>(&mut self, serve: impl FnOnce(Rc<Activity>) -> F) {
        let activity = Rc::new(Activity { idle_since: Cell::new(Some(Instant::now())) });
        let task = self.tasks.spawn_local(serve(Rc::clone(&activity)));
        self.connected.push(Connection { activity, task });
    }

    fn disconnect(&mut self, idle_since: Option<Instant>) {
        let is_idlest = |connection: &Connection| connection.activity.idle_since.get() == idle_since;
        if let Some(index) = self.connected.iter().position(is_idlest) {
            self.connected.swap_remove(index).task.abort();
        }
    }
}
