//! The interfaces that a feed is written against: where its events come from, what turns them into messages and which
//! broker takes those. The journal, the plugin runtime and the MQTT client implement them.
//!
//! A feed stays on one thread, so none of these futures need to be `Send`.

use std::sync::Arc;
use std::time::Duration;

use crate::command::{Action, ArrivedMessage, InboundMessage, Subscription};
use crate::event::{RecordedEvent, Sequence};
use crate::message::{Message, Qos};
use crate::proposal::WriteOutcome;
use crate::refusal::{Closing, Refusal};
use crate::session::{Login, SignInRequest, Welcome};
use crate::site::Site;
use crate::state::PluginState;
use crate::time::{Moment, MonotonicTime, Timestamp};

/// How much may be handed over at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimit {
    /// Number of events.
    pub events: usize,
    /// Number of values in all frames together.
    pub values: usize,
}

/// The most that one call of a plugin gets: 64 KiB of values, and a fair share of the processor.
pub const CALL_LIMIT: BatchLimit = BatchLimit { events: 64, values: 8192 };

/// The events of the site, in order, read at the feed's own pace.
#[allow(async_fn_in_trait, reason = "a feed stays on one thread")]
pub trait Events {
    /// Moves the feed's position.
    type Cursor: Cursor;
    /// The site description that the next event refers to.
    fn site(&self) -> Option<Arc<Site>>;
    /// Waits for the next batch, at most [`CALL_LIMIT`]; it is empty if there are no further events, which only happens in a
    /// backlog. Cancelling the future loses no event.
    async fn next(&mut self) -> Vec<RecordedEvent>;
    /// The feed's position.
    fn cursor(&self) -> Self::Cursor;
    /// If the oldest event that is not delivered is older than `age`, leaves the events up to now to a backlog with the state
    /// that is saved, and continues after them. True if it did.
    fn leave_backlog(&mut self, age: Duration, now: MonotonicTime) -> bool;
    /// The oldest backlog, of this run or an earlier one, and the plugin's state that belongs to it.
    fn backlog(&self) -> Option<(Self, PluginState)>
    where
        Self: Sized;
}

/// A feed's position in the journal, stored together with its plugin's state.
#[allow(async_fn_in_trait, reason = "a feed stays on one thread")]
pub trait Cursor {
    /// Everything up to the event `sequence`, which happened at `at`, is delivered; `state` is the plugin's state after
    /// it.
    fn advance(&mut self, sequence: Sequence, at: Timestamp, state: &PluginState);
    /// Replaces the plugin's state without moving the position. The state is durable when this returns, unless the disk
    /// fails.
    async fn save_state(&mut self, state: &PluginState);
    /// All events of this backlog are delivered.
    fn finish_backlog(&mut self);
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
    /// It trapped, exceeded a limit or returned invalid data; its instance is gone.
    #[error("{0}")]
    Broken(String),
    /// It does not start with its configuration: only another one, or another version, helps.
    #[error("refuses its configuration: {0}")]
    Refused(String),
    /// This machine cannot run it now, for example because memory is short; the plugin is not at fault.
    #[error("{0}")]
    Host(String),
}

/// Why a plugin returned no login.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// It cannot sign in now, or asks for something that it has no right to; a later attempt may succeed.
    #[error("{0}")]
    Refused(String),
    /// It trapped, exceeded a limit or returned invalid data; its instance is gone.
    #[error("{0}")]
    Broken(String),
}

/// The result of a successful call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Processed {
    /// In the order in which they are published.
    pub messages: Vec<Message>,
    /// The plugin's state after the call.
    pub state: PluginState,
    /// Wall-clock duration of the call.
    pub took: Duration,
}

/// The result of a successful call with a message from the broker.
#[derive(Clone, Debug, PartialEq)]
pub struct Received {
    /// In the order in which they are carried out.
    pub actions: Vec<Action>,
    /// The plugin's state after the call.
    pub state: PluginState,
    /// Wall-clock duration of the call.
    pub took: Duration,
}

