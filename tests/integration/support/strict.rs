//! A broker of MQTT 5 that announces limits and holds the client to them, for what mosquitto lets pass or does not do.

use std::collections::{BTreeMap, BTreeSet};

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::packets::packet;

/// What it announces, and how it answers.
#[derive(Clone, Default)]
pub struct Rules {
    pub receive_max: Option<u16>,
    pub topic_aliases: u16,
    pub server_keep_alive: Option<u16>,
    pub session_present: bool,
    /// Packet ids of messages whose PUBREL is still to come from an earlier session.
    pub unreleased: BTreeSet<u16>,
    /// Packet ids of messages to the client that are to be released.
    pub releases: Vec<u16>,
    pub answers: Answers,
    /// After the first message it ends the session for this reason.
    pub ends_with: Option<u8>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Answers {
    /// At once.
    #[default]
    AtOnce,
    /// The first message only after so many others; of those each at once.
    FirstAfter(usize),
    /// PUBREC with reason 0x87, not authorized, to every message of quality of service 2.
    RefuseQos2,
}

/// What it saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Connect(Vec<u8>),
    /// Topic, whether it was written as an alias, and payload.
    Message {
        topic: String,
        by_alias: bool,
        payload: String,
    },
    /// PUBCOMP for a message to the client.
    Completed(u16),
    Ping,
    Disconnect,
    /// The client did what it must not; the connection is closed.
    Violation(String),
}

/// Starts it; its port and what it sees.
pub async fn strict_broker(rules: Rules) -> (u16, mpsc::UnboundedReceiver<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (seen, events) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let client = Client::new(stream, seen.clone(), rules.clone());
            tokio::spawn(client.serve());
        }
    });
    (port, events)
}

struct Client {
    stream: TcpStream,
    seen: mpsc::UnboundedSender<Seen>,
    rules: Rules,
    aliases: BTreeMap<u16, String>,
    /// Packet ids that are in use, with their quality of service.
    in_use: BTreeMap<u16, u8>,
    unreleased: BTreeSet<u16>,
    late: Option<(u16, u8)>,
    messages: usize,
}

impl Client {
    fn new(stream: TcpStream, seen: mpsc::UnboundedSender<Seen>, rules: Rules) -> Self {
        let unreleased = rules.unreleased.clone();
        let (aliases, in_use) = (BTreeMap::new(), BTreeMap::new());
        Self { stream, seen, rules, aliases, in_use, unreleased, late: None, messages: 0 }
    }

    async fn serve(mut self) -> Option<()> {
        let (_, connect) = packet(&mut self.stream).await?;
        self.seen.send(Seen::Connect(connect)).ok()?;
        self.welcome().await?;
        loop {
            let (header, body) = packet(&mut self.stream).await?;
            let id = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
            let answered = match header >> 4 {
                3 => self.publish(header, &body).await,
                6 => self.release(id(0)).await,
                7 => self.seen.send(Seen::Completed(id(0))).map_err(|_| String::new()),
                12 => {
                    let _ = self.seen.send(Seen::Ping);
                    self.stream.write_all(&[0xd0, 0]).await.map_err(|error| error.to_string())
                }
                14 => {
                    let _ = self.seen.send(Seen::Disconnect);
                    return None;
                }
                other => Err(format!("packet type {other}")),
            };
            if let Err(violation) = answered {
                let _ = self.seen.send(Seen::Violation(violation));
                return None;
            }
        }
    }

    async fn welcome(&mut self) -> Option<()> {
        let mut properties = Vec::new();
        if let Some(receive_max) = self.rules.receive_max {
            properties.push(0x21);
            properties.extend(receive_max.to_be_bytes());
        }
        properties.push(0x22);
        properties.extend(self.rules.topic_aliases.to_be_bytes());
        if let Some(keep_alive) = self.rules.server_keep_alive {
            properties.push(0x13);
            properties.extend(keep_alive.to_be_bytes());
        }
        let mut connack = vec![u8::from(self.rules.session_present), 0, u8::try_from(properties.len()).unwrap()];
        connack.extend(properties);
        self.send(0x20, &connack).await.ok()?;
        for id in self.rules.releases.clone() {
            self.send(0x62, &id.to_be_bytes()).await.ok()?;
        }
        Some(())
    }

