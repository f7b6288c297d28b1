//! The reason codes of CONNACK, PUBACK, PUBREC and DISCONNECT with the names of the standard (5.0 §2.4).

use bessai_domain::refusal::{CloseCause, Objection, Refusal};
use rumqttc::v5::mqttbytes::v5::{
    ConnectReturnCode as Connack, DisconnectReasonCode as Disconnect, PubAckReason, PubRecReason,
};

use crate::error::SessionError;

/// Why the broker refused a sign-in.
pub(super) fn of_connack(code: Connack) -> SessionError {
    let reason = match code {
        Connack::UnsupportedProtocolVersion | Connack::RefusedProtocolVersion => {
            return SessionError::UnsupportedProtocol;
        }
        Connack::ClientIdentifierNotValid | Connack::BadClientId => return SessionError::BadClientId(0x85),
        Connack::BadUserNamePassword => return SessionError::BadCredentials(0x86),
        Connack::NotAuthorized => return SessionError::NotAuthorized(0x87),
        Connack::RetainNotSupported => return SessionError::WillRetain,
        Connack::QoSNotSupported => return SessionError::WillQos,
        Connack::Success => return SessionError::NotMqtt,
        Connack::UnspecifiedError => "0x80 unspecified error",
        Connack::MalformedPacket => "0x81 malformed packet",
        Connack::ProtocolError => "0x82 protocol error",
        Connack::ImplementationSpecificError => "0x83 implementation specific error",
        Connack::ServerUnavailable | Connack::ServiceUnavailable => "0x88 server unavailable",
        Connack::ServerBusy => "0x89 server busy",
        Connack::Banned => "0x8a banned",
        Connack::BadAuthenticationMethod => "0x8c bad authentication method",
        Connack::TopicNameInvalid => "0x90 topic name invalid: that of the last will",
        Connack::PacketTooLarge => "0x95 packet too large",
        Connack::QuotaExceeded => "0x97 quota exceeded",
        Connack::PayloadFormatInvalid => "0x99 payload format invalid: that of the last will",
        Connack::UseAnotherServer => "0x9c use another server",
        Connack::ServerMoved => "0x9d server moved",
        Connack::ConnectionRateExceeded => "0x9f connection rate exceeded",
    };
    SessionError::Refused(reason.into())
}

/// Why the broker refused a message with QoS 1, if it did (5.0 §3.4.2.1).
pub(super) fn of_puback(code: PubAckReason) -> Option<Refusal> {
    let refusal = match code {
        PubAckReason::Success | PubAckReason::NoMatchingSubscribers => return None,
        PubAckReason::UnspecifiedError => Refusal::temporary("0x80 unspecified error"),
        PubAckReason::ImplementationSpecificError => Refusal::temporary("0x83 implementation specific error"),
        PubAckReason::NotAuthorized => Refusal::of(
            Objection::Topic,
            "0x87 not authorized; allow this client to publish to that topic in the broker's policy",
        ),
        PubAckReason::TopicNameInvalid => Refusal::of(Objection::Topic, "0x90 topic name invalid"),
        // The broker still has an earlier message with this packet id.
        PubAckReason::PacketIdentifierInUse => Refusal::temporary("0x91 packet identifier in use"),
        PubAckReason::QuotaExceeded => Refusal::temporary("0x97 quota exceeded"),
        PubAckReason::PayloadFormatInvalid => Refusal::of(Objection::Content, "0x99 payload format invalid"),
    };
    Some(refusal)
}

/// Why the broker refused a message with QoS 2, if it did.
pub(super) fn of_pubrec(code: &PubRecReason) -> Option<Refusal> {
    of_puback(match code {
        PubRecReason::Success => PubAckReason::Success,
        PubRecReason::NoMatchingSubscribers => PubAckReason::NoMatchingSubscribers,
        PubRecReason::UnspecifiedError => PubAckReason::UnspecifiedError,
        PubRecReason::ImplementationSpecificError => PubAckReason::ImplementationSpecificError,
        PubRecReason::NotAuthorized => PubAckReason::NotAuthorized,
        PubRecReason::TopicNameInvalid => PubAckReason::TopicNameInvalid,
        PubRecReason::PacketIdentifierInUse => PubAckReason::PacketIdentifierInUse,
        PubRecReason::QuotaExceeded => PubAckReason::QuotaExceeded,
        PubRecReason::PayloadFormatInvalid => PubAckReason::PayloadFormatInvalid,
    })
}

/// Why the broker ended a session, with the reason string that it may send along.
pub(super) fn of_disconnect(code: Disconnect, reason_string: Option<&str>) -> SessionError {
    if let Disconnect::SessionTakenOver = code {
        return SessionError::TakenOver;
    }
    let name = disconnect_name(code);
    let reason = match reason_string {
        Some(text) => format!("{name}: {text:?}"),
        None => name.into(),
    };
    SessionError::Disconnected { reason, hint: disconnect_hint(code), cause: disconnect_cause(code) }
}

