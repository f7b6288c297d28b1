//! The customer's end: a subscriber that notes when each site's telemetry arrives.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use anyhow::Context;
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};

const FILTER: &str = "+/telemetry";
const TOPIC_END: &str = "/telemetry";
const SUBSCRIBED_WITHIN: Duration = Duration::from_secs(10);
/// Requests that wait in the client; only the subscription ever does.
const REQUESTS: usize = 10;

/// A subscriber on a thread of its own.
pub(crate) struct Subscriber {
    arrivals: Receiver<Arrival>,
}

struct Arrival {
    site: String,
    at: Instant,
}

impl Subscriber {
    /// Subscribes at the broker, and returns once it is acknowledged.
    pub(crate) fn start(broker: SocketAddr) -> anyhow::Result<Self> {
        let (ready, is_ready) = mpsc::channel();
        let (sender, arrivals) = mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            // The end of the broker ends this too; whoever still waits for telemetry then says that none came.
            runtime.block_on(listen(broker, &ready, &sender))
        });
        is_ready.recv_timeout(SUBSCRIBED_WITHIN).context("failed to subscribe at the broker")?;
        Ok(Self { arrivals })
    }

    /// Waits for a message of the site.
    pub(crate) fn wait(&self, site: &str, limit: Duration) -> Option<Instant> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.checked_duration_since(Instant::now())?;
            let arrival = self.arrivals.recv_timeout(left).ok()?;
            if arrival.site == site {
                return Some(arrival.at);
            }
        }
    }

    /// How many messages of the site have come in the window, which is over. Forgets all that has come.
    pub(crate) fn count(&self, site: &str, window: &Range<Instant>) -> u32 {
        let mut count = 0;
        while let Ok(arrival) = self.arrivals.try_recv() {
            if arrival.site == site && window.contains(&arrival.at) {
                count += 1;
            }
        }
        count
    }
}

async fn listen(broker: SocketAddr, ready: &Sender<()>, arrivals: &Sender<Arrival>) -> anyhow::Result<()> {
    let options = MqttOptions::new("bench", broker.ip().to_string(), broker.port());
    let (client, mut events) = AsyncClient::new(options, REQUESTS);
    client.subscribe(FILTER, QoS::AtLeastOnce).await?;
    loop {
        match events.poll().await? {
            Event::Incoming(Packet::SubAck(_)) => ready.send(())?,
            Event::Incoming(Packet::Publish(message)) => {
                let at = Instant::now();
                if let Some(site) = message.topic.strip_suffix(TOPIC_END) {
                    arrivals.send(Arrival { site: site.to_owned(), at })?;
                }
            }
            _ => {}
        }
    }
}
