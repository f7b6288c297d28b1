//! MQTT 5 through rumqttc.

use std::time::Duration;

use bessai_domain::message::{Message, Properties, Qos};
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, ConnectProperties, LastWill, LastWillProperties, Packet, PubAckReason, PubCompReason, PubRecReason,
    PubRel, Publish, PublishProperties,
};
use rumqttc::v5::mqttbytes::{Error as Malformed, QoS};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, MqttState, Request, StateError};
use rumqttc::{NetworkOptions, Outgoing};

use super::aliases::{Aliases, Written};
use super::line::{Client, Connection, Granted, Line, Step, driver, resume};
use super::login::Login;
use super::packets::Packets;
use super::{CONNECT_LIMIT_S, MAX_PACKET, TlsExplanation, Trouble};

mod reasons;

/// The library panics at less.
const SHORTEST_KEEP_ALIVE: Duration = Duration::from_secs(5);

pub(super) async fn sign_in(login: &Login) -> Result<Connection, Trouble> {
    // Room for a window, the status on top of it, and the goodbye.
    let (client, mut events) = AsyncClient::new(options(login), usize::from(login.in_flight) + 3);
    let connack = loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(connack))) => break connack,
            Ok(_) => {}
            Err(error) => return Err(trouble(&error, login.explain, &login.client_id)),
        }
    };
    let (granted, aliases) = granted(login.in_flight, &connack)?;
    // The library takes the broker's window for the number of packet ids, and ids that are still in use for free ones:
    // it gets a state of its own with more of them. Ours is the one that keeps to the window.
    events.state = MqttState::new(Packets::ids(granted.window), false);
    events.state.broker_topic_alias_max = aliases;
    // The library keeps room for 100 packets from the broker, of which few ever come at once.
    events.state.events.shrink_to_fit();
    if connack.properties.is_some_and(|properties| properties.server_keep_alive == Some(0)) {
        // None is wanted (§3.2.2.3.14), and the library would ping without a pause.
        events.options.set_keep_alive(login.keep_alive.max(SHORTEST_KEEP_ALIVE));
    }
    let mut line = V5 { events, explain: login.explain, client_id: login.client_id.clone() };
    resume(&mut line, login, &granted).await?;
    Ok(Connection { client: Client::V5(client, Aliases::new(aliases)), line: driver(line), granted })
}

/// What the broker granted, and the highest topic alias that it takes.
fn granted(in_flight: u16, connack: &ConnAck) -> Result<(Granted, u16), Trouble> {
    let silent = Granted::silently(in_flight, connack.session_present);
    let Some(properties) = &connack.properties else { return Ok((silent, 0)) };
    if properties.receive_max == Some(0) || properties.max_packet_size == Some(0) {
        return Err(Trouble::Refused("it takes no message: its Receive Maximum or Maximum Packet Size is 0".into()));
    }
    let granted = Granted {
        window: silent.window.min(properties.receive_max.unwrap_or(u16::MAX)),
        largest: silent.largest.min(properties.max_packet_size.unwrap_or(u32::MAX)),
        qos: match properties.max_qos {
            Some(0) => Qos::AtMostOnce,
            Some(1) => Qos::AtLeastOnce,
            _ => Qos::ExactlyOnce,
        },
        retain: properties.retain_available != Some(0),
        ..silent
    };
    Ok((granted, properties.topic_alias_max.unwrap_or(0)))
}

fn options(login: &Login) -> MqttOptions {
    let mut options = MqttOptions::new(&login.client_id, &login.target, login.endpoint.port);
    let mut network = NetworkOptions::new();
    network.set_connection_timeout(CONNECT_LIMIT_S);
    network.set_tcp_nodelay(true);
    options.set_network_options(network);
    options.set_connection_timeout(CONNECT_LIMIT_S);
    options.set_transport(login.transport.clone());
    options.set_keep_alive(login.keep_alive.max(SHORTEST_KEEP_ALIVE));
    options.set_clean_start(login.clean_start);
    // The state that counts is made when the broker's window is known. This one would be 14 MB without a bound.
    options.set_outgoing_inflight_upper_limit(1);
    let mut properties = ConnectProperties::new();
    properties.max_packet_size = Some(MAX_PACKET);
    properties.session_expiry_interval = login.session_expiry_s;
    properties.user_properties = login.properties.clone();
    options.set_connect_properties(properties);
    if let Some((username, password)) = login.credentials() {
        options.set_credentials(username, password);
    }
    if let Some(will) = &login.will {
        let properties = will.properties.as_ref().map(of_will);
        options.set_last_will(LastWill::new(&will.topic, will.payload.clone(), qos(will.qos), will.retain, properties));
    }
    options
}

pub(super) fn publish(client: &AsyncClient, aliases: &mut Aliases, message: Message) -> bool {
    let Message { topic, payload, retain, properties, .. } = message;
    let (topic, alias) = match aliases.write(&topic) {
        Written::Full => (topic, None),
        Written::Introduced(alias) => (topic, Some(alias)),
        Written::Alias(alias) => (String::new(), Some(alias)),
    };
    let handed = if alias.is_none() && properties.is_none() {
        client.try_publish(topic, qos(message.qos), retain, payload)
    } else {
        let properties = of_publish(properties.unwrap_or_default(), alias);
        client.try_publish_with_properties(topic, qos(message.qos), retain, payload, properties)
    };
    handed.is_ok()
}

