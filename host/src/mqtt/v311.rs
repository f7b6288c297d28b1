//! MQTT 3.1.1 through rumqttc.

use bessai_domain::message::{Message, Qos};
use rumqttc::mqttbytes::Error as Malformed;
use rumqttc::{
    AsyncClient, ClientError, ConnectReturnCode, ConnectionError, Event, LastWill, MqttOptions, NetworkOptions,
    Outgoing, Packet, QoS, StateError,
};
use tokio::sync::mpsc;

use super::{
    CONNECT_LIMIT_S, Client, Granted, Login, MAX_PACKET, Session, Step, TlsExplanation, Trouble, drive,
    notice_capacity, window,
};

pub(super) async fn sign_in(login: &Login<'_>) -> Result<Session, Trouble> {
    let explain = login.settings.explain;
    let welcome = Granted { window: window(login.settings.in_flight, None), largest: MAX_PACKET };
    let capacity = notice_capacity(welcome.window);
    let (client, mut events) = AsyncClient::new(options(login), capacity);
    let mut network = NetworkOptions::new();
    network.set_connection_timeout(CONNECT_LIMIT_S);
    network.set_tcp_nodelay(true);
    events.set_network_options(network);
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => break,
            Ok(_) => {}
            Err(error) => return Err(trouble(&error, explain)),
        }
    }
    let (sender, notices) = mpsc::channel(capacity);
    let poll = async move || events.poll().await.map(|event| step(&event)).map_err(|error| ended(&error, explain));
    let driver = tokio::task::spawn_local(drive(poll, sender));
    Ok(Session { client: Client::V311(client), notices, driver, window: welcome.window, largest: welcome.largest })
}

fn options(login: &Login<'_>) -> MqttOptions {
    let settings = login.settings;
    let mut options = MqttOptions::new(&settings.client_id, &settings.host, settings.port);
    let largest = usize::try_from(MAX_PACKET).unwrap_or(usize::MAX);
    options.set_transport(login.transport.clone());
    options.set_keep_alive(settings.keep_alive);
    options.set_clean_session(true);
    options.set_inflight(settings.in_flight);
    options.set_max_packet_size(largest, largest);
    if let Some((username, password)) = login.credentials() {
        options.set_credentials(username, password);
    }
    if let Some(will) = &settings.will {
        options.set_last_will(LastWill::new(&will.topic, will.payload.clone(), qos(will.qos), will.retain));
    }
    options
}

fn step(event: &Event) -> Step {
    match event {
        Event::Outgoing(Outgoing::Publish(packet)) => Step::Sent(*packet),
        Event::Outgoing(Outgoing::Disconnect) => Step::Goodbye,
        Event::Incoming(Packet::PubAck(ack)) => Step::Done(ack.pkid, None),
        Event::Incoming(Packet::PubComp(complete)) => Step::Done(complete.pkid, None),
        _ => Step::Other,
    }
}

pub(super) fn publish(client: &AsyncClient, message: &Message) -> Result<(), ClientError> {
    client.try_publish(&message.topic, qos(message.qos), message.retain, message.payload.clone())
}

fn qos(qos: Qos) -> QoS {
    match qos {
        Qos::AtMostOnce => QoS::AtMostOnce,
        Qos::AtLeastOnce => QoS::AtLeastOnce,
        Qos::ExactlyOnce => QoS::ExactlyOnce,
    }
}

/// AWS refuses with a return code that the standard does not have.
const AWS_NOT_AUTHORIZED: u8 = 7;

fn trouble(error: &ConnectionError, explain: TlsExplanation) -> Trouble {
    match error {
        ConnectionError::ConnectionRefused(code) => refused(*code),
        ConnectionError::MqttState(StateError::Deserialization(Malformed::InvalidConnectReturnCode(code))) => {
            if *code == AWS_NOT_AUTHORIZED { Trouble::NotAuthorized } else { Trouble::UnreadableConnack }
        }
        ConnectionError::MqttState(StateError::Deserialization(Malformed::Io(error))) => Trouble::of(error, explain),
        ConnectionError::MqttState(StateError::Deserialization(_)) | ConnectionError::NotConnAck(_) => {
            Trouble::UnreadableConnack
        }
        ConnectionError::MqttState(StateError::ConnectionAborted) => Trouble::ClosedBeforeConnack,
        ConnectionError::NetworkTimeout | ConnectionError::FlushTimeout => Trouble::Timeout,
        other => Trouble::of(other, explain),
    }
}

fn refused(code: ConnectReturnCode) -> Trouble {
    match code {
        ConnectReturnCode::RefusedProtocolVersion => Trouble::UnsupportedProtocol,
        ConnectReturnCode::BadClientId => Trouble::BadClientId,
        ConnectReturnCode::BadUserNamePassword => Trouble::BadCredentials,
        ConnectReturnCode::NotAuthorized => Trouble::NotAuthorized,
        other => Trouble::Refused(format!("{other:?}")),
    }
}

fn ended(error: &ConnectionError, explain: TlsExplanation) -> String {
    match trouble(error, explain) {
        Trouble::ClosedBeforeConnack => "the broker closed the connection".into(),
        Trouble::Network(error) | Trouble::Tls(error) => format!("the connection broke: {error}"),
        other => format!("the connection broke: {other:?}"),
    }
}
