//! A service of a cloud that speaks MQTT 3.1.1 over TLS 1.2: accepts connections, and ends those that break a rule.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::mqtt::{self, Connect, Publish};
use crate::support::certificates::{Authority, Pem};
use crate::support::packets::packet;
use crate::support::within;

/// The longest silence in keep-alive intervals, in halves (MQTT 3.1.1 §3.1.2.10).
const SILENCE: u32 = 3;

/// What a client did, or what the service did to it.
#[derive(Clone, Debug, PartialEq)]
pub enum CloudEvent {
    Connected(Connect),
    /// A CONNECT was refused, with the reason.
    Refused(String),
    Subscribed(Vec<String>),
    Message(Publish),
    /// A connection ended, and why.
    Ended(End),
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// The client sent DISCONNECT.
    Disconnect,
    /// The client closed the connection without DISCONNECT.
    Closed,
    /// The token expired.
    Expired,
    /// Another connection has the same identity.
    Replaced,
    /// The service has no capacity.
    Throttled,
    /// The client broke this rule.
    Violation(String),
}

/// A client that was let in.
pub struct Admitted {
    pub identity: String,
    /// When its token expires, in Unix seconds; none with a certificate.
    pub expiry_s: Option<u64>,
}

/// The rules of a service.
pub trait Service: Send + Sync + 'static {
    /// Decides about a CONNECT; `certificate`: the client's, if TLS has one.
    fn admit(&self, connect: &Connect, certificate: Option<&[u8]>, now_s: u64) -> Result<Admitted, String>;
    /// Whether a client may use this filter.
    fn is_filter_allowed(&self, identity: &str, filter: &str) -> bool;
    /// Handles a message; what is sent back, or why the connection ends.
    fn receive(&self, identity: &str, message: &Publish) -> Result<Vec<(String, Vec<u8>)>, End>;
}

/// A wall clock that may run faster than the machine's.
#[derive(Clone, Copy)]
pub struct Clock {
    start: Instant,
    start_s: f64,
    factor: f64,
}

impl Clock {
    pub fn new(factor: f64) -> Self {
        let start_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        Self { start: Instant::now(), start_s, factor }
    }

    /// A clock that is ahead of the machine's by this many seconds.
    pub fn ahead(seconds: f64) -> Self {
        let clock = Self::new(1.0);
        Self { start_s: clock.start_s + seconds, ..clock }
    }

    fn now_s(self) -> f64 {
        self.start_s + self.start.elapsed().as_secs_f64() * self.factor
    }

    /// How long the machine takes until then.
    fn until(self, time_s: u64) -> Duration {
        #[allow(clippy::cast_precision_loss, reason = "seconds since 1970 fit")]
        let left = (time_s as f64 - self.now_s()).max(0.0);
        Duration::from_secs_f64(left / self.factor)
    }
}

/// A running service and what has happened at it.
pub struct Server<S> {
    pub port: u16,
    pub service: Arc<S>,
    events: mpsc::UnboundedReceiver<CloudEvent>,
    sessions: Sessions,
}

/// By identity, the way to its connection.
type Sessions = Arc<Mutex<HashMap<String, mpsc::UnboundedSender<Command>>>>;

enum Command {
    Send(Publish),
    Replace,
}

/// Where a service listens, and with which certificate.
pub struct Endpoint<'a> {
    pub address: SocketAddr,
    pub certificate: &'a Pem,
    /// Issues the clients' certificates; a client may have none.
    pub clients: &'a Authority,
    pub clock: Clock,
}

