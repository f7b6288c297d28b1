//! MQTT 3.1.1 through rumqttc.

use bessai_domain::message::{Message, Qos};
use rumqttc::mqttbytes::Error as Malformed;
use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, Event, EventLoop, LastWill, MqttOptions, NetworkOptions, Outgoing,
    Packet, PubRel, Publish, QoS, Request, StateError,
};

use crate::client::{ClientEvent, ClientLoop, Granted, PacketSender, SignedInClient};
use crate::connect_options::ConnectOptions;
use crate::error::SessionError;
use crate::limits::{CONNECT_LIMIT_S, MAX_PACKET, request_capacity};
use crate::packet_ids::id_count;
use crate::packet_log;

/// The return code with which AWS refuses a client by policy; the standard does not define it.
const AWS_NOT_AUTHORIZED: u8 = 7;

pub(crate) async fn sign_in(options: &ConnectOptions) -> Result<SignedInClient<V311Sender, V311Loop>, SessionError> {
    if options.password.is_some() && options.username.is_none() {
        // 3.1.1 §3.1.2.9
        return Err(SessionError::PasswordWithoutUsername);
    }
    let (client, mut events) = AsyncClient::new(mqtt_options(options), request_capacity(options.in_flight));
    let mut network = NetworkOptions::new();
    network.set_connection_timeout(CONNECT_LIMIT_S);
    network.set_tcp_nodelay(true);
    events.set_network_options(network);
    let connack = loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(connack))) => break connack,
            Ok(_) => {}
            Err(error) => return Err(session_error(&error)),
        }
    };
    let granted = Granted::unlimited(options.in_flight, connack.session_present);
    // rumqttc reserves memory for 100 packets from the broker, of which few ever arrive at once.
    events.state.events.shrink_to_fit();
    Ok(SignedInClient { sender: V311Sender(client), event_loop: V311Loop(events), granted })
}

fn mqtt_options(options: &ConnectOptions) -> MqttOptions {
    let mut mqtt = MqttOptions::new(&options.client_id, &options.target, options.endpoint.port);
    let max_packet = usize::try_from(MAX_PACKET).unwrap_or(usize::MAX);
    mqtt.set_transport(options.transport.clone());
    mqtt.set_keep_alive(options.keep_alive);
    mqtt.set_clean_session(options.clean_start);
    mqtt.set_inflight(id_count(options.in_flight));
    mqtt.set_max_packet_size(max_packet, max_packet);
    if let Some((username, password)) = options.credentials() {
        mqtt.set_credentials(username, password);
    }
    if let Some(will) = &options.will {
        mqtt.set_last_will(LastWill::new(&will.topic, will.payload.clone(), qos(will.qos), will.retain));
    }
    mqtt
}

pub(crate) struct V311Sender(AsyncClient);

impl PacketSender for V311Sender {
    fn publish(&mut self, message: Message) -> bool {
        packet_log::queued(&message);
        let Message { topic, payload, retain, .. } = message;
        self.0.try_publish(topic, qos(message.qos), retain, payload).is_ok()
    }

    fn disconnect(&self) -> bool {
        self.0.try_disconnect().is_ok()
    }
}

pub(crate) struct V311Loop(EventLoop);

impl ClientLoop for V311Loop {
    async fn step(&mut self) -> Result<ClientEvent, SessionError> {
        self.0.poll().await.map(|event| client_event(&event)).map_err(|error| session_error(&error))
    }

    fn next_buffered(&mut self) -> Option<ClientEvent> {
        self.0.state.events.pop_front().map(|event| client_event(&event))
    }

    fn reset_in_flight(&mut self) {
        self.0.state.clean();
    }

    fn release_all(&mut self, last_packet_id: u16) {
        self.0.pending.extend((1..=last_packet_id).map(|id| Request::PubRel(PubRel::new(id))));
    }

    fn accept_stale_releases(&mut self) {
        let state = &mut self.0.state;
        let manual_acks = std::mem::replace(&mut state.manual_acks, true);
        let mut stale = Publish::new("", QoS::ExactlyOnce, Vec::new());
        for id in 1..=u16::MAX {
            stale.pkid = id;
            // rumqttc notes the packet id; the event that it makes of that is removed again.
            let _ = state.handle_incoming_packet(Packet::Publish(stale.clone()));
            state.events.pop_back();
        }
        state.manual_acks = manual_acks;
    }
}

