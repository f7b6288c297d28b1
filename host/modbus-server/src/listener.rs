//! Accepts clients from the networks that are allowed.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use bessai_domain::relay::RelayTarget;
use ipnet::IpNet;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use crate::clients::{Clients, MAX_CLIENTS};
use crate::connection::serve_client;
use crate::counters::{ServerCounters, count};

/// Time between two attempts to listen.
const LISTEN_RETRY: Duration = Duration::from_secs(5);
/// Pause after a client could not be accepted, so that a lack of file descriptors does not keep the processor busy.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// Client addresses whose refusals are logged; those of further ones are only counted.
const MAX_LOGGED_ADDRESSES: usize = 32;

/// Where a server listens, and for whom.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerSettings {
    /// Address and port.
    pub listen: SocketAddr,
    /// Networks of the clients; every client if it is empty.
    pub allow: Vec<IpNet>,
}

impl ServerSettings {
    /// Whether a client with this address may connect.
    pub fn allows(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        self.allow.is_empty() || self.allow.iter().any(|network| network.contains(&client))
    }
}

/// Listens and serves clients until it is cancelled. While the address cannot be listened on, it tries again.
pub async fn serve<T: RelayTarget + 'static>(settings: &ServerSettings, target: &Rc<T>, counters: &Rc<ServerCounters>) {
    let listener = listen(settings.listen, counters).await;
    let mut server = Server { settings, target, counters, clients: Clients::default(), log: OncePerAddress::default() };
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => Some(accepted),
            () = server.clients.disconnected() => None,
        };
        match accepted {
            Some(Ok((stream, client))) => server.accept(stream, client),
            Some(Err(error)) => {
                let address = settings.listen;
                tracing::debug!(%address, "failed to accept a Modbus client: {error}; retrying in {ACCEPT_PAUSE:?}");
                sleep(ACCEPT_PAUSE).await;
            }
            None => {}
        }
        counters.clients.set(server.clients.len());
    }
}

async fn listen(address: SocketAddr, counters: &ServerCounters) -> TcpListener {
    let mut is_logged = false;
    counters.is_listening.set(false);
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                let address = listener.local_addr().unwrap_or(address);
                tracing::info!(%address, "Modbus server on {address}");
                counters.is_listening.set(true);
                return listener;
            }
            Err(error) => {
                if !std::mem::replace(&mut is_logged, true) {
                    let fix = fix(&error);
                    tracing::error!(
                        %address,
                        "the Modbus server cannot listen on {address}: {error}; {fix}; retrying every {LISTEN_RETRY:?}"
                    );
                }
            }
        }
        sleep(LISTEN_RETRY).await;
    }
}

fn fix(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another program uses the port, set `listen` to a free one",
        io::ErrorKind::PermissionDenied => "ports below 1024 need a privilege, set `listen` to a higher one",
        io::ErrorKind::AddrNotAvailable => "this machine does not have the address, set `listen` to one that it has",
        _ => "set `listen` to another address",
    }
}

/// Client addresses about which something was logged.
#[derive(Default)]
struct OncePerAddress(BTreeSet<IpAddr>);

impl OncePerAddress {
    fn is_first(&mut self, address: IpAddr) -> bool {
        self.0.len() < MAX_LOGGED_ADDRESSES && self.0.insert(address)
    }
}

struct Server<'a, T> {
    settings: &'a ServerSettings,
    target: &'a Rc<T>,
    counters: &'a Rc<ServerCounters>,
    clients: Clients,
    log: OncePerAddress,
}

impl<T: RelayTarget + 'static> Server<'_, T> {
    fn accept(&mut self, stream: TcpStream, client: SocketAddr) {
        let address = client.ip().to_canonical();
        if !self.settings.allows(address) {
            count(&self.counters.refused_clients);
            if self.log.is_first(address) {
                let listen = self.settings.listen;
                tracing::warn!(%client, "Modbus server {listen} refuses {address}: `allow` does not list it");
            }
            return;
        }
        // Each reply is one small packet: Nagle's algorithm would only delay it.
        let _ = stream.set_nodelay(true);
        let (target, counters) = (Rc::clone(self.target), Rc::clone(self.counters));
        let is_first = self.log.is_first(address);
        let was_full = self.clients.add(|last_request| async move {
            let name = client.to_string();
            let served = serve_client(stream, target.as_ref(), &counters, &name, &last_request).await;
            if let Err(reason) = served {
                count(&counters.refused_clients);
                if is_first {
                    tracing::warn!(%client, "Modbus client {client} {reason}; it was disconnected");
                } else {
                    tracing::debug!(%client, "Modbus client {client} {reason}; it was disconnected");
                }
            }
        });
        if is_first {
            tracing::info!(%client, "Modbus client {address} connected to {}", self.settings.listen);
        }
        if was_full {
            count(&self.counters.refused_clients);
            tracing::debug!("more than {MAX_CLIENTS} Modbus clients: the one that was idle longest was disconnected");
        }
    }
}
