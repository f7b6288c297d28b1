//! MQTT 5 through rumqttc.

use bessai_domain::message::{Message, Properties, Qos};
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, ConnectProperties, ConnectReturnCode, LastWill, Packet, PubAckReason, PubCompReason, PubRecReason,
    PublishProperties,
};
use rumqttc::v5::mqttbytes::{Error as Malformed, QoS};
use rumqttc::v5::{AsyncClient, ClientError, ConnectionError, Event, MqttOptions, StateError};
use rumqttc::{NetworkOptions, Outgoing};
use tokio::sync::mpsc;

use super::{
    CONNECT_LIMIT_S, Client, Granted, Login, MAX_PACKET, Session, Step, TlsExplanation, Trouble, drive,
    notice_capacity, window,
};

pub(super) async fn sign_in(login: &Login<'_>) -> Result<Session, Trouble> {
    let explain = login.settings.explain;
    let capacity = notice_capacity(login.settings.in_flight);
    let (client, mut events) = AsyncClient::new(options(login), capacity);
    let welcome = loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(granted))) => break welcome(login.settings.in_flight, &granted),
            Ok(_) => {}
            Err(error) => return Err(trouble(&error, explain)),
        }
    };
    let (sender, notices) = mpsc::channel(capacity);
    let poll = async move || events.poll().await.map(|event| step(&event)).map_err(|error| ended(&error, explain));
    let driver = tokio::task::spawn_local(drive(poll, sender));
    Ok(Session { client: Client::V5(client), notices, driver, window: welcome.window, largest: welcome.largest })
}

fn welcome(ours: u16, granted: &ConnAck) -> Granted {
    let properties = granted.properties.as_ref();
    let receive_max = properties.and_then(|properties| properties.receive_max);
    let largest = properties.and_then(|properties| properties.max_packet_size).unwrap_or(MAX_PACKET);
    Granted { window: window(ours, receive_max), largest }
}

fn options(login: &Login<'_>) -> MqttOptions {
    let settings = login.settings;
    let mut options = MqttOptions::new(&settings.client_id, &settings.host, settings.port);
    let mut network = NetworkOptions::new();
    network.set_connection_timeout(CONNECT_LIMIT_S);
    network.set_tcp_nodelay(true);
    options.set_network_options(network);
    options.set_connection_timeout(CONNECT_LIMIT_S);
    options.set_transport(login.transport.clone());
    options.set_keep_alive(settings.keep_alive);
    options.set_clean_start(true);
    // Without a bound of its own the client sets 65,535 slots aside, 14 MB.
    options.set_outgoing_inflight_upper_limit(settings.in_flight);
    let mut properties = ConnectProperties::new();
    properties.max_packet_size = Some(MAX_PACKET);
    options.set_connect_properties(properties);
    if let Some((username, password)) = login.credentials() {
        options.set_credentials(username, password);
    }
    if let Some(will) = &settings.will {
        options.set_last_will(LastWill::new(&will.topic, will.payload.clone(), qos(will.qos), will.retain, None));
    }
    options
}

fn step(event: &Event) -> Step {
    match event {
        Event::Outgoing(Outgoing::Publish(packet)) => Step::Sent(*packet),
        Event::Outgoing(Outgoing::Disconnect) => Step::Goodbye,
        Event::Incoming(Packet::PubAck(ack)) => match ack.reason {
            PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Step::Done(ack.pkid, None),
            reason => Step::Done(ack.pkid, Some(format!("{reason:?}"))),
        },
        Event::Incoming(Packet::PubRec(received)) => match received.reason {
            PubRecReason::Success | PubRecReason::NoMatchingSubscribers => Step::Other,
            ref reason => Step::Done(received.pkid, Some(format!("{reason:?}"))),
        },
        Event::Incoming(Packet::PubComp(complete)) => match complete.reason {
            PubCompReason::Success => Step::Done(complete.pkid, None),
            ref reason => Step::Done(complete.pkid, Some(format!("{reason:?}"))),
        },
        _ => Step::Other,
    }
}

pub(super) fn publish(client: &AsyncClient, message: &Message) -> Result<(), Box<ClientError>> {
    let (topic, payload) = (message.topic.clone(), message.payload.clone());
    let handed = match &message.properties {
        None => client.try_publish(topic, qos(message.qos), message.retain, payload),
        Some(properties) => {
            let properties = to_library(properties);
            client.try_publish_with_properties(topic, qos(message.qos), message.retain, payload, properties)
        }
    };
    handed.map_err(Box::new)
}

fn to_library(properties: &Properties) -> PublishProperties {
    PublishProperties {
        payload_format_indicator: properties.payload_utf8.then_some(1),
        message_expiry_interval: properties.expiry_s,
        topic_alias: None,
        response_topic: properties.response_topic.clone(),
        correlation_data: properties.correlation_data.clone().map(Into::into),
        user_properties: properties.user.clone(),
        subscription_identifiers: Vec::new(),
        content_type: properties.content_type.clone(),
    }
}

fn qos(qos: Qos) -> QoS {
    match qos {
        Qos::AtMostOnce => QoS::AtMostOnce,
        Qos::AtLeastOnce => QoS::AtLeastOnce,
        Qos::ExactlyOnce => QoS::ExactlyOnce,
    }
}

fn trouble(error: &ConnectionError, explain: TlsExplanation) -> Trouble {
    match error {
        ConnectionError::ConnectionRefused(code)
        | ConnectionError::MqttState(StateError::ConnFail { reason: code }) => refused(*code),
        ConnectionError::MqttState(StateError::Deserialization(Malformed::Io(error))) => Trouble::of(error, explain),
        ConnectionError::MqttState(StateError::Deserialization(_)) | ConnectionError::NotConnAck(_) => {
            Trouble::UnreadableConnack
        }
        ConnectionError::MqttState(StateError::ConnectionAborted) => Trouble::ClosedBeforeConnack,
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, .. }) => {
            Trouble::Refused(format!("{reason_code:?}"))
        }
        ConnectionError::Timeout(_) => Trouble::Timeout,
        other => Trouble::of(other, explain),
    }
}

fn refused(code: ConnectReturnCode) -> Trouble {
    match code {
        ConnectReturnCode::UnsupportedProtocolVersion | ConnectReturnCode::RefusedProtocolVersion => {
            Trouble::UnsupportedProtocol
        }
        ConnectReturnCode::ClientIdentifierNotValid | ConnectReturnCode::BadClientId => Trouble::BadClientId,
        ConnectReturnCode::BadUserNamePassword => Trouble::BadCredentials,
        ConnectReturnCode::NotAuthorized => Trouble::NotAuthorized,
        other => Trouble::Refused(format!("{other:?}")),
    }
}

fn ended(error: &ConnectionError, explain: TlsExplanation) -> String {
    match trouble(error, explain) {
        Trouble::ClosedBeforeConnack => "the broker closed the connection".into(),
        Trouble::Refused(reason) => format!("the broker ended the session: {reason}"),
        Trouble::Network(error) | Trouble::Tls(error) => format!("the connection broke: {error}"),
        other => format!("the connection broke: {other:?}"),
    }
}
