//! Converts messages from the broker, and what a plugin makes of them, between the domain and the contract.

use bessai_domain::command::{Action, InboundMessage, Subscription};
use bessai_domain::message::{Properties, Qos};
use bessai_domain::proposal::{Proposal, SetValue};
use bessai_domain::time::Timestamp;

use crate::bindings::{self as guest, commands};
use crate::convert;

pub(crate) fn subscription(subscription: commands::Subscription) -> Subscription {
    Subscription { filter: subscription.filter, qos: convert::qos(subscription.qos) }
}

pub(crate) fn inbound(message: &InboundMessage) -> commands::Inbound {
    commands::Inbound {
        at: message.at.nanos(),
        topic: message.topic.clone(),
        payload: message.payload.clone(),
        qos: guest_qos(message.qos),
        retained: message.retained,
        historical: message.historical,
        properties: message.properties.as_ref().map(properties),
    }
}

pub(crate) fn guest_qos(qos: Qos) -> guest::Qos {
    match qos {
        Qos::AtMostOnce => guest::Qos::AtMostOnce,
        Qos::AtLeastOnce => guest::Qos::AtLeastOnce,
        Qos::ExactlyOnce => guest::Qos::ExactlyOnce,
    }
}

fn properties(properties: &Properties) -> guest::Properties {
    guest::Properties {
        content_type: properties.content_type.clone(),
        expiry_s: properties.expiry_s,
        response_topic: properties.response_topic.clone(),
        correlation_data: properties.correlation_data.clone(),
        payload_utf8: properties.payload_utf8,
        user: properties.user.clone(),
    }
}

pub(crate) fn action(action: commands::Action) -> Action {
    match action {
        commands::Action::Publish(message) => Action::Publish(convert::message(message)),
        commands::Action::Write(proposal) => Action::Write(self::proposal(proposal)),
        commands::Action::SignInAgain => Action::SignInAgain,
    }
}

fn proposal(proposal: guest::Proposal) -> Proposal {
    Proposal {
        device: proposal.device,
        channel: proposal.channel,
        value: proposal.value.map(|value| match value {
            guest::Value::Number(number) => SetValue::Number(number),
            guest::Value::Text(text) => SetValue::Text(text),
        }),
        until: proposal.until.map(Timestamp::from_nanos),
        reference: proposal.reference,
    }
}
