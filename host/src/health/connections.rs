//! The open connections of the server: bounded, the oldest silent one closed first when another client needs its room.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;

use tokio::task::{AbortHandle, JoinSet};

/// Connections that may be open at the same time.
pub(super) const CONNECTIONS: usize = 64;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its request has not arrived yet.
    Silent,
    /// Its request is being answered.
    Answered,
}

/// The open connections, oldest first.
#[derive(Default)]
pub(super) struct Connections {
    tasks: JoinSet<()>,
    open: VecDeque<Connection>,
}

struct Connection {
    phase: Rc<Cell<Phase>>,
    task: AbortHandle,
}

impl Connections {
    /// Serves a connection in a task of its own, which reports how far it has come.
    pub(super) fn add<F: Future<Output = ()> + 'static>(&mut self, serve: impl FnOnce(Rc<Cell<Phase>>) -> F) {
        self.forget_closed();
        if self.open.len() >= CONNECTIONS {
            self.close_one();
        }
        let phase = Rc::new(Cell::new(Phase::Silent));
        let task = self.tasks.spawn_local(serve(Rc::clone(&phase)));
        self.open.push_back(Connection { phase, task });
    }

    /// Waits until a connection is closed; for ever if there is none.
    pub(super) async fn closed(&mut self) {
        // A panic was logged by the panic hook and concerns one client.
        if self.tasks.join_next().await.is_none() {
            std::future::pending::<()>().await;
        }
        self.forget_closed();
    }

    /// Closes the oldest silent connection, or the oldest of all.
    pub(super) fn close_one(&mut self) {
        let silent = self.open.iter().position(|connection| connection.phase.get() == Phase::Silent);
        if let Some(connection) = self.open.remove(silent.unwrap_or(0)) {
            connection.task.abort();
        }
    }

    fn forget_closed(&mut self) {
        while self.tasks.try_join_next().is_some() {}
        self.open.retain(|connection| !connection.task.is_finished());
    }
}
