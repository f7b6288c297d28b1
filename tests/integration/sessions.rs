//! Sessions as the gateway's room for MQTT has them, with real brokers and with one that is strict.

use std::time::Duration;

use bessai_domain::message::{Message, Properties, Qos};
use bessai_domain::session::{self, Endpoint, Login, Password};
use bessai_domain::time::Timestamp;
use bessai_edge::mqtt::{Broker as Room, Notice, Protocol, Session, Settings};

use crate::support::broker::{Broker, Setup};
use crate::support::free_port;
use crate::support::listener::Listener;
use crate::support::strict::{Answers, Rules, Seen, strict_broker};
use crate::support::within;

mod limits;
mod resumed;
mod sockets;

const PROTOCOLS: [Protocol; 2] = [Protocol::V311, Protocol::V5];

fn settings(port: u16, protocol: Protocol) -> Settings {
    Settings {
        host: "127.0.0.1".into(),
        port,
        websocket: None,
        tls: None,
        explain: bessai_edge::tls::explain,
        client_id: "gateway".into(),
        username: None,
        password: None,
        protocol,
        keep_alive: Duration::from_secs(60),
        in_flight: 20,
        qos: Qos::ExactlyOnce,
        will: None,
    }
}

fn message(topic: &str, payload: impl ToString, qos: Qos) -> Message {
    let (topic, payload) = (topic.to_owned(), payload.to_string().into_bytes());
    Message { topic, payload, qos, retain: false, properties: None }
}

async fn signed_in(settings: Settings) -> Session {
    within("a session", Room::new(settings).sign_in(Login::default())).await.unwrap()
}

async fn refused(settings: Settings) -> String {
    within("a refusal", Room::new(settings).sign_in(Login::default())).await.err().unwrap()
}

/// Publishes all within the window; what the broker held against each.
async fn delivered(session: &mut Session, messages: &[Message]) -> Vec<Option<String>> {
    let mut complaints = vec![None; messages.len()];
    let (mut handed, mut acknowledged) = (0, 0);
    while acknowledged < messages.len() {
        while handed < messages.len() && handed - acknowledged < session.window() {
            session.publish(&messages[handed]).unwrap();
            handed += 1;
        }
        match within("an acknowledgement", session.notice()).await {
            Notice::Acknowledged(number, complaint) => {
                let place = &mut complaints[usize::try_from(number).unwrap()];
                assert_eq!(place.replace(complaint), None, "message {number} is acknowledged twice");
                acknowledged += 1;
            }
            Notice::Closed(reason) => panic!("{reason} after {acknowledged} of {handed}"),
        }
    }
    complaints.into_iter().map(Option::unwrap).collect()
}

async fn closed(session: &mut Session) -> String {
    within("the end of the session", async {
        loop {
            if let Notice::Closed(reason) = session.notice().await {
                return reason;
            }
        }
    })
    .await
}

#[tokio::test]
async fn every_quality_of_service_in_both_versions() {
    for protocol in PROTOCOLS {
        let broker = Broker::start();
        let mut listener = Listener::start(broker.port).await;
        let mut session = signed_in(settings(broker.port, protocol)).await;
        let levels = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];
        // More than there are packet ids, so that those of QoS 2, which take longer, are met again.
        let messages: Vec<_> = (0..300).map(|i| message("site/telemetry", i, levels[(i * 7 / 5) % 3])).collect();
        assert_eq!(delivered(&mut session, &messages).await, vec![None; 300], "{protocol:?}");
        let mut heard = Vec::new();
        while heard.len() < 300 {
            let next = listener.next("site/telemetry").await;
            heard.push(next.payload.parse::<usize>().unwrap());
        }
        heard.sort_unstable();
        assert_eq!(heard, (0..300).collect::<Vec<_>>(), "{protocol:?}");
        session.close().await;
        within("the goodbye", async { while !broker.log().contains("gateway disconnected") {} }).await;
    }
}

#[tokio::test]
async fn the_plugins_login_wins_over_the_settings() {
    let broker = Broker::with(&Setup { login: Some(("device", "token")), ..Setup::default() });
    for protocol in [session::Protocol::V311, session::Protocol::V5] {
        let login = Login {
            endpoint: Some(Endpoint { host: "localhost".into(), port: broker.port }),
            protocol: Some(protocol),
            client_id: Some("device-7".into()),
            username: Some("device".into()),
            password: Some(Password(b"token".to_vec())),
            keep_alive_s: Some(1177),
            ..Login::default()
        };
        let mut room = Room::new(settings(free_port(), Protocol::Auto));
        let session = within("a session", room.sign_in(login)).await.unwrap();
        assert_eq!(session.welcome(Timestamp::default()).protocol, protocol);
        // What worked elsewhere says nothing of the broker of the settings.
        assert_eq!(room.request(Timestamp::default(), 0).protocol, session::Protocol::V5);
        session.close().await;
        let version = if protocol == session::Protocol::V5 { 5 } else { 2 };
        let line = format!("as device-7 (p{version}, c1, k1177, u'device')");
        assert!(broker.log().contains(&line), "{}", broker.log());
    }
}

