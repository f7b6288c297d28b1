//! How fast a feed catches up: messages of 200 bytes at QoS 1 to mosquitto with a subscriber, through the gateway's session
//! and through a bare loop of the same library, with the same window.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bessai_domain::message::{Message, Qos};
use bessai_domain::session::Login;
use bessai_edge::mqtt::{Broker, Notice, Protocol, Settings};
use rumqttc::NetworkOptions;

use crate::surroundings::Surroundings;
use crate::table::Compared;

const PAYLOAD: usize = 200;
const TOPIC: &str = "bench-delivery/telemetry";
const IN_FLIGHT: u16 = 100;
const TARGET: &str = "≥ 20,000/s and ≥ 0.8 × bare";

pub(crate) struct Lengths {
    messages: u64,
    /// Odd, so that the median is one of them.
    runs: usize,
}

impl Lengths {
    pub(crate) const FULL: Self = Self { messages: 100_000, runs: 5 };
    pub(crate) const QUICK: Self = Self { messages: 50_000, runs: 3 };
}

pub(crate) fn measure(surroundings: &Surroundings, lengths: &Lengths) -> anyhow::Result<Vec<Compared>> {
    let broker = surroundings.broker;
    let mut rows = Vec::new();
    for (name, protocol) in [("MQTT 5", Protocol::V5), ("MQTT 3.1.1", Protocol::V311)] {
        eprintln!("{} messages over {name}, {} times each", lengths.messages, lengths.runs);
        let (mut gateway, mut bare) = (Vec::new(), Vec::new());
        let mut window = 0;
        for _ in 0..lengths.runs {
            let (rate, granted) = rate(lengths.messages, session(broker, protocol, lengths.messages))?;
            gateway.push(rate);
            window = granted;
            bare.push(match protocol {
                Protocol::V311 => self::rate(lengths.messages, bare_v311(broker, lengths.messages))?.0,
                _ => self::rate(lengths.messages, bare_v5(broker, lengths.messages))?.0,
            });
            surroundings.subscriber.take();
        }
        let (gateway, bare) = (median(gateway), median(bare));
        rows.push(Compared {
            figure: format!("messages of {PAYLOAD} bytes per second over {name}, window {window}"),
            target: TARGET,
            gateway: format!("{gateway:.0}/s, {:.2} × bare", gateway / bare),
            bare: format!("{bare:.0}/s"),
            elsewhere: "",
        });
    }
    Ok(rows)
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or_default()
}

/// Messages per second on a runtime as the gateway has it, and the window that was granted.
fn rate(messages: u64, run: impl Future<Output = anyhow::Result<(Duration, usize)>>) -> anyhow::Result<(f64, usize)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (took, window) = runtime.block_on(run)?;
    let messages = u32::try_from(messages)?;
    Ok((f64::from(messages) / took.as_secs_f64(), window))
}

async fn session(broker: SocketAddr, protocol: Protocol, messages: u64) -> anyhow::Result<(Duration, usize)> {
    let settings = Settings {
        host: broker.ip().to_string(),
        port: broker.port(),
        websocket: None,
        tls: None,
        explain: |_| None,
        client_id: "bench-delivery".into(),
        username: None,
        password: None,
        protocol,
        keep_alive: Duration::from_secs(60),
        in_flight: IN_FLIGHT,
        qos: Qos::AtLeastOnce,
        will: None,
    };
    let mut session = Broker::new(settings).sign_in(Login::default()).await.map_err(anyhow::Error::msg)?;
    let message = Message {
        topic: TOPIC.into(),
        payload: vec![b'x'; PAYLOAD],
        qos: Qos::AtLeastOnce,
        retain: false,
        properties: None,
    };
    let window = session.window();
    let (mut handed, mut acknowledged) = (0, 0);
    let began = Instant::now();
    while acknowledged < messages {
        while handed < messages && handed - acknowledged < u64::try_from(window)? {
            session.publish(&message).map_err(anyhow::Error::msg)?;
            handed += 1;
        }
        match session.notice().await {
            Notice::Acknowledged(_, None) => acknowledged += 1,
            ended => bail!("the session says {ended:?}"),
        }
    }
    let took = began.elapsed();
    session.close().await;
    Ok((took, window))
}

async fn bare_v5(broker: SocketAddr, messages: u64) -> anyhow::Result<(Duration, usize)> {
    use rumqttc::v5::mqttbytes::{QoS, v5::Packet};
    use rumqttc::v5::{AsyncClient, Event, MqttOptions};
    let mut options = MqttOptions::new("bench-delivery", broker.ip().to_string(), broker.port());
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
            client.try_publish(TOPIC, QoS::AtLeastOnce, false, vec![b'x'; PAYLOAD])?;
            handed += 1;
        }
        if let Event::Incoming(Packet::PubAck(_)) = events.poll().await.context("failed to talk to the broker")? {
            acknowledged += 1;
        }
    }
    Ok((began.elapsed(), usize::try_from(window)?))
}

async fn bare_v311(broker: SocketAddr, messages: u64) -> anyhow::Result<(Duration, usize)> {
    use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
    let mut options = MqttOptions::new("bench-delivery", broker.ip().to_string(), broker.port());
    options.set_inflight(IN_FLIGHT);
    let (client, mut events) = AsyncClient::new(options, usize::from(IN_FLIGHT));
    events.set_network_options(network());
    while !matches!(events.poll().await?, Event::Incoming(Packet::ConnAck(_))) {}
    let (mut handed, mut acknowledged) = (0, 0);
    let began = Instant::now();
    while acknowledged < messages {
        while handed < messages && handed - acknowledged < u64::from(IN_FLIGHT) {
            client.try_publish(TOPIC, QoS::AtLeastOnce, false, vec![b'x'; PAYLOAD])?;
            handed += 1;
        }
        if let Event::Incoming(Packet::PubAck(_)) = events.poll().await.context("failed to talk to the broker")? {
            acknowledged += 1;
        }
    }
    Ok((began.elapsed(), usize::from(IN_FLIGHT)))
}

fn network() -> NetworkOptions {
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    network
}
