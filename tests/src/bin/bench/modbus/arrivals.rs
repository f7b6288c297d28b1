//! The customer's end: which readings of which device have arrived, and when.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, Publish, QoS};

use crate::gateway::LOOK_EVERY;
use crate::process::Process;
use crate::subscriber::LARGEST;

/// The channel that numbers a device's readings.
pub(super) const FIRST_CHANNEL: &str = "reading";
/// How a message tells it.
const NUMBER: &[u8] = b"\"reading\":";
const SUBSCRIBED_WITHIN: Duration = Duration::from_secs(10);
const ALL_WITHIN: Duration = Duration::from_secs(60);
/// Requests that wait in the client; only the subscription ever does.
const REQUESTS: usize = 10;

/// A subscriber on a thread of its own, until the broker or its receiver ends.
pub(super) struct Arrivals(Receiver<Arrival>);

/// A reading's message.
struct Arrival {
    topic: String,
    number: u64,
    bytes: usize,
    at: Instant,
}

/// What has come in a window.
pub(super) struct Seen {
    pub(super) messages: u64,
    /// Numbers that are missing between a device's first and last reading.
    pub(super) missing: u64,
    /// Messages of a reading that came before.
    pub(super) repeated: u64,
    /// Of a message.
    pub(super) bytes: usize,
    /// Whose readings came.
    pub(super) devices: usize,
}

impl Arrivals {
    /// Returns once the subscription is acknowledged.
    pub(super) fn of(broker: SocketAddr, site: &str) -> anyhow::Result<Self> {
        let (ready, is_ready) = mpsc::channel();
        let (sender, arrivals) = mpsc::channel();
        let site = site.to_owned();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.context("failed to start a runtime");
            let ended = runtime.and_then(|runtime| runtime.block_on(listen(broker, &site, &ready, &sender)));
            // Of one that was ready once, what does not come tells enough.
            let _ = ready.send(ended);
        });
        is_ready.recv_timeout(SUBSCRIBED_WITHIN).context("no subscription")?.context("failed to subscribe")?;
        Ok(Self(arrivals))
    }

    /// Waits for a reading of each of so many devices.
    pub(super) fn wait(&self, devices: usize, gateway: &Process) -> anyhow::Result<()> {
        let deadline = Instant::now() + ALL_WITHIN;
        let mut seen = BTreeSet::new();
        while seen.len() < devices {
            seen.extend(self.0.try_iter().map(|arrival| arrival.topic));
            if Instant::now() > deadline {
                let last = gateway.last_words();
                bail!("of {devices} devices {} have arrived within {ALL_WITHIN:?}:\n{last}", seen.len());
            }
            sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// Forgets what has come so far.
    pub(super) fn skip(&self) {
        self.0.try_iter().for_each(drop);
    }

    /// What has come in the window, and whether anything is missing among all that has come since it was looked last.
    pub(super) fn take(&self, window: &Range<Instant>) -> anyhow::Result<Seen> {
        let mut numbers: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        let (mut messages, mut bytes) = (0, 0);
        for arrival in self.0.try_iter() {
            messages += u64::from(window.contains(&arrival.at));
            bytes = arrival.bytes;
            numbers.entry(arrival.topic).or_default().push(arrival.number);
        }
        let (mut missing, mut repeated) = (0, 0);
        for numbers in numbers.values() {
            let distinct: BTreeSet<_> = numbers.iter().collect();
            let (Some(first), Some(last)) = (distinct.first(), distinct.last()) else { continue };
            let count = u64::try_from(distinct.len())?;
            missing += **last - **first + 1 - count;
            repeated += u64::try_from(numbers.len())? - count;
        }
        ensure!(messages > 0, "nothing has arrived in the window");
        Ok(Seen { messages, missing, repeated, bytes, devices: numbers.len() })
    }
}

async fn listen(
    broker: SocketAddr,
    site: &str,
    ready: &Sender<anyhow::Result<()>>,
    arrivals: &Sender<Arrival>,
) -> anyhow::Result<()> {
    let mut options = MqttOptions::new(format!("{site}-arrivals"), broker.ip().to_string(), broker.port());
    options.set_max_packet_size(LARGEST, LARGEST);
    let (client, mut events) = AsyncClient::new(options, REQUESTS);
    client.subscribe(format!("{site}/#"), QoS::AtLeastOnce).await?;
    loop {
        match events.poll().await? {
            Event::Incoming(Packet::SubAck(_)) => ready.send(Ok(()))?,
            Event::Incoming(Packet::Publish(message)) => {
                let at = Instant::now();
                if let Some(number) = number(&message.payload) {
                    let Publish { topic, payload, .. } = message;
                    arrivals.send(Arrival { topic, number, bytes: payload.len(), at })?;
                }
            }
            _ => {}
        }
    }
}

fn number(payload: &[u8]) -> Option<u64> {
    let begin = payload.windows(NUMBER.len()).position(|window| window == NUMBER)? + NUMBER.len();
    let digits: Vec<_> = payload.get(begin..)?.iter().copied().take_while(u8::is_ascii_digit).collect();
    std::str::from_utf8(&digits).ok()?.parse().ok()
}
