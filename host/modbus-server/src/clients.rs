//! The connected clients of a server: bounded, the one that has been idle longest disconnected first when another one needs
//! its place.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;

use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

/// Clients that may be connected at the same time.
pub(crate) const MAX_CLIENTS: usize = 64;

/// The connected clients.
#[derive(Default)]
pub(crate) struct Clients {
    tasks: JoinSet<()>,
    connected: VecDeque<Client>,
}

struct Client {
    last_request: Rc<Cell<Instant>>,
    task: AbortHandle,
}

impl Clients {
    /// Serves a client in a task of its own, which notes when its last request came. Returns whether another one had to be
    /// disconnected for it.
    pub(crate) fn add<F: Future<Output = ()> + 'static>(&mut self, serve: impl FnOnce(Rc<Cell<Instant>>) -> F) -> bool {
        self.forget_disconnected();
        let is_full = self.connected.len() >= MAX_CLIENTS;
        if is_full {
            self.disconnect_idlest();
        }
        let last_request = Rc::new(Cell::new(Instant::now()));
        let task = self.tasks.spawn_local(serve(Rc::clone(&last_request)));
        self.connected.push_back(Client { last_request, task });
        is_full
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.connected.len()
    }

    /// Waits until a client is disconnected; for ever if there is none.
    pub(crate) async fn disconnected(&mut self) {
        // A panic was logged by the panic hook and concerns one client.
        if self.tasks.join_next().await.is_none() {
            std::future::pending::<()>().await;
        }
        self.forget_disconnected();
    }

    fn disconnect_idlest(&mut self) {
        let idlest = self.connected.iter().enumerate().min_by_key(|(_, client)| client.last_request.get());
        if let Some(client) = idlest.map(|(index, _)| index).and_then(|index| self.connected.remove(index)) {
            client.task.abort();
        }
    }

    fn forget_disconnected(&mut self) {
        while self.tasks.try_join_next().is_some() {}
        self.connected.retain(|client| !client.task.is_finished());
    }
}
