//! One task per feed: events from the journal, through the customer's plugin, to the customer's broker.
//!
//! The call is the unit of delivery: the feed's place in the journal moves past a call when its messages, and those of
//! all earlier calls, are acknowledged. Plugin, broker and journal are given by whoever connects the rooms.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bessai_domain::event::{Event, Sequence};
use bessai_domain::message::{Message, Qos};
use bessai_domain::site::Site;
use bessai_domain::time::Timestamp;
use bessai_domain::view::View;
use tokio::sync::watch;
use tokio::time::sleep;

mod backoff;
mod calls;
mod delivery;
mod transform;

use backoff::Backoff;
use delivery::{Delivery, Ended};
use transform::Transformer;

/// The events of the site, in order.
#[allow(async_fn_in_trait, reason = "a feed stays on one thread")]
pub trait Events {
    /// The description that the next event refers to.
    fn site(&self) -> Option<Arc<Site>>;
    /// Waits for the next events of one call.
    async fn next(&mut self) -> Vec<Arc<Event>>;
    /// Everything up to here was delivered.
    fn passed(&mut self, sequence: Sequence);
    /// Events that wait.
    fn lag(&self) -> usize;
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

/// The customer's plugin.
#[allow(async_fn_in_trait, reason = "a feed stays on one thread")]
pub trait Plugin {
    /// A fresh instance, configured; its error is for people.
    async fn start(&mut self, site: &Arc<Site>) -> Result<(), String>;
    /// Events in, messages out.
    async fn process(&mut self, events: &[Arc<Event>]) -> Result<Vec<Message>, CallError>;
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
    /// Connects and signs in; the error is for people and holds no secret.
    async fn sign_in(&mut self) -> Result<Self::Session, String>;
}

/// A feed's settings, apart from plugin and broker.
pub struct Settings {
    /// For logs.
    pub name: String,
    /// Topic filters that it may publish under; any topic where there is no list.
    pub topics: Option<Vec<String>>,
    /// The highest quality of service that it gets.
    pub qos: Qos,
    /// Devices that it may read; all where there is no list.
    pub read: Option<Vec<String>>,
    /// Where `online` and `offline` are published, retained.
    pub status_topic: Option<String>,
    /// The clock that "history" is measured against.
    pub clock: fn() -> Timestamp,
}

/// What `/health` shows of a feed.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// Signed in now.
    pub connected: bool,
    /// Messages acknowledged since the start.
    pub delivered: u64,
    /// Events set aside because the plugin cannot handle them.
    pub set_aside: u64,
    /// Messages refused by the checks.
    pub refused: u64,
    /// Events that wait.
    pub lag: usize,
    /// Why it is off, for good.
    pub off: Option<String>,
}

/// Shared with whoever shows it.
pub type SharedHealth = Rc<RefCell<Health>>;

/// Time that a stopping feed has for what it handed over.
const DRAIN: Duration = Duration::from_secs(10);

/// Runs until `stop` says so, or the plugin is switched off.
pub async fn run<E: Events, P: Plugin, B: Broker>(
    settings: Settings,
    mut events: E,
    plugin: P,
    mut broker: B,
    health: SharedHealth,
    mut stop: watch::Receiver<bool>,
) {
    let view = View::new(settings.read.clone());
    let mut transformer = Transformer::new(&settings, plugin, view, Rc::clone(&health));
    let mut delivery = Delivery::new(&settings, Rc::clone(&health));
    let mut backoff = Backoff::default();
    let mut said = Said::default();
    while !*stop.borrow() {
        if !(settings.clock)().is_plausible() {
            stopped_within(&mut stop, Duration::from_secs(1)).await;
            continue;
        }
        let signing_in = tokio::select! {
            session = broker.sign_in() => session,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let session = match signing_in {
            Ok(session) => session,
            Err(error) => {
                said.once(&settings.name, &error);
                stopped_within(&mut stop, backoff.next()).await;
                continue;
            }
        };
        said.signed_in(&settings.name);
        health.borrow_mut().connected = true;
        let ended = delivery.serve(session, &mut events, &mut transformer, &mut stop, &mut backoff).await;
        health.borrow_mut().connected = false;
        match ended {
            Ended::Stopped => return,
            Ended::SwitchedOff(reason) => {
                tracing::error!(feed = %settings.name, "switched off: {reason}");
                health.borrow_mut().off = Some(reason);
                return;
            }
            Ended::Lost(reason) => {
                said.once(&settings.name, &reason);
                stopped_within(&mut stop, backoff.next()).await;
            }
        }
    }
}

/// Waits that long, or until the stop.
async fn stopped_within(stop: &mut watch::Receiver<bool>, wait: Duration) {
    tokio::select! {
        () = sleep(wait) => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

/// What goes wrong again and again is said once, until it changes or heals.
#[derive(Default)]
struct Said(Option<String>);

impl Said {
    fn once(&mut self, feed: &str, trouble: &str) {
        if self.0.as_deref() != Some(trouble) {
            tracing::warn!(%feed, "not signed in: {trouble}; trying on");
            self.0 = Some(trouble.to_owned());
        }
    }

    fn signed_in(&mut self, feed: &str) {
        tracing::info!(%feed, "signed in");
        self.0 = None;
    }
}