fn of_publish(properties: Properties, topic_alias: Option<u16>) -> PublishProperties {
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

fn of_will(properties: &Properties) -> LastWillProperties {
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

struct V5 {
    events: EventLoop,
    explain: TlsExplanation,
    client_id: String,
}

impl Line for V5 {
    async fn step(&mut self) -> Result<Step, String> {
        match self.events.poll().await {
            Ok(event) => Ok(step(&event)),
            Err(error) => Err(trouble(&error, self.explain, &self.client_id).ended()),
        }
    }

    fn next_buffered(&mut self) -> Option<Step> {
        self.events.state.events.pop_front().map(|event| step(&event))
    }

    fn recount(&mut self) {
        self.events.state.clean();
    }

    fn release_all(&mut self, ids: u16) {
        self.events.pending.extend((1..=ids).map(|packet| Request::PubRel(PubRel::new(packet, None))));
    }

    fn expect_releases(&mut self) {
        let acknowledges_by_hand = std::mem::replace(&mut self.events.state.manual_acks, true);
        let mut sent_before = Publish::new("", QoS::ExactlyOnce, Vec::new(), None);
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
        Event::Incoming(Packet::PubAck(ack)) => match ack.reason {
            PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Step::Done(ack.pkid, None),
            reason => Step::Done(ack.pkid, Some(format!("{reason:?}"))),
        },
        Event::Incoming(Packet::PubRec(received)) => match received.reason {
            PubRecReason::Success | PubRecReason::NoMatchingSubscribers => Step::Other,
            ref reason => Step::Stuck(received.pkid, Some(format!("{reason:?}"))),
        },
        Event::Incoming(Packet::PubComp(complete)) => match complete.reason {
            PubCompReason::Success => Step::Done(complete.pkid, None),
            // The broker received it and forgot the packet id since: it is done all the same (§4.13.2).
            PubCompReason::PacketIdentifierNotFound => Step::Stuck(complete.pkid, None),
        },
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

fn trouble(error: &ConnectionError, explain: TlsExplanation, client_id: &str) -> Trouble {
    match error {
        ConnectionError::ConnectionRefused(code)
        | ConnectionError::MqttState(StateError::ConnFail { reason: code }) => reasons::of_connack(*code),
        ConnectionError::MqttState(StateError::Deserialization(Malformed::Io(error))) => Trouble::of(error, explain),
        // The one packet without a body that the library does not know: DISCONNECT for no special reason.
        ConnectionError::MqttState(StateError::Deserialization(Malformed::PayloadRequired)) => {
            Trouble::Disconnected("it said goodbye".into())
        }
        ConnectionError::MqttState(StateError::Deserialization(_)) | ConnectionError::NotConnAck(_) => {
            Trouble::UnreadableConnack
        }
        ConnectionError::MqttState(StateError::ConnectionAborted) => Trouble::ClosedBeforeConnack,
        ConnectionError::MqttState(StateError::AwaitPingResp) => Trouble::Silence,
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, reason_string }) => {
            Trouble::Disconnected(reasons::of_disconnect(*reason_code, reason_string.as_deref(), client_id))
        }
        ConnectionError::Timeout(_) => Trouble::Timeout,
        ConnectionError::Websocket(error) => Trouble::of_websocket(error, explain),
        ConnectionError::ResponseValidation(_) => Trouble::NoMqttInWebSocket,
        other => Trouble::of(other, explain),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rumqttc::v5::mqttbytes::v5::{ConnAckProperties, ConnectReturnCode};

    fn connack(properties: ConnAckProperties) -> ConnAck {
        ConnAck { session_present: true, code: ConnectReturnCode::Success, properties: Some(properties) }
    }

    fn silent() -> ConnAckProperties {
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
    fn what_the_broker_grants_bounds_ours() {
        let all =
            Granted { window: 100, largest: MAX_PACKET, qos: Qos::ExactlyOnce, retain: true, session_present: true };
        assert_eq!(granted(100, &connack(silent())), Ok((all, 0)));
        let little = ConnAckProperties {
            receive_max: Some(5),
            max_qos: Some(0),
            retain_available: Some(0),
            max_packet_size: Some(1000),
            topic_alias_max: Some(8),
            ..silent()
        };
        let expected = Granted { window: 5, largest: 1000, qos: Qos::AtMostOnce, retain: false, session_present: true };
        assert_eq!(granted(100, &connack(little)), Ok((expected, 8)));
        let much = ConnAckProperties { receive_max: Some(500), max_packet_size: Some(u32::MAX), ..silent() };
        assert_eq!(granted(100, &connack(much)), Ok((all, 0)));
        assert!(granted(100, &connack(ConnAckProperties { receive_max: Some(0), ..silent() })).is_err());
    }
}
