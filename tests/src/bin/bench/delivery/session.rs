//! How fast a feed catches up: messages of 200 bytes at QoS 1 to mosquitto with a subscriber, through the gateway's session
//! and through a bare loop of the same library, with the same window.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::bail;
use bessai_domain::message::{Message, Qos};
use bessai_domain::session::Login;
use bessai_edge::mqtt::{Broker, Notice, Protocol, Settings};

use super::bare_loop::Publication;
use crate::surroundings::Surroundings;
use crate::table::Compared;

const PAYLOAD: usize = 200;
const TOPIC: &str = "bench-delivery/telemetry";
pub(super) const IN_FLIGHT: u16 = 100;
const TARGET: &str = "≥ 20,000/s and ≥ 0.8 × bare";

#[derive(Clone, Copy)]
pub(super) struct Lengths {
    messages: u64,
    /// Odd, so that the median is one of them.
    runs: usize,
}

impl Lengths {
    pub(super) const FULL: Self = Self { messages: 100_000, runs: 5 };
    pub(super) const QUICK: Self = Self { messages: 50_000, runs: 3 };
}

pub(super) fn measure(surroundings: &Surroundings, lengths: &Lengths) -> anyhow::Result<Vec<Compared>> {
    let broker = surroundings.broker;
    let publication = Publication { topic: TOPIC.into(), payload: vec![b'x'; PAYLOAD] };
    let mut rows = Vec::new();
    for (name, protocol) in [("MQTT 5", Protocol::V5), ("MQTT 3.1.1", Protocol::V311)] {
        eprintln!("{} messages over {name}, {} times each", lengths.messages, lengths.runs);
        let (mut gateway, mut bare) = (Vec::new(), Vec::new());
        let mut window = 0;
        for _ in 0..lengths.runs {
            let (rate, granted) = rate(lengths.messages, session(broker, protocol, lengths.messages))?;
            gateway.push(rate);
            window = granted;
            let sending = publication.send(broker, protocol, lengths.messages);
            bare.push(self::rate(lengths.messages, sending)?.0);
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

pub(super) fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or_default()
}

/// Messages per second on a runtime as the gateway has it, and the window that was granted.
pub(super) fn rate(
    messages: u64,
    run: impl Future<Output = anyhow::Result<(Duration, usize)>>,
) -> anyhow::Result<(f64, usize)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (took, window) = runtime.block_on(run)?;
    let messages = u32::try_from(messages)?;
    Ok((f64::from(messages) / took.as_secs_f64(), window))
}

/// A session's settings, as the gateway makes them of a broker's URL alone.
pub(super) fn settings(broker: SocketAddr, protocol: Protocol, client_id: String) -> Settings {
    Settings {
        host: broker.ip().to_string(),
        port: broker.port(),
        websocket: None,
        tls: None,
        explain: |_| None,
        client_id,
        username: None,
        password: None,
        protocol,
        keep_alive: Duration::from_secs(60),
        in_flight: IN_FLIGHT,
        qos: Qos::AtLeastOnce,
        will: None,
    }
}

async fn session(broker: SocketAddr, protocol: Protocol, messages: u64) -> anyhow::Result<(Duration, usize)> {
    let settings = settings(broker, protocol, "bench-delivery".into());
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