    async fn publish(&mut self, header: u8, body: &[u8]) -> Result<(), String> {
        let qos = (header >> 1) & 3;
        let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
        let written = String::from_utf8(body[2..2 + length].to_vec()).unwrap();
        let mut at = 2 + length;
        let mut id = 0;
        if qos > 0 {
            id = u16::from_be_bytes([body[at], body[at + 1]]);
            at += 2;
        }
        // Tests send nothing but an alias here, so the length of the properties has one byte.
        let (properties, payload) = body[at + 1..].split_at(usize::from(body[at]));
        let alias = (properties.first() == Some(&0x23)).then(|| u16::from_be_bytes([properties[1], properties[2]]));
        if qos == 2 && self.unreleased.contains(&id) {
            // The end of the old message is still to come: to this broker the new one is the same again.
            return self.send(0x50, &id.to_be_bytes()).await;
        }
        if id != 0 && self.in_use.insert(id, qos).is_some() {
            return Err(format!("packet id {id} is in use"));
        }
        if self.in_use.len() > usize::from(self.rules.receive_max.unwrap_or(u16::MAX)) {
            return Err(format!("{} messages at once", self.in_use.len()));
        }
        let topic = self.topic(&written, alias)?;
        let payload = String::from_utf8(payload.to_vec()).unwrap();
        let _ = self.seen.send(Seen::Message { topic, by_alias: written.is_empty(), payload });
        self.messages += 1;
        self.answer(id, qos).await?;
        match self.rules.ends_with {
            Some(reason) => self.send(0xe0, &[reason, 0]).await,
            None => Ok(()),
        }
    }

    fn topic(&mut self, written: &str, alias: Option<u16>) -> Result<String, String> {
        match (written, alias) {
            (_, Some(alias)) if alias == 0 || alias > self.rules.topic_aliases => Err(format!("topic alias {alias}")),
            ("", Some(alias)) => self.aliases.get(&alias).cloned().ok_or(format!("topic alias {alias} is not known")),
            ("", None) => Err("no topic".into()),
            (topic, alias) => {
                alias.map(|alias| self.aliases.insert(alias, topic.into()));
                Ok(topic.into())
            }
        }
    }

    async fn answer(&mut self, id: u16, qos: u8) -> Result<(), String> {
        if let Answers::FirstAfter(others) = self.rules.answers {
            if self.messages == 1 {
                self.late = Some((id, qos));
                return Ok(());
            }
            if self.messages > others
                && let Some((late, qos)) = self.late.take()
            {
                self.acknowledge(late, qos).await?;
            }
        }
        self.acknowledge(id, qos).await
    }

    async fn acknowledge(&mut self, id: u16, qos: u8) -> Result<(), String> {
        let [high, low] = id.to_be_bytes();
        match qos {
            0 => Ok(()),
            1 => {
                self.in_use.remove(&id);
                self.send(0x40, &[high, low]).await
            }
            _ if self.rules.answers == Answers::RefuseQos2 => {
                self.in_use.remove(&id);
                self.send(0x50, &[high, low, 0x87]).await
            }
            _ => self.send(0x50, &[high, low]).await,
        }
    }

    async fn release(&mut self, id: u16) -> Result<(), String> {
        let is_known = self.unreleased.remove(&id) | self.in_use.remove(&id).is_some();
        let [high, low] = id.to_be_bytes();
        if is_known { self.send(0x70, &[high, low]).await } else { self.send(0x70, &[high, low, 0x92]).await }
    }

    async fn send(&mut self, header: u8, body: &[u8]) -> Result<(), String> {
        let mut packet = vec![header, u8::try_from(body.len()).unwrap()];
        packet.extend(body);
        self.stream.write_all(&packet).await.map_err(|error| error.to_string())
    }
}
