//! The customer's end: a subscriber that notes when each site's telemetry arrives.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};

const TELEMETRY: &str = "+/telemetry";
const SUBSCRIBED_WITHIN: Duration = Duration::from_secs(10);
/// Requests that wait in the client; only the subscription ever does.
const REQUESTS: usize = 10;
/// Far above a message of 1,000 values; the library ends at one of 10 KiB.
pub(crate) const LARGEST: usize = 1 << 20;

/// A subscriber on a thread of its own.
pub(crate) struct Subscriber {
    arrivals: Receiver<Arrival>,
}

/// A message as it came.
pub(crate) struct Arrival {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) at: Instant,
    /// The same by the clock that the gateway's times are of.
    pub(crate) clock: SystemTime,
}

/// What to subscribe to, and as whom.
#[derive(Clone, Copy)]
struct Subscription {
    client: &'static str,
    filter: &'static str,
    qos: QoS,
}

impl Subscriber {
    /// Subscribes to every site's telemetry.
    pub(crate) fn of_telemetry(broker: SocketAddr) -> anyhow::Result<Self> {
        Self::start(broker, Subscription { client: "bench", filter: TELEMETRY, qos: QoS::AtLeastOnce })
    }

    /// Subscribes to `filter` for taking times: without acknowledgements, for which a broker may let the next message wait.
    pub(crate) fn of_times(broker: SocketAddr, filter: &'static str) -> anyhow::Result<Self> {
        Self::start(broker, Subscription { client: "bench-times", filter, qos: QoS::AtMostOnce })
    }

    /// Returns once the subscription is acknowledged.
    fn start(broker: SocketAddr, subscription: Subscription) -> anyhow::Result<Self> {
        let (ready, is_ready) = mpsc::channel();
        let (sender, arrivals) = mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            // The end of the broker ends this too; whoever still waits for telemetry then says that none came.
            runtime.block_on(listen(broker, subscription, &ready, &sender))
        });
        is_ready.recv_timeout(SUBSCRIBED_WITHIN).context("failed to subscribe at the broker")?;
        Ok(Self { arrivals })
    }

    /// What has come since the last time.
    pub(crate) fn take(&self) -> Vec<Arrival> {
        self.arrivals.try_iter().collect()
    }

    /// Waits for telemetry of the site.
    pub(crate) fn wait(&self, site: &str, limit: Duration) -> Option<Instant> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.checked_duration_since(Instant::now())?;
            let arrival = self.arrivals.recv_timeout(left).ok()?;
            if arrival.is_of(site) {
                return Some(arrival.at);
            }
        }
    }

    /// How many messages of the site have come in the window, which is over. Forgets all that has come.
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

impl Arrival {
    fn is_of(&self, site: &str) -> bool {
        self.topic.split('/').next() == Some(site)
    }
}

async fn listen(
    broker: SocketAddr,
    subscription: Subscription,
    ready: &Sender<()>,
    arrivals: &Sender<Arrival>,
) -> anyhow::Result<()> {
    let mut options = MqttOptions::new(subscription.client, broker.ip().to_string(), broker.port());
    options.set_max_packet_size(LARGEST, LARGEST);
    let (client, mut events) = AsyncClient::new(options, REQUESTS);
    client.subscribe(subscription.filter, subscription.qos).await?;
    loop {
        match events.poll().await? {
            Event::Incoming(Packet::SubAck(_)) => ready.send(())?,
            Event::Incoming(Packet::Publish(message)) => {
                let (at, clock) = (Instant::now(), SystemTime::now());
                arrivals.send(Arrival { topic: message.topic, payload: message.payload.to_vec(), at, clock })?;
            }
            _ => {}
        }
    }
}
