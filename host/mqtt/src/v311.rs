//! MQTT 3.1.1: rumqttc's packets and its state of a session.

use bessai_domain::command::Subscription;
use bessai_domain::message::{Message, Qos};
use bessai_domain::refusal::reason_codes::{CONNACK_V311, find};
use bytes::BytesMut;
use rumqttc::mqttbytes::{Error as Malformed, Protocol, valid_topic};
use rumqttc::{
    Connect, ConnectReturnCode, Disconnect, Event, LastWill, Login, MqttState, Outgoing, Packet, PingReq, PubAck,
    PubRel, Publish, QoS, Request, StateError,
};

use crate::client::{Client, ClientEvent, Granted, SessionState};
use crate::connect_options::ConnectOptions;
use crate::error::SessionError;
use crate::packet_ids::id_count;
use crate::packet_log;
use crate::wire::Wire;

mod inbound;

/// The return code with which AWS refuses a client by policy; the standard does not define it.
const AWS_NOT_AUTHORIZED: u8 = 7;
/// A packet of any size: what is sent is bounded by the feed, and what is received is checked before.
const ANY_SIZE: usize = usize::MAX;

/// CONNECT.
pub(crate) fn connect(options: &ConnectOptions) -> Result<BytesMut, SessionError> {
    if options.password.is_some() && options.username.is_none() {
        // 3.1.1 §3.1.2.9
        return Err(SessionError::PasswordWithoutUsername);
    }
    let connect = Connect {
        protocol: Protocol::V4,
        keep_alive: options.keep_alive_s(),
        client_id: options.client_id.clone(),
        clean_session: options.clean_start,
        last_will: options
            .will
            .as_ref()
            .map(|will| LastWill::new(&will.topic, will.payload.clone(), qos(will.qos), will.retain)),
        login: options.credentials().map(|(username, password)| Login { username, password }),
    };
    let mut packet = BytesMut::new();
    write(&Packet::Connect(connect), &mut packet)?;
    Ok(packet)
}

/// The client that a CONNACK makes.
pub(crate) fn signed_in(
    options: &ConnectOptions,
    mut connack: BytesMut,
    wire: Wire,
) -> Result<(Client, Granted), SessionError> {
    let connack = match Packet::read(&mut connack, ANY_SIZE) {
        Ok(Packet::ConnAck(connack)) => connack,
        Err(Malformed::InvalidConnectReturnCode(AWS_NOT_AUTHORIZED)) => {
            return Err(SessionError::NotAuthorized(AWS_NOT_AUTHORIZED));
        }
        _ => return Err(SessionError::NotMqtt),
    };
    if connack.code != ConnectReturnCode::Success {
        return Err(refused(connack.code));
    }
    let granted = Granted::unlimited(options.in_flight, connack.session_present);
    options.trace.borrow_mut().granted = vec![("session present", connack.session_present.to_string())];
    let mut state = MqttState::new(id_count(granted.window), false);
    // rumqttc reserves memory for 100 packets from the broker, of which few ever arrive at once.
    state.events.shrink_to_fit();
    let state = V311 { state, receives: options.receives };
    Ok((Client::new(wire, state, options.keep_alive), granted))
}

struct V311 {
    state: MqttState,
    /// Messages that arrive are for the feed; others are of a stored session's earlier client, acknowledged and dropped.
    receives: bool,
}

impl V311 {
    fn send(&mut self, request: Request, unsent: &mut BytesMut) -> Result<(), SessionError> {
        let packet = self.state.handle_outgoing_packet(request).map_err(|error| state_error(&error))?;
        packet.map_or(Ok(()), |packet| write(&packet, unsent))
    }
}

impl SessionState for V311 {
    fn publish(&mut self, message: Message, unsent: &mut BytesMut) -> bool {
        packet_log::queued(&message);
        let Message { topic, payload, retain, .. } = message;
        if !valid_topic(&topic) {
            return false;
        }
        let publish = Publish { retain, ..Publish::new(topic, qos(message.qos), payload) };
        self.send(Request::Publish(publish), unsent).is_ok()
    }

    fn subscribe(
        &mut self,
        packet_id: u16,
        subscriptions: &[Subscription],
        unsent: &mut BytesMut,
    ) -> Result<(), SessionError> {
        // rumqttc would take a packet id that a message may have.
        write(&Packet::Subscribe(inbound::subscribe(packet_id, subscriptions)), unsent)
    }

