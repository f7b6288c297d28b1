//! One task per feed: events from the journal, through the customer's plugin, to the customer's broker.
//!
//! The call is the unit of delivery: the feed's place in the journal moves past a call, and what the plugin kept then
//! with it, when its messages, and those of all earlier calls, are acknowledged. Plugin, broker and journal are given by
//! whoever connects the rooms.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bessai_domain::event::{Event, Sequence};
use bessai_domain::message::Message;
use bessai_domain::session::{Login, Request, Welcome};
use bessai_domain::site::Site;
use bessai_domain::state::State;
use bessai_domain::time::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::sleep;

mod backoff;
mod calls;
mod delivery;
mod health;
mod policy;
mod rate;
mod signing;
#[cfg(test)]
mod tests;
mod transform;

pub use health::{Health, SharedHealth};
pub use policy::Policy;

use delivery::{Delivery, Ended, SignedIn};
use signing::Signing;
use transform::Transformer;

/// The events of the site, in order.
#[allow(async_fn_in_trait, reason = "a feed stays on one thread")]
pub trait Events {
    /// What moves the feed's place.
    type Cursor: Cursor;
    /// The description that the next event refers to.
    fn site(&self) -> Option<Arc<Site>>;
    /// Waits for the next events of one call. Dropped before it is ready, it has taken none.
    async fn next(&mut self) -> Vec<Arc<Event>>;
    /// The feed's place.
    fn cursor(&self) -> Self::Cursor;
}

/// A feed's place in the journal, with its plugin's state.
#[allow(async_fn_in_trait, reason = "a feed stays on one thread")]
pub trait Cursor {
    /// Everything up to this event, which happened then, was delivered; and this is what the plugin kept after it.
    fn passed(&mut self, sequence: Sequence, at: Timestamp, state: &State);
    /// This is what the plugin keeps from now on, wherever the feed is; durable when this returns.
    async fn keep(&mut self, state: &State);
}

/// Why a call of the plugin failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The plugin wants the same events again later.
    #[error("asks for the events again later: {0}")]
    Retry(String),
    /// The plugin cannot handle these events.
    #[error("rejects the events: {0}")]
    Reject(String),
    /// It trapped, ran too long or returned nonsense; its instance is gone.
    #[error("{0}")]
    Broken(String),
}

/// Why a plugin gave no login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectError {
    /// It cannot now, or it wants what it cannot have; a later try may go better.
    Refused(String),
    /// It trapped, ran too long or returned nonsense; its instance is gone.
    Broken(String),
}

/// A call that ended well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Processed {
    /// In the order in which they are published.
    pub messages: Vec<Message>,
    /// What the plugin keeps after the call.
    pub state: State,
    /// Wall-clock time that it took.
    pub took: Duration,
}

/// The customer's plugin.
#[allow(async_fn_in_trait, reason = "a feed stays on one thread")]
pub trait Plugin {
    /// Which version of its component it is.
    fn version(&self) -> String;
    /// Whether there is an instance that can be called. There is none after a fault, after a call that was given up
    /// half-way, and when the last one has grown too large.
    fn is_running(&self) -> bool;
    /// A fresh instance, configured; its error is for people.
    async fn start(&mut self, site: &Arc<Site>) -> Result<(), String>;
    /// Events in, messages out. A call that fails leaves no state.
    async fn process(&mut self, events: &[Arc<Event>]) -> Result<Processed, CallError>;
    /// Whether it decides how its feed signs in; the three calls below are for such a plugin alone.
    fn has_session(&self) -> bool;
    /// Before each CONNECT. A call that fails leaves no state.
    async fn connect(&mut self, request: &Request) -> Result<Login, ConnectError>;
    /// After CONNACK: what it publishes first.
    async fn connected(&mut self, welcome: &Welcome) -> Result<Processed, CallError>;
    /// Before an intended DISCONNECT: what it publishes last.
    async fn closing(&mut self, at: Timestamp) -> Result<Processed, CallError>;
    /// What it keeps.
    fn state(&self) -> &State;
    /// Keeps this instead; the instance is gone.
    fn restore(&mut self, state: State);
}

