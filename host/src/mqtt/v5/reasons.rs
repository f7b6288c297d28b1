//! The reason codes of CONNACK and DISCONNECT in words (5.0 §2.4).

use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode as Connack, DisconnectReasonCode as Disconnect};

use crate::mqtt::Trouble;

/// Why the broker lets nobody in.
pub(super) fn of_connack(code: Connack) -> Trouble {
    let words = match code {
        Connack::UnsupportedProtocolVersion | Connack::RefusedProtocolVersion => return Trouble::UnsupportedProtocol,
        Connack::ClientIdentifierNotValid | Connack::BadClientId => return Trouble::BadClientId,
        Connack::BadUserNamePassword => return Trouble::BadCredentials,
        Connack::NotAuthorized => return Trouble::NotAuthorized,
        Connack::QoSNotSupported => return Trouble::WillQos,
        Connack::RetainNotSupported => return Trouble::WillRetain,
        Connack::ServerUnavailable | Connack::ServiceUnavailable => "it is not available now",
        Connack::ServerBusy => "it is busy",
        Connack::Banned => "it has banned this client",
        Connack::BadAuthenticationMethod => "it wants another way to sign in than user name and password",
        Connack::TopicNameInvalid => "it does not take the last will's topic",
        Connack::PacketTooLarge => "the CONNECT packet is too large for it",
        Connack::QuotaExceeded => "a quota is used up",
        Connack::PayloadFormatInvalid => "the last will's payload is not what its properties say",
        Connack::UseAnotherServer => "it is to be another broker for a while",
        Connack::ServerMoved => "the broker has moved",
        Connack::ConnectionRateExceeded => "too many sign-ins in a short time",
        Connack::ImplementationSpecificError => "CONNECT has something that it does not take",
        other => return Trouble::Refused(format!("{other:?}")),
    };
    Trouble::Refused(words.into())
}

/// Why the broker ended a session, with its own words where it has some.
pub(super) fn of_disconnect(code: Disconnect, said: Option<&str>, client_id: &str) -> String {
    let words = match code {
        Disconnect::SessionTakenOver => {
            return format!("another client signed in as {client_id:?}; two gateways must not share a client id");
        }
        Disconnect::NormalDisconnection => "it said goodbye".into(),
        Disconnect::NotAuthorized => "not authorized; check what the broker's policy allows this client".into(),
        Disconnect::ServerBusy => "it is busy".into(),
        Disconnect::ServerShuttingDown => "it is shutting down".into(),
        Disconnect::KeepAliveTimeout => "it heard nothing for longer than keep_alive".into(),
        Disconnect::TopicNameInvalid => "it does not take a topic".into(),
        Disconnect::ReceiveMaximumExceeded => "too many messages at once; set a lower in_flight".into(),
        Disconnect::TopicAliasInvalid => "it does not take a topic alias".into(),
        Disconnect::PacketTooLarge => "a packet was too large for it".into(),
        Disconnect::MessageRateTooHigh => "too many messages; set a rate in [limits]".into(),
        Disconnect::QuotaExceeded => "a quota is used up".into(),
        Disconnect::AdministrativeAction => "an administrator ended it".into(),
        Disconnect::PayloadFormatInvalid => "a payload is not what its properties say".into(),
        Disconnect::RetainNotSupported => "it retains no messages".into(),
        Disconnect::QoSNotSupported => {
            "it does not take a quality of service that high; set a lower qos in [limits]".into()
        }
        Disconnect::UseAnotherServer => "it is to be another broker for a while".into(),
        Disconnect::ServerMoved => "the broker has moved".into(),
        Disconnect::ConnectionRateExceeded => "too many sign-ins in a short time".into(),
        Disconnect::MaximumConnectTime => "the time that it gives a session is over".into(),
        other => format!("{other:?}"),
    };
    match said {
        Some(said) => format!("{words} ({said:?})"),
        None => words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_taken_over_learns_by_which_name() {
        let told = of_disconnect(Disconnect::SessionTakenOver, None, "bessai-x");
        assert_eq!(told, "another client signed in as \"bessai-x\"; two gateways must not share a client id");
        let told = of_disconnect(Disconnect::ServerBusy, Some("later"), "x");
        assert_eq!(told, "it is busy (\"later\")");
    }
}
