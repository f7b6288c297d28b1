//! Set-points that somebody proposes, and what becomes of them.

use std::time::Duration;

use crate::event::Sequence;
use crate::site::Site;
use crate::time::Timestamp;

/// The most bytes of a device's or a channel's name, and of a reference: more than any configured name has.
const MAX_NAME_BYTES: usize = 256;
/// The most bytes of a text that a channel is set to.
const MAX_TEXT_BYTES: usize = 1024;
/// How long a set-point holds that names no end.
pub const DEFAULT_LEASE: Duration = Duration::from_secs(60);
/// What every proposal gets while the gateway does not write.
pub const WRITES_REFUSED: &str = "[control] is off: this gateway writes no set-points";

/// What a channel is set to.
#[derive(Clone, Debug, PartialEq)]
pub enum SetValue {
    /// In the channel's own unit.
    Number(f64),
    /// For a channel whose value is text.
    Text(String),
}

/// A set-point that somebody asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    /// The device's name.
    pub device: String,
    /// The channel's name.
    pub channel: String,
    /// The value; none ends the proposer's set-point.
    pub value: Option<SetValue>,
    /// When the set-point ends.
    pub until: Option<Timestamp>,
    /// Chosen by the proposer, to match the outcome with its proposal.
    pub reference: String,
}

/// What became of a proposal.
#[derive(Clone, Debug, PartialEq)]
pub enum WriteOutcome {
    /// Written, and read back as this value.
    Verified(SetValue),
    /// Written and acknowledged; the channel cannot be read back.
    Acknowledged,
    /// Not written, and why.
    Refused(String),
    /// Written without effect, and why.
    Failed(String),
    /// The set-point of this proposer applies instead.
    Superseded(String),
    /// Its time is over.
    Expired,
    /// Ended before its time, by whom and why.
    Released(String),
}

/// A step of a proposal: that it was made, or an outcome.
#[derive(Clone, Debug, PartialEq)]
pub struct WriteStep {
    /// The number of the event with the proposal; none in that event itself, and in those of register writes that no proposal
    /// asks for.
    pub proposed: Option<Sequence>,
    /// `feed/<name>`, `model/<name>` or `operator`. Of register writes that no proposal asks for: `gateway`, `device-write` for
    /// those of `bessai-edge device write`, or `modbus-client/<address>`.
    pub proposer: String,
    /// What was proposed.
    pub proposal: Proposal,
    /// The unit of its value; empty if the site has no such channel.
    pub unit: String,
    /// What became of it; none in the event with the proposal, and in the one that announces a register write.
    pub outcome: Option<WriteOutcome>,
}

impl WriteStep {
    /// What the references of register writes begin with.
    const REGISTER_WRITE: &str = "register-write/";
    /// Who makes the register writes that no proposal asks for.
    pub const GATEWAY: &str = "gateway";
    /// Who makes the register writes of `bessai-edge device write` beside a gateway.
    pub const DEVICE_WRITE: &str = "device-write";
    /// What the names of a Modbus server's clients begin with, who make register writes; their addresses follow.
    pub const MODBUS_CLIENT: &str = "modbus-client/";

    /// The reference of a register write: it has a number in a run of the gateway.
    pub fn register_write(number: u64) -> String {
        format!("{}{number}", Self::REGISTER_WRITE)
    }

    /// Whether it announces a register write, before that is sent. The announcement of a proposal has no proposal before it.
    pub fn announces_register_write(&self) -> bool {
        let has_no_proposal = [Self::GATEWAY, Self::DEVICE_WRITE].contains(&self.proposer.as_str())
            || self.proposer.starts_with(Self::MODBUS_CLIENT);
        let follows = self.proposed.is_some() || has_no_proposal;
        self.outcome.is_none() && follows && self.proposal.reference.starts_with(Self::REGISTER_WRITE)
    }

    /// Whether it is a step of a register write. A proposer may choose such a reference, too.
    pub fn is_of_register_write(&self) -> bool {
        self.proposal.reference.starts_with(Self::REGISTER_WRITE)
    }

