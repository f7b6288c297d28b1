//! MQTT 5: rumqttc's packets and its state of a session.

use std::time::Duration;

use bessai_domain::command::Subscription;
use bessai_domain::message::{Message, Qos};
use bytes::BytesMut;
use rumqttc::Outgoing;
use rumqttc::mqttbytes::valid_topic;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, Connect, ConnectProperties, ConnectReturnCode, DisconnectReasonCode, LastWill, Login, Packet, PubAck,
    PubCompReason, PubRel, Publish,
};
use rumqttc::v5::mqttbytes::{Error as Malformed, QoS};
use rumqttc::v5::{Event, MqttState, Request, StateError};

use crate::aliases::{TopicAliases, WrittenTopic};
use crate::arrivals::RECEIVE_MAXIMUM;
use crate::client::{Client, ClientEvent, Granted, SessionState};
use crate::connect_options::ConnectOptions;
use crate::error::SessionError;
use crate::limits::MAX_PACKET;
use crate::packet_ids::id_count;
use crate::packet_log;
use crate::wire::Wire;

mod inbound;
mod properties;
mod reasons;

/// The type of a DISCONNECT in its header (§3.14.1).
const DISCONNECT: u8 = 14;

/// CONNECT.
pub(crate) fn connect(options: &ConnectOptions) -> Result<BytesMut, SessionError> {
    let mut properties = ConnectProperties::new();
    properties.max_packet_size = Some(MAX_PACKET);
    properties.receive_maximum = options.receives.then_some(RECEIVE_MAXIMUM);
    properties.session_expiry_interval = options.session_expiry_s;
    properties.user_properties = options.properties.clone();
    let connect = Connect {
        keep_alive: options.keep_alive_s(),
        client_id: options.client_id.clone(),
        clean_start: options.clean_start,
        properties: Some(properties),
    };
    let will = options.will.as_ref().map(|will| {
        let properties = will.properties.as_ref().map(properties::of_will);
        LastWill::new(&will.topic, will.payload.clone(), qos(will.qos), will.retain, properties)
    });
    let login = options.credentials().map(|(username, password)| Login { username, password });
    let mut packet = BytesMut::new();
    write(&Packet::Connect(connect, will, login), &mut packet)?;
    Ok(packet)
}

/// The client that a CONNACK makes.
pub(crate) fn signed_in(
    options: &ConnectOptions,
    mut connack: BytesMut,
    wire: Wire,
) -> Result<(Client, Granted), SessionError> {
    let Ok(Packet::ConnAck(connack)) = Packet::read(&mut connack, None) else { return Err(SessionError::NotMqtt) };
    if connack.code != ConnectReturnCode::Success {
        return Err(reasons::of_connack(connack.code));
    }
    let (granted, max_alias) = granted(options.in_flight, &connack)?;
    options.trace.borrow_mut().granted = properties::stated(&connack);
    // rumqttc takes the size of its state for the number of packet ids and reuses ids that are still in use, so it gets
    // more of them than the window has; `PacketIds` keeps to the window.
    let mut state = MqttState::new(id_count(granted.window), false);
    state.broker_topic_alias_max = max_alias;
    // rumqttc reserves memory for 100 packets from the broker, of which few ever arrive at once.
    state.events.shrink_to_fit();
    // A broker that wants no pings announces 0 (§3.2.2.3.14); a dead connection would then stay open for ever.
    let announced = connack.properties.and_then(|properties| properties.server_keep_alive).filter(|keep| *keep > 0);
    let keep_alive = announced.map_or(options.keep_alive, |seconds| Duration::from_secs(seconds.into()));
    let state = V5 { state, aliases: TopicAliases::new(max_alias), receives: options.receives };
    Ok((Client::new(wire, state, keep_alive), granted))
}

