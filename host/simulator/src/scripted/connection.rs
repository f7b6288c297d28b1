//! One client, from CONNECT to the end of its connection.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::acknowledgements::{Due, Held};
use super::recording::RecordedMessage;
use super::rules::ClientRules;
use super::{BrokerState, ConnectReply, ConnectionCommand, ObjectionReply, OnV5, Script};
use crate::packet::{self, Connect, PACKET_BYTES_MAX, Packet, PacketKind, Properties, Version, reason};

/// Acknowledgements that are held back are sent after so long without a message: a client whose window is full sends no
/// further one.
const HOLD_MAX: Duration = Duration::from_millis(100);
/// Bytes that are no packet: type 0 is reserved.
const GARBAGE: [u8; 8] = [0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];

struct ClientConnection {
    number: usize,
    stream: TcpStream,
    received: Vec<u8>,
    version: Version,
    rules: ClientRules,
    held: Held,
    shared: Arc<BrokerState>,
}

/// Serves until the connection ends; why it ends does not matter to a scripted broker.
pub(super) async fn serve(mut stream: TcpStream, number: usize, shared: Arc<BrokerState>) {
    let _ = stream.set_nodelay(true);
    let mut received = Vec::new();
    let Ok(Some(packet)) = Packet::read(&mut stream, &mut received, PACKET_BYTES_MAX).await else { return };
    let Some(connect) = packet.connect().filter(|_| packet.kind == PacketKind::Connect) else {
        shared.record(|recording| recording.add_violation(number, "the first packet is no valid CONNECT [3.1]"));
        return;
    };
    let (script, began) = (shared.script(), Instant::now());
    shared.record(|recording| recording.add_connect(number, &connect));
    if !reply_to_connect(&mut stream, &connect, &script).await {
        return;
    }
    let (sender, mut commands) = mpsc::unbounded_channel();
    shared.add(number, &connect.client_id, sender);
    let version = connect.version();
    let releases = script.stored_session.iter().flat_map(|session| session.releases.clone());
    let releases: Vec<_> = releases.flat_map(|id| packet::acknowledgement(PacketKind::Pubrel, id, 0)).collect();
    if stream.write_all(&releases).await.is_err() {
        return;
    }
    let rules = ClientRules::new(version, script, began);
    let mut connection = ClientConnection { number, stream, received, version, rules, held: Held::default(), shared };
    let _ = connection.run(connect.silence_max(), &mut commands).await;
    connection.shared.remove(number);
}

/// Answers a CONNECT; whether the client is connected afterwards.
async fn reply_to_connect(stream: &mut TcpStream, connect: &Connect, script: &Script) -> bool {
    let version = connect.version();
    let none = Properties::default();
    let is_resumed = script.stored_session.is_some();
    let accepted = packet::connack_with_session(version, is_resumed, reason::SUCCESS, &granted(script));
    let reply = match (version, script.on_v5, script.connect_reply) {
        (Version::V5, OnV5::Close, _) => return false,
        (Version::V5, OnV5::Refuse, _) => packet::connack(version, reason::UNSUPPORTED_PROTOCOL_VERSION, &none),
        (Version::V5, OnV5::RefuseAsV311, _) => packet::connack(Version::V311, 1, &none),
        (_, _, ConnectReply::Close) => return false,
        (_, _, ConnectReply::Silence) => {
            // The client closes the connection when its own limit is reached.
            let _ = stream.read_to_end(&mut Vec::new()).await;
            return false;
        }
        (Version::V5, _, ConnectReply::Refuse(reason)) => packet::connack(version, reason, &none),
        (Version::V311, _, ConnectReply::Refuse(reason)) => {
            packet::connack(version, reason::v311_return_code(reason), &none)
        }
        (_, _, ConnectReply::AcceptThenClose) => accepted,
        (_, _, ConnectReply::Accept) => return stream.write_all(&accepted).await.is_ok(),
        (_, _, ConnectReply::AcceptThenGarbage) => {
            return stream.write_all(&[&accepted[..], &GARBAGE].concat()).await.is_ok();
        }
    };
    let _ = stream.write_all(&reply).await;
    false
}

