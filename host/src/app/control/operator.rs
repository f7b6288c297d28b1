//! What an operator on this machine may do.

use std::time::Duration;

use bessai_control::Holder;
use bessai_domain::event::Violation;
use bessai_domain::proposal::{DEFAULT_LEASE, Proposal, SetValue, WriteOutcome};
use bessai_pipeline::{PipelineInput, TripReset};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::Control;
use crate::clock::earliest_arrival;
use crate::local_protocol::{ControlRequest, LocalError};

/// Carries out an operator's requests.
#[derive(Clone)]
pub(in crate::app) struct Operator {
    control: Control,
    inputs: mpsc::Sender<PipelineInput>,
}

impl Operator {
    pub(in crate::app) fn new(control: &Control, inputs: &mpsc::Sender<PipelineInput>) -> Self {
        Self { control: control.clone(), inputs: inputs.clone() }
    }

    /// What it acts on.
    pub(in crate::app) fn control(&self) -> &Control {
        &self.control
    }

    /// The reply to a request.
    pub(in crate::app) async fn answer(&self, request: ControlRequest) -> Result<Value, LocalError> {
        match request {
            ControlRequest::Status => Ok(self.control.status()),
            ControlRequest::Set { device, channel, value, hold } => {
                let hold = hold.unwrap_or_else(|| self.default_lease());
                Ok(self.propose(device, channel, Some(value), hold).await)
            }
            ControlRequest::Release { device, channel } => Ok(self.propose(device, channel, None, DEFAULT_LEASE).await),
            ControlRequest::ResetTrips { device } => self.reset_trips(device).await,
            ControlRequest::Forget { device } => match self.control.forget(&device) {
                Ok(()) => Ok(json!({ "forgotten": device })),
                Err(reason) => Err(LocalError::new("unknown-device", reason)),
            },
        }
    }

    /// How long a set-point holds for which no time is given.
    fn default_lease(&self) -> Duration {
        let settings = self.control.shared.settings.borrow();
        settings.as_ref().map_or(DEFAULT_LEASE, |settings| DEFAULT_LEASE.min(settings.longest_lease))
    }

    async fn propose(&self, device: String, channel: String, value: Option<f64>, hold: Duration) -> Value {
        // The operator may have asked while the process did not run, and may have left.
        let until = Some(earliest_arrival().wall.plus(hold));
        let unit = self.control.shared.room.borrow().unit(&device, &channel);
        let value = value.map(SetValue::Number);
        let proposal = Proposal { device, channel, value, until, reference: String::new() };
        if let Err(mistake) = proposal.check() {
            return json!({ "outcome": "refused", "reason": mistake });
        }
        outcome_json(&self.control.propose(Holder::Operator, proposal, unit, Ok(())).await)
    }

    async fn reset_trips(&self, device: Option<String>) -> Result<Value, LocalError> {
        if let Some(device) = &device {
            self.control.check_name(device).map_err(|reason| LocalError::new("unknown-device", reason))?;
        }
        let (answer, answered) = oneshot::channel();
        let stopping = || LocalError::new("stopping", "the gateway stops");
        let request = PipelineInput::ResetTrips(TripReset { device, answer });
        self.inputs.send(request).await.map_err(|_| stopping())?;
        match answered.await.map_err(|_| stopping())? {
            Ok(reset) => {
                let reset: Vec<_> = reset.iter().map(violation_json).collect();
                Ok(json!({ "reset": reset }))
            }
            Err(Violation { device, channel, value, limit, .. }) => {
                let is_known = value.is_finite();
                let value = if is_known { format!("{channel} is {value}") } else { format!("{channel} has no value") };
                let message = format!("{device} stays tripped: {value}, and the limit is {limit}");
                Err(LocalError::new("still-tripped", message))
            }
        }
    }
}

pub(super) fn violation_json(violation: &Violation) -> Value {
    let Violation { rule, device, channel, value, limit } = violation;
    json!({ "rule": rule, "device": device, "channel": channel, "value": value, "limit": limit })
}

fn outcome_json(outcome: &WriteOutcome) -> Value {
    match outcome {
        WriteOutcome::Verified(SetValue::Number(value)) => json!({ "outcome": "verified", "value": value }),
        WriteOutcome::Verified(SetValue::Text(value)) => json!({ "outcome": "verified", "value": value }),
        WriteOutcome::Acknowledged => json!({ "outcome": "acknowledged" }),
        WriteOutcome::Refused(reason) => json!({ "outcome": "refused", "reason": reason }),
        WriteOutcome::Failed(reason) => json!({ "outcome": "failed", "reason": reason }),
        WriteOutcome::Superseded(by) => json!({ "outcome": "superseded", "reason": format!("{by} comes first") }),
        WriteOutcome::Expired => json!({ "outcome": "expired" }),
        WriteOutcome::Released(by) => json!({ "outcome": "released", "reason": by }),
    }
}
