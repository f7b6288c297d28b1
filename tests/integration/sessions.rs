//! The MQTT crate's sessions, with mosquitto and with a scripted broker that checks each packet.

use std::time::Duration;

use bessai_domain::message::{Message, Properties, Qos};
use bessai_domain::ports::{Broker as _, Notice, Session as _};
use bessai_domain::session::{Endpoint, Login, Password, Protocol, ProtocolChoice};
use bessai_domain::time::Timestamp;
use bessai_mqtt::{BrokerHabits, BrokerSettings, MqttBroker, MqttSession};
use bessai_simulator::scripted::{Acknowledgements, Script, ScriptedBroker, StoredSession};

use crate::support::broker::{Broker, BrokerSetup};
use crate::support::free_port;
use crate::support::subscriber::Subscriber;
use crate::support::within;

mod limits;
mod proxies;
mod refusals;
mod resumed;
mod sockets;

/// The versions of MQTT that sessions support.
const PROTOCOLS: [Protocol; 2] = [Protocol::V311, Protocol::V5];

fn settings(port: u16, protocol: Protocol) -> BrokerSettings {
    BrokerSettings {
        host: "127.0.0.1".into(),
        port,
        websocket: None,
        proxy: None,
        tls: None,
        key_password: None,
        names: Default::default(),
        client_id: "gateway".into(),
        username: None,
        password: None,
        protocol: ProtocolChoice::Only(protocol),
        keep_alive: Duration::from_secs(60),
        in_flight: 20,
        qos: Qos::ExactlyOnce,
        will: None,
        habits: BrokerHabits::default(),
    }
}

fn message(topic: &str, payload: impl ToString, qos: Qos) -> Message {
    let (topic, payload) = (topic.to_owned(), payload.to_string().into_bytes());
    Message { topic, payload, qos, retain: false, properties: None }
}

async fn signed_in(settings: BrokerSettings) -> MqttSession {
    within("a session", MqttBroker::new(settings).sign_in(Login::default())).await.unwrap()
}

async fn sign_in_error(settings: BrokerSettings) -> String {
    within("the sign-in to fail", MqttBroker::new(settings).sign_in(Login::default())).await.err().unwrap().to_string()
}

/// Publishes all messages within the window; returns the refusal of each.
async fn deliver(session: &mut MqttSession, messages: &[Message]) -> Vec<Option<String>> {
    let mut refusals = vec![None; messages.len()];
    let (mut published, mut acknowledged) = (0, 0);
    while acknowledged < messages.len() {
        while published < messages.len() && published - acknowledged < session.window() {
            session.publish(&messages[published]).unwrap();
            published += 1;
        }
        match within("an acknowledgement", session.notice()).await {
            Notice::Acknowledged { number, refusal } => {
                let slot = &mut refusals[usize::try_from(number).unwrap()];
                assert_eq!(
                    slot.replace(refusal.map(|refusal| refusal.reason)),
                    None,
                    "message {number} is acknowledged twice"
                );
                acknowledged += 1;
            }
            Notice::Closed(reason) => {
                panic!("{reason:?} after {acknowledged} acknowledgements of {published} messages")
            }
            other => panic!("{other:?} in a session that does not subscribe"),
        }
    }
    refusals.into_iter().map(Option::unwrap).collect()
}

/// Waits for the end of a session; returns its reason.
async fn closed(session: &mut MqttSession) -> String {
    within("the end of the session", async {
        loop {
            if let Notice::Closed(closing) = session.notice().await {
                return closing.reason;
            }
        }
    })
    .await
}

#[tokio::test]
async fn messages_of_every_qos_are_delivered_in_both_versions() {
    for protocol in PROTOCOLS {
        let broker = Broker::start();
        let mut subscriber = Subscriber::start(broker.port).await;
        let mut session = signed_in(settings(broker.port, protocol)).await;
        let levels = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];
        // More messages than packet ids in the window, so that ids are reused while QoS 2 messages still occupy some.
        let messages: Vec<_> = (0..300).map(|i| message("site/telemetry", i, levels[(i * 7 / 5) % 3])).collect();
        assert_eq!(deliver(&mut session, &messages).await, vec![None; 300], "{protocol:?}");
        let mut received = Vec::new();
        while received.len() < 300 {
            let next = subscriber.next("site/telemetry").await;
            received.push(next.payload.parse::<usize>().unwrap());
        }
        received.sort_unstable();
        assert_eq!(received, (0..300).collect::<Vec<_>>(), "{protocol:?}");
        session.close().await;
        within("the disconnect", async { while !broker.log().contains("gateway disconnected") {} }).await;
    }
}

#[tokio::test]
async fn a_plugins_login_overrides_the_settings() {
    let broker = Broker::with(&BrokerSetup { login: Some(("device", "token")), ..BrokerSetup::default() });
    for protocol in PROTOCOLS {
        let login = Login {
            endpoint: Some(Endpoint { host: "localhost".into(), port: broker.port }),
            protocol: Some(protocol),
            client_id: Some("device-7".into()),
            username: Some("device".into()),
            password: Some(Password(b"token".to_vec())),
            keep_alive_s: Some(1177),
            ..Login::default()
        };
        let own = BrokerSettings { protocol: ProtocolChoice::Auto, ..settings(free_port(), Protocol::V5) };
        let mut configured = MqttBroker::new(own);
        let session = within("a session", configured.sign_in(login)).await.unwrap();
        assert_eq!(session.welcome(Timestamp::default()).protocol, protocol);
        // The version that worked at the login's broker is not remembered for the configured one.
        assert_eq!(configured.request(Timestamp::default(), 0).protocol, Protocol::V5);
        session.close().await;
        let version = if protocol == Protocol::V5 { 5 } else { 2 };
        let line = format!("as device-7 (p{version}, c1, k1177, u'device')");
        assert!(broker.log().contains(&line), "{}", broker.log());
    }
}

