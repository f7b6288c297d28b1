//! The Device Provisioning Service: registers, waits for the assignment, and keeps it in the state.

use std::cell::Cell;

use bessai_plugin::json::{self, Value};
use bessai_plugin::{Failure, Message, log, state};

/// The state's key with the assigned hub and device, a line each.
const ASSIGNED: &str = "assigned";
/// The state's key that is set while the session is one at the provisioning service.
const IN_PROGRESS: &str = "provisioning";
/// The gateway hands a message over again for up to 60 s; a longer pause is shortened.
const LONGEST_PAUSE_S: u64 = 50;

/// Where the device belongs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Assigned {
    pub(crate) hub: String,
    pub(crate) device: String,
}

thread_local! {
    /// How often the answer in hand was postponed, once a second.
    static WAITED_S: Cell<u64> = const { Cell::new(0) };
}

/// The last assignment.
pub(crate) fn assigned() -> Option<Assigned> {
    let stored = state::get(ASSIGNED).and_then(|bytes| String::from_utf8(bytes).ok())?;
    let (hub, device) = stored.split_once('\n')?;
    Some(Assigned { hub: hub.into(), device: device.into() })
}

pub(crate) fn is_in_progress() -> bool {
    state::get(IN_PROGRESS).is_some()
}

pub(crate) fn set_in_progress(is_in_progress: bool) -> Result<(), String> {
    match is_in_progress {
        true => state::set(IN_PROGRESS, b"1").map_err(|_| "the plugin's state is full".into()),
        false => {
            state::delete(IN_PROGRESS);
            Ok(())
        }
    }
}

/// The request for a hub.
pub(crate) fn register(registration_id: &str) -> Message {
    let mut writer = json::Writer::default();
    writer.text(&json::Key::new("registrationId"), registration_id);
    Message::new("$dps/registrations/PUT/iotdps-register/?$rid=1", writer.finish())
}

/// What follows an answer of the service.
pub(crate) enum Next {
    /// Ask whether the operation is complete.
    Ask(Message),
    /// A hub is assigned: sign in there.
    SignIn,
    /// Wait for the end of the session, after which it is tried again.
    GiveUp,
}

/// Handles an answer. `Retry` makes the gateway hand it over again a second later: that is how the pause that the service
/// asks for passes.
pub(crate) fn answered(
    status: u16,
    retry_after_s: u64,
    payload: &[u8],
    registration_id: &str,
) -> Result<Next, Failure> {
    let body = std::str::from_utf8(payload).ok().and_then(|text| json::read(text).ok());
    let field = |names: &[&str]| body.as_ref().and_then(|body| find(body, names));
    let is_waiting = status == 202 || status == 429 || status >= 500;
    if is_waiting {
        let waited_s = WAITED_S.get();
        if waited_s < retry_after_s.clamp(1, LONGEST_PAUSE_S) {
            WAITED_S.set(waited_s + 1);
            return Err(Failure::Retry("the provisioning service asked to wait".into()));
        }
        WAITED_S.set(0);
        let operation = field(&["operationId"]);
        return Ok(Next::Ask(match operation {
            Some(id) => {
                Message::new(format!("$dps/registrations/GET/iotdps-get-operationstatus/?$rid=2&operationId={id}"), "")
            }
            None => register(registration_id),
        }));
    }
    let hub = field(&["registrationState", "assignedHub"]);
    let device = field(&["registrationState", "deviceId"]);
    if let (200, Some(hub), Some(device)) = (status, hub, device) {
        log::info(&format!("the provisioning service assigned the hub {hub} and the device {device}"));
        state::set(ASSIGNED, format!("{hub}\n{device}").as_bytes())?;
        return Ok(Next::SignIn);
    }
    let why = field(&["registrationState", "errorMessage"]).or_else(|| field(&["message"]));
    let why = why.or_else(|| field(&["status"])).unwrap_or_else(|| "without a reason".into());
    log::error(&format!(
        "the provisioning service refused the registration {registration_id:?} with {status}: {why}; it is tried again after a pause"
    ));
    Ok(Next::GiveUp)
}

fn find(value: &Value, path: &[&str]) -> Option<String> {
    let (first, rest) = path.split_first()?;
    let Value::Table(members) = value else { return None };
    let found = members.iter().find(|(key, _)| key == first).map(|(_, value)| value)?;
    match found {
        Value::Text(text) if rest.is_empty() => Some(text.clone()),
        other => find(other, rest),
    }
}
