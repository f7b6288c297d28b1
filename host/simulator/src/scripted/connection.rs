//! One client, from CONNECT to the end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::acknowledging::{Held, Outgoing};
use super::rules::{self, Rules};
use super::{Command, Greeting, OnV5, Script, Seen, Shared, SignIn, Taken, farewell};
use crate::packet::{self, Connect, Kind, Packet, Properties, Version};

/// Held acknowledgements go out when nothing came for so long: a client whose window is full sends nothing more.
const LULL: Duration = Duration::from_millis(100);
/// Bytes that are no packet: type 0 is reserved.
const GARBAGE: [u8; 8] = [0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
/// MQTT 5.0 §4.13.1: why a client that breaks the rules is disconnected.
const PROTOCOL_ERROR: u8 = 0x82;

struct Connection {
    number: usize,
    stream: TcpStream,
    received: Vec<u8>,
    version: Version,
    rules: Rules,
    held: Held,
    shared: Arc<Shared>,
}

/// Ends with the connection; how does not matter to anyone.
pub(super) async fn serve(mut stream: TcpStream, number: usize, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let mut received = Vec::new();
    let Ok(Some(packet)) = next(&mut stream, &mut received).await else { return };
    let Some(connect) = packet.connect().filter(|_| packet.kind == Kind::Connect) else {
        shared.note(|seen| seen.violation(number, "no sound CONNECT comes first [3.1]"));
        return;
    };
    let script = shared.script();
    shared.note(|seen| seen.signs_in(number, &connect));
    let Some(version) = greet(&mut stream, &connect, &script).await else { return };
    let (commands, mut ordered) = mpsc::unbounded_channel();
    shared.admit(number, &connect.client_id, commands);
    let rules = Rules::new(version, script);
    let mut connection = Connection { number, stream, received, version, rules, held: Held::default(), shared };
    // A client's silence is bounded by one and a half of its keep alive (§3.1.2.10).
    let silence = Duration::from_millis(u64::from(connect.keep_alive_s) * 1500);
    let _ = connection.run(silence, &mut ordered).await;
    connection.shared.dismiss(number);
}

/// Answers CONNECT; none where that is the end.
async fn greet(stream: &mut TcpStream, connect: &Connect, script: &Script) -> Option<Version> {
    let version = if connect.level == 5 { Version::V5 } else { Version::V311 };
    let none = Properties::default();
    match (version, script.on_v5) {
        (Version::V5, OnV5::Close) => return None,
        (Version::V5, OnV5::Refuse) => {
            let _ = stream.write_all(&packet::connack(Version::V5, 0x84, &none)).await;
            return None;
        }
        (Version::V5, OnV5::RefuseInOldForm) => {
            let _ = stream.write_all(&packet::connack(Version::V311, 1, &none)).await;
            return None;
        }
        _ => {}
    }
    let welcome = packet::connack(version, 0, &granted(script));
    let answer = match script.greeting {
        Greeting::Close => return None,
        Greeting::Silence => {
            // Until the client gives up.
            let _ = stream.read_to_end(&mut Vec::new()).await;
            return None;
        }
        Greeting::Refuse(reason) => {
            let code = if version == Version::V5 { reason } else { old_code(reason) };
            packet::connack(version, code, &none)
        }
        Greeting::Welcome | Greeting::WelcomeAndClose => welcome,
        Greeting::WelcomeAndGarbage => [&welcome[..], &GARBAGE].concat(),
    };
    stream.write_all(&answer).await.ok()?;
    matches!(script.greeting, Greeting::Welcome | Greeting::WelcomeAndGarbage).then_some(version)
}

/// The return code of 3.1.1 that is nearest to a reason code of 5.
fn old_code(reason: u8) -> u8 {
    match reason {
        0x84 => 1,
        0x85 => 2,
        0x86 => 4,
        0x87 | 0x8a | 0x8c => 5,
        _ => 3,
    }
}

fn granted(script: &Script) -> Properties {
    let limits = [
        (Properties::RECEIVE_MAXIMUM, script.receive_maximum.map(u32::from)),
        (Properties::MAXIMUM_QOS, script.maximum_qos.map(u32::from)),
        (Properties::MAXIMUM_PACKET, script.maximum_packet),
        (Properties::TOPIC_ALIAS_MAXIMUM, script.topic_alias_maximum.map(u32::from)),
        (Properties::RETAIN_AVAILABLE, script.refuses_retain.then_some(0)),
    ];
    let told = limits.into_iter().filter_map(|(identifier, limit)| Some((identifier, limit?)));
    told.fold(Properties::default(), |properties, (identifier, limit)| properties.with(identifier, limit))
}

/// The next packet; none at the end of the connection. Dropped before it is ready, it has taken none.
async fn next(stream: &mut TcpStream, received: &mut Vec<u8>) -> io::Result<Option<Packet>> {
    loop {
        if let Some(packet) = Packet::take(received).map_err(io::Error::other)? {
            return Ok(Some(packet));
        }
        if stream.read_buf(received).await? == 0 {
            return Ok(None);
        }
    }
}

impl Connection {
    async fn run(&mut self, silence: Duration, ordered: &mut mpsc::UnboundedReceiver<Command>) -> io::Result<()> {
        let silence = if silence.is_zero() { Duration::MAX } else { silence };
        loop {
            let has_held = !self.held.is_empty();
            tokio::select! {
                command = ordered.recv() => match command {
                    Some(Command::Send(bytes)) => self.stream.write_all(&bytes).await?,
                    Some(Command::TakenOver) => return self.stream.write_all(&farewell(self.version)).await,
                    Some(Command::Close) | None => return Ok(()),
                },
                () = sleep(LULL), if has_held => {
                    let released = self.held.release(self.shared.script().acknowledging);
                    self.send(released).await?;
                }
                packet = timeout(silence, next(&mut self.stream, &mut self.received)) => {
                    let Ok(packet) = packet else {
                        self.shared.note(|seen| seen.violation(self.number, "silent for longer than its keep alive"));
                        return Ok(());
                    };
                    let Some(packet) = packet? else { return Ok(()) };
                    if let Err(violation) = self.handle(&packet).await? {
                        self.shared.note(|seen| seen.violation(self.number, &violation));
                        if self.version == Version::V5 {
                            self.stream.write_all(&packet::disconnect(PROTOCOL_ERROR)).await?;
                        }
                        return Ok(());
                    }
                }
            }
        }
    }

    /// The inner error is what the client did wrong.
    async fn handle(&mut self, packet: &Packet) -> io::Result<Result<(), String>> {
        if let Err(violation) = self.rules.packet(packet) {
            return Ok(Err(violation));
        }
        match packet.kind {
            Kind::Publish => return self.take(packet).await,
            Kind::Pubrel => {
                let id = packet.packet_id().unwrap_or(0);
                if let Err(violation) = self.rules.release(id) {
                    return Ok(Err(violation));
                }
                self.due(Kind::Pubcomp, id).await?;
            }
            Kind::Subscribe => {
                let Some(filters) = packet.filters(self.version) else {
                    return Ok(Err("a SUBSCRIBE without filters [3.8.3]".to_owned()));
                };
                let granted: Vec<_> = filters.into_iter().map(|(_, qos)| qos).collect();
                let id = packet.packet_id().unwrap_or(0);
                self.stream.write_all(&packet::suback(self.version, Kind::Suback, id, &granted)).await?;
            }
            Kind::Unsubscribe => {
                let id = packet.packet_id().unwrap_or(0);
                self.stream.write_all(&packet::suback(self.version, Kind::Unsuback, id, &[0])).await?;
            }
            Kind::Pingreq => self.stream.write_all(&packet::pingresp()).await?,
            Kind::Disconnect => self.shared.note(|seen| seen.goodbyes += 1),
            _ => {}
        }
        Ok(Ok(()))
    }

    async fn take(&mut self, packet: &Packet) -> io::Result<Result<(), String>> {
        let Some(message) = packet.publish(self.version) else {
            return Ok(Err("a malformed PUBLISH [3.3]".to_owned()));
        };
        let topic = match self.rules.publish(&message) {
            Ok(topic) => topic,
            Err(violation) => return Ok(Err(violation)),
        };
        let alias = message.properties.number(Properties::TOPIC_ALIAS);
        let (qos, packet_id) = (message.qos, message.packet_id);
        let (connection, retain, dup, payload) = (self.number, message.retain, message.dup, message.payload);
        let is_acknowledged = qos == 0;
        let taken = Taken { connection, topic, payload, qos, retain, dup, packet_id, alias, is_acknowledged };
        self.shared.note(|seen| seen.taken.push(taken));
        match qos {
            0 => {}
            1 => self.due(Kind::Puback, packet_id).await?,
            _ => self.due(Kind::Pubrec, packet_id).await?,
        }
        Ok(Ok(()))
    }

    async fn due(&mut self, kind: Kind, id: u16) -> io::Result<()> {
        let outgoing = self.held.due(kind, id, self.shared.script().acknowledging, self.version);
        self.send(outgoing).await
    }

    async fn send(&mut self, outgoing: Outgoing) -> io::Result<()> {
        // Before they are out: the client may use the ids again as soon as it has read them.
        let done = outgoing.answered.iter().filter(|(kind, id)| self.rules.answered(*kind, *id));
        let done: Vec<_> = done.map(|(_, id)| *id).collect();
        self.stream.write_all(&outgoing.bytes).await?;
        if !done.is_empty() {
            self.shared.note(|seen| done.iter().for_each(|id| seen.acknowledge(self.number, *id)));
        }
        Ok(())
    }
}

impl Seen {
    fn violation(&mut self, connection: usize, words: &str) {
        self.violations.push(format!("connection {connection}: {words}"));
    }

    /// The last message of this id over this connection is done.
    fn acknowledge(&mut self, connection: usize, packet_id: u16) {
        self.acknowledged += 1;
        let is_meant = |taken: &&mut Taken| taken.connection == connection && taken.packet_id == packet_id;
        if let Some(taken) = self.taken.iter_mut().rev().find(is_meant) {
            taken.is_acknowledged = true;
        }
    }

    fn signs_in(&mut self, connection: usize, connect: &Connect) {
        if let Some(violation) = rules::connect(connect) {
            self.violation(connection, &violation);
        }
        self.signed_in.push(SignIn {
            level: connect.level,
            client_id: connect.client_id.clone(),
            username: connect.username.clone(),
            will: connect.will.clone(),
        });
    }
}
