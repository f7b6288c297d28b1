//! MQTT 5 through rumqttc.

use std::time::Duration;

use bessai_domain::message::{Message, Properties, Qos};
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, ConnectProperties, DisconnectReasonCode, LastWill, LastWillProperties, Packet, PubCompReason, PubRel,
    Publish, PublishProperties,
};
use rumqttc::v5::mqttbytes::{Error as Malformed, QoS};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, MqttState, Request, StateError};
use rumqttc::{NetworkOptions, Outgoing};

use crate::aliases::{TopicAliases, WrittenTopic};
use crate::client::{ClientEvent, ClientLoop, Granted, PacketSender, SignedInClient};
use crate::connect_options::ConnectOptions;
use crate::error::SessionError;
use crate::limits::{CONNECT_LIMIT_S, MAX_PACKET, request_capacity};
use crate::packet_ids::id_count;
use crate::packet_log;

mod reasons;

/// The shortest keep-alive that rumqttc accepts; it panics at a shorter one.
const SHORTEST_KEEP_ALIVE: Duration = Duration::from_secs(5);

pub(crate) async fn sign_in(options: &ConnectOptions) -> Result<SignedInClient<V5Sender, V5Loop>, SessionError> {
    let (client, mut events) = AsyncClient::new(mqtt_options(options), request_capacity(options.in_flight));
    let connack = loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(connack))) => break connack,
            Ok(_) => {}
            Err(error) => return Err(session_error(&error)),
        }
    };
    let (granted, max_alias) = granted(options.in_flight, &connack)?;
    // rumqttc takes the broker's window for the number of packet ids and reuses ids that are still in use. Its state is
    // replaced by one with more ids; `PacketIds` keeps to the window.
    events.state = MqttState::new(id_count(granted.window), false);
    events.state.broker_topic_alias_max = max_alias;
    // rumqttc reserves memory for 100 packets from the broker, of which few ever arrive at once.
    events.state.events.shrink_to_fit();
    if connack.properties.is_some_and(|properties| properties.server_keep_alive == Some(0)) {
        // The broker wants no pings (§3.2.2.3.14), but at 0 rumqttc would send them without a pause.
        events.options.set_keep_alive(options.keep_alive.max(SHORTEST_KEEP_ALIVE));
    }
    let sender = V5Sender { client, aliases: TopicAliases::new(max_alias) };
    Ok(SignedInClient { sender, event_loop: V5Loop(events), granted })
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

fn mqtt_options(options: &ConnectOptions) -> MqttOptions {
    let mut mqtt = MqttOptions::new(&options.client_id, &options.target, options.endpoint.port);
    let mut network = NetworkOptions::new();
    network.set_connection_timeout(CONNECT_LIMIT_S);
    network.set_tcp_nodelay(true);
    mqtt.set_network_options(network);
    mqtt.set_connection_timeout(CONNECT_LIMIT_S);
    mqtt.set_transport(options.transport.clone());
    mqtt.set_keep_alive(options.keep_alive.max(SHORTEST_KEEP_ALIVE));
    mqtt.set_clean_start(options.clean_start);
    // The state that is used is created after the CONNACK. Without this bound the first one would take 14 MB.
    mqtt.set_outgoing_inflight_upper_limit(1);
    let mut properties = ConnectProperties::new();
    properties.max_packet_size = Some(MAX_PACKET);
    properties.session_expiry_interval = options.session_expiry_s;
    properties.user_properties = options.properties.clone();
    mqtt.set_connect_properties(properties);
    if let Some((username, password)) = options.credentials() {
        mqtt.set_credentials(username, password);
    }
    if let Some(will) = &options.will {
        let properties = will.properties.as_ref().map(will_properties);
        mqtt.set_last_will(LastWill::new(&will.topic, will.payload.clone(), qos(will.qos), will.retain, properties));
    }
    mqtt
}

pub(crate) struct V5Sender {
    client: AsyncClient,
    aliases: TopicAliases,
}

impl PacketSender for V5Sender {
    fn publish(&mut self, message: Message) -> bool {
        packet_log::queued(&message);
        let Message { topic, payload, retain, properties, .. } = message;
        let (topic, alias) = match self.aliases.write(&topic) {
            WrittenTopic::Full => (topic, None),
            WrittenTopic::Introduced(alias) => (topic, Some(alias)),
            WrittenTopic::Alias(alias) => (String::new(), Some(alias)),
        };
        let queued = if alias.is_none() && properties.is_none() {
            self.client.try_publish(topic, qos(message.qos), retain, payload)
        } else {
            let properties = publish_properties(properties.unwrap_or_default(), alias);
            self.client.try_publish_with_properties(topic, qos(message.qos), retain, payload, properties)
        };
        queued.is_ok()
    }

    fn disconnect(&self) -> bool {
        self.client.try_disconnect().is_ok()
    }
}

fn publish_properties(properties: Properties, topic_alias: Option<u16>) -> PublishProperties {
    PublishProperties {
        payload_format_indicator: properties.payload_utf8.then_some(1),
        message_expiry_interval: properties.expiry_s,
        topic_alias,
        response_topic: properties.response_topic,
        correlation_data: properties.correlation_data.map(Into::into),
        user_properties: properties.user,
        subscription_identifiers: Vec::new(),
        content_type: properties.content_type,
    }
}

fn will_properties(properties: &Properties) -> LastWillProperties {
    LastWillProperties {
        delay_interval: None,
        payload_format_indicator: properties.payload_utf8.then_some(1),
        message_expiry_interval: properties.expiry_s,
        content_type: properties.content_type.clone(),
        response_topic: properties.response_topic.clone(),
        correlation_data: properties.correlation_data.clone().map(Into::into),
        user_properties: properties.user.clone(),
    }
}

pub(crate) struct V5Loop(EventLoop);

impl ClientLoop for V5Loop {
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
        self.0.pending.extend((1..=last_packet_id).map(|id| Request::PubRel(PubRel::new(id, None))));
    }

    fn accept_stale_releases(&mut self) {
        let state = &mut self.0.state;
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

fn session_error(error: &ConnectionError) -> SessionError {
    match error {
        ConnectionError::ConnectionRefused(code)
        | ConnectionError::MqttState(StateError::ConnFail { reason: code }) => reasons::of_connack(*code),
        ConnectionError::MqttState(StateError::Deserialization(Malformed::Io(error))) => {
            SessionError::of_network(error)
        }
        // rumqttc fails on the one packet without a body: a DISCONNECT with the reason code left out, which means 0x00.
        ConnectionError::MqttState(StateError::Deserialization(Malformed::PayloadRequired)) => {
            reasons::of_disconnect(DisconnectReasonCode::NormalDisconnection, None)
        }
        ConnectionError::MqttState(StateError::Deserialization(_)) | ConnectionError::NotConnAck(_) => {
            SessionError::NotMqtt
        }
        ConnectionError::MqttState(StateError::ConnectionAborted) => SessionError::ConnectionClosed,
        ConnectionError::MqttState(StateError::AwaitPingResp) => SessionError::NoPingResponse,
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, reason_string }) => {
            reasons::of_disconnect(*reason_code, reason_string.as_deref())
        }
        ConnectionError::Timeout(_) => SessionError::Timeout,
        ConnectionError::Websocket(error) => SessionError::of_websocket(error),
        ConnectionError::ResponseValidation(_) => SessionError::NoMqttInWebSocket,
        other => SessionError::of_network(other),
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
