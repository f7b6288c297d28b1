//! The rules of Azure's Device Provisioning Service over MQTT: register, ask, be assigned.

use std::collections::HashMap;
use std::sync::Mutex;

use serde_json::{Value, json};

use super::iot_hub::{Credential, admitted_until};
use super::mqtt::{Connect, Publish};
use super::service::{Admitted, End, Service};
use super::token::hmac_sha256;

/// The id of the only operation.
const OPERATION: &str = "4.d0a671905ea5b2c8.42d78160-4c78-479e-8be7-61d5e55dac0d";
/// The version of the interface.
const VERSION: &str = "2019-03-31";

/// How registrations are known.
pub enum Enrolment {
    One(Credential),
    /// A group's key: each registration's own key is derived from it.
    Group(Vec<u8>),
}

/// A provisioning service.
pub struct Provisioning {
    pub id_scope: String,
    enrolment: Enrolment,
    /// Hub and device that are assigned next.
    assigned: Mutex<(String, String)>,
    /// How often each registration was asked about.
    asked: Mutex<HashMap<String, u32>>,
}

/// The key of a registration, derived from its group's.
pub fn derived_key(group_key: &[u8], registration_id: &str) -> Vec<u8> {
    hmac_sha256(group_key, registration_id.as_bytes())
}

impl Provisioning {
    pub fn new(id_scope: &str, enrolment: Enrolment, hub: &str, device: &str) -> Self {
        let assigned = Mutex::new((hub.into(), device.into()));
        Self { id_scope: id_scope.into(), enrolment, assigned, asked: Mutex::default() }
    }

    pub fn assign(&self, hub: &str, device: &str) {
        *self.assigned.lock().unwrap() = (hub.into(), device.into());
    }

    fn assigning(rid: &str) -> (String, Vec<u8>) {
        let body = json!({ "operationId": OPERATION, "status": "assigning" });
        (format!("$dps/registrations/res/202/?$rid={rid}&retry-after=1"), body.to_string().into())
    }

    fn assigned(&self, registration_id: &str, rid: &str) -> (String, Vec<u8>) {
        let (hub, device) = self.assigned.lock().unwrap().clone();
        let state = json!({ "registrationId": registration_id, "assignedHub": hub, "deviceId": device,
            "status": "assigned", "substatus": "initialAssignment" });
        let body = json!({ "operationId": OPERATION, "status": "assigned", "registrationState": state });
        (format!("$dps/registrations/res/200/?$rid={rid}"), body.to_string().into())
    }

    fn answer(&self, registration_id: &str, message: &Publish) -> Result<(String, Vec<u8>), String> {
        if let Some(rid) = message.topic.strip_prefix("$dps/registrations/PUT/iotdps-register/?$rid=") {
            let body: Value = serde_json::from_slice(&message.payload).map_err(|error| error.to_string())?;
            if body["registrationId"] != registration_id {
                return Err(format!("a registration of {body}"));
            }
            self.asked.lock().unwrap().insert(registration_id.into(), 0);
            return Ok(Self::assigning(rid));
        }
        let query = message.topic.strip_prefix("$dps/registrations/GET/iotdps-get-operationstatus/?$rid=");
        let (rid, operation) = query.and_then(|query| query.split_once("&operationId=")).ok_or("an unknown topic")?;
        let mut asked = self.asked.lock().unwrap();
        let asked = asked.get_mut(registration_id).ok_or("a question before the registration")?;
        if operation != OPERATION {
            return Err(format!("the operation {operation:?}"));
        }
        *asked += 1;
        // The first answer is that it is still being assigned.
        Ok(if *asked < 2 { Self::assigning(rid) } else { self.assigned(registration_id, rid) })
    }
}

impl Service for Provisioning {
    fn admit(&self, connect: &Connect, certificate: Option<&[u8]>, now_s: u64) -> Result<Admitted, String> {
        let registration_id = &connect.client_id;
        let resource = format!("{}/registrations/{registration_id}", self.id_scope);
        let username = connect.username.as_deref().unwrap_or_default();
        let rest = username.strip_prefix(&format!("{resource}/api-version={VERSION}"));
        if !rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("&ClientVersion=")) {
            return Err(format!("the user name {username:?}"));
        }
        let credential = match &self.enrolment {
            Enrolment::One(credential) => credential.clone(),
            Enrolment::Group(key) => Credential::Key(derived_key(key, registration_id)),
        };
        let policy = Some("registration");
        let expiry_s = admitted_until(connect, certificate, &credential, &resource, policy, now_s)?;
        Ok(Admitted { identity: registration_id.clone(), expiry_s })
    }

    fn is_filter_allowed(&self, _identity: &str, filter: &str) -> bool {
        filter == "$dps/registrations/res/#"
    }

    fn receive(&self, identity: &str, message: &Publish) -> Result<Vec<(String, Vec<u8>)>, End> {
        self.answer(identity, message).map(|answer| vec![answer]).map_err(End::Violation)
    }
}