fn disconnect_name(code: Disconnect) -> &'static str {
    match code {
        Disconnect::NormalDisconnection => "0x00 normal disconnection",
        Disconnect::DisconnectWithWillMessage => "0x04 disconnect with will message",
        Disconnect::UnspecifiedError => "0x80 unspecified error",
        Disconnect::MalformedPacket => "0x81 malformed packet",
        Disconnect::ProtocolError => "0x82 protocol error",
        Disconnect::ImplementationSpecificError => "0x83 implementation specific error",
        Disconnect::NotAuthorized => "0x87 not authorized",
        Disconnect::ServerBusy => "0x89 server busy",
        Disconnect::ServerShuttingDown => "0x8b server shutting down",
        Disconnect::KeepAliveTimeout => "0x8d keep alive timeout",
        Disconnect::SessionTakenOver => "0x8e session taken over",
        Disconnect::TopicFilterInvalid => "0x8f topic filter invalid",
        Disconnect::TopicNameInvalid => "0x90 topic name invalid",
        Disconnect::ReceiveMaximumExceeded => "0x93 receive maximum exceeded",
        Disconnect::TopicAliasInvalid => "0x94 topic alias invalid",
        Disconnect::PacketTooLarge => "0x95 packet too large",
        Disconnect::MessageRateTooHigh => "0x96 message rate too high",
        Disconnect::QuotaExceeded => "0x97 quota exceeded",
        Disconnect::AdministrativeAction => "0x98 administrative action",
        Disconnect::PayloadFormatInvalid => "0x99 payload format invalid",
        Disconnect::RetainNotSupported => "0x9a retain not supported",
        Disconnect::QoSNotSupported => "0x9b QoS not supported",
        Disconnect::UseAnotherServer => "0x9c use another server",
        Disconnect::ServerMoved => "0x9d server moved",
        Disconnect::SharedSubscriptionNotSupported => "0x9e shared subscriptions not supported",
        Disconnect::ConnectionRateExceeded => "0x9f connection rate exceeded",
        Disconnect::MaximumConnectTime => "0xa0 maximum connect time",
        Disconnect::SubscriptionIdentifiersNotSupported => "0xa1 subscription identifiers not supported",
        Disconnect::WildcardSubscriptionsNotSupported => "0xa2 wildcard subscriptions not supported",
    }
}

/// Whether a message may have caused it.
fn disconnect_cause(code: Disconnect) -> CloseCause {
    match code {
        Disconnect::NotAuthorized | Disconnect::TopicNameInvalid => CloseCause::Message(Objection::Topic),
        Disconnect::PacketTooLarge => CloseCause::Message(Objection::Size),
        Disconnect::RetainNotSupported => CloseCause::Message(Objection::Retain),
        Disconnect::QoSNotSupported => CloseCause::Message(Objection::Qos),
        Disconnect::PayloadFormatInvalid => CloseCause::Message(Objection::Content),
        Disconnect::UnspecifiedError
        | Disconnect::MalformedPacket
        | Disconnect::ProtocolError
        | Disconnect::ImplementationSpecificError
        | Disconnect::TopicAliasInvalid => CloseCause::Message(Objection::Unknown),
        Disconnect::ReceiveMaximumExceeded | Disconnect::MessageRateTooHigh | Disconnect::QuotaExceeded => {
            CloseCause::Overload
        }
        Disconnect::NormalDisconnection
        | Disconnect::DisconnectWithWillMessage
        | Disconnect::ServerBusy
        | Disconnect::ServerShuttingDown
        | Disconnect::KeepAliveTimeout
        | Disconnect::SessionTakenOver
        | Disconnect::TopicFilterInvalid
        | Disconnect::AdministrativeAction
        | Disconnect::UseAnotherServer
        | Disconnect::ServerMoved
        | Disconnect::SharedSubscriptionNotSupported
        | Disconnect::ConnectionRateExceeded
        | Disconnect::MaximumConnectTime
        | Disconnect::SubscriptionIdentifiersNotSupported
        | Disconnect::WildcardSubscriptionsNotSupported => CloseCause::Other,
    }
}

/// What to change.
fn disconnect_hint(code: Disconnect) -> Option<&'static str> {
    match code {
        Disconnect::NotAuthorized => Some("check what the broker's policy allows this client"),
        Disconnect::PacketTooLarge => Some("set a lower max_packet"),
        Disconnect::RetainNotSupported => Some("set retain = false"),
        Disconnect::QuotaExceeded => Some("set a rate in [limits], or raise the broker's quota"),
        Disconnect::UseAnotherServer | Disconnect::ServerMoved => Some("ask the broker's operator for its new address"),
        Disconnect::ConnectionRateExceeded => Some("the broker limits how often clients sign in"),
        Disconnect::AdministrativeAction => Some("the broker's operator ended it"),
        Disconnect::ReceiveMaximumExceeded => Some("set a lower in_flight"),
        Disconnect::MessageRateTooHigh => Some("set a rate in [limits]"),
        Disconnect::QoSNotSupported => Some("set a lower qos in [limits]"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_over_session_names_the_client_id() {
        let ended = |code, text| of_disconnect(code, text).at_session_end("b.example:8883", "bessai-x");
        assert_eq!(
            ended(Disconnect::SessionTakenOver, None),
            "b.example:8883 ended the session (0x8e session taken over): another client signed in as \"bessai-x\"; two \
             gateways must not share a client id"
        );
        assert_eq!(
            ended(Disconnect::ServerBusy, Some("later")),
            "b.example:8883 ended the session (0x89 server busy: \"later\")"
        );
        assert_eq!(
            ended(Disconnect::ReceiveMaximumExceeded, None),
            "b.example:8883 ended the session (0x93 receive maximum exceeded); set a lower in_flight"
        );
    }
}
