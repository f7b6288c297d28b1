//! What goes into the control room and what comes out of it.

use std::time::Duration;

use bessai_domain::event::SafetyState;
use bessai_domain::proposal::{Proposal, WriteOutcome};

use crate::holder::Holder;

/// How long a permit counts. Safety repeats it more often, so that control ends when safety no longer runs.
pub const PERMIT_LIFETIME: Duration = Duration::from_secs(15);

/// Chosen by the caller; unique for each proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProposalId(pub u64);

/// The number of a register write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderId(pub u64);

/// A proposal that the holder has the right to make.
#[derive(Clone, Debug, PartialEq)]
pub struct NewProposal {
    /// Its number, which its outcomes refer to.
    pub id: ProposalId,
    /// Who makes it.
    pub holder: Holder,
    /// What it asks for. Its `until` is ignored: it is a time of the wall clock.
    pub proposal: Proposal,
    /// How long it holds from now on; none for the default.
    pub lease: Option<Duration>,
}

/// How far safety lets a device be controlled.
#[derive(Clone, Debug, PartialEq)]
pub struct Permit {
    /// Only with `Safe` a set-point applies.
    pub state: SafetyState,
    /// Why it is not safe, for people.
    pub reason: String,
    /// The most that the device may charge with now, in kW; none for no limit.
    pub max_charge_kw: Option<f64>,
    /// The most that the device may discharge with now, in kW; none for no limit.
    pub max_discharge_kw: Option<f64>,
}

impl Permit {
    /// What applies before the first verdict.
    pub(crate) fn none() -> Self {
        let reason = "no verdict yet".into();
        Self { state: SafetyState::Unknown, reason, max_charge_kw: None, max_discharge_kw: None }
    }
}

/// What happens to the control room.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Somebody proposes a set-point or a limit, or ends it.
    Proposed(NewProposal),
    /// Safety's current permit for a device; it counts for [`PERMIT_LIFETIME`].
    Permit(String, Permit),
    /// Values of a device's points, by the points' names; NaN for none.
    Read(String, Vec<(String, f64)>),
    /// A device responds, or no longer.
    Online(String, bool),
    /// A write was carried out, with the value that was read back unless the point is write-only; or why it was not.
    Written(OrderId, Result<Option<f64>, String>),
    /// Time has passed.
    Time,
}

/// Why a register is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Part of a set-point.
    SetPoint,
    /// Part of what gives control back to the device.
    Release,
    /// Keeps the device from releasing itself.
    Renewal,
    /// Shows the device that the gateway runs.
    Watchdog,
}

/// A register write to carry out. Its result is [`Input::Written`].
#[derive(Clone, Debug, PartialEq)]
pub struct WriteOrder {
    /// Its number.
    pub id: OrderId,
    /// The device's name.
    pub device: String,
    /// The point's name.
    pub point: String,
    /// In the point's unit.
    pub value: f64,
    /// What it is for.
    pub purpose: Purpose,
    /// The proposal that it sets, or whose end it follows.
    pub cause: Option<ProposalId>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Write a register.
    Write(WriteOrder),
    /// What became of a proposal. One that holds for a while may have several outcomes; the first one answers it.
    Outcome(ProposalId, WriteOutcome),
}

/// A set-point as the operator sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetStatus {
    /// The device's name.
    pub device: String,
    /// The channel's name.
    pub channel: String,
    /// Who holds it, its value and for how long; the one that applies first.
    pub leases: Vec<(Holder, f64, Duration)>,
    /// The value that the device has taken; none while it controls itself.
    pub applied: Option<f64>,
    /// Why nobody's set-point applies, if somebody holds one.
    pub blocked: Option<String>,
}
