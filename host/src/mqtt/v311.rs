//! MQTT 3.1.1 through rumqttc.

use bessai_domain::message::{Message, Qos};
use rumqttc::mqttbytes::Error as Malformed;
use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, Event, EventLoop, LastWill, MqttOptions, NetworkOptions, Outgoing,
    Packet, PubRel, Publish, QoS, Request, StateError,
};

use super::line::{Client, Connection, Granted, Line, Step, driver, resume};
use super::login::Login;
use super::packets::Packets;
use super::{CONNECT_LIMIT_S, MAX_PACKET, TlsExplanation, Trouble};

pub(super) async fn sign_in(login: &Login) -> Result<Connection, Trouble> {
    if login.password.is_some() && login.username.is_none() {
        // 3.1.1 §3.1.2.9
        return Err(Trouble::PasswordAlone);
    }
    let explain = login.explain;
    // Room for a window, the status on top of it, and the goodbye.
    let (client, mut events) = AsyncClient::new(options(login), usize::from(login.in_flight) + 3);
    let mut network = NetworkOptions::new();
    network.set_connection_timeout(CONNECT_LIMIT_S);
    network.set_tcp_nodelay(true);
    events.set_network_options(network);
    let connack = loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(connack))) => break connack,
            Ok(_) => {}
            Err(error) => return Err(trouble(&error, explain)),
        }
    };
    let granted = Granted::silently(login.in_flight, connack.session_present);
    // The library keeps room for 100 packets from the broker, of which few ever come at once.
    events.state.events.shrink_to_fit();
    let mut line = V311 { events, explain };
    resume(&mut line, login, &granted).await?;
    Ok(Connection { client: Client::V311(client), line: driver(line), granted })
}

fn options(login: &Login) -> MqttOptions {
    let mut options = MqttOptions::new(&login.client_id, &login.target, login.endpoint.port);
    let largest = usize::try_from(MAX_PACKET).unwrap_or(usize::MAX);
    options.set_transport(login.transport.clone());
    options.set_keep_alive(login.keep_alive);
    options.set_clean_session(login.clean_start);
    options.set_inflight(Packets::ids(login.in_flight));
    options.set_max_packet_size(largest, largest);
    if let Some((username, password)) = login.credentials() {
        options.set_credentials(username, password);
    }
    if let Some(will) = &login.will {
        options.set_last_will(LastWill::new(&will.topic, will.payload.clone(), qos(will.qos), will.retain));
    }
    options
}

pub(super) fn publish(client: &AsyncClient, message: Message) -> bool {
    let Message { topic, payload, retain, .. } = message;
    client.try_publish(topic, qos(message.qos), retain, payload).is_ok()
}

struct V311 {
    events: EventLoop,
    explain: TlsExplanation,
}

impl Line for V311 {
    async fn step(&mut self) -> Result<Step, String> {
        match self.events.poll().await {
            Ok(event) => Ok(step(&event)),
            Err(error) => Err(trouble(&error, self.explain).ended()),
        }
    }

    fn next_buffered(&mut self) -> Option<Step> {
        self.events.state.events.pop_front().map(|event| step(&event))
    }

    fn recount(&mut self) {
        self.events.state.clean();
    }

    fn release_all(&mut self, ids: u16) {
        self.events.pending.extend((1..=ids).map(|packet| Request::PubRel(PubRel::new(packet))));
    }

    fn expect_releases(&mut self) {
        let acknowledges_by_hand = std::mem::replace(&mut self.events.state.manual_acks, true);
        let mut sent_before = Publish::new("", QoS::ExactlyOnce, Vec::new());
        for packet in 1..=u16::MAX {
            sent_before.pkid = packet;
            // It notes the packet id, and its event is no message.
            let _ = self.events.state.handle_incoming_packet(Packet::Publish(sent_before.clone()));
            self.events.state.events.pop_back();
        }
        self.events.state.manual_acks = acknowledges_by_hand;
    }
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
        ConnectionError::MqttState(StateError::AwaitPingResp) => Trouble::Silence,
        ConnectionError::NetworkTimeout | ConnectionError::FlushTimeout => Trouble::Timeout,
        ConnectionError::Websocket(error) => Trouble::of_websocket(error, explain),
        ConnectionError::ResponseValidation(_) => Trouble::NoMqttInWebSocket,
        other => Trouble::of(other, explain),
    }
}

fn refused(code: ConnectReturnCode) -> Trouble {
    match code {
        ConnectReturnCode::RefusedProtocolVersion => Trouble::UnsupportedProtocol,
        ConnectReturnCode::BadClientId => Trouble::BadClientId,
        ConnectReturnCode::BadUserNamePassword => Trouble::BadCredentials,
        ConnectReturnCode::NotAuthorized => Trouble::NotAuthorized,
        ConnectReturnCode::ServiceUnavailable => Trouble::Refused("it is not available now".into()),
        other => Trouble::Refused(format!("{other:?}")),
    }
}