/// What a session tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The message with this number was acknowledged; the text is what the broker held against it, if anything.
    Acknowledged(u64, Option<String>),
    /// The session is over.
    Closed(String),
}

/// One sign-in to a broker.
#[allow(async_fn_in_trait, reason = "a feed stays on one thread")]
pub trait Session {
    /// Hands a message over; its number is one more than the last one's, from 0. Never waits.
    fn publish(&mut self, message: &Message) -> Result<(), String>;
    /// Waits for the next notice.
    async fn notice(&mut self) -> Notice;
    /// What the broker granted.
    fn welcome(&self) -> Welcome;
    /// The largest message that the broker takes, in bytes of topic and payload.
    fn largest(&self) -> usize;
    /// Messages that may wait for their acknowledgement.
    fn window(&self) -> usize;
    /// Sends what was handed over, then DISCONNECT.
    async fn close(self);
}

/// A broker to sign in to.
#[allow(async_fn_in_trait, reason = "a feed stays on one thread")]
pub trait Broker {
    /// The session type.
    type Session: Session;
    /// The sign-in that comes next, as the settings have it; `attempt`: failed ones since the last session.
    fn request(&self, at: Timestamp, attempt: u32) -> Request;
    /// Connects and signs in as the settings and the plugin want; the error is for people and holds no secret.
    async fn sign_in(&mut self, login: Login) -> Result<Self::Session, String>;
}

/// An event that the plugin cannot handle.
pub struct Aside<'a> {
    /// The feed's name.
    pub feed: &'a str,
    /// The description that the event refers to, as the feed sees it.
    pub site: Option<&'a Site>,
    /// The event, as the feed sees it.
    pub event: &'a Event,
    /// What the plugin did.
    pub reason: &'a str,
}

/// Keeps an event that was set aside, and says where.
pub type SetAside = Rc<dyn Fn(&Aside<'_>) -> Result<String, String>>;

/// A message that the broker does not take.
pub struct AsideMessage<'a> {
    /// The feed's name.
    pub feed: &'a str,
    /// The last event of the call that gave it; for a message of a sign-in the last that the feed has passed.
    pub through: Sequence,
    /// Which one of that call's messages it is.
    pub index: usize,
    /// The message.
    pub message: &'a Message,
    /// Its size in bytes, as the broker counts it.
    pub size: usize,
    /// What the broker takes, in bytes.
    pub largest: usize,
}

