//! A subscriber that records which readings of each device arrive, and when.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, Publish, QoS};

use crate::gateway::POLL_EVERY;
use crate::process::Process;
use crate::subscriber::PACKET_BYTES_MAX;

/// The channel that numbers a device's readings.
pub(super) const FIRST_CHANNEL: &str = "reading";
/// The key before that number in a message.
const NUMBER: &[u8] = b"\"reading\":";
/// The key before the time of its reading, in seconds.
const TIME: &[u8] = b"\"ts\":";
/// Time limit of the subscription.
const SUBSCRIBED_WITHIN: Duration = Duration::from_secs(10);
/// Time limit for a reading of every device.
const ALL_WITHIN: Duration = Duration::from_secs(60);
/// Requests that may wait in the client; the subscription is the only one.
const REQUESTS: usize = 10;

/// A subscriber on a thread of its own, until the broker or its receiver ends.
pub(super) struct ReadingSubscriber(Receiver<ReceivedReading>);

/// The message of a reading.
struct ReceivedReading {
    topic: String,
    number: u64,
    bytes: usize,
    at: Instant,
    /// Time between the device's first reply and the arrival, in seconds.
    age_s: f64,
}

/// The readings that arrived in a window.
pub(super) struct WindowSummary {
    pub(super) messages: u64,
    /// Numbers that are missing between a device's first and last reading.
    pub(super) missing: u64,
    /// Messages of readings that had already arrived.
    pub(super) repeated: u64,
    /// Size of a message.
    pub(super) bytes: usize,
    /// Devices whose readings arrived.
    pub(super) devices: usize,
    /// Time between the device's first reply and the arrival, in seconds, in rising order.
    ages_s: Vec<f64>,
}

impl WindowSummary {
    /// The age that so many per cent of the messages do not exceed.
    pub(super) fn age(&self, percent: usize) -> Duration {
        let index = (self.ages_s.len() * percent / 100).min(self.ages_s.len().saturating_sub(1));
        Duration::from_secs_f64(self.ages_s.get(index).copied().unwrap_or_default().max(0.0))
    }
}

impl ReadingSubscriber {
    /// Returns once the subscription is acknowledged.
    pub(super) fn start(broker: SocketAddr, site: &str) -> anyhow::Result<Self> {
        let (ready, subscribed) = mpsc::channel();
        let (sender, arrivals) = mpsc::channel();
        let site = site.to_owned();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.context("failed to start a runtime");
            let result = runtime.and_then(|runtime| runtime.block_on(listen(broker, &site, &ready, &sender)));
            // After the subscription a failure shows as missing messages.
            let _ = ready.send(result);
        });
        subscribed.recv_timeout(SUBSCRIBED_WITHIN).context("no subscription")?.context("failed to subscribe")?;
        Ok(Self(arrivals))
    }

    /// Waits for a reading of each device.
    pub(super) fn wait_for_devices(&self, devices: usize, gateway: &Process) -> anyhow::Result<()> {
        let deadline = Instant::now() + ALL_WITHIN;
        let mut topics = BTreeSet::new();
        while topics.len() < devices {
            topics.extend(self.0.try_iter().map(|arrival| arrival.topic));
            if Instant::now() > deadline {
                let log = gateway.log_tail();
                bail!("readings of only {} of {devices} devices arrived within {ALL_WITHIN:?}:\n{log}", topics.len());
            }
            sleep(POLL_EVERY);
        }
        Ok(())
    }

    /// Discards what has arrived so far.
    pub(super) fn discard_received(&self) {
        self.0.try_iter().for_each(drop);
    }

    /// Summarizes a window that is over; missing and repeated readings are counted since the last call.
    pub(super) fn take(&self, window: &Range<Instant>) -> anyhow::Result<WindowSummary> {
        let mut numbers: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        let (mut messages, mut bytes, mut ages_s) = (0, 0, Vec::new());
        for arrival in self.0.try_iter() {
            if window.contains(&arrival.at) {
                messages += 1;
                ages_s.push(arrival.age_s);
            }
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
        ensure!(messages > 0, "no message arrived in the window");
        ages_s.sort_by(f64::total_cmp);
        Ok(WindowSummary { messages, missing, repeated, bytes, devices: numbers.len(), ages_s })
    }
}

async fn listen(
    broker: SocketAddr,
    site: &str,
    ready: &Sender<anyhow::Result<()>>,
    arrivals: &Sender<ReceivedReading>,
) -> anyhow::Result<()> {
    let mut options = MqttOptions::new(format!("{site}-arrivals"), broker.ip().to_string(), broker.port());
    options.set_max_packet_size(PACKET_BYTES_MAX, PACKET_BYTES_MAX);
    let (client, mut events) = AsyncClient::new(options, REQUESTS);
    client.subscribe(format!("{site}/#"), QoS::AtLeastOnce).await?;
    loop {
        match events.poll().await? {
            Event::Incoming(Packet::SubAck(_)) => ready.send(Ok(()))?,
            Event::Incoming(Packet::Publish(message)) => {
                let (at, now) = (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64());
                let number = decimal_after(NUMBER, &message.payload).and_then(|number| number.split('.').next());
                let number = number.and_then(|number| number.parse().ok());
                let read_s = decimal_after(TIME, &message.payload).and_then(|time| time.parse::<f64>().ok());
                if let (Some(number), Some(read_s)) = (number, read_s) {
                    let Publish { topic, payload, .. } = message;
                    let age_s = now - read_s;
                    arrivals.send(ReceivedReading { topic, number, bytes: payload.len(), at, age_s })?;
                }
            }
            _ => {}
        }
    }
}

/// The number that follows a key.
fn decimal_after<'a>(key: &[u8], payload: &'a [u8]) -> Option<&'a str> {
    let begin = payload.windows(key.len()).position(|window| window == key)? + key.len();
    let rest = payload.get(begin..)?;
    let end = rest.iter().position(|byte| !byte.is_ascii_digit() && *byte != b'.')?;
    std::str::from_utf8(rest.get(..end)?).ok()
}
