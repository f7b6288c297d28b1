//! Entries of the quarantine that a person requeued: after the plugin was replaced, or the broker's rights were changed.
//!
//! They are handled one by one, beside the newest events: an event by a second plugin with the state that was stored with
//! it, a message as it is. What fails again returns to the quarantine. The file of an entry is deleted when its messages are
//! acknowledged, so that nothing is lost in between.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use bessai_domain::event::{Event, RecordedEvent, Sequence};
use bessai_domain::message::Message;
use bessai_domain::ports::{CallError, Plugin};
use bessai_domain::session::Welcome;
use bessai_domain::site::Site;
use bessai_domain::state::PluginState;
use bessai_domain::time::MonotonicTime;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, sleep_until};

use crate::batches::Batch;
use crate::context::TaskContext;
use crate::policy::Policy;
use crate::processor::BURST_OF_BACKLOG;
use crate::quarantine::{
    QuarantineContent, QuarantinedEvent, QuarantinedMessage, RETRY_PAUSE, RequeuedContent, RequeuedEntry,
};

/// How often an event is tried again that the plugin wants later.
const MAX_LATER: u32 = 60;

/// The entry whose messages are being delivered; it outlives the session.
pub(crate) struct Requeue {
    open: RefCell<Option<String>>,
    is_handled: Cell<bool>,
    handled: Notify,
    /// The index of the first message of the open batch in the batch that it was made with.
    pub(crate) first_index: Cell<usize>,
}

impl Default for Requeue {
    fn default() -> Self {
        Self {
            open: RefCell::default(),
            is_handled: Cell::new(true),
            handled: Notify::new(),
            first_index: Cell::default(),
        }
    }
}

impl Requeue {
    /// Whether messages of an entry are being delivered.
    pub(crate) fn is_open(&self) -> bool {
        self.open.borrow().is_some()
    }

    /// All messages of the open entry are acknowledged, or in the quarantine again.
    pub(crate) fn note_handled(&self) {
        self.is_handled.set(true);
        self.handled.notify_one();
    }

    async fn wait_until_handled(&self) {
        while !self.is_handled.get() {
            self.handled.notified().await;
        }
    }
}

/// Makes batches of requeued entries.
pub(crate) struct RequeueProducer<P> {
    context: Rc<TaskContext>,
    plugin: P,
    policy: Policy,
    welcome: Welcome,
    /// The state for events whose own was too large to be kept.
    state: PluginState,
}

impl<P: Plugin> RequeueProducer<P> {
    pub(crate) fn new(context: Rc<TaskContext>, plugin: P, policy: Policy, welcome: Welcome) -> Self {
        let state = plugin.state().clone();
        Self { context, plugin, policy, welcome, state }
    }

    /// Handles what is requeued until nothing is left. May be cancelled and called again.
    pub(crate) async fn produce(&mut self, batches: mpsc::Sender<Box<Batch>>) {
        let context = Rc::clone(&self.context);
        let (feed, quarantine) = (context.name(), &context.settings.quarantine);
        loop {
            // In a new session, first what the last one left open.
            context.requeue.wait_until_handled().await;
            if let Some(name) = context.requeue.open.take() {
                quarantine.delete_requeued(feed, &name).await;
                context.health.borrow_mut().requeued += 1;
            }
            let Some(RequeuedEntry { name, content }) = quarantine.read_requeued(feed).await else { return };
            let batch = self.batch(content).await;
            let Ok(permit) = batches.reserve().await else { return };
            context.requeue.open.replace(Some(name));
            match batch {
                Some(batch) => {
                    context.requeue.is_handled.set(false);
                    permit.send(Box::new(batch));
                }
                None => context.requeue.note_handled(),
            }
        }
    }

    /// The messages of an entry; none if it is in the quarantine again.
    async fn batch(&mut self, content: RequeuedContent) -> Option<Batch> {
        match content {
            RequeuedContent::Message { through, index, message } => {
                let admitted = self.policy.admit(vec![message.clone()]);
                let refusal = match admitted {
                    Ok(admitted) if admitted.refusals.is_empty() => {
                        self.context.requeue.first_index.set(index);
                        return Some(self.batch_of(through, admitted.messages));
                    }
                    Ok(admitted) => admitted.refusals.into_iter().next().unwrap_or_default(),
                    Err(error) => error,
                };
                let size = message.size();
                let message = QuarantinedMessage { through, index, message, size, limit: None, reason: refusal };
                self.context.store(QuarantineContent::Message(message)).await;
                None
            }
            RequeuedContent::Event { site, event, state } => {
                self.context.requeue.first_index.set(0);
                let state = state.unwrap_or_else(|| self.state.clone());
                match self.process(site.as_ref(), &event, &state).await {
                    Ok(messages) => Some(self.batch_of(event.sequence, messages)),
                    Err(error) => {
                        let (reason, version) = (error.to_string(), self.plugin.version());
                        self.context.health.borrow_mut().failures += 1;
                        let event = QuarantinedEvent { site, event, reason, version, state };
                        self.context.store(QuarantineContent::Event(event)).await;
                        None
                    }
                }
            }
        }
    }

    fn batch_of(&self, through: Sequence, messages: Vec<Message>) -> Batch {
        let (at, state) = (self.context.now().wall, PluginState::default());
        Batch { through, at, messages, state, session_messages: None }
    }

    /// The messages that the plugin makes of an event, with the state from before it. The state afterwards is discarded.
    async fn process(
        &mut self,
        site: Option<&Arc<Site>>,
        event: &Arc<Event>,
        state: &PluginState,
    ) -> Result<Vec<Message>, CallError> {
        let mut later = 0;
        loop {
            let share = self.policy.processor;
            let available = self.context.processor.borrow_mut().available_at(share, BURST_OF_BACKLOG, Instant::now());
            if let Some(available) = available {
                sleep_until(available).await;
            }
            let before = self.plugin.processor_time();
            let called = self.call(site, event, state).await;
            let busy = self.plugin.processor_time().saturating_sub(before);
            self.context.processor.borrow_mut().charge(busy, 1, share, Instant::now());
            match called {
                Err(CallError::Host(_)) => {}
                Err(CallError::Retry(_)) if later < MAX_LATER => later += 1,
                called => return called,
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    async fn call(
        &mut self,
        site: Option<&Arc<Site>>,
        event: &Arc<Event>,
        state: &PluginState,
    ) -> Result<Vec<Message>, CallError> {
        let Some(site) = site else {
            return Err(CallError::Reject("its file has no description of the site".into()));
        };
        self.plugin.restore(state.clone());
        self.plugin.start(site, self.context.now().wall).await?;
        if self.plugin.has_session() {
            // Its messages for the session were sent by the feed's own plugin.
            self.plugin.connected(&self.welcome).await?;
        }
        // So old that it is marked as historical.
        let recorded = RecordedEvent { event: Arc::clone(event), occurred: MonotonicTime::from_nanos(i64::MIN / 2) };
        let processed = self.plugin.process(&[recorded], self.context.now()).await?;
        let admitted = self.policy.admit(processed.messages).map_err(CallError::Broken)?;
        self.context.count_refusals(&admitted.refusals);
        Ok(admitted.messages)
    }
}
