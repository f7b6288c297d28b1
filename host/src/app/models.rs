//! The models: what they are given, what becomes of their results, and how `/health` shows them.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bessai_control::SET_POINT;
use bessai_domain::event::Frame;
use bessai_domain::exchange::Exchange;
use bessai_domain::site::Site;
use bessai_domain::time::Moment;
use bessai_inference::{Inference, ModelOutput, ModelSettings, ModelState, ModelStatus};
use bessai_pipeline::PipelineInput;
use bessai_supervision::OnFailure;
use serde_json::{Map, Value, json};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinHandle;

use super::control::Control;
use crate::clock::local_time;

/// Proposals that may wait for the main loop; what comes while it is full is left out, as the next run proposes again.
const PROPOSALS: usize = 16;

/// A set-point that a model proposes.
#[derive(Debug)]
struct ModelProposal {
    model: String,
    device: String,
    channel: String,
    /// + = discharge.
    power_kw: f64,
    valid_for: Duration,
}

/// The models of the settings, and the thread that runs them; none until there is a model.
pub(super) struct Models {
    inference: Option<Inference>,
    site: Arc<Site>,
    inputs: mpsc::Sender<PipelineInput>,
    propose: mpsc::Sender<ModelProposal>,
    proposals: Option<mpsc::Receiver<ModelProposal>>,
}

impl Models {
    /// Starts loading the models; results return to the pipeline.
    pub(super) fn start(
        models: Vec<ModelSettings>,
        site: &Arc<Site>,
        inputs: mpsc::Sender<PipelineInput>,
    ) -> Result<Rc<RefCell<Self>>, String> {
        let (propose, proposals) = mpsc::channel(PROPOSALS);
        let site = Arc::clone(site);
        let mut started = Self { inference: None, site, inputs, propose, proposals: Some(proposals) };
        started.set(models)?;
        Ok(Rc::new(RefCell::new(started)))
    }

    /// Hands what the models propose to the control room, until the gateway stops. Called once.
    pub(super) fn spawn_proposals(&mut self, control: &Control, stop: &watch::Receiver<bool>) -> JoinHandle<()> {
        let (proposals, control) = (Rc::new(Mutex::new(self.proposals.take())), control.clone());
        bessai_supervision::spawn("model proposals", OnFailure::Restart, stop.clone(), async move || {
            let mut proposals = proposals.lock().await;
            let Some(proposals) = proposals.as_mut() else { return };
            while let Some(ModelProposal { model, device, channel, power_kw, valid_for }) = proposals.recv().await {
                if channel == SET_POINT {
                    control.propose_by_model(&model, &device, power_kw, valid_for);
                }
            }
        })
    }

    /// Takes over the models of reloaded settings.
    pub(super) fn set(&mut self, models: Vec<ModelSettings>) -> Result<(), String> {
        match &self.inference {
            Some(inference) => inference.set_models(models),
            None if models.is_empty() => {}
            None => {
                let results = results(self.inputs.clone(), self.propose.clone());
                self.inference = Some(Inference::start(models, &self.site, local_time, results)?);
            }
        }
        Ok(())
    }

    /// Hands a frame to the models. Never waits.
    pub(super) fn offer(&mut self, at: Moment, frame: &Frame, exchange: &Exchange, site: &Arc<Site>) {
        if let Some(inference) = &self.inference {
            inference.offer(at, frame, exchange, site);
        }
        if self.site.revision != site.revision {
            self.site = Arc::clone(site);
        }
    }

    /// Whether every model runs, or will once its device is discovered.
    pub(super) fn run(&self) -> bool {
        self.statuses().iter().all(|model| model.state != ModelState::Disabled)
    }

    pub(super) fn json(&self) -> Value {
        self.statuses().iter().map(|model| (model.name.clone(), model_json(model))).collect::<Map<_, _>>().into()
    }

    fn statuses(&self) -> Vec<ModelStatus> {
        self.inference.as_ref().map(Inference::statuses).unwrap_or_default()
    }
}

/// What the inference thread does with a result: it becomes an event, and a set-point is proposed.
#[allow(clippy::disallowed_methods, reason = "called in the inference thread, which may wait for the pipeline")]
fn results(
    inputs: mpsc::Sender<PipelineInput>,
    propose: mpsc::Sender<ModelProposal>,
) -> impl Fn(Moment, ModelOutput) + Send {
    move |at, output| {
        let input = match output {
            ModelOutput::Dispatch { dispatch, target } => {
                if let (Some(power_kw), Some(target)) = (dispatch.target_kw, target) {
                    let (model, device) = (dispatch.model.clone(), dispatch.device.clone());
                    let (channel, valid_for) = (target.channel, target.valid_for);
                    // The next run proposes again.
                    let _ = propose.try_send(ModelProposal { model, device, channel, power_kw, valid_for });
                }
                PipelineInput::Dispatch(at, dispatch)
            }
            ModelOutput::Anomaly(anomaly) => PipelineInput::Anomaly(at, anomaly),
        };
        // Sending fails only when the gateway is stopping; the result is not needed then.
        let _ = inputs.blocking_send(input);
    }
}

fn model_json(model: &ModelStatus) -> Value {
    let state = match model.state {
        ModelState::Loading => "loading",
        ModelState::Running => "running",
        ModelState::Waiting => "waiting",
        ModelState::Disabled => "disabled",
    };
    json!({
        "state": state,
        "engine": model.engine,
        "shadow": model.shadow,
        "refused": model.refused,
        "loads": model.loads,
        "answers": model.answers,
        "unanswered": model.unanswered,
        "last_unanswered": model.last_unanswered,
        "last_run_ms": model.last_run.as_secs_f64() * 1e3,
        "longest_run_ms": model.longest_run.as_secs_f64() * 1e3,
    })
}