#[tokio::test]
async fn what_connect_carries_in_mqtt_5() {
    let (port, mut seen) = strict_broker(Rules::default()).await;
    let login = Login {
        clean_start: Some(false),
        session_expiry_s: Some(0x0102_0304),
        properties: vec![("x-key".into(), "x-value".into())],
        ..Login::default()
    };
    let mut room = Room::new(settings(port, Protocol::V5));
    let _session = within("a session", room.sign_in(login)).await.unwrap();
    let Some(Seen::Connect(connect)) = seen.recv().await else { panic!("no CONNECT") };
    assert_eq!(connect[7], 0, "clean start is not asked for");
    let has = |bytes: &[u8]| connect.windows(bytes.len()).any(|window| window == bytes);
    assert!(has(&[0x11, 1, 2, 3, 4]), "session expiry");
    assert!(has(b"\x26\x00\x05x-key\x00\x07x-value"), "user property");
}

#[tokio::test]
async fn properties_arrive_those_of_the_will_too() {
    let broker = Broker::start();
    let mut listener = v5::Listener::start(broker.port).await;
    let properties = Properties {
        content_type: Some("application/json".into()),
        expiry_s: Some(3600),
        response_topic: Some("site/answer".into()),
        correlation_data: Some(vec![1, 2, 3]),
        payload_utf8: true,
        user: vec![("unit".into(), "kW".into())],
    };
    let will = Message { properties: Some(properties.clone()), ..message("site/will", "gone", Qos::AtLeastOnce) };
    let mut session = signed_in(Settings { will: Some(will), ..settings(broker.port, Protocol::V5) }).await;
    let own = Message { properties: Some(properties), ..message("site/own", "here", Qos::AtLeastOnce) };
    delivered(&mut session, &[own]).await;
    drop(session);
    for topic in ["site/own", "site/will"] {
        let heard = listener.next().await;
        assert_eq!(heard.topic, topic);
        let properties = heard.properties.unwrap();
        assert_eq!(properties.content_type.as_deref(), Some("application/json"));
        assert!(properties.message_expiry_interval.is_some_and(|left| left <= 3600));
        assert_eq!(properties.response_topic.as_deref(), Some("site/answer"));
        assert_eq!(properties.correlation_data.as_deref(), Some(&[1, 2, 3][..]));
        assert_eq!(properties.payload_format_indicator, Some(1));
        assert_eq!(properties.user_properties, [("unit".to_owned(), "kW".to_owned())]);
    }
}

#[tokio::test]
async fn whoever_takes_the_client_id_ends_the_session() {
    let broker = Broker::start();
    for protocol in PROTOCOLS {
        let mut first = signed_in(settings(broker.port, protocol)).await;
        let _second = signed_in(settings(broker.port, protocol)).await;
        assert_eq!(closed(&mut first).await, "the broker closed the connection");
    }
}

#[tokio::test]
async fn the_brokers_reason_for_the_end_is_told() {
    for (reason, expected) in [
        (0x8e, "another client signed in as \"gateway\"; two gateways must not share a client id"),
        (0x8b, "it is shutting down"),
    ] {
        let (port, _seen) = strict_broker(Rules { ends_with: Some(reason), ..Rules::default() }).await;
        let mut session = signed_in(settings(port, Protocol::V5)).await;
        session.publish(&message("site/a", 1, Qos::AtLeastOnce)).unwrap();
        // It was acknowledged before, and that counts.
        assert_eq!(within("a notice", session.notice()).await, Notice::Acknowledged(0, None));
        assert_eq!(closed(&mut session).await, format!("the broker ended the session: {expected}"));
        assert!(session.publish(&message("site/a", 2, Qos::AtLeastOnce)).is_err());
    }
}

/// A subscriber that sees what only MQTT 5 has.
mod v5 {
    use super::{Duration, within};
    use rumqttc::v5::mqttbytes::QoS;
    use rumqttc::v5::mqttbytes::v5::{Packet, PublishProperties};
    use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};

    pub struct Listener {
        events: EventLoop,
        _client: AsyncClient,
    }

    pub struct Heard {
        pub topic: String,
        pub payload: String,
        pub qos: u8,
        pub properties: Option<PublishProperties>,
    }

    impl Listener {
        pub async fn start(port: u16) -> Self {
            let mut options = MqttOptions::new("listener", "127.0.0.1", port);
            options.set_keep_alive(Duration::from_secs(30));
            let (client, mut events) = AsyncClient::new(options, 10);
            client.try_subscribe("#", QoS::ExactlyOnce).unwrap();
            within("the subscription", async {
                while !matches!(events.poll().await.unwrap(), Event::Incoming(Packet::SubAck(_))) {}
            })
            .await;
            Self { events, _client: client }
        }

        pub async fn next(&mut self) -> Heard {
            within("a message", async {
                loop {
                    if let Event::Incoming(Packet::Publish(publish)) = self.events.poll().await.unwrap() {
                        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                        let (topic, payload) = (text(&publish.topic), text(&publish.payload));
                        let (qos, properties) = (publish.qos as u8, publish.properties);
                        return Heard { topic, payload, qos, properties };
                    }
                }
            })
            .await
        }
    }
}
