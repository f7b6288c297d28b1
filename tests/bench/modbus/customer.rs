//! A customer that sets a battery's power by commands on the broker, one after the other.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, NetworkOptions, Packet, QoS};
use serde_json::Value;

/// The device whose power is set.
pub(super) const DEVICE: &str = "battery";
/// The power of the first command in W; each of the others is 1 W more, so that each is written.
const FIRST_WATTS: u16 = 1_000;
/// Time limit for the subscription and for each answer.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);
/// Pauses between commands are random, so that they come at any moment of a polling period, and long enough that none waits for
/// its turn: a feed hands its plugin 50 messages a second, after a burst of 100.
const PAUSE_MS: std::ops::Range<u64> = 60..140;
/// Requests that may wait in the client; there is one at a time.
const REQUESTS: usize = 10;

/// A command that was answered as verified.
pub(super) struct AnsweredCommand {
    /// The power, as its register has it.
    pub(super) watts: u16,
    /// When it was published.
    pub(super) sent: Instant,
    /// When its answer arrived.
    pub(super) answered: Instant,
}

struct Customer {
    client: AsyncClient,
    events: EventLoop,
    request_topic: String,
}

/// Sends that many commands, each after the answer to the one before.
pub(super) fn send(broker: SocketAddr, site: &str, count: u16) -> anyhow::Result<Vec<AnsweredCommand>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut customer = Customer::start(broker, site).await?;
        let mut answered = Vec::new();
        for number in 0..count {
            answered.push(customer.command(FIRST_WATTS + number).await?);
            tokio::time::sleep(Duration::from_millis(fastrand::u64(PAUSE_MS))).await;
        }
        Ok(answered)
    })
}

impl Customer {
    /// Returns once the subscription to the answers is acknowledged.
    async fn start(broker: SocketAddr, site: &str) -> anyhow::Result<Self> {
        let options = MqttOptions::new(format!("{site}-customer"), broker.ip().to_string(), broker.port());
        let (client, mut events) = AsyncClient::new(options, REQUESTS);
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        events.set_network_options(network);
        // With QoS 0, because a broker may delay a message until the previous one is acknowledged.
        client.subscribe(format!("{site}/answer/#"), QoS::AtMostOnce).await?;
        let subscribed = async {
            while !matches!(events.poll().await?, Event::Incoming(Packet::SubAck(_))) {}
            anyhow::Ok(())
        };
        tokio::time::timeout(ANSWERED_WITHIN, subscribed).await.context("no subscription")??;
        Ok(Self { client, events, request_topic: format!("{site}/cmd/{DEVICE}/set_point_kw") })
    }

    /// Sets the power and waits until it is verified.
    async fn command(&mut self, watts: u16) -> anyhow::Result<AnsweredCommand> {
        let kilowatts = f64::from(watts) / 1_000.0;
        let payload = format!(r#"{{"value": {kilowatts}, "until_s": 60, "ref": "{watts}"}}"#);
        let sent = Instant::now();
        self.client.publish(&self.request_topic, QoS::AtLeastOnce, false, payload).await?;
        let answer = tokio::time::timeout(ANSWERED_WITHIN, self.answer_to(watts)).await;
        let answer = answer.with_context(|| format!("no answer to {watts} W within {ANSWERED_WITHIN:?}"))??;
        let answered = Instant::now();
        let is_verified = answer.get("outcome").and_then(Value::as_str) == Some("verified");
        ensure!(is_verified, "{watts} W is not verified: {answer}");
        Ok(AnsweredCommand { watts, sent, answered })
    }

    async fn answer_to(&mut self, watts: u16) -> anyhow::Result<Value> {
        let reference = watts.to_string();
        loop {
            if let Event::Incoming(Packet::Publish(message)) = self.events.poll().await? {
                let answer: Value = serde_json::from_slice(&message.payload)?;
                if answer.get("ref").and_then(Value::as_str) == Some(&reference) {
                    return Ok(answer);
                }
            }
        }
    }
}