impl<S: Service> Server<S> {
    /// Fails only if the port is in use.
    pub async fn start(endpoint: Endpoint<'_>, service: S) -> std::io::Result<Self> {
        let listener = TcpListener::bind(endpoint.address).await?;
        let port = listener.local_addr()?.port();
        let acceptor = acceptor(&endpoint);
        let (service, sessions) = (Arc::new(service), Sessions::default());
        let (sender, events) = mpsc::unbounded_channel();
        let (shared, all, clock) = (Arc::clone(&service), Arc::clone(&sessions), endpoint.clock);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let connection = Connection { service: Arc::clone(&shared), events: sender.clone(), clock };
                let (acceptor, all) = (acceptor.clone(), Arc::clone(&all));
                tokio::spawn(async move { connection.accept(stream, acceptor, all).await });
            }
        });
        Ok(Self { port, service, events, sessions })
    }

    /// The next event.
    pub async fn next(&mut self) -> CloudEvent {
        within("an event at the cloud", self.events.recv()).await.unwrap()
    }

    /// The next event that this finds something in.
    pub async fn find<T>(&mut self, what: &str, find: impl Fn(CloudEvent) -> Option<T>) -> T {
        let mut seen = Vec::new();
        let waiting = async {
            loop {
                let event = self.events.recv().await.unwrap();
                seen.push(format!("{event:?}"));
                if let Some(found) = find(event) {
                    return found;
                }
            }
        };
        let found = tokio::time::timeout(crate::support::LIMIT, waiting).await;
        found.unwrap_or_else(|_| panic!("timed out waiting for {what}; seen: {seen:#?}"))
    }

    /// Sends a message to a client.
    pub fn send(&self, identity: &str, topic: &str, payload: impl Into<Vec<u8>>, qos: u8) {
        let id = (qos > 0).then_some(7);
        let message = Publish { topic: topic.into(), payload: payload.into(), qos, is_retained: false, id };
        let sessions = self.sessions.lock().unwrap();
        assert!(sessions[identity].send(Command::Send(message)).is_ok(), "{identity} is not connected");
    }
}

fn acceptor(endpoint: &Endpoint<'_>) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let certificates = |pem: &Pem| CertificateDer::pem_file_iter(&pem.certificate).unwrap().map(Result::unwrap);
    let mut roots = RootCertStore::empty();
    certificates(&endpoint.clients.pem).for_each(|certificate| roots.add(certificate).unwrap());
    let clients = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider));
    let clients = clients.allow_unauthenticated().build().unwrap();
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS12]);
    let builder = builder.unwrap().with_client_cert_verifier(clients);
    let chain = certificates(endpoint.certificate).collect();
    let key = PrivateKeyDer::from_pem_file(&endpoint.certificate.key).unwrap();
    TlsAcceptor::from(Arc::new(builder.with_single_cert(chain, key).unwrap()))
}

/// What one connection needs.
struct Connection<S> {
    service: Arc<S>,
    events: mpsc::UnboundedSender<CloudEvent>,
    clock: Clock,
}