/// The limits that CONNACK announces.
fn granted(script: &Script) -> Properties {
    let limits = [
        (Properties::RECEIVE_MAXIMUM, script.receive_maximum.map(u32::from)),
        (Properties::MAXIMUM_QOS, script.maximum_qos.map(u32::from)),
        (Properties::MAXIMUM_PACKET, script.maximum_packet),
        (Properties::TOPIC_ALIAS_MAXIMUM, script.topic_alias_maximum.map(u32::from)),
        (Properties::RETAIN_AVAILABLE, script.refuses_retain.then_some(0)),
        (Properties::SERVER_KEEP_ALIVE, script.server_keep_alive_s.map(u32::from)),
    ];
    let announced = limits.into_iter().filter_map(|(identifier, limit)| Some((identifier, limit?)));
    announced.fold(Properties::default(), |properties, (identifier, limit)| properties.with(identifier, limit))
}

impl ClientConnection {
    async fn run(
        &mut self,
        silence_max: Option<Duration>,
        commands: &mut mpsc::UnboundedReceiver<ConnectionCommand>,
    ) -> io::Result<()> {
        let silence_max = silence_max.unwrap_or(Duration::MAX);
        loop {
            let has_held = self.held.has_queue();
            let next = Packet::read(&mut self.stream, &mut self.received, PACKET_BYTES_MAX);
            tokio::select! {
                packet = timeout(silence_max, next) => {
                    let Ok(packet) = packet else {
                        self.record_violation("silent for longer than its keep alive [3.1.2.10]");
                        return Ok(());
                    };
                    let Some(packet) = packet? else { return Ok(()) };
                    if let Err(violation) = self.handle(&packet).await? {
                        self.record_violation(&violation);
                        let disconnect = packet::disconnect(self.version, reason::PROTOCOL_ERROR);
                        return self.stream.write_all(&disconnect).await;
                    }
                }
                command = commands.recv() => match command {
                    Some(ConnectionCommand::Send(bytes)) => self.stream.write_all(&bytes).await?,
                    Some(ConnectionCommand::TakeOver) => {
                        let disconnect = packet::disconnect(self.version, reason::SESSION_TAKEN_OVER);
                        return self.stream.write_all(&disconnect).await;
                    }
                    Some(ConnectionCommand::Close) | None => return Ok(()),
                },
                () = sleep(HOLD_MAX), if has_held => {
                    let due = self.held.release(self.shared.script().acknowledgements);
                    self.send(due).await?;
                }
            }
        }
    }

    fn record_violation(&self, violation: &str) {
        self.shared.record(|recording| recording.add_violation(self.number, violation));
    }

    /// The inner error is the violation.
    async fn handle(&mut self, packet: &Packet) -> io::Result<Result<(), String>> {
        if let Err(violation) = self.rules.check_packet(packet) {
            return Ok(Err(violation));
        }
        let packet_id = packet.packet_id().unwrap_or(0);
        match packet.kind {
            PacketKind::Publish => return self.receive(packet).await,
            PacketKind::Pubrel => match self.rules.release(packet_id) {
                Ok(reason::SUCCESS) => self.acknowledge(PacketKind::Pubcomp, packet_id).await?,
                Ok(reason) => {
                    let pubcomp = packet::acknowledgement(PacketKind::Pubcomp, packet_id, reason);
                    self.stream.write_all(&pubcomp).await?;
                }
                Err(violation) => return Ok(Err(violation)),
            },
            PacketKind::Pubcomp => self.shared.record(|recording| recording.completed.push(packet_id)),
            PacketKind::Subscribe => {
                let Some(request) = packet.subscribe(self.version) else {
                    return Ok(Err("malformed SUBSCRIBE [3.8.3]".to_owned()));
                };
                let granted: Vec<_> = request.subscriptions.iter().map(|subscription| subscription.qos).collect();
                self.stream.write_all(&packet::suback(self.version, packet_id, &granted)).await?;
            }
            PacketKind::Unsubscribe => {
                let Some(request) = packet.unsubscribe(self.version) else {
                    return Ok(Err("malformed UNSUBSCRIBE [3.10.3]".to_owned()));
                };
                let reasons = vec![reason::SUCCESS; request.filters.len()];
                self.stream.write_all(&packet::unsuback(self.version, packet_id, &reasons)).await?;
            }
            PacketKind::Pingreq => {
                self.shared.record(|recording| recording.pings += 1);
                self.stream.write_all(&packet::pingresp()).await?;
            }
            PacketKind::Disconnect => self.shared.record(|recording| recording.disconnects += 1),
            _ => {}
        }
        Ok(Ok(()))
    }

