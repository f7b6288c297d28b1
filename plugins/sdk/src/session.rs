//! Plugins that decide how their feed signs in to the broker.

use crate::guest::Slot;
use crate::{Failure, Login, Messages, Plugin, Request, Timestamp, Welcome};

/// A plugin that provides the login for each CONNECT: a token that it signs, a client id, a will. Export it with
/// `bessai_plugin::export!(Acme, session)`.
///
/// What these methods write to [`state`](crate::state) is synced to disk before the resulting packet is sent, and is
/// never reverted. A fresh instance within a session gets [`connected`](SignsIn::connected) again.
pub trait SignsIn: Plugin {
    /// Called before every CONNECT, also before a renewal. [`Login::default`] takes everything from the feed's
    /// settings. The integrator sees the error; the gateway calls again after a pause.
    fn connect(&mut self, request: &Request) -> Result<Login, String>;

    /// Called after every CONNACK, for birth messages, discovery and retained state; they are published first.
    fn connected(&mut self, _welcome: &Welcome, _out: &mut Messages) -> Result<(), Failure> {
        Ok(())
    }

    /// Called before an intended DISCONNECT, but not before a renewal; these messages are published last.
    fn closing(&mut self, _at: Timestamp, _out: &mut Messages) {}
}

impl Default for Login {
    /// Everything from the feed's settings.
    fn default() -> Self {
        Self {
            endpoint: None,
            protocol: None,
            client_id: None,
            username: None,
            password: None,
            clean_start: None,
            session_expiry_s: None,
            keep_alive_s: None,
            will: None,
            properties: Vec::new(),
            renew_at: None,
            provisioning: false,
        }
    }
}

/// The error of a call before `configure`.
pub(crate) const UNCONFIGURED: &str = "configure was not called";

/// The component's `connect`.
#[doc(hidden)]
pub fn connect<P: SignsIn>(slot: &mut Option<Slot<P>>, request: &Request) -> Result<Login, String> {
    slot.as_mut().ok_or(UNCONFIGURED)?.plugin.connect(request)
}

/// The component's `connected`.
#[doc(hidden)]
pub fn connected<P: SignsIn>(slot: &mut Option<Slot<P>>, welcome: &Welcome) -> Result<Messages, Failure> {
    let slot = slot.as_mut().ok_or_else(|| Failure::Retry(UNCONFIGURED.into()))?;
    let mut out = Messages::new();
    slot.plugin.connected(welcome, &mut out)?;
    Ok(out)
}

/// The component's `closing`.
#[doc(hidden)]
pub fn closing<P: SignsIn>(slot: &mut Option<Slot<P>>, at: Timestamp) -> Messages {
    let mut out = Messages::new();
    if let Some(slot) = slot {
        slot.plugin.closing(at, &mut out);
    }
    out
}