    /// Whether it is the outcome of the register write that is announced.
    pub fn ends(&self, announced: &Self) -> bool {
        let key = |step: &Self| {
            let Proposal { device, channel, reference, .. } = &step.proposal;
            (step.proposer.clone(), device.clone(), channel.clone(), reference.clone())
        };
        self.outcome.is_some() && key(self) == key(announced)
    }
}

impl Proposal {
    /// Whether it can be recorded as an event; the error says what is too long or not a number.
    pub fn check(&self) -> Result<(), String> {
        let names = [("device", &self.device), ("channel", &self.channel), ("reference", &self.reference)];
        if let Some((name, text)) = names.into_iter().find(|(_, text)| text.len() > MAX_NAME_BYTES) {
            return Err(format!("its {name} has {} bytes; at most {MAX_NAME_BYTES} are allowed", text.len()));
        }
        match &self.value {
            Some(SetValue::Number(number)) if !number.is_finite() => Err(format!("its value is {number}")),
            Some(SetValue::Text(text)) if text.len() > MAX_TEXT_BYTES => {
                Err(format!("its value has {} bytes; at most {MAX_TEXT_BYTES} are allowed", text.len()))
            }
            _ => Ok(()),
        }
    }

    /// The unit of its channel; empty if the site has no such channel.
    pub fn unit(&self, site: &Site) -> String {
        let sources = site.sources.iter().filter(|source| source.device == self.device);
        let channel = sources.flat_map(|source| source.channels.iter()).find(|channel| channel.name == self.channel);
        channel.map(|channel| channel.unit.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proposal() -> Proposal {
        let (device, channel, reference) = ("battery".into(), "power_kw".into(), "a1".into());
        Proposal { device, channel, value: Some(SetValue::Number(20.0)), until: None, reference }
    }

    #[test]
    fn what_is_too_long_or_no_number_is_named() {
        let check = |proposal: Proposal, expected: Result<(), &str>| {
            assert_eq!(proposal.check(), expected.map_err(str::to_owned));
        };
        check(proposal(), Ok(()));
        check(Proposal { value: None, ..proposal() }, Ok(()));
        let text = |length: usize| Some(SetValue::Text("x".repeat(length)));
        check(Proposal { value: text(1024), ..proposal() }, Ok(()));
        let expected = "its value has 1025 bytes; at most 1024 are allowed";
        check(Proposal { value: text(1025), ..proposal() }, Err(expected));
        check(Proposal { value: Some(SetValue::Number(f64::NAN)), ..proposal() }, Err("its value is NaN"));
        let expected = "its reference has 257 bytes; at most 256 are allowed";
        check(Proposal { reference: "x".repeat(257), ..proposal() }, Err(expected));
    }

    #[test]
    fn the_announcement_of_a_register_write_is_told_from_a_proposal_and_ends_with_its_own_outcome() {
        let step = |proposed: Option<u64>, proposer: &str, reference: &str, outcome| WriteStep {
            proposed: proposed.map(Sequence),
            proposer: proposer.into(),
            proposal: Proposal { reference: reference.into(), ..proposal() },
            unit: "kW".into(),
            outcome,
        };
        let (first, second) = (WriteStep::register_write(1), WriteStep::register_write(2));
        assert!(step(Some(5), "feed/acme", &first, None).announces_register_write());
        for proposer in ["gateway", "device-write", "modbus-client/192.168.1.9:40000"] {
            assert!(step(None, proposer, &first, None).announces_register_write(), "{proposer}");
        }
        // A proposer may choose any reference.
        assert!(!step(None, "feed/acme", &first, None).announces_register_write());
        assert!(!step(Some(5), "feed/acme", "a1", None).announces_register_write());
        assert!(!step(None, "gateway", &first, Some(WriteOutcome::Acknowledged)).announces_register_write());

        let announced = step(Some(5), "feed/acme", &first, None);
        let acknowledged = || Some(WriteOutcome::Acknowledged);
        assert!(step(Some(5), "feed/acme", &first, acknowledged()).ends(&announced));
        assert!(!step(Some(5), "feed/acme", &second, acknowledged()).ends(&announced));
        assert!(!step(Some(5), "feed/acme", "a1", Some(WriteOutcome::Expired)).ends(&announced));
        assert!(!announced.ends(&announced));
    }
}