    async fn receive(&mut self, packet: &Packet) -> io::Result<Result<(), String>> {
        let Some(message) = packet.publish(self.version) else {
            return Ok(Err("malformed PUBLISH [3.3]".to_owned()));
        };
        if self.rules.is_repetition(&message) {
            let pubrec = packet::acknowledgement(PacketKind::Pubrec, message.packet_id, reason::SUCCESS);
            return self.stream.write_all(&pubrec).await.map(Ok);
        }
        let topic = match self.rules.check_publish(&message) {
            Ok(topic) => topic,
            Err(violation) => return Ok(Err(violation)),
        };
        let alias = message.properties.number(Properties::TOPIC_ALIAS);
        let (qos, packet_id) = (message.qos, message.packet_id);
        if let Some(reply) = self.shared.objects_to(&topic) {
            return self.object(reply, qos, packet_id).await.map(Ok);
        }
        self.shared.record(|recording| {
            recording.messages.push(RecordedMessage {
                connection: self.number,
                topic,
                payload: message.payload,
                qos,
                retain: message.retain,
                dup: message.dup,
                packet_id,
                alias,
                is_topic_omitted: message.topic.is_empty(),
                is_acknowledged: qos == 0,
            });
        });
        match qos {
            0 => {}
            1 => self.acknowledge(PacketKind::Puback, packet_id).await?,
            _ => self.acknowledge(PacketKind::Pubrec, packet_id).await?,
        }
        if let Some(reason) = self.shared.script().disconnect_after_message {
            if self.version == Version::V5 {
                self.stream.write_all(&packet::disconnect_with_properties(reason)).await?;
            }
            self.stream.shutdown().await?;
        }
        Ok(Ok(()))
    }

    async fn object(&mut self, reply: ObjectionReply, qos: u8, packet_id: u16) -> io::Result<()> {
        match reply {
            ObjectionReply::Silence => Ok(()),
            ObjectionReply::Reason(_) if qos == 0 => Ok(()),
            ObjectionReply::Reason(reason) => {
                let kind = if qos == 1 { PacketKind::Puback } else { PacketKind::Pubrec };
                let bytes = packet::acknowledgement(kind, packet_id, reason);
                self.send(Due { bytes, answered: vec![(kind, packet_id)] }).await
            }
            ObjectionReply::Disconnect(reason) => {
                if self.version == Version::V5 {
                    self.stream.write_all(&packet::disconnect_with_properties(reason)).await?;
                }
                self.stream.shutdown().await
            }
            ObjectionReply::Close => self.stream.shutdown().await,
        }
    }

    async fn acknowledge(&mut self, kind: PacketKind, packet_id: u16) -> io::Result<()> {
        let how = self.shared.script().acknowledgements;
        let due = self.held.add(kind, packet_id, how, self.version);
        self.send(due).await
    }

    async fn send(&mut self, due: Due) -> io::Result<()> {
        // Before the acknowledgements are sent: the client may use the ids again as soon as it has read them.
        let completed = due.answered.iter().filter(|(kind, packet_id)| self.rules.answer(*kind, *packet_id));
        let completed: Vec<_> = completed.map(|(_, packet_id)| *packet_id).collect();
        self.stream.write_all(&due.bytes).await?;
        if !completed.is_empty() {
            self.shared.record(|recording| {
                completed.iter().for_each(|packet_id| recording.acknowledge(self.number, *packet_id));
            });
        }
        Ok(())
    }
}
