//! Sign-ins at the hub, and at the provisioning service that says which hub.

use bessai_plugin::{
    Endpoint, Failure, Login, Messages, Password, Protocol, Request, SignsIn, Timestamp, Welcome, log, time,
};

use crate::config::Provisioning;
use crate::token::Identity;
use crate::{AGENT, AzureIotHub, provisioning, twin};
use bessai_plugin::encoding::percent_encode;

/// The version of the hub's interface.
const API_VERSION: &str = "2021-04-12";
/// The version of the provisioning service's interface.
const PROVISIONING_API_VERSION: &str = "2019-03-31";
/// The policy that a provisioning token names.
const PROVISIONING_POLICY: &str = "registration";
/// The longest keep-alive that a hub accepts is 1,177 s; networks forget idle connections long before.
const KEEP_ALIVE_S: u16 = 240;
/// A new token is made this long before the old one expires, as the vendor's SDKs do, or after three quarters of a
/// short lifetime.
const MARGIN_S: u64 = 120;
/// 2025-01-01: a clock before it was never set, and the hub would refuse its token.
const CLOCK_IS_SET: Timestamp = 1_735_689_600 * SECOND;
/// Nanoseconds.
const SECOND: u64 = 1_000_000_000;
/// After so many sign-ins in a row that the hub refused, the provisioning service is asked again.
const REFUSALS: u32 = 3;

impl SignsIn for AzureIotHub {
    fn connect(&mut self, request: &Request) -> Result<Login, String> {
        if request.at < CLOCK_IS_SET {
            return Err(format!(
                "the clock shows {}, so no token can be signed; set it, for example by NTP",
                time::rfc3339(request.at)
            ));
        }
        let assigned = provisioning::assigned();
        let asks = match &self.config.provisioning {
            Some(_) if assigned.is_some() => request.attempt % (REFUSALS + 1) == REFUSALS,
            provisioning => provisioning.is_some(),
        };
        provisioning::set_in_progress(asks)?;
        self.forget_topic();
        match (&self.config.provisioning, assigned) {
            (Some(provisioning), _) if asks => self.at_provisioning(provisioning, request),
            (_, assigned) => self.at_hub(assigned, request),
        }
    }

    fn connected(&mut self, _welcome: &Welcome, out: &mut Messages) -> Result<(), Failure> {
        if let Some(registration) = self.provisioning_in_progress() {
            out.push(provisioning::register(&registration.registration_id));
            return Ok(());
        }
        twin::read(out);
        twin::report_again(&self.site, &self.selection, out);
        Ok(())
    }
}

impl AzureIotHub {
    /// The registration, while the session is one at the provisioning service.
    pub(crate) fn provisioning_in_progress(&self) -> Option<&Provisioning> {
        self.config.provisioning.as_ref().filter(|_| provisioning::is_in_progress())
    }

    fn at_hub(&self, assigned: Option<provisioning::Assigned>, request: &Request) -> Result<Login, String> {
        let device = self.device_id().ok_or("no device is assigned")?;
        let hub = match (&self.config.hub, &assigned) {
            (Some(hub), _) => hub.clone(),
            (None, Some(assigned)) => assigned.hub.clone(),
            (None, None) => request.host.clone(),
        };
        let endpoint = assigned.map(|assigned| Endpoint { host: assigned.hub, port: request.port });
        let username = format!("{hub}/{device}/?api-version={API_VERSION}&DeviceClientType={}", percent_encode(AGENT));
        let login = self.login(request, &format!("{hub}/devices/{device}"), None)?;
        // The hub keeps messages from the cloud between two sessions.
        Ok(Login { endpoint, client_id: Some(device), username: Some(username), clean_start: Some(false), ..login })
    }

    fn at_provisioning(&self, provisioning: &Provisioning, request: &Request) -> Result<Login, String> {
        let Provisioning { id_scope, registration_id } = provisioning;
        let resource = format!("{id_scope}/registrations/{registration_id}");
        let agent = percent_encode(AGENT);
        let username = format!("{resource}/api-version={PROVISIONING_API_VERSION}&ClientVersion={agent}");
        let login = self.login(request, &resource, Some(PROVISIONING_POLICY))?;
        let client_id = Some(registration_id.clone());
        // It ends when the hub is assigned.
        let (clean_start, provisioning, renew_at) = (Some(true), true, None);
        Ok(Login { client_id, username: Some(username), clean_start, provisioning, renew_at, ..login })
    }

    /// The token, if a key signs it, and when to make the next one.
    fn login(&self, request: &Request, resource: &str, policy: Option<&str>) -> Result<Login, String> {
        let registration = self.config.provisioning.as_ref().map(|provisioning| provisioning.registration_id.as_str());
        let identity = Identity::find(registration)?;
        if identity == Identity::Certificate && request.attempt == 0 {
            log::info("there is no secret device-key: signing in with the client certificate of [broker]");
        }
        let lifetime_s = self.config.token_lifetime_s;
        let token = identity.token(resource, request.at / SECOND + lifetime_s, policy)?;
        let margin_s = MARGIN_S.min(lifetime_s / 4);
        Ok(Login {
            protocol: Some(Protocol::V311),
            renew_at: token.is_some().then(|| request.at + (lifetime_s - margin_s) * SECOND),
            password: token.map(Password::Text),
            keep_alive_s: Some(KEEP_ALIVE_S),
            ..Login::default()
        })
    }
}