/// What the broker granted, and the highest topic alias that it accepts.
fn granted(in_flight: u16, connack: &ConnAck) -> Result<(Granted, u16), SessionError> {
    let unlimited = Granted::unlimited(in_flight, connack.session_present);
    let Some(properties) = &connack.properties else { return Ok((unlimited, 0)) };
    if properties.receive_max == Some(0) || properties.max_packet_size == Some(0) {
        return Err(SessionError::NothingGranted);
    }
    let granted = Granted {
        window: unlimited.window.min(properties.receive_max.unwrap_or(u16::MAX)),
        max_packet: unlimited.max_packet.min(properties.max_packet_size.unwrap_or(u32::MAX)),
        max_qos: match properties.max_qos {
            Some(0) => Qos::AtMostOnce,
            Some(1) => Qos::AtLeastOnce,
            _ => Qos::ExactlyOnce,
        },
        retain: properties.retain_available != Some(0),
        ..unlimited
    };
    Ok((granted, properties.topic_alias_max.unwrap_or(0)))
}

struct V5 {
    state: MqttState,
    aliases: TopicAliases,
    /// Messages that arrive are for the feed; others are of a stored session's earlier client, acknowledged and dropped.
    receives: bool,
}

impl V5 {
    fn send(&mut self, request: Request, unsent: &mut BytesMut) -> Result<(), SessionError> {
        let packet = self.state.handle_outgoing_packet(request).map_err(|error| state_error(&error))?;
        packet.map_or(Ok(()), |packet| write(&packet, unsent))
    }
}

impl SessionState for V5 {
    fn publish(&mut self, message: Message, unsent: &mut BytesMut) -> bool {
        packet_log::queued(&message);
        let Message { topic, payload, retain, properties, .. } = message;
        if !valid_topic(&topic) {
            return false;
        }
        let (topic, alias) = match self.aliases.write(&topic) {
            WrittenTopic::Full => (topic, None),
            WrittenTopic::Introduced(alias) => (topic, Some(alias)),
            WrittenTopic::Alias(alias) => (String::new(), Some(alias)),
        };
        let has_properties = alias.is_some() || properties.is_some();
        let properties = has_properties.then(|| properties::of_message(properties.unwrap_or_default(), alias));
        let publish = Publish { retain, ..Publish::new(topic, qos(message.qos), payload, properties) };
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
        self.send(Request::PubAck(PubAck::new(packet_id, None)), unsent)
    }

    fn disconnect(&mut self, unsent: &mut BytesMut) -> Result<(), SessionError> {
        self.send(Request::Disconnect, unsent)
    }

    fn ping(&mut self, unsent: &mut BytesMut) -> Result<(), SessionError> {
        self.send(Request::PingReq, unsent)
    }

    fn receive(&mut self, mut packet: BytesMut, unsent: &mut BytesMut) -> Result<(), SessionError> {
        let packet = read(&mut packet).map_err(|error| match error {
            // rumqttc fails on the one packet without a body: a DISCONNECT with the reason code left out, which means 0x00.
            Malformed::PayloadRequired => reasons::of_disconnect(DisconnectReasonCode::NormalDisconnection, None),
            _ => SessionError::NotMqtt,
        })?;
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
        (1..=last_packet_id).try_for_each(|id| self.send(Request::PubRel(PubRel::new(id, None)), unsent))
    }

    fn accept_stale_releases(&mut self) {
        let state = &mut self.state;
        let manual_acks = std::mem::replace(&mut state.manual_acks, true);
        let mut stale = Publish::new("", QoS::ExactlyOnce, Vec::new(), None);
        for id in 1..=u16::MAX {
            stale.pkid = id;
            // rumqttc notes the packet id; the event that it makes of that is removed again.
            let _ = state.handle_incoming_packet(Packet::Publish(stale.clone()));
            state.events.pop_back();
        }
        state.manual_acks = manual_acks;
    }
}

/// Reads a complete packet.
pub(crate) fn read(packet: &mut BytesMut) -> Result<Packet, Malformed> {
    // rumqttc waits for the properties of a DISCONNECT that has none and says so by its length (§3.14.2.2.1).
    if let [header, 1, reason] = packet[..]
        && header >> 4 == DISCONNECT
    {
        packet.clear();
        packet.extend_from_slice(&[header, 2, reason, 0]);
    }
    Packet::read(packet, None)
}

