//! The task of one feed: signs in, serves the session until it ends, signs in again.

use std::rc::Rc;
use std::time::Duration;

use bessai_domain::ports::{Broker, Events, Plugin, SignInError};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::context::TaskContext;
use crate::delivery::{Delivery, Producers, SessionEnd, SignedIn};
use crate::health::SharedFeedHealth;
use crate::policy::Policy;
use crate::replacement::{Replacement, Replacements};
use crate::settings::FeedSettings;
use crate::sign_ins::SignIns;
use crate::transform::Transformer;

/// How often an implausible clock is read again.
const CLOCK_CHECK_EVERY: Duration = Duration::from_secs(1);

/// What a feed is made of.
pub struct Feed<E, P, B> {
    /// Its settings.
    pub settings: FeedSettings,
    /// Its rights and limits.
    pub policy: Policy,
    /// Where its events come from.
    pub events: E,
    /// What turns them into messages.
    pub plugin: P,
    /// Where the messages go.
    pub broker: B,
    /// What `/health` shows.
    pub health: SharedFeedHealth,
    /// New versions of it.
    pub replacements: Replacements<P, B>,
}

impl<E: Events, P: Plugin, B: Broker> Feed<E, P, B> {
    /// Runs until `stop` is true. With a plugin that is switched off it waits for the replacement.
    pub fn run(self, stop: watch::Receiver<bool>) -> impl Future<Output = ()> {
        let Self { settings, policy, events, plugin, broker, health, replacements } = self;
        let context = Rc::new(TaskContext::new(settings, health, &policy));
        let delivery = Delivery::new(Rc::clone(&context), events.cursor(), plugin.state().clone());
        let transformer = Transformer::new(Rc::clone(&context), policy, plugin);
        let (sign_ins, context) = (SignIns::new(Rc::clone(&context)), context);
        let producers = Producers { events, transformer, backlog: None, requeue: None };
        let feed = Box::new(RunningFeed { producers, delivery, broker, sign_ins, context: Rc::clone(&context) });
        // Boxed like the feed itself, and built before the future below, because a future keeps the room of its arguments.
        let run = Box::pin(feed.run(replacements, stop));
        async move { context.in_turns(run).await }
    }
}

struct RunningFeed<E: Events, P, B> {
    producers: Producers<E, P>,
    delivery: Delivery<E::Cursor>,
    broker: B,
    sign_ins: SignIns,
    context: Rc<TaskContext>,
}

impl<E: Events, P: Plugin, B: Broker> RunningFeed<E, P, B> {
    async fn run(mut self: Box<Self>, mut replacements: Replacements<P, B>, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            // Boxed so that the future of an idle feed stays small: the sign-in was 16 of its 20 KB.
            let session = tokio::select! {
                session = Box::pin(self.sign_in()) => session,
                Some(replacement) = replacements.recv() => {
                    Box::pin(self.replace(*replacement)).await;
                    continue;
                }
                _ = stop.wait_for(|stop| *stop) => break,
            };
            let session = match session {
                Ok(session) => session,
                Err(error) => {
                    self.sign_ins.failed(&error);
                    continue;
                }
            };
            self.sign_ins.succeeded();
            let RunningFeed { producers, delivery, .. } = &mut *self;
            let end = delivery.serve(session, producers, &mut replacements, &mut stop).await;
            producers.transformer.session_ended();
            if let SessionEnd::Stopped = end {
                self.sign_ins.disconnected();
                return;
            }
            self.prepare_next(end);
        }
    }

    /// Waits out the pause, asks the plugin for a login, signs in. May be cancelled and called again.
    async fn sign_in(&mut self) -> Result<SignedIn<B::Session>, String> {
        let Producers { events, transformer, .. } = &mut self.producers;
        if transformer.has_session() && transformer.is_off() {
            // Only a new version can sign in again.
            std::future::pending::<()>().await;
        }
        sleep(self.sign_ins.pause).await;
        // Nothing is signed or published with the time of a clock that was never set.
        while !self.context.now().wall.is_plausible() {
            sleep(CLOCK_CHECK_EVERY).await;
        }
        let endpoint = self.broker.request(self.context.now().wall, self.sign_ins.attempt).endpoint;
        let gates = self.context.settings.gates.clone();
        while let Some(waiting) = gates.enter(&endpoint) {
            self.sign_ins.waits(&waiting);
            gates.wait(&endpoint, &waiting).await;
        }
        let request = self.broker.request(self.context.now().wall, self.sign_ins.attempt);
        self.sign_ins.begins(&request);
        let (login, changes) = transformer.connect(events, &request).await?;
        self.delivery.save(&changes).await;
        let (renew_at, is_provisioning) = (login.renew_at, login.provisioning);
        let reached = login.endpoint.clone().unwrap_or(endpoint);
        let session = self.broker.sign_in(login).await;
        match &session {
            Err(SignInError::Unreachable(reason)) => gates.unreachable(&reached, reason),
            Ok(_) | Err(SignInError::Failed(_)) => gates.reached(&reached),
        }
        Ok(SignedIn { session: session.map_err(|error| error.to_string())?, renew_at, is_provisioning })
    }

    /// Replaces the plugin while there is no session.
    async fn replace(&mut self, replacement: Replacement<P, B>) {
        let Some(replaced) = self.producers.transformer.replace(replacement).await else { return };
        self.restart_with(replaced.broker);
    }

    fn prepare_next(&mut self, end: SessionEnd<B>) {
        match end {
            SessionEnd::Stopped | SessionEnd::Renewed => {}
            SessionEnd::Replaced(broker) => self.restart_with(broker),
            SessionEnd::Lost(lost) => self.sign_ins.lost(&lost),
        }
    }

    fn restart_with(&mut self, broker: Option<B>) {
        self.sign_ins.restart();
        if let Some(broker) = broker {
            self.delivery.forget_broker();
            self.broker = broker;
        }
    }
}