    fn acknowledge(&mut self, packet_id: u16, unsent: &mut BytesMut) -> Result<(), SessionError> {
        self.send(Request::PubAck(PubAck::new(packet_id)), unsent)
    }

    fn disconnect(&mut self, unsent: &mut BytesMut) -> Result<(), SessionError> {
        self.send(Request::Disconnect(Disconnect), unsent)
    }

    fn ping(&mut self, unsent: &mut BytesMut) -> Result<(), SessionError> {
        self.send(Request::PingReq(PingReq), unsent)
    }

    fn receive(&mut self, mut packet: BytesMut, unsent: &mut BytesMut) -> Result<(), SessionError> {
        let packet = Packet::read(&mut packet, ANY_SIZE).map_err(|_| SessionError::NotMqtt)?;
        // QoS 2 is never asked for; what a stored session still has of it is acknowledged as it arrives.
        let is_at_least_once = matches!(&packet, Packet::Publish(publish) if publish.qos == QoS::AtLeastOnce);
        self.state.manual_acks = self.receives && is_at_least_once;
        let answer = self.state.handle_incoming_packet(packet).map_err(|error| state_error(&error))?;
        answer.map_or(Ok(()), |answer| write(&answer, unsent))
    }

    fn next_event(&mut self) -> Option<ClientEvent> {
        let event = self.state.events.pop_front()?;
        if let Event::Incoming(Packet::Publish(publish)) = &event
            && self.receives
        {
            log_packet(&event);
            let packet_id = (publish.qos == QoS::AtLeastOnce).then_some(publish.pkid);
            return Some(ClientEvent::Arrived(Box::new(inbound::message(publish)), packet_id));
        }
        Some(client_event(&event))
    }

    fn reset_in_flight(&mut self) {
        self.state.clean();
    }

    fn release_all(&mut self, last_packet_id: u16, unsent: &mut BytesMut) -> Result<(), SessionError> {
        (1..=last_packet_id).try_for_each(|id| self.send(Request::PubRel(PubRel::new(id)), unsent))
    }

    fn accept_stale_releases(&mut self) {
        let state = &mut self.state;
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

/// Appends a packet.
fn write(packet: &Packet, unsent: &mut BytesMut) -> Result<(), SessionError> {
    packet.write(unsent, ANY_SIZE).map(drop).map_err(|error| SessionError::Network(error.to_string()))
}

fn client_event(event: &Event) -> ClientEvent {
    log_packet(event);
    match event {
        Event::Outgoing(Outgoing::Publish(id)) => ClientEvent::Sent(*id),
        Event::Outgoing(Outgoing::Disconnect) => ClientEvent::DisconnectSent,
        Event::Incoming(Packet::PubAck(ack)) => ClientEvent::Completed(ack.pkid, None),
        Event::Incoming(Packet::PubComp(complete)) => ClientEvent::Completed(complete.pkid, None),
        Event::Incoming(Packet::SubAck(answer)) => {
            ClientEvent::Subscribed(answer.pkid, answer.return_codes.iter().map(inbound::granted).collect())
        }
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

fn state_error(error: &StateError) -> SessionError {
    match error {
        StateError::AwaitPingResp => SessionError::NoPingResponse,
        StateError::Unsolicited(id) => SessionError::unsolicited(*id),
        other => SessionError::Violation(format!("a packet that does not belong here ({other})")),
    }
}

/// The return codes of CONNACK (3.1.1 §3.2.2.3).
fn refused(code: ConnectReturnCode) -> SessionError {
    match code {
        ConnectReturnCode::RefusedProtocolVersion => SessionError::UnsupportedProtocol,
        ConnectReturnCode::BadClientId => SessionError::BadClientId(2),
        ConnectReturnCode::ServiceUnavailable => {
            find(&CONNACK_V311, 3).map_or(SessionError::NotMqtt, SessionError::Refused)
        }
        ConnectReturnCode::BadUserNamePassword => SessionError::BadCredentials(4),
        ConnectReturnCode::NotAuthorized => SessionError::NotAuthorized(5),
        ConnectReturnCode::Success => SessionError::NotMqtt,
    }
}