/// Appends a packet.
fn write(packet: &Packet, unsent: &mut BytesMut) -> Result<(), SessionError> {
    packet.write(unsent, None).map(drop).map_err(|error| SessionError::Network(error.to_string()))
}

fn client_event(event: &Event) -> ClientEvent {
    log_packet(event);
    match event {
        Event::Outgoing(Outgoing::Publish(id)) => ClientEvent::Sent(*id),
        Event::Outgoing(Outgoing::Disconnect) => ClientEvent::DisconnectSent,
        Event::Incoming(Packet::PubAck(ack)) => ClientEvent::Completed(ack.pkid, reasons::of_puback(ack.reason)),
        Event::Incoming(Packet::PubRec(received)) => match reasons::of_pubrec(&received.reason) {
            None => ClientEvent::Other,
            refusal => ClientEvent::CompletedStillCounted(received.pkid, refusal),
        },
        Event::Incoming(Packet::PubComp(complete)) => match complete.reason {
            PubCompReason::Success => ClientEvent::Completed(complete.pkid, None),
            // The broker received the message and has forgotten its packet id since: it is complete (§4.13.2).
            PubCompReason::PacketIdentifierNotFound => ClientEvent::CompletedStillCounted(complete.pkid, None),
        },
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
            Packet::PubAck(ack) => packet_log::received("PUBACK", Some(ack.pkid), Some(&ack.reason)),
            Packet::PubRec(ack) => packet_log::received("PUBREC", Some(ack.pkid), Some(&ack.reason)),
            Packet::PubRel(ack) => packet_log::received("PUBREL", Some(ack.pkid), Some(&ack.reason)),
            Packet::PubComp(ack) => packet_log::received("PUBCOMP", Some(ack.pkid), Some(&ack.reason)),
            Packet::PingResp(_) => packet_log::received("PINGRESP", None, None),
            Packet::Disconnect(end) => packet_log::received("DISCONNECT", None, Some(&end.reason_code)),
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
        StateError::ServerDisconnect { reason_code, reason_string } => {
            reasons::of_disconnect(*reason_code, reason_string.as_deref())
        }
        StateError::Unsolicited(id) => SessionError::unsolicited(*id),
        other => SessionError::Violation(format!("a packet that does not belong here ({other})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rumqttc::v5::mqttbytes::v5::{ConnAckProperties, ConnectReturnCode};

    fn connack(properties: ConnAckProperties) -> ConnAck {
        ConnAck { session_present: true, code: ConnectReturnCode::Success, properties: Some(properties) }
    }

    fn no_limits() -> ConnAckProperties {
        ConnAckProperties {
            session_expiry_interval: None,
            receive_max: None,
            max_qos: None,
            retain_available: None,
            max_packet_size: None,
            assigned_client_identifier: None,
            topic_alias_max: None,
            reason_string: None,
            user_properties: Vec::new(),
            wildcard_subscription_available: None,
            subscription_identifiers_available: None,
            shared_subscription_available: None,
            server_keep_alive: None,
            response_information: None,
            server_reference: None,
            authentication_method: None,
            authentication_data: None,
        }
    }

    #[test]
    fn the_brokers_limits_bound_ours() {
        let all = Granted {
            window: 100,
            max_packet: MAX_PACKET,
            max_qos: Qos::ExactlyOnce,
            retain: true,
            session_present: true,
        };
        assert_eq!(granted(100, &connack(no_limits())), Ok((all, 0)));
        let little = ConnAckProperties {
            receive_max: Some(5),
            max_qos: Some(0),
            retain_available: Some(0),
            max_packet_size: Some(1000),
            topic_alias_max: Some(8),
            ..no_limits()
        };
        let expected =
            Granted { window: 5, max_packet: 1000, max_qos: Qos::AtMostOnce, retain: false, session_present: true };
        assert_eq!(granted(100, &connack(little)), Ok((expected, 8)));
        let much = ConnAckProperties { receive_max: Some(500), max_packet_size: Some(u32::MAX), ..no_limits() };
        assert_eq!(granted(100, &connack(much)), Ok((all, 0)));
        assert!(granted(100, &connack(ConnAckProperties { receive_max: Some(0), ..no_limits() })).is_err());
    }
}
