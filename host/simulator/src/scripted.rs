//! An MQTT broker, 3.1.1 and 5, that misbehaves on command, holds its clients to the standard, and records what it
//! receives.
//!
//! It forwards no message: [`ScriptedBroker::inspect`] shows what was received. The broker that forwards is
//! [`crate::broker`].

mod acknowledgements;
mod connection;
mod recording;
mod rules;
mod script;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

pub use self::recording::{RecordedConnect, RecordedMessage, Recording};
pub use self::script::{
    Acknowledgements, ConnectReply, HeldOrder, Objection, ObjectionReply, OnV5, Script, StoredSession,
};
use crate::lock;

/// A running broker; dropping it stops it and closes all its connections.
#[derive(Debug)]
pub struct ScriptedBroker {
    address: SocketAddr,
    shared: Arc<BrokerState>,
    accepting: JoinHandle<()>,
}

/// What the connections of a broker share.
#[derive(Debug)]
struct BrokerState {
    script: Mutex<Script>,
    clients: Mutex<Vec<ConnectedClient>>,
    recording: watch::Sender<Recording>,
}

/// A client that is connected.
#[derive(Debug)]
struct ConnectedClient {
    connection: usize,
    client_id: String,
    commands: mpsc::UnboundedSender<ConnectionCommand>,
}

/// What a connection is to do.
#[derive(Clone, Debug)]
enum ConnectionCommand {
    Send(Vec<u8>),
    Close,
    TakeOver,
}

impl ScriptedBroker {
    /// Listens on a free port of this machine and serves on the current tokio runtime.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start(script: Script) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (script, clients) = (Mutex::new(script), Mutex::default());
        let shared = Arc::new(BrokerState { script, clients, recording: watch::Sender::default() });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, accepting })
    }

    /// The address that clients connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Follows this script from now on; what was granted to a connected client stays.
    pub fn set_script(&self, script: Script) {
        *lock(&self.shared.script) = script;
    }

    /// Sends these bytes to every connected client.
    pub fn send_to_all(&self, bytes: &[u8]) {
        self.command(&ConnectionCommand::Send(bytes.to_vec()));
    }

    /// Closes every connection without a DISCONNECT.
    pub fn close_connections(&self) {
        self.command(&ConnectionCommand::Close);
    }

    /// Closes every connection as if another client had taken its session over.
    pub fn take_over_sessions(&self) {
        self.command(&ConnectionCommand::TakeOver);
    }

    /// Looks into what has been recorded so far.
    pub fn inspect<T>(&self, look: impl FnOnce(&Recording) -> T) -> T {
        look(&self.shared.recording.borrow())
    }

    /// Waits until the recording meets a condition.
    pub async fn wait_until(&self, condition: impl Fn(&Recording) -> bool) {
        // The sender lives as long as this broker.
        let _ = self.shared.recording.subscribe().wait_for(condition).await;
    }

    fn command(&self, command: &ConnectionCommand) {
        lock(&self.shared.clients).retain(|client| client.commands.send(command.clone()).is_ok());
    }
}

impl Drop for ScriptedBroker {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl BrokerState {
    fn script(&self) -> Script {
        lock(&self.script).clone()
    }

    /// What the broker does about a message to this topic; none if it accepts it. Counts it.
    fn objects_to(&self, topic: &str) -> Option<ObjectionReply> {
        let objection =
            lock(&self.script).objection.clone().filter(|objection| topic.ends_with(&objection.topic_end))?;
        if objection.times.is_some_and(|times| self.recording.borrow().refused >= times) {
            return None;
        }
        self.record(|recording| recording.refused += 1);
        Some(objection.reply)
    }

    fn record(&self, change: impl FnOnce(&mut Recording)) {
        self.recording.send_modify(change);
    }

    /// Adds a client; a connected one of the same id is taken over (§3.1.4).
    fn add(&self, connection: usize, client_id: &str, commands: mpsc::UnboundedSender<ConnectionCommand>) {
        let mut clients = lock(&self.clients);
        for client in clients.iter().filter(|client| client.client_id == client_id) {
            let _ = client.commands.send(ConnectionCommand::TakeOver);
        }
        clients.retain(|client| client.client_id != client_id);
        clients.push(ConnectedClient { connection, client_id: client_id.to_owned(), commands });
    }

    fn remove(&self, connection: usize) {
        lock(&self.clients).retain(|client| client.connection != connection);
    }
}

/// Owns the connections' tasks, so that they end with the broker.
async fn accept(listener: TcpListener, shared: Arc<BrokerState>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let mut number = 0;
                shared.record(|recording| {
                    recording.connections += 1;
                    number = recording.connections;
                });
                connections.spawn(connection::serve(stream, number, Arc::clone(&shared)));
            }
        }
    }
}
