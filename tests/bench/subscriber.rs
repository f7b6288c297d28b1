//! A subscriber that records when each message arrives.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};

/// The telemetry topics of all sites.
const TELEMETRY: &str = "+/telemetry";
/// Time limit for the acknowledgement of the subscription.
const SUBSCRIBED_WITHIN: Duration = Duration::from_secs(10);
/// Capacity of the client's request queue; only the subscription uses it.
const REQUESTS: usize = 10;
/// The largest accepted packet, far above a message of 1,000 values; the library's default is 10 KiB.
pub(crate) const PACKET_BYTES_MAX: usize = 1 << 20;

/// A subscriber on a thread of its own.
pub(crate) struct Subscriber {
    arrivals: Receiver<TimedMessage>,
}

/// A message with the time of its arrival.
pub(crate) struct TimedMessage {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) at: Instant,
    /// The same by the system clock, from which the gateway takes its time stamps.
    pub(crate) system_time: SystemTime,
}

/// A topic filter, a client id and a QoS.
#[derive(Clone, Copy)]
struct Subscription {
    client_id: &'static str,
    filter: &'static str,
    qos: QoS,
}

impl Subscriber {
    /// Subscribes to every site's telemetry.
    pub(crate) fn start_for_telemetry(broker: SocketAddr) -> anyhow::Result<Self> {
        Self::start(broker, Subscription { client_id: "bench", filter: TELEMETRY, qos: QoS::AtLeastOnce })
    }

    /// Subscribes to `filter` with QoS 0, because a broker may delay a message until the previous one is acknowledged.
    pub(crate) fn start_for_timing(broker: SocketAddr, filter: &'static str) -> anyhow::Result<Self> {
        Self::start(broker, Subscription { client_id: "bench-times", filter, qos: QoS::AtMostOnce })
    }

    /// Returns once the subscription is acknowledged.
    fn start(broker: SocketAddr, subscription: Subscription) -> anyhow::Result<Self> {
        let (ready, subscribed) = mpsc::channel();
        let (sender, arrivals) = mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            // It fails when the broker ends; that shows as missing telemetry.
            runtime.block_on(listen(broker, subscription, &ready, &sender))
        });
        subscribed.recv_timeout(SUBSCRIBED_WITHIN).context("failed to subscribe at the broker")?;
        Ok(Self { arrivals })
    }

    /// The messages that have arrived since the last call.
    pub(crate) fn take(&self) -> Vec<TimedMessage> {
        self.arrivals.try_iter().collect()
    }

    /// Waits for telemetry of a site; the time of its arrival.
    pub(crate) fn wait_for_site(&self, site: &str, limit: Duration) -> Option<Instant> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.checked_duration_since(Instant::now())?;
            let arrival = self.arrivals.recv_timeout(left).ok()?;
            if arrival.is_of(site) {
                return Some(arrival.at);
            }
        }
    }

    /// The number of a site's messages in a window that is over. Discards all messages.
    pub(crate) fn count(&self, site: &str, window: &Range<Instant>) -> u32 {
        let mut count = 0;
        while let Ok(arrival) = self.arrivals.try_recv() {
            if arrival.is_of(site) && window.contains(&arrival.at) {
                count += 1;
            }
        }
        count
    }
}

impl TimedMessage {
    fn is_of(&self, site: &str) -> bool {
        self.topic.split('/').next() == Some(site)
    }
}

async fn listen(
    broker: SocketAddr,
    subscription: Subscription,
    ready: &Sender<()>,
    arrivals: &Sender<TimedMessage>,
) -> anyhow::Result<()> {
    let mut options = MqttOptions::new(subscription.client_id, broker.ip().to_string(), broker.port());
    options.set_max_packet_size(PACKET_BYTES_MAX, PACKET_BYTES_MAX);
    let (client, mut events) = AsyncClient::new(options, REQUESTS);
    client.subscribe(subscription.filter, subscription.qos).await?;
    loop {
        match events.poll().await? {
            Event::Incoming(Packet::SubAck(_)) => ready.send(())?,
            Event::Incoming(Packet::Publish(message)) => {
                let (at, system_time) = (Instant::now(), SystemTime::now());
                arrivals.send(TimedMessage {
                    topic: message.topic,
                    payload: message.payload.to_vec(),
                    at,
                    system_time,
                })?;
            }
            _ => {}
        }
    }
}