/// The customer's plugin.
#[allow(async_fn_in_trait, reason = "a feed stays on one thread")]
pub trait Plugin {
    /// Identifies the version of its component.
    fn version(&self) -> String;
    /// Whether there is an instance to call. There is none after a fault, after a call that was cancelled, and when the
    /// last instance has grown too large.
    fn is_running(&self) -> bool;
    /// Starts a fresh instance and configures it with the site's description. The error is [`CallError::Broken`],
    /// [`CallError::Refused`] or [`CallError::Host`].
    async fn start(&mut self, site: &Arc<Site>, now: Timestamp) -> Result<(), CallError>;
    /// Turns events into messages. A call that fails leaves the state unchanged.
    async fn process(&mut self, events: &[RecordedEvent], now: Moment) -> Result<Processed, CallError>;
    /// Whether the plugin decides how its feed signs in; `connect`, `connected` and `closing` are called only then.
    fn has_session(&self) -> bool;
    /// Called before each CONNECT. A call that fails leaves the state unchanged.
    async fn connect(&mut self, request: &SignInRequest) -> Result<Login, ConnectError>;
    /// Called after CONNACK; returns the first messages of the session.
    async fn connected(&mut self, welcome: &Welcome) -> Result<Processed, CallError>;
    /// Called before an intended DISCONNECT; returns the last messages of the session.
    async fn closing(&mut self, at: Timestamp) -> Result<Processed, CallError>;
    /// Whether the plugin receives messages from the broker; `subscriptions`, `receive` and `wrote` are called only then.
    fn has_commands(&self) -> bool;
    /// Called after CONNACK, before `connected`: what to subscribe to in this session.
    async fn subscriptions(&mut self, at: Timestamp) -> Result<Vec<Subscription>, CallError>;
    /// A message arrived. A call that fails leaves the state unchanged.
    async fn receive(&mut self, message: &InboundMessage) -> Result<Received, CallError>;
    /// What became of a proposal; returns messages about it.
    async fn wrote(&mut self, at: Timestamp, reference: &str, outcome: &WriteOutcome) -> Result<Processed, CallError>;
    /// Processor time that all its calls together have used so far, those that failed included.
    fn processor_time(&self) -> Duration;
    /// Its current state.
    fn state(&self) -> &PluginState;
    /// Replaces its state and drops the instance.
    fn restore(&mut self, state: PluginState);
    /// Another plugin of the same version with a state of its own; it has no instance yet.
    fn twin(&self, state: PluginState) -> Self
    where
        Self: Sized;
}

/// What happened in a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The broker acknowledged a message.
    Acknowledged {
        /// The message's number in the order of publishing, from 0.
        number: u64,
        /// Why the broker did not take it, if it refused it.
        refusal: Option<Refusal>,
    },
    /// A message of a subscription arrived.
    Arrived {
        /// The message; boxed because most notices are acknowledgements.
        message: Box<ArrivedMessage>,
        /// What [`Session::acknowledge`] takes when the message is handled; none if it needs no acknowledgement.
        receipt: Option<Receipt>,
    },
    /// The broker answered subscriptions: each filter, with what it granted or why it refused.
    Subscribed(Vec<(String, Result<Qos, String>)>),
    /// The session is over.
    Closed(Closing),
}

/// Identifies a message that arrived and is not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt(pub u16);

/// One sign-in to a broker.
#[allow(async_fn_in_trait, reason = "a feed stays on one thread")]
pub trait Session {
    /// Hands a message over. Messages are numbered from 0 in this order. Never waits.
    fn publish(&mut self, message: &Message) -> Result<(), String>;
    /// Subscribes; the answer comes as a notice. The sign-in's login must have said that the feed receives messages.
    fn subscribe(&mut self, subscriptions: &[Subscription]) -> Result<(), String>;
    /// A message that arrived is handled. Messages that are not acknowledged are sent again in a later session, if the
    /// broker keeps this one.
    fn acknowledge(&mut self, receipt: Receipt);
    /// Waits for the next notice; the session makes progress only while somebody waits here. Cancelling the future loses
    /// no notice.
    async fn notice(&mut self) -> Notice;
    /// What the broker granted; `at` is the time of the CONNACK as the plugin sees it.
    fn welcome(&self, at: Timestamp) -> Welcome;
    /// The largest message that the broker takes, in bytes of topic, payload and properties.
    fn largest(&self) -> usize;
    /// How many messages may wait for their acknowledgement.
    fn window(&self) -> usize;
    /// Sends what was handed over, then DISCONNECT.
    async fn close(self);
}

/// Why a sign-in failed, for people; contains no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignInError {
    /// No client can reach the broker.
    #[error("{0}")]
    Unreachable(String),
    /// It does not accept this client, or the login cannot be used.
    #[error("{0}")]
    Failed(String),
}

/// A broker to sign in to.
#[allow(async_fn_in_trait, reason = "a feed stays on one thread")]
pub trait Broker {
    /// The session type.
    type Session: Session;
    /// The next sign-in as the settings define it; `attempt` counts the failed ones since the last session.
    fn request(&self, at: Timestamp, attempt: u32) -> SignInRequest;
    /// Connects and signs in as the settings and the plugin want.
    async fn sign_in(&mut self, login: Login) -> Result<Self::Session, SignInError>;
}
