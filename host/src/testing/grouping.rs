//! Whether a plugin's messages depend on how events are grouped into calls: a gateway hands over one event or 64, as they come.

use super::expected::{self, read, write};
use super::outcome::RunOutcome;

/// What follows the differences.
const HINT: &str = "keep in the state what must outlive a call; if messages are meant to depend on the call, write \
                    events_per_call in case.toml";

/// The differences between calls of up to 64 events and calls of one event each; none if there are no messages to compare.
pub(super) fn differences(together: &RunOutcome, singly: &RunOutcome) -> Vec<String> {
    let differences = match (&together.failure, &singly.failure) {
        (None, None) => {
            // What is written can be read.
            let wanted = read(&write(&together.messages)).unwrap_or_default();
            let mut differences = expected::differences(&wanted, &singly.messages);
            if together.session != singly.session {
                differences.push("the logins, subscriptions or set-points differ".into());
            }
            differences
        }
        (None, Some(failure)) => vec![failure.clone()],
        (Some(_), None) => vec!["no failure".into()],
        (Some(_), Some(_)) => Vec::new(),
    };
    if differences.is_empty() {
        return differences;
    }
    let differences = differences.into_iter().map(|difference| format!("with one event in each call: {difference}"));
    differences.chain([HINT.to_owned()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bessai_domain::message::{Message, Qos};

    fn outcome(payloads: &[&str], failure: Option<&str>) -> RunOutcome {
        let message = |payload: &&str| Message {
            topic: "a".into(),
            payload: payload.as_bytes().into(),
            qos: Qos::AtLeastOnce,
            retain: false,
            properties: None,
        };
        let messages = payloads.iter().map(message).collect();
        RunOutcome { messages, failure: failure.map(str::to_owned), ..RunOutcome::default() }
    }

    #[test]
    fn a_difference_names_the_message_and_the_fix() {
        let same = outcome(&["1", "2"], None);
        assert_eq!(differences(&same, &same), Vec::<String>::new());
        let found = differences(&same, &outcome(&["1", "1"], None));
        assert_eq!(found, ["with one event in each call: message 2 (a): json: expected 2, got 1", HINT]);
        let found = differences(&same, &outcome(&[], Some("the plugin trapped")));
        assert_eq!(found, ["with one event in each call: the plugin trapped", HINT]);
        let failed = outcome(&["1"], Some("the plugin trapped"));
        assert_eq!(differences(&failed, &outcome(&[], Some("event 3: the plugin trapped"))), Vec::<String>::new());
    }
}
