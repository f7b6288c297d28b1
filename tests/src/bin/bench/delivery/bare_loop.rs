//! What sessions are compared with: the library's own event loop, which hands over a window of messages and waits for their
//! acknowledgements, in as few lines as that takes.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context;
use bessai_edge::mqtt::Protocol;
use rumqttc::NetworkOptions;

use super::session::IN_FLIGHT;

const CLIENT: &str = "bench-bare";

/// What is published, again and again.
#[derive(Clone)]
pub(super) struct Publication {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
}

impl Publication {
    /// How long so many of it take, and the window that was granted.
    pub(super) async fn send(
        &self,
        broker: SocketAddr,
        protocol: Protocol,
        messages: u64,
    ) -> anyhow::Result<(Duration, usize)> {
        match protocol {
            Protocol::V311 => self.send_v311(broker, messages).await,
            Protocol::V5 | Protocol::Auto => self.send_v5(broker, messages).await,
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
        let (mut handed, mut acknowledged) = (0, 0);
        let began = Instant::now();
        while acknowledged < messages {
            while handed < messages && handed - acknowledged < window {
                client.try_publish(&self.topic, QoS::AtLeastOnce, false, self.payload.clone())?;
                handed += 1;
            }
            if let Event::Incoming(Packet::PubAck(_)) = events.poll().await.context("failed to talk to the broker")? {
                acknowledged += 1;
            }
        }
        Ok((began.elapsed(), usize::try_from(window)?))
    }

    async fn send_v311(&self, broker: SocketAddr, messages: u64) -> anyhow::Result<(Duration, usize)> {
        use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
        let mut options = MqttOptions::new(CLIENT, broker.ip().to_string(), broker.port());
        options.set_inflight(IN_FLIGHT);
        let (client, mut events) = AsyncClient::new(options, usize::from(IN_FLIGHT));
        events.set_network_options(network());
        while !matches!(events.poll().await?, Event::Incoming(Packet::ConnAck(_))) {}
        let (mut handed, mut acknowledged) = (0, 0);
        let began = Instant::now();
        while acknowledged < messages {
            while handed < messages && handed - acknowledged < u64::from(IN_FLIGHT) {
                client.try_publish(&self.topic, QoS::AtLeastOnce, false, self.payload.clone())?;
                handed += 1;
            }
            if let Event::Incoming(Packet::PubAck(_)) = events.poll().await.context("failed to talk to the broker")? {
                acknowledged += 1;
            }
        }
        Ok((began.elapsed(), usize::from(IN_FLIGHT)))
    }
}

fn network() -> NetworkOptions {
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    network
}
