//! A backlog beside the newest events: a second plugin of the same version, with a state of its own that is discarded when
//! the backlog is delivered.

use std::rc::Rc;

use bessai_domain::ports::{Events, Plugin};
use bessai_domain::session::Welcome;
use bessai_domain::state::PluginState;

use super::session_state::SessionState;
use super::tally::Tally;
use super::work::Work;
use super::{PendingEvents, SinceProgress, Transformer};
use crate::batches::Lane;
use crate::requeue::RequeueProducer;

impl<P: Plugin> Transformer<P> {
    /// One for a backlog of the same feed; the plugin starts with this state.
    pub(crate) fn for_backlog(&self, state: PluginState) -> Self {
        let plugin = self.plugin.twin(state);
        Self { lane: Lane::Backlog, ..Self::new(Rc::clone(&self.context), self.policy.clone(), plugin) }
    }

    /// What handles requeued entries of the same feed.
    pub(crate) fn for_requeue(&self, welcome: Welcome) -> RequeueProducer<P> {
        let plugin = self.plugin.twin(self.plugin.state().clone());
        RequeueProducer::new(Rc::clone(&self.context), plugin, self.policy.clone(), welcome)
    }

    /// The feed's plugin was replaced: continues the backlog with the same version.
    pub(crate) fn follow(&mut self, live: &Self) {
        self.end_probe();
        self.plugin = live.plugin.twin(self.plugin.state().clone());
        self.policy = live.policy.clone();
        self.session.forget_announcement();
        self.since_progress = SinceProgress::default();
        self.tally = Tally::default();
        self.work = Work::START;
        self.pending.apply(&self.policy, self.context.now().monotonic);
        self.context.health.borrow_mut().backlog_off = None;
    }

    /// A session begins. What the plugin returns from `connected` was sent by the feed's other plugin already.
    pub(crate) fn begin_session_of_backlog(&mut self, welcome: Welcome) {
        // It may have grown since its end was read.
        self.has_ended = false;
        self.session = if self.plugin.has_session() { SessionState::NotAnnounced(welcome) } else { SessionState::None };
    }

    /// The feed continues with newer events: forgets those that are pending. The backlog processes them, with the same state.
    pub(crate) async fn skip_to_newest<E: Events>(&mut self, events: &mut E, state: &PluginState) {
        self.end_probe();
        self.plugin.restore(state.clone());
        self.restore_previous(state);
        self.session.forget_announcement();
        self.pending = PendingEvents::new(&self.policy);
        self.since_progress = SinceProgress::default();
        self.work = Work::START;
        if self.plugin.has_session() || self.plugin.has_commands() {
            self.find_site(events).await;
        }
    }
}