/// Keeps a message that was set aside, and says where.
pub type SetMessageAside = Rc<dyn Fn(&AsideMessage<'_>) -> Result<String, String>>;

/// A feed's settings, apart from plugin, broker and policy.
#[derive(Clone)]
pub struct Settings {
    /// For logs.
    pub name: String,
    /// Where `online` and `offline` are published, retained; a plugin that decides how to sign in has its own ways.
    pub status_topic: Option<String>,
    /// The clock that ages are measured against.
    pub clock: fn() -> Timestamp,
    /// A call that takes longer is counted.
    pub slow_call: Duration,
    /// Where events go that the plugin cannot handle.
    pub set_aside: SetAside,
    /// Where messages go that the broker does not take.
    pub set_message_aside: SetMessageAside,
}

/// A new version of a feed: its component, its settings, or both.
pub struct Replacement<P, B> {
    /// The new rights and limits.
    pub policy: Policy,
    /// Takes the old one's place if it starts and passes an event, on a copy of its state.
    pub plugin: P,
    /// Signed in to instead, where it is another than before.
    pub broker: Option<B>,
    /// Whether the new version runs now, or why the old one goes on.
    pub verdict: oneshot::Sender<Result<(), String>>,
}

/// New versions, each in a box: a channel sets room for 32 aside, however few it takes.
pub type Replacements<P, B> = mpsc::Receiver<Box<Replacement<P, B>>>;

/// What a feed's parts tell each other.
#[derive(Default)]
struct Shared {
    passed: Cell<Sequence>,
    rate_per_s: Cell<Option<u32>>,
}

/// Time that a stopping feed has for what it handed over.
const DRAIN: Duration = Duration::from_secs(10);

/// A feed that is to be run.
pub struct Feed<E, P, B> {
    /// Its settings.
    pub settings: Settings,
    /// Its rights and limits.
    pub policy: Policy,
    /// Where it reads.
    pub events: E,
    /// What it runs.
    pub plugin: P,
    /// Where it publishes.
    pub broker: B,
    /// What it shows.
    pub health: SharedHealth,
    /// New versions of it.
    pub replacements: Replacements<P, B>,
}

impl<E: Events, P: Plugin, B: Broker> Feed<E, P, B> {
    /// Runs until `stop` says so. A plugin that is switched off waits here for its replacement.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let Self { settings, policy, events, plugin, broker, health, mut replacements } = self;
        let shared = Rc::new(Shared::default());
        shared.rate_per_s.set(policy.rate_per_s);
        let kept = plugin.state().clone();
        let delivery = Delivery::new(&settings, events.cursor(), kept, Rc::clone(&shared), Rc::clone(&health));
        let transformer = Transformer::new(settings.clone(), policy, plugin, shared, Rc::clone(&health));
        let signing = Signing::new(settings, health);
        let mut course = Course { events, transformer, delivery, broker, signing };
        while !*stop.borrow() {
            // What is done once takes its room only while it lasts: of 20 KB for a feed 16 were for a sign-in.
            let session = tokio::select! {
                session = Box::pin(course.sign_in()) => session,
                Some(replacement) = replacements.recv() => {
                    Box::pin(course.replace(*replacement)).await;
                    continue;
                }
                _ = stop.wait_for(|stop| *stop) => break,
            };
            let session = match session {
                Ok(session) => session,
                Err(error) => {
                    course.signing.failed(&error);
                    continue;
                }
            };
            course.signing.succeeded();
            let Course { events, transformer, delivery, .. } = &mut course;
            let ended = delivery.serve(session, events, transformer, &mut replacements, &mut stop).await;
            transformer.signed_off();
            if let Ended::Stopped = ended {
                course.signing.health.borrow_mut().connected = false;
                return;
            }
            course.next(ended);
        }
    }
}

/// A feed on its way from one session to the next.
struct Course<E: Events, P, B> {
    events: E,
    transformer: Transformer<P>,
    delivery: Delivery<E::Cursor>,
    broker: B,
    signing: Signing,
}

impl<E: Events, P: Plugin, B: Broker> Course<E, P, B> {
    /// Pauses, asks the plugin, signs in. May be dropped at any time and called again.
    async fn sign_in(&mut self) -> Result<SignedIn<B::Session>, String> {
        if self.transformer.has_session() && self.transformer.is_off() {
            // A new version wakes it up.
            std::future::pending::<()>().await;
        }
        let clock = self.signing.settings.clock;
        sleep(self.signing.pause).await;
        // Nothing is signed or published under a clock that was never set.
        while !clock().is_plausible() {
            sleep(Duration::from_secs(1)).await;
        }
        let request = self.broker.request(clock(), self.signing.attempt);
        let (login, changes) = self.transformer.connect(&mut self.events, &request).await?;
        self.delivery.keep(&changes).await;
        let renew_at = login.renew_at;
        Ok(SignedIn { session: self.broker.sign_in(login).await?, renew_at })
    }

    async fn replace(&mut self, replacement: Replacement<P, B>) {
        let Some(replaced) = self.transformer.replace(replacement).await else { return };
        self.signing.begin_anew();
        if let Some(broker) = replaced.broker {
            self.broker = broker;
        }
    }

    fn next(&mut self, ended: Ended<B>) {
        match ended {
            Ended::Stopped | Ended::Renewed => {}
            Ended::Anew(broker) => {
                self.signing.begin_anew();
                if let Some(broker) = broker {
                    self.broker = broker;
                }
            }
            Ended::Lost { reason, worked } => self.signing.lost(&reason, worked),
        }
    }
}
