//! An MQTT broker that misbehaves on command, 3.1.1 and 5, holds its clients to the standard, and keeps what it takes.
//!
//! It hands no message on: whoever wants to know what came asks [`Broker::look`].

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::packet::{self, Version};

mod acknowledging;
mod connection;
mod rules;
mod script;
#[cfg(test)]
mod tests;

pub use script::{Acknowledging, Greeting, OnV5, Order, Script};

/// MQTT 5.0 §4.13: another connection took the session over.
const SESSION_TAKEN_OVER: u8 = 0x8e;

/// A running broker; it ends with the value, and all its connections with it.
#[derive(Debug)]
pub struct Broker {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

/// What has happened so far.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Connections that were accepted.
    pub connections: usize,
    /// The sign-ins, in order, whatever was answered.
    pub signed_in: Vec<SignIn>,
    /// The messages that were taken, in order.
    pub taken: Vec<Taken>,
    /// Acknowledgements sent that end the care for a message: PUBACK and PUBCOMP.
    pub acknowledged: usize,
    /// Clients that said goodbye before they went.
    pub goodbyes: usize,
    /// What clients did against the standard or what was granted to them, for people.
    pub violations: Vec<String>,
}

/// A sign-in, without its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignIn {
    /// The protocol's level: 4 is 3.1.1, 5 is 5.
    pub level: u8,
    /// Who.
    pub client_id: String,
    /// As whom.
    pub username: Option<String>,
    /// Topic and payload of the last will.
    pub will: Option<(String, Vec<u8>)>,
}

/// A message that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The connection that it came over, counted from 1.
    pub connection: usize,
    /// Its topic; the meant one where an alias came.
    pub topic: String,
    /// The message.
    pub payload: Vec<u8>,
    /// 0, 1 or 2.
    pub qos: u8,
    /// To be kept by the broker.
    pub retain: bool,
    /// Sent before in this session.
    pub dup: bool,
    /// 0 for QoS 0.
    pub packet_id: u16,
    /// The alias that stood for the topic, or was given to it.
    pub alias: Option<u32>,
    /// The client was told that it is here for good, or, with QoS 0, wants no word: it need not send it again.
    pub is_acknowledged: bool,
}

/// What a connection is told while it lives.
#[derive(Clone, Debug)]
enum Command {
    Send(Vec<u8>),
    Close,
    TakenOver,
}

/// A client that is signed in.
#[derive(Debug)]
struct Client {
    connection: usize,
    client_id: String,
    commands: mpsc::UnboundedSender<Command>,
}

#[derive(Debug)]
struct Shared {
    script: Mutex<Script>,
    clients: Mutex<Vec<Client>>,
    seen: watch::Sender<Seen>,
}

impl Broker {
    /// Listens on a free port of this machine and serves on the current tokio runtime.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start(script: Script) -> io::Result<Self> {
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (script, clients) = (Mutex::new(script), Mutex::default());
        let shared = Arc::new(Shared { script, clients, seen: watch::Sender::default() });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, accepting })
    }

    /// Where clients connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Behaves so from now on; what was granted to a client at its sign-in stays.
    pub fn follow(&self, script: Script) {
        *lock(&self.shared.script) = script;
    }

    /// Sends these bytes to every client that is signed in.
    pub fn send(&self, bytes: &[u8]) {
        self.command(&Command::Send(bytes.to_vec()));
    }

    /// Ends every connection without a word.
    pub fn cut(&self) {
        self.command(&Command::Close);
    }

    /// Tells every client, as far as its protocol can, that another has taken its session over, and hangs up.
    pub fn take_over(&self) {
        self.command(&Command::TakenOver);
    }

    /// Looks at what has happened so far.
    pub fn look<T>(&self, at: impl FnOnce(&Seen) -> T) -> T {
        at(&self.shared.seen.borrow())
    }

    /// Waits until what has happened is as wanted.
    pub async fn until(&self, wanted: impl Fn(&Seen) -> bool) {
        // The sender lives as long as this.
        let _ = self.shared.seen.subscribe().wait_for(wanted).await;
    }

    fn command(&self, command: &Command) {
        lock(&self.shared.clients).retain(|client| client.commands.send(command.clone()).is_ok());
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Shared {
    fn script(&self) -> Script {
        lock(&self.script).clone()
    }

    fn note(&self, change: impl FnOnce(&mut Seen)) {
        self.seen.send_modify(change);
    }

    /// From now on this connection is the client's; one of the same id before it is told so and ends (§3.1.4).
    fn admit(&self, connection: usize, client_id: &str, commands: mpsc::UnboundedSender<Command>) {
        let mut clients = lock(&self.clients);
        for client in clients.iter().filter(|client| client.client_id == client_id) {
            let _ = client.commands.send(Command::TakenOver);
        }
        clients.retain(|client| client.client_id != client_id);
        clients.push(Client { connection, client_id: client_id.to_owned(), commands });
    }

    fn dismiss(&self, connection: usize) {
        lock(&self.clients).retain(|client| client.connection != connection);
    }
}

/// A panic elsewhere leaves scripts and lists whole, so a poisoned lock is still good.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a session of this version is told when another takes it over: 3.1.1 has no words for it.
fn farewell(version: Version) -> Vec<u8> {
    if version == Version::V5 { packet::disconnect(SESSION_TAKEN_OVER) } else { Vec::new() }
}

/// Owns the connections' tasks, so that they end with the broker.
async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let mut number = 0;
                shared.note(|seen| {
                    seen.connections += 1;
                    number = seen.connections;
                });
                connections.spawn(connection::serve(stream, number, Arc::clone(&shared)));
            }
        }
    }
}
