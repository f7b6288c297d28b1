//! A plugin that receives messages from its broker and does what they say. It also signs in itself, at first for
//! provisioning only if its settings want that.

use bessai_plugin::{
    Actions, Commands, Config, Event, Failure, Frame, Inbound, Login, Message, Messages, Outcome, Plugin, Proposal,
    Request, SignsIn, Site, Subscription, Timestamp, Value, Welcome, Write, metrics, secrets, state,
};

/// The state's key that says where it is assigned to.
const ASSIGNED: &str = "assigned";
/// The state's key for the number of messages received.
const RECEIVED: &str = "received";

/// Answers under `<topic>/answer`.
pub struct Commander {
    topic: String,
    filters: Vec<String>,
    provision: bool,
    clean_start: bool,
}

impl Plugin for Commander {
    fn configure(site: &Site, config: &str) -> Result<Self, String> {
        let mut config = Config::read(config)?;
        let topic = config.text("topic")?.unwrap_or_else(|| site.id.clone());
        // A `,` separates filters.
        let filters = config.text("filters")?.unwrap_or_else(|| format!("{topic}/cmd/#"));
        let filters = filters.split(',').map(str::to_owned).collect();
        let flag = |config: &mut Config, key: &str| config.text(key).map(|value| value.as_deref() == Some("yes"));
        let (provision, resumes) = (flag(&mut config, "provision")?, flag(&mut config, "resumes")?);
        config.finish()?;
        Ok(Self { topic, filters, provision, clean_start: !resumes })
    }

    fn frame(&mut self, event: &Event, _frame: &Frame, out: &mut Messages) -> Result<(), Failure> {
        metrics::counter("frames_total", &[("topic", &self.topic)], 1.0);
        out.push(Message::new(format!("{}/frame", self.topic), event.sequence.to_string()));
        Ok(())
    }

    fn write(&mut self, event: &Event, write: &Write, out: &mut Messages) -> Result<(), Failure> {
        let Write { proposed, proposer, proposal, unit, outcome } = write;
        let Proposal { device, channel, value, reference, .. } = proposal;
        // The first event of a proposal refers to itself.
        let number = if *proposed == event.sequence { "made".into() } else { format!("{}", event.sequence - proposed) };
        let text = format!("{number} {proposer} {device}/{channel} {value:?} {unit} {reference} {outcome:?}");
        out.push(Message::new(format!("{}/write", self.topic), text));
        Ok(())
    }
}

impl SignsIn for Commander {
    fn connect(&mut self, _request: &Request) -> Result<Login, String> {
        let provisioning = self.provision && state::get(ASSIGNED).is_none();
        let (clean_start, session_expiry_s) = (Some(self.clean_start), (!self.clean_start).then_some(600));
        Ok(Login { provisioning, clean_start, session_expiry_s, ..Login::default() })
    }

    fn connected(&mut self, _welcome: &Welcome, out: &mut Messages) -> Result<(), Failure> {
        let assigned = state::get(ASSIGNED).map(|name| String::from_utf8_lossy(&name).into_owned());
        out.push(Message::new(format!("{}/birth", self.topic), assigned.unwrap_or_default()));
        Ok(())
    }
}

impl Commands for Commander {
    fn subscriptions(&mut self) -> Vec<Subscription> {
        self.filters.iter().map(Subscription::new).collect()
    }

    fn receive(&mut self, message: &Inbound, out: &mut Actions) -> Result<(), Failure> {
        let count =
            state::get(RECEIVED).and_then(|count| String::from_utf8(count).ok()?.parse().ok()).unwrap_or(0_u32) + 1;
        state::set(RECEIVED, count.to_string().as_bytes()).map_err(|_| Failure::Reject("the state is full".into()))?;
        let text = String::from_utf8_lossy(&message.payload).into_owned();
        let (command, argument) = text.split_once(' ').unwrap_or((&text, ""));
        match command {
            "trap" => std::process::abort(),
            "reject" => return Err(Failure::Reject("a message that it never takes".into())),
            "retry" => return Err(Failure::Retry("not ready".into())),
            "again" => out.sign_in_again(),
            "assign" => {
                state::set(ASSIGNED, argument.as_bytes()).map_err(|_| Failure::Reject("the state is full".into()))?;
                out.sign_in_again();
            }
            "write" => out.write(Proposal {
                device: "battery".into(),
                channel: "power_kw".into(),
                value: Some(Value::Number(20.0)),
                until: None,
                reference: argument.into(),
            }),
            "sign" => out.publish(self.answer(&sign(argument))),
            _ => {
                let flags = match (message.retained, message.historical) {
                    (true, _) => " retained",
                    (false, true) => " historical",
                    (false, false) => "",
                };
                out.publish(self.answer(&format!("{count} {} {text}{flags}", message.topic)));
            }
        }
        Ok(())
    }

    fn wrote(&mut self, _at: Timestamp, reference: &str, outcome: &Outcome, out: &mut Messages) -> Result<(), Failure> {
        out.push(self.answer(&format!("{reference} {outcome:?}")));
        Ok(())
    }
}

impl Commander {
    fn answer(&self, text: &str) -> Message {
        Message::new(format!("{}/answer", self.topic), text)
    }
}

/// The length of a signature by the secret `pem` with this algorithm.
fn sign(algorithm: &str) -> String {
    let algorithm = match algorithm {
        "es256" => secrets::Algorithm::Es256,
        "rs256" => secrets::Algorithm::Rs256,
        _ => secrets::Algorithm::Ed25519,
    };
    match secrets::sign("pem", algorithm, b"header.payload") {
        Ok(signature) => format!("{} bytes", signature.len()),
        Err(error) => format!("{error:?}"),
    }
}

bessai_plugin::export!(Commander, session, commands);
