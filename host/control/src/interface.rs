//! What goes into the control room and what comes out of it.

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bessai_domain::profile::Profile;
use bessai_domain::proposal::{Proposal, WriteOutcome};
use bessai_domain::safety::{Block, Permit, SetPoint};
use bessai_domain::time::MonotonicTime;

use crate::holder::Holder;
use crate::settings::ControlSettings;

/// How long a verdict counts. Safety repeats it more often, so that control ends when safety no longer runs.
pub(crate) const VERDICT_LIFETIME: Duration = Duration::from_secs(15);

/// Asks safety whether a set-point is allowed now, and how much of it.
#[derive(Clone)]
pub struct SafetyCheck(Rc<CheckSetPoint>);

type CheckSetPoint = dyn Fn(&SetPoint<'_>, MonotonicTime) -> Result<Permit, Block>;

impl SafetyCheck {
    /// Asks by calling `check`.
    pub fn new(check: impl Fn(&SetPoint<'_>, MonotonicTime) -> Result<Permit, Block> + 'static) -> Self {
        Self(Rc::new(check))
    }

    pub(crate) fn permits(&self, set_point: &SetPoint<'_>, now: MonotonicTime) -> Result<Permit, Block> {
        (self.0)(set_point, now)
    }
}

impl fmt::Debug for SafetyCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SafetyCheck").finish_non_exhaustive()
    }
}

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

/// What happens to the control room.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Somebody proposes a set-point or a limit, or ends it.
    Proposed(NewProposal),
    /// Safety has judged the newest readings; that counts for 15 s.
    Judged,
    /// Values of a device's points, by the points' names; NaN for none.
    Read(String, Vec<(String, f64)>),
    /// A device responds, or no longer.
    Online(String, bool),
    /// A write was carried out, with the value that was read back unless the point is write-only; or why it was not.
    Written(OrderId, Result<Option<f64>, String>),
    /// A device's points were discovered, or its profile was replaced.
    Profile(String, Arc<Profile>),
    /// The settings have changed. Devices that are no longer named are released first.
    Settings(ControlSettings),
    /// A holder may only set these channels from now on, by device and channel: what it holds of others ends.
    Rights(Holder, Vec<(String, String)>),
    /// The gateway stops: every set-point ends, and no further one is accepted.
    Stop,
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
    /// A write is no longer wanted: it is to be given up unless it has begun, and its result is an error.
    Cancel(OrderId),
    /// What became of a proposal. One that holds for a while may have several outcomes; the first one answers it.
    Outcome(ProposalId, WriteOutcome),
}

/// What has to outlast a restart of the gateway.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// The channels that may be set, by device and channel, with the values that single points get back.
    pub held: BTreeMap<(String, String), Option<f64>>,
    /// When each counted write of a persistent point leaves its budget, by device and point.
    pub writes: BTreeMap<(String, String), Vec<MonotonicTime>>,
}

/// A limit of a device's power, as the operator sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitStatus {
    /// The device's name.
    pub device: String,
    /// [`CHARGE_LIMIT`](crate::CHARGE_LIMIT) or [`DISCHARGE_LIMIT`](crate::DISCHARGE_LIMIT).
    pub channel: &'static str,
    /// Who holds it, in kW, and for how long.
    pub holders: Vec<(Holder, f64, Duration)>,
    /// The limit in kW that applies, which may be the fallback's.
    pub kilowatts: f64,
}

/// A set-point as the operator sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetStatus {
    /// The device's name.
    pub device: String,
    /// The channel's name.
    pub channel: String,
    /// The unit of its values.
    pub unit: String,
    /// Who holds it, its value and for how long; the one that applies first.
    pub leases: Vec<(Holder, f64, Duration)>,
    /// The value that the device has taken; none while it controls itself.
    pub applied: Option<f64>,
    /// Why no set-point applies although one is held.
    pub blocked: Option<String>,
}