impl<S: Service> Connection<S> {
    async fn accept(self, stream: TcpStream, acceptor: TlsAcceptor, sessions: Sessions) -> Option<()> {
        let is_named = stream.local_addr().ok()?.ip() == IpAddr::from([127, 0, 0, 1]);
        let mut stream = acceptor.accept(stream).await.ok()?;
        let certificate =
            stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).map(|der| der.to_vec());
        let has_name = stream.get_ref().1.server_name().is_some();
        let (header, body) = packet(&mut stream).await?;
        let admitted = match Connect::read(&body) {
            _ if header != 0x10 => Err("the first packet is no CONNECT".into()),
            _ if is_named && !has_name => Err("the TLS handshake names no host (SNI)".into()),
            Err(error) => Err(error),
            Ok(connect) => {
                let now_s = Duration::from_secs_f64(self.clock.now_s()).as_secs();
                let admitted = self.service.admit(&connect, certificate.as_deref(), now_s);
                admitted.map(|admitted| (connect, admitted))
            }
        };
        match admitted {
            Err(reason) => {
                // Return code 5: not authorized.
                stream.write_all(&[0x20, 2, 0, 5]).await.ok()?;
                self.events.send(CloudEvent::Refused(reason)).ok()
            }
            Ok((connect, admitted)) => {
                let (sender, commands) = mpsc::unbounded_channel();
                let previous = sessions.lock().unwrap().insert(admitted.identity.clone(), sender);
                if let Some(previous) = previous {
                    // Fails when that connection has ended already.
                    let _ = previous.send(Command::Replace);
                }
                self.events.send(CloudEvent::Connected(connect.clone())).ok()?;
                stream.write_all(&[0x20, 2, 0, 0]).await.ok()?;
                let end = self.serve(stream, &connect, &admitted, commands).await;
                self.events.send(CloudEvent::Ended(end)).ok()
            }
        }
    }

    async fn serve(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + 'static,
        connect: &Connect,
        admitted: &Admitted,
        commands: mpsc::UnboundedReceiver<Command>,
    ) -> End {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let (sender, packets) = mpsc::channel(16);
        let reading = tokio::spawn(async move {
            while let Some(packet) = packet(&mut reader).await {
                if sender.send(packet).await.is_err() {
                    break;
                }
            }
        });
        let end = self.answer(&mut writer, packets, connect, admitted, commands).await;
        // The connection closes when both of its halves are gone.
        reading.abort();
        end
    }

    async fn answer(
        &self,
        writer: &mut (impl AsyncWrite + Unpin),
        mut packets: mpsc::Receiver<(u8, Vec<u8>)>,
        connect: &Connect,
        admitted: &Admitted,
        mut commands: mpsc::UnboundedReceiver<Command>,
    ) -> End {
        let expiry = tokio::time::sleep(admitted.expiry_s.map_or(Duration::MAX, |expiry_s| self.clock.until(expiry_s)));
        tokio::pin!(expiry);
        let silence = Duration::from_secs(connect.keep_alive_s.into()) * SILENCE / 2;
        let mut filters = Vec::new();
        loop {
            let answer = tokio::select! {
                biased;
                () = &mut expiry => return End::Expired,
                command = commands.recv() => match command {
                    Some(Command::Send(message)) => deliverable(message, &filters),
                    _ => return End::Replaced,
                },
                received = tokio::time::timeout(silence, packets.recv()) => match received {
                    Err(_) => return End::Violation("silence beyond the keep-alive".into()),
                    Ok(None) => return End::Closed,
                    Ok(Some((header, body))) => match self.handle(&admitted.identity, header, &body, &mut filters) {
                        Ok(answer) => answer,
                        Err(end) => return end,
                    },
                },
            };
            if writer.write_all(&answer).await.is_err() {
                return End::Closed;
            }
        }
    }

    fn handle(&self, identity: &str, header: u8, body: &[u8], filters: &mut Vec<String>) -> Result<Vec<u8>, End> {
        match header >> 4 {
            3 => {
                let message = Publish::read(header, body).map_err(End::Violation)?;
                if message.qos > 1 {
                    return Err(End::Violation(format!("QoS {} to {}", message.qos, message.topic)));
                }
                let answers = self.service.receive(identity, &message)?;
                let mut bytes = message.id.map_or(Vec::new(), |id| mqtt::packet(0x40, &id.to_be_bytes()));
                for (topic, payload) in answers {
                    bytes
                        .extend(deliverable(Publish { topic, payload, qos: 0, is_retained: false, id: None }, filters));
                }
                // Fails only when the test has ended.
                let _ = self.events.send(CloudEvent::Message(message));
                Ok(bytes)
            }
            4 => Ok(Vec::new()),
            8 => self.subscribe(identity, header, body, filters).map_err(End::Violation),
            10 => {
                let (id, ended) = mqtt::unsubscribe(body).map_err(End::Violation)?;
                filters.retain(|filter| !ended.contains(filter));
                Ok(mqtt::packet(0xb0, &id.to_be_bytes()))
            }
            12 => Ok(vec![0xd0, 0]),
            14 => Err(End::Disconnect),
            other => Err(End::Violation(format!("a packet of type {other}"))),
        }
    }

    fn subscribe(&self, identity: &str, header: u8, body: &[u8], all: &mut Vec<String>) -> Result<Vec<u8>, String> {
        let (id, requested) = mqtt::subscribe(header, body)?;
        let mut answer = id.to_be_bytes().to_vec();
        for (filter, qos) in &requested {
            if !self.service.is_filter_allowed(identity, filter) {
                return Err(format!("a subscription to {filter:?}"));
            }
            if !all.contains(filter) {
                all.push(filter.clone());
            }
            answer.push((*qos).min(1));
        }
        if all.len() > 5 {
            return Err("more than 5 subscriptions".into());
        }
        let filters = requested.into_iter().map(|(filter, _)| filter).collect();
        // Fails only when the test has ended.
        let _ = self.events.send(CloudEvent::Subscribed(filters));
        Ok(mqtt::packet(0x90, &answer))
    }
}

/// A message's packet if the client has subscribed to its topic.
fn deliverable(message: Publish, filters: &[String]) -> Vec<u8> {
    if filters.iter().any(|filter| mqtt::matches(filter, &message.topic)) { message.packet() } else { Vec::new() }
}
