//! The baseline for sessions: a loop around the library's event loop, which publishes a window of messages and waits for their
//! acknowledgements.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context;
use bessai_domain::session::Protocol;
use rumqttc::NetworkOptions;

use super::session::IN_FLIGHT;

/// The client id.
const CLIENT: &str = "bench-bare";

/// A message that is published repeatedly.
#[derive(Clone)]
pub(super) struct Publication {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
}

impl Publication {
    /// Publishes it this many times; the time until all are acknowledged, and the granted window.
    pub(super) async fn send(
        &self,
        broker: SocketAddr,
        protocol: Protocol,
        messages: u64,
    ) -> anyhow::Result<(Duration, usize)> {
        match protocol {
            Protocol::V311 => self.send_v311(broker, messages).await,
            Protocol::V5 => self.send_v5(broker, messages).await,
        }
    }

    async fn send_v5(&self, broker: SocketAddr, messages: u64) -> anyhow::Result<(Duration, usize)> {
        use rumqttc::v5::mqttbytes::{QoS, v5::Packet};
        use rumqttc::v5::{AsyncClient, Event, MqttOptions};
        let mut options = MqttOptions::new(CLIENT, broker.ip().to_string(), broker.port());
        options.set_network_options(network());
        options.set_outgoing_inflight_upper_limit(IN_FLIGHT);
        let (client, mut events) = AsyncClient::new(options, usize::from(IN_FLIGHT));
        let mut window = u64::from(IN_FLIGHT);
        loop {
            if let Event::Incoming(Packet::ConnAck(granted)) = events.poll().await? {
                let receive_max = granted.properties.and_then(|properties| properties.receive_max);
                window = window.min(receive_max.unwrap_or(IN_FLIGHT).into());
                break;
            }
        }
        let (mut published, mut acknowledged) = (0, 0);
        let start = Instant::now();
        while acknowledged < messages {
            while published < messages && published - acknowledged < window {
                client.try_publish(&self.topic, QoS::AtLeastOnce, false, self.payload.clone())?;
                published += 1;
            }
            if let Event::Incoming(Packet::PubAck(_)) = events.poll().await.context("failed to talk to the broker")? {
                acknowledged += 1;
            }
        }
        Ok((start.elapsed(), usize::try_from(window)?))
    }

    async fn send_v311(&self, broker: SocketAddr, messages: u64) -> anyhow::Result<(Duration, usize)> {
        use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
        let mut options = MqttOptions::new(CLIENT, broker.ip().to_string(), broker.port());
        options.set_inflight(IN_FLIGHT);
        let (client, mut events) = AsyncClient::new(options, usize::from(IN_FLIGHT));
        events.set_network_options(network());
        while !matches!(events.poll().await?, Event::Incoming(Packet::ConnAck(_))) {}
        let (mut published, mut acknowledged) = (0, 0);
        let start = Instant::now();
        while acknowledged < messages {
            while published < messages && published - acknowledged < u64::from(IN_FLIGHT) {
                client.try_publish(&self.topic, QoS::AtLeastOnce, false, self.payload.clone())?;
                published += 1;
            }
            if let Event::Incoming(Packet::PubAck(_)) = events.poll().await.context("failed to talk to the broker")? {
                acknowledged += 1;
            }
        }
        Ok((start.elapsed(), usize::from(IN_FLIGHT)))
    }
}

fn network() -> NetworkOptions {
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    network
}