fn client_event(event: &Event) -> ClientEvent {
    log_packet(event);
    match event {
        Event::Outgoing(Outgoing::Publish(id)) => ClientEvent::Sent(*id),
        Event::Outgoing(Outgoing::Disconnect) => ClientEvent::DisconnectSent,
        Event::Incoming(Packet::PubAck(ack)) => ClientEvent::Completed(ack.pkid, None),
        Event::Incoming(Packet::PubComp(complete)) => ClientEvent::Completed(complete.pkid, None),
        _ => ClientEvent::Other,
    }
}

fn log_packet(event: &Event) {
    match event {
        Event::Outgoing(sent) => packet_log::sent(sent),
        Event::Incoming(packet) if packet_log::is_on() => match packet {
            Packet::PubAck(ack) => packet_log::received("PUBACK", Some(ack.pkid), None),
            Packet::PubRec(ack) => packet_log::received("PUBREC", Some(ack.pkid), None),
            Packet::PubRel(ack) => packet_log::received("PUBREL", Some(ack.pkid), None),
            Packet::PubComp(ack) => packet_log::received("PUBCOMP", Some(ack.pkid), None),
            Packet::PingResp => packet_log::received("PINGRESP", None, None),
            Packet::Publish(_) => packet_log::received("PUBLISH", None, None),
            Packet::SubAck(_) => packet_log::received("SUBACK", None, None),
            Packet::UnsubAck(_) => packet_log::received("UNSUBACK", None, None),
            Packet::ConnAck(_) => packet_log::received("CONNACK", None, None),
            _ => packet_log::received("a packet for brokers", None, None),
        },
        Event::Incoming(_) => {}
    }
}

fn qos(qos: Qos) -> QoS {
    match qos {
        Qos::AtMostOnce => QoS::AtMostOnce,
        Qos::AtLeastOnce => QoS::AtLeastOnce,
        Qos::ExactlyOnce => QoS::ExactlyOnce,
    }
}

fn session_error(error: &ConnectionError) -> SessionError {
    match error {
        ConnectionError::ConnectionRefused(code) => refused(*code),
        ConnectionError::MqttState(StateError::Deserialization(Malformed::InvalidConnectReturnCode(code))) => {
            if *code == AWS_NOT_AUTHORIZED { SessionError::NotAuthorized(*code) } else { SessionError::NotMqtt }
        }
        ConnectionError::MqttState(StateError::Deserialization(Malformed::Io(error))) => {
            SessionError::of_network(error)
        }
        ConnectionError::MqttState(StateError::Deserialization(_)) | ConnectionError::NotConnAck(_) => {
            SessionError::NotMqtt
        }
        ConnectionError::MqttState(StateError::ConnectionAborted) => SessionError::ConnectionClosed,
        ConnectionError::MqttState(StateError::AwaitPingResp) => SessionError::NoPingResponse,
        ConnectionError::NetworkTimeout | ConnectionError::FlushTimeout => SessionError::Timeout,
        ConnectionError::Websocket(error) => SessionError::of_websocket(error),
        ConnectionError::ResponseValidation(_) => SessionError::NoMqttInWebSocket,
        other => SessionError::of_network(other),
    }
}

/// The return codes of CONNACK (3.1.1 §3.2.2.3).
fn refused(code: ConnectReturnCode) -> SessionError {
    match code {
        ConnectReturnCode::RefusedProtocolVersion => SessionError::UnsupportedProtocol,
        ConnectReturnCode::BadClientId => SessionError::BadClientId(2),
        ConnectReturnCode::ServiceUnavailable => SessionError::Refused("0x03 server unavailable".into()),
        ConnectReturnCode::BadUserNamePassword => SessionError::BadCredentials(4),
        ConnectReturnCode::NotAuthorized => SessionError::NotAuthorized(5),
        ConnectReturnCode::Success => SessionError::NotMqtt,
    }
}
