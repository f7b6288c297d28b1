//! The throughput of a session: messages of 200 bytes at QoS 1 to mosquitto with a subscriber, through the gateway's session
//! and through a bare loop of the same library with the same window.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::bail;
use bessai_domain::message::{Message, Qos};
use bessai_domain::ports::{Broker as _, Notice, Session as _};
use bessai_domain::session::{Login, Protocol, ProtocolChoice};
use bessai_mqtt::{BrokerHabits, BrokerSettings, MqttBroker};

use super::bare_loop::Publication;
use crate::table::ComparedFigure;
use crate::test_bed::TestBed;

/// Bytes of a payload.
const PAYLOAD: usize = 200;
/// The topic of the messages.
const TOPIC: &str = "bench-delivery/telemetry";
/// The window, unless the broker grants less.
pub(super) const IN_FLIGHT: u16 = 100;
/// The target of the rows.
const TARGET: &str = "≥ 20,000/s and ≥ 0.8 × native";

/// Size and repetitions of the measurement.
#[derive(Clone, Copy)]
pub(super) struct SessionParameters {
    messages: u64,
    /// Odd, so that the median is one of them.
    runs: usize,
}

impl SessionParameters {
    /// For the published figures.
    pub(super) const FULL: Self = Self { messages: 100_000, runs: 5 };
    /// For `--quick`.
    pub(super) const QUICK: Self = Self { messages: 50_000, runs: 3 };
}

pub(super) fn measure(test_bed: &TestBed, parameters: &SessionParameters) -> anyhow::Result<Vec<ComparedFigure>> {
    let broker = test_bed.broker;
    let publication = Publication { topic: TOPIC.into(), payload: vec![b'x'; PAYLOAD] };
    let mut rows = Vec::new();
    for (name, protocol) in [("MQTT 5", Protocol::V5), ("MQTT 3.1.1", Protocol::V311)] {
        eprintln!("{} messages over {name}, {} runs of each", parameters.messages, parameters.runs);
        let (mut gateway, mut bare) = (Vec::new(), Vec::new());
        let mut window = 0;
        for _ in 0..parameters.runs {
            let (rate, granted) = rate(parameters.messages, session(broker, protocol, parameters.messages))?;
            gateway.push(rate);
            window = granted;
            let sending = publication.send(broker, protocol, parameters.messages);
            bare.push(self::rate(parameters.messages, sending)?.0);
            test_bed.subscriber.take();
        }
        let (gateway, bare) = (median(gateway), median(bare));
        rows.push(ComparedFigure {
            figure: format!("a session alone, {PAYLOAD} bytes, {name}, window {window}: messages per second"),
            target: TARGET,
            gateway: format!("{gateway:.0}/s, {:.2} × native", gateway / bare),
            baseline: format!("{bare:.0}/s"),
            elsewhere: "",
        });
    }
    Ok(rows)
}

pub(super) fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or_default()
}

/// Messages per second on a runtime of the gateway's kind, and the granted window.
pub(super) fn rate(
    messages: u64,
    run: impl Future<Output = anyhow::Result<(Duration, usize)>>,
) -> anyhow::Result<(f64, usize)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (took, window) = runtime.block_on(run)?;
    let messages = u32::try_from(messages)?;
    Ok((f64::from(messages) / took.as_secs_f64(), window))
}

/// The settings of a session with the gateway's defaults.
pub(super) fn settings(broker: SocketAddr, protocol: Protocol, client_id: String) -> BrokerSettings {
    BrokerSettings {
        host: broker.ip().to_string(),
        port: broker.port(),
        websocket: None,
        proxy: None,
        tls: None,
        key_password: None,
        names: Default::default(),
        client_id,
        username: None,
        password: None,
        protocol: ProtocolChoice::Only(protocol),
        keep_alive: Duration::from_secs(60),
        in_flight: IN_FLIGHT,
        qos: Qos::AtLeastOnce,
        will: None,
        habits: BrokerHabits::default(),
    }
}

async fn session(broker: SocketAddr, protocol: Protocol, messages: u64) -> anyhow::Result<(Duration, usize)> {
    let settings = settings(broker, protocol, "bench-delivery".into());
    let mut session = MqttBroker::new(settings).sign_in(Login::default()).await.map_err(anyhow::Error::msg)?;
    let message = Message {
        topic: TOPIC.into(),
        payload: vec![b'x'; PAYLOAD],
        qos: Qos::AtLeastOnce,
        retain: false,
        properties: None,
    };
    let window = session.window();
    let (mut published, mut acknowledged) = (0, 0);
    let start = Instant::now();
    while acknowledged < messages {
        while published < messages && published - acknowledged < u64::try_from(window)? {
            session.publish(&message).map_err(anyhow::Error::msg)?;
            published += 1;
        }
        match session.notice().await {
            Notice::Acknowledged { refusal: None, .. } => acknowledged += 1,
            other => bail!("the session failed: {other:?}"),
        }
    }
    let took = start.elapsed();
    session.close().await;
    Ok((took, window))
}
