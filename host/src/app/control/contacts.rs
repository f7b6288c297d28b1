//! Digital inputs that limit the power of devices, such as a network operator's contact.

use std::time::Duration;

use bessai_control::{Contact, Holder, ProposalId};
use bessai_domain::event::Frame;
use bessai_domain::proposal::{Proposal, SetValue};
use bessai_domain::site::Source;
use bessai_domain::time::MonotonicTime;

use super::Control;
use crate::clock::now;
use crate::config::CONTACT_KNOWN_FOR;

/// Pause before a limit that was refused is proposed again.
const RETRY: Duration = Duration::from_secs(30);
/// How long its limits hold without being renewed, which every verdict does.
const LEASE: Duration = Duration::from_secs(60);

/// The contacts of the settings, and what they say.
#[derive(Default)]
pub(super) struct Contacts {
    list: Vec<ContactState>,
}

struct ContactState {
    contact: Contact,
    /// When it was last read as inactive; otherwise it counts as active.
    inactive: Option<MonotonicTime>,
    /// The proposals of its limits.
    held: Vec<(&'static str, ProposalId)>,
    /// A limit that is refused is proposed again no earlier than this.
    next_try: Option<MonotonicTime>,
}

impl Contacts {
    pub(super) fn new(contacts: &[Contact]) -> Self {
        let state = |contact: &Contact| ContactState {
            contact: contact.clone(),
            inactive: None,
            held: Vec::new(),
            next_try: None,
        };
        Self { list: contacts.iter().map(state).collect() }
    }

    /// Takes over what earlier contacts know of their inputs, and the limits that stay the same. A limit that is not known yet
    /// applies, so that a reload would make the power dip.
    fn take_over(&mut self, earlier: &mut Self) {
        for state in &mut self.list {
            let input = |contact: &Contact| (contact.input.clone(), contact.is_inverted);
            let of_input = |known: &&ContactState| input(&known.contact) == input(&state.contact);
            state.inactive = earlier.list.iter().find(of_input).and_then(|known| known.inactive);
            if let Some(same) = earlier.list.iter_mut().find(|known| known.contact == state.contact) {
                (state.held, state.next_try) = (std::mem::take(&mut same.held), same.next_try);
            }
        }
    }

    /// Takes a reading of a device.
    pub(super) fn read(&mut self, source: &Source, frame: &Frame, at: MonotonicTime) {
        for state in self.list.iter_mut().filter(|state| state.contact.input.0 == source.device) {
            let position = source.channels.iter().position(|channel| channel.name == state.contact.input.1);
            let Some(position) = position else { continue };
            let is_inactive = |value: f64| (value == 0.0) != state.contact.is_inverted;
            state.inactive = frame.good(position).filter(|value| is_inactive(*value)).map(|_| at);
        }
    }
}

impl Control {
    /// Sets, renews or ends the limits of all contacts.
    pub(super) fn apply_contacts(&self) {
        let mut contacts = std::mem::take(&mut *self.shared.contacts.borrow_mut());
        let at = now().monotonic;
        for state in &mut contacts.list {
            match state.inactive.is_none_or(|inactive| at.since(inactive) > CONTACT_KNOWN_FOR) {
                true => self.hold_limits(state, at),
                false => self.end_limits(state),
            }
        }
        self.shared.contacts.replace(contacts);
    }

    /// Takes over the contacts of new settings; the limits of those that they no longer have end.
    pub(super) fn replace_contacts(&self, mut contacts: Contacts) {
        contacts.take_over(&mut self.shared.contacts.borrow_mut());
        let mut earlier = self.shared.contacts.replace(contacts);
        earlier.list.iter_mut().for_each(|state| self.end_limits(state));
    }

    fn hold_limits(&self, state: &mut ContactState, at: MonotonicTime) {
        state.held.retain(|(_, id)| self.shared.room.borrow_mut().renew(at, *id, LEASE));
        let is_complete = state.held.len() == state.contact.limits.len();
        if is_complete || state.next_try.is_some_and(|next| next > at) {
            return;
        }
        state.next_try = Some(at.plus(RETRY));
        for (channel, limit) in &state.contact.limits {
            if !state.held.iter().any(|(known, _)| known == channel) {
                state.held.push((channel, self.submit_limit(&state.contact, channel, Some(*limit))));
            }
        }
    }

    fn end_limits(&self, state: &mut ContactState) {
        state.next_try = None;
        for (channel, _) in state.held.drain(..) {
            self.submit_limit(&state.contact, channel, None);
        }
    }

    fn submit_limit(&self, contact: &Contact, channel: &str, value: Option<f64>) -> ProposalId {
        let (device, channel) = (contact.device.clone(), channel.to_owned());
        let value = value.map(SetValue::Number);
        let proposal = Proposal { device, channel, value, until: None, reference: String::new() };
        let holder = Holder::Input(format!("{}/{}", contact.input.0, contact.input.1));
        // Without an end of its own it holds for no longer than the settings allow.
        self.submit(holder, proposal, "kW".into(), None, Ok(()), None)
    }
}
