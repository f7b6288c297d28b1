//! The interfaces that a component exports, each in whichever version of the contract the component has it.

use wasmtime::component::{Component, Instance, InstancePre};
use wasmtime::{Error, Store};

use crate::bindings::commands::{self, Action, Inbound, Subscription};
use crate::bindings::session::{self, Login, Request, Welcome};
use crate::bindings::{Event, Failure, Message, Outcome, Site, transform};
use crate::previous;
use crate::store_data::StoreData;

/// The export of a plugin that decides how its feed signs in.
const SESSION: &str = "bessai:edge/session@0.2.0";
/// The export of a plugin that receives messages.
const COMMANDS: &str = "bessai:edge/commands@0.2.0";

/// Where a component exports its interfaces.
pub(crate) struct ExportIndices {
    transform: TransformIndices,
    session: Option<SessionIndices>,
    commands: Option<commands::GuestIndices>,
}

enum TransformIndices {
    Current(transform::GuestIndices),
    Previous(previous::TransformIndices),
}

enum SessionIndices {
    Current(session::GuestIndices),
    Previous(previous::SessionIndices),
}

/// The functions of a running component. A call into an interface that it does not export is an error.
pub(crate) struct Exports {
    transform: Transform,
    session: Option<Session>,
    commands: Option<commands::Guest>,
}

enum Transform {
    Current(transform::Guest),
    Previous(previous::Transform),
}

enum Session {
    Current(session::Guest),
    Previous(previous::Session),
}

/// What a plugin's function returned.
type Returned<T> = Result<T, Error>;

impl ExportIndices {
    pub(crate) fn find(component: &Component, pre: &InstancePre<StoreData>) -> Result<Self, Error> {
        let has = |interface: &str| component.get_export_index(None, interface).is_some();
        let transform = match previous::TransformIndices::find(pre) {
            Some(indices) => TransformIndices::Previous(indices),
            None => TransformIndices::Current(transform::GuestIndices::new(pre)?),
        };
        let session = match has(SESSION) {
            true => Some(SessionIndices::Current(session::GuestIndices::new(pre)?)),
            false => previous::SessionIndices::find(pre).map(SessionIndices::Previous),
        };
        let commands = has(COMMANDS).then(|| commands::GuestIndices::new(pre)).transpose()?;
        Ok(Self { transform, session, commands })
    }

    pub(crate) fn has_session(&self) -> bool {
        self.session.is_some()
    }

    /// `commands` of 0.1.0 was never called by any host, so it does not count.
    pub(crate) fn has_commands(&self) -> bool {
        self.commands.is_some()
    }

    pub(crate) fn load(&self, store: &mut Store<StoreData>, instance: &Instance) -> Result<Exports, Error> {
        let transform = match &self.transform {
            TransformIndices::Current(indices) => Transform::Current(indices.load(&mut *store, instance)?),
            TransformIndices::Previous(indices) => Transform::Previous(indices.load(store, instance)?),
        };
        let session = match &self.session {
            Some(SessionIndices::Current(indices)) => Some(Session::Current(indices.load(&mut *store, instance)?)),
            Some(SessionIndices::Previous(indices)) => Some(Session::Previous(indices.load(store, instance)?)),
            None => None,
        };
        let commands = self.commands.as_ref().map(|indices| indices.load(&mut *store, instance)).transpose()?;
        Ok(Exports { transform, session, commands })
    }
}

impl Exports {
    pub(crate) async fn configure(
        &self,
        store: &mut Store<StoreData>,
        site: Site,
        config: String,
    ) -> Returned<Result<(), String>> {
        match &self.transform {
            Transform::Current(transform) => transform.call_configure(store, &site, &config).await,
            Transform::Previous(transform) => transform.configure(store, site, config).await,
        }
    }

    pub(crate) async fn process(
        &self,
        store: &mut Store<StoreData>,
        events: Vec<Event>,
    ) -> Returned<Result<Vec<Message>, Failure>> {
        match &self.transform {
            Transform::Current(transform) => transform.call_process(store, &events).await,
            Transform::Previous(transform) => transform.process(store, events).await,
        }
    }

    pub(crate) async fn connect(
        &self,
        store: &mut Store<StoreData>,
        request: Request,
    ) -> Returned<Result<Login, String>> {
        match self.session()? {
            Session::Current(session) => session.call_connect(store, &request).await,
            Session::Previous(session) => session.connect(store, request).await,
        }
    }

    pub(crate) async fn connected(
        &self,
        store: &mut Store<StoreData>,
        welcome: Welcome,
    ) -> Returned<Result<Vec<Message>, Failure>> {
        match self.session()? {
            Session::Current(session) => session.call_connected(store, welcome).await,
            Session::Previous(session) => session.connected(store, welcome).await,
        }
    }

    pub(crate) async fn closing(&self, store: &mut Store<StoreData>, at: u64) -> Returned<Vec<Message>> {
        match self.session()? {
            Session::Current(session) => session.call_closing(store, at).await,
            Session::Previous(session) => session.closing(store, at).await,
        }
    }

    pub(crate) async fn subscriptions(&self, store: &mut Store<StoreData>) -> Returned<Vec<Subscription>> {
        self.commands()?.call_subscriptions(store).await
    }

    pub(crate) async fn receive(
        &self,
        store: &mut Store<StoreData>,
        message: Inbound,
    ) -> Returned<Result<Vec<Action>, Failure>> {
        self.commands()?.call_receive(store, &message).await
    }

    pub(crate) async fn wrote(
        &self,
        store: &mut Store<StoreData>,
        at: u64,
        reference: String,
        outcome: Outcome,
    ) -> Returned<Result<Vec<Message>, Failure>> {
        self.commands()?.call_wrote(store, at, &reference, &outcome).await
    }

    fn session(&self) -> Result<&Session, Error> {
        self.session.as_ref().ok_or_else(|| Error::msg("it does not export `session`"))
    }

    fn commands(&self) -> Result<&commands::Guest, Error> {
        self.commands.as_ref().ok_or_else(|| Error::msg("it does not export `commands`"))
    }
}