#[tokio::test]
async fn connect_carries_session_expiry_and_user_properties() {
    let broker = ScriptedBroker::start(Script::default()).await.unwrap();
    let login = Login {
        clean_start: Some(false),
        session_expiry_s: Some(0x0102_0304),
        properties: vec![("x-key".into(), "x-value".into())],
        ..Login::default()
    };
    let mut client = MqttBroker::new(settings(broker.address().port(), Protocol::V5));
    let _session = within("a session", client.sign_in(login)).await.unwrap();
    let connect = broker.inspect(|recording| recording.connects[0].clone());
    assert_eq!(connect.flags, 0, "neither clean start nor will, user name or password");
    assert_eq!(connect.session_expiry_s, Some(0x0102_0304));
    assert_eq!(connect.user_properties, [("x-key".to_owned(), "x-value".to_owned())]);
}

#[tokio::test]
async fn message_and_will_properties_are_delivered() {
    let broker = Broker::start();
    let mut subscriber = v5::V5Subscriber::start(broker.port).await;
    let properties = Properties {
        content_type: Some("application/json".into()),
        expiry_s: Some(3600),
        response_topic: Some("site/answer".into()),
        correlation_data: Some(vec![1, 2, 3]),
        payload_utf8: true,
        user: vec![("unit".into(), "kW".into())],
    };
    let will = Message { properties: Some(properties.clone()), ..message("site/will", "gone", Qos::AtLeastOnce) };
    let mut session = signed_in(BrokerSettings { will: Some(will), ..settings(broker.port, Protocol::V5) }).await;
    let own = Message { properties: Some(properties), ..message("site/own", "here", Qos::AtLeastOnce) };
    deliver(&mut session, &[own]).await;
    drop(session);
    for topic in ["site/own", "site/will"] {
        let message = subscriber.next().await;
        assert_eq!(message.topic, topic);
        let properties = message.properties.unwrap();
        assert_eq!(properties.content_type.as_deref(), Some("application/json"));
        assert!(properties.message_expiry_interval.is_some_and(|left| left <= 3600));
        assert_eq!(properties.response_topic.as_deref(), Some("site/answer"));
        assert_eq!(properties.correlation_data.as_deref(), Some(&[1, 2, 3][..]));
        assert_eq!(properties.payload_format_indicator, Some(1));
        assert_eq!(properties.user_properties, [("unit".to_owned(), "kW".to_owned())]);
    }
}

#[tokio::test]
async fn a_client_with_the_same_client_id_ends_the_session() {
    let broker = Broker::start();
    for protocol in PROTOCOLS {
        let mut first = signed_in(settings(broker.port, protocol)).await;
        let _second = signed_in(settings(broker.port, protocol)).await;
        assert_eq!(closed(&mut first).await, format!("connection closed by 127.0.0.1:{}", broker.port));
    }
}

#[tokio::test]
async fn the_brokers_disconnect_reason_is_reported() {
    for (reason, expected) in [
        (
            0x8e,
            "(0x8e session taken over): another client signed in as \"gateway\"; two gateways must not share a client id",
        ),
        (0x8b, "(0x8b server shutting down); it is restarting or in maintenance"),
    ] {
        let script = Script { disconnect_after_message: Some(reason), ..Script::default() };
        let broker = ScriptedBroker::start(script).await.unwrap();
        let port = broker.address().port();
        let mut session = signed_in(settings(port, Protocol::V5)).await;
        session.publish(&message("site/a", 1, Qos::AtLeastOnce)).unwrap();
        // The acknowledgement before the DISCONNECT counts.
        assert_eq!(within("a notice", session.notice()).await, Notice::Acknowledged { number: 0, refusal: None });
        assert_eq!(closed(&mut session).await, format!("127.0.0.1:{port} ended the session {expected}"));
        assert!(session.publish(&message("site/a", 2, Qos::AtLeastOnce)).is_err());
    }
}

/// A subscriber that receives MQTT 5 properties.
mod v5 {
    use super::{Duration, within};
    use rumqttc::v5::mqttbytes::QoS;
    use rumqttc::v5::mqttbytes::v5::{Packet, PublishProperties};
    use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};

    pub struct V5Subscriber {
        events: EventLoop,
        _client: AsyncClient,
    }

    pub struct V5Message {
        pub topic: String,
        pub payload: String,
        pub qos: u8,
        pub properties: Option<PublishProperties>,
    }

    impl V5Subscriber {
        pub async fn start(port: u16) -> Self {
            let mut options = MqttOptions::new("v5-subscriber", "127.0.0.1", port);
            options.set_keep_alive(Duration::from_secs(30));
            let (client, mut events) = AsyncClient::new(options, 10);
            client.try_subscribe("#", QoS::ExactlyOnce).unwrap();
            within("the subscription", async {
                while !matches!(events.poll().await.unwrap(), Event::Incoming(Packet::SubAck(_))) {}
            })
            .await;
            Self { events, _client: client }
        }

        pub async fn next(&mut self) -> V5Message {
            within("a message", async {
                loop {
                    if let Event::Incoming(Packet::Publish(publish)) = self.events.poll().await.unwrap() {
                        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                        let (topic, payload) = (text(&publish.topic), text(&publish.payload));
                        let (qos, properties) = (publish.qos as u8, publish.properties);
                        return V5Message { topic, payload, qos, properties };
                    }
                }
            })
            .await
        }
    }
}
