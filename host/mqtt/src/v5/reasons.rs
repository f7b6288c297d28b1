//! The codes of rumqttc's packets of MQTT 5 as numbers, and what the table of all codes says about them.

use bessai_domain::refusal::reason_codes::{
    ACKNOWLEDGEMENT, CONNACK, DISCONNECT, Effect, ReasonCode, SUBSCRIPTION, find,
};
use bessai_domain::refusal::{CloseCause, Refusal};
use rumqttc::v5::mqttbytes::v5::{
    ConnectReturnCode as Connack, DisconnectReasonCode as Disconnect, PubAckReason, PubRecReason, SubscribeReasonCode,
};

use crate::error::SessionError;

/// Why the broker refused a sign-in.
pub(super) fn of_connack(code: Connack) -> SessionError {
    match code {
        Connack::UnsupportedProtocolVersion | Connack::RefusedProtocolVersion => SessionError::UnsupportedProtocol,
        Connack::ClientIdentifierNotValid | Connack::BadClientId => SessionError::BadClientId(0x85),
        Connack::BadUserNamePassword => SessionError::BadCredentials(0x86),
        Connack::NotAuthorized => SessionError::NotAuthorized(0x87),
        Connack::RetainNotSupported => SessionError::WillRetain,
        Connack::QoSNotSupported => SessionError::WillQos,
        other => find(&CONNACK, connack_code(other)).map_or(SessionError::NotMqtt, SessionError::Refused),
    }
}

fn connack_code(code: Connack) -> u8 {
    match code {
        Connack::Success => 0x00,
        Connack::UnspecifiedError => 0x80,
        Connack::MalformedPacket => 0x81,
        Connack::ProtocolError => 0x82,
        Connack::ImplementationSpecificError => 0x83,
        Connack::UnsupportedProtocolVersion | Connack::RefusedProtocolVersion => 0x84,
        Connack::ClientIdentifierNotValid | Connack::BadClientId => 0x85,
        Connack::BadUserNamePassword => 0x86,
        Connack::NotAuthorized => 0x87,
        Connack::ServerUnavailable | Connack::ServiceUnavailable => 0x88,
        Connack::ServerBusy => 0x89,
        Connack::Banned => 0x8a,
        Connack::BadAuthenticationMethod => 0x8c,
        Connack::TopicNameInvalid => 0x90,
        Connack::PacketTooLarge => 0x95,
        Connack::QuotaExceeded => 0x97,
        Connack::PayloadFormatInvalid => 0x99,
        Connack::RetainNotSupported => 0x9a,
        Connack::QoSNotSupported => 0x9b,
        Connack::UseAnotherServer => 0x9c,
        Connack::ServerMoved => 0x9d,
        Connack::ConnectionRateExceeded => 0x9f,
    }
}

/// Why the broker refused a message with QoS 1, if it did (5.0 §3.4.2.1).
pub(super) fn of_puback(code: PubAckReason) -> Option<Refusal> {
    let code = match code {
        PubAckReason::Success => 0x00,
        PubAckReason::NoMatchingSubscribers => 0x10,
        PubAckReason::UnspecifiedError => 0x80,
        PubAckReason::ImplementationSpecificError => 0x83,
        PubAckReason::NotAuthorized => 0x87,
        PubAckReason::TopicNameInvalid => 0x90,
        PubAckReason::PacketIdentifierInUse => 0x91,
        PubAckReason::QuotaExceeded => 0x97,
        PubAckReason::PayloadFormatInvalid => 0x99,
    };
    find(&ACKNOWLEDGEMENT, code)?.refusal()
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

/// Why the broker refused a subscription, if it did (5.0 §3.9.3).
pub(super) fn of_suback(code: &SubscribeReasonCode) -> Option<String> {
    let code = match code {
        SubscribeReasonCode::Success(_) => return None,
        SubscribeReasonCode::Failure | SubscribeReasonCode::Unspecified => 0x80,
        SubscribeReasonCode::ImplementationSpecific => 0x83,
        SubscribeReasonCode::NotAuthorized => 0x87,
        SubscribeReasonCode::TopicFilterInvalid => 0x8f,
        SubscribeReasonCode::PkidInUse => 0x91,
        SubscribeReasonCode::QuotaExceeded => 0x97,
        SubscribeReasonCode::SharedSubscriptionsNotSupported => 0x9e,
        SubscribeReasonCode::SubscriptionIdNotSupported => 0xa1,
        SubscribeReasonCode::WildcardSubscriptionsNotSupported => 0xa2,
    };
    Some(find(&SUBSCRIPTION, code).map_or_else(|| format!("{code:#04x}"), ReasonCode::reason))
}

/// Why the broker ended a session, with the reason string that it may send along.
pub(super) fn of_disconnect(code: Disconnect, reason_string: Option<&str>) -> SessionError {
    if let Disconnect::SessionTakenOver = code {
        return SessionError::TakenOver;
    }
    let code = code as u8;
    let entry = find(&DISCONNECT, code);
    let label = entry.map_or_else(|| format!("{code:#04x}"), ReasonCode::label);
    let reason = match reason_string {
        Some(text) => format!("{label}: {text:?}"),
        None => label,
    };
    let cause = match entry.map(|entry| entry.effect) {
        Some(Effect::Ended(cause)) => cause,
        _ => CloseCause::Other,
    };
    SessionError::Disconnected { reason, hint: entry.and_then(|entry| entry.hint), cause }
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
            "b.example:8883 ended the session (0x89 server busy: \"later\"); it has too many clients at the moment"
        );
        assert_eq!(
            ended(Disconnect::ReceiveMaximumExceeded, None),
            "b.example:8883 ended the session (0x93 receive maximum exceeded); set a lower in_flight"
        );
    }
}
