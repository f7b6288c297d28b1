//! Version 0.1.0 of the contract, for plugins that were built against it: what its types and interfaces have different from
//! the version in `wit/`. `wit-0.1.0/` holds its text.
//!
//! Types of components are compared by their structure, so every type that did not change is that of [`crate::bindings`].

use wasmtime::component::{ComponentExportIndex, ComponentType, Instance, InstancePre, Lift, Linker, Lower, TypedFunc};
use wasmtime::{Error, Store, StoreContextMut};

use crate::bindings as current;
use crate::bindings::bessai::edge::log::Level;
use crate::bindings::bessai::edge::state::StateError;
use crate::bindings::bessai::edge::{log, secrets, state};
use crate::bindings::session::{Endpoint, Password, Protocol, Request, Welcome};
use crate::bindings::{Failure, Message, Site};
use crate::store_data::StoreData;

/// Every plugin exports it.
const TRANSFORM: &str = "bessai:edge/transform@0.1.0";
/// The export of a plugin that decides how its feed signs in.
const SESSION: &str = "bessai:edge/session@0.1.0";

/// An event, without the bodies that were added since.
#[derive(ComponentType, Lower)]
#[component(record)]
pub(crate) struct Event {
    sequence: u64,
    at: u64,
    historical: bool,
    body: EventBody,
}

#[derive(ComponentType, Lower)]
#[component(variant)]
pub(crate) enum EventBody {
    #[component(name = "site")]
    Site(Site),
    #[component(name = "gap")]
    Gap(current::Gap),
    #[component(name = "frame")]
    Frame(current::Frame),
    #[component(name = "safety")]
    Safety(current::Safety),
    #[component(name = "anomaly")]
    Anomaly(current::Anomaly),
    #[component(name = "dispatch")]
    Dispatch(current::Dispatch),
    #[component(name = "device")]
    Device(current::DeviceStatus),
    #[component(name = "heartbeat")]
    Heartbeat,
    #[component(name = "other")]
    Other(current::Other),
}

/// A login, which could not be for provisioning only.
#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct Login {
    endpoint: Option<Endpoint>,
    protocol: Option<Protocol>,
    #[component(name = "client-id")]
    client_id: Option<String>,
    username: Option<String>,
    password: Option<Password>,
    #[component(name = "clean-start")]
    clean_start: Option<bool>,
    #[component(name = "session-expiry-s")]
    session_expiry_s: Option<u32>,
    #[component(name = "keep-alive-s")]
    keep_alive_s: Option<u16>,
    will: Option<Message>,
    properties: Vec<(String, String)>,
    #[component(name = "renew-at")]
    renew_at: Option<u64>,
}

/// An error of `secrets`, which could only make HMACs.
#[derive(ComponentType, Lower)]
#[component(variant)]
enum SecretError {
    #[component(name = "unknown")]
    Unknown,
    #[component(name = "denied")]
    Denied,
}

/// The same event, if a plugin of this version knows its kind.
fn event(event: current::Event) -> Option<Event> {
    let body = match event.body {
        current::EventBody::Site(site) => EventBody::Site(site),
        current::EventBody::Gap(gap) => EventBody::Gap(gap),
        current::EventBody::Frame(frame) => EventBody::Frame(frame),
        current::EventBody::Safety(safety) => EventBody::Safety(safety),
        current::EventBody::Anomaly(anomaly) => EventBody::Anomaly(anomaly),
        current::EventBody::Dispatch(dispatch) => EventBody::Dispatch(dispatch),
        current::EventBody::Device(status) => EventBody::Device(status),
        current::EventBody::Heartbeat => EventBody::Heartbeat,
        current::EventBody::Other(other) => EventBody::Other(other),
        current::EventBody::Write(_) => return None,
    };
    Some(Event { sequence: event.sequence, at: event.at, historical: event.historical, body })
}

impl From<Login> for current::session::Login {
    fn from(login: Login) -> Self {
        Self {
            endpoint: login.endpoint,
            protocol: login.protocol,
            client_id: login.client_id,
            username: login.username,
            password: login.password,
            clean_start: login.clean_start,
            session_expiry_s: login.session_expiry_s,
            keep_alive_s: login.keep_alive_s,
            will: login.will,
            properties: login.properties,
            renew_at: login.renew_at,
            provisioning: false,
        }
    }
}

/// Provides the interfaces of 0.1.0 that a plugin may import.
pub(crate) fn add_to_linker(linker: &mut Linker<StoreData>) -> Result<(), Error> {
    type Context<'a> = StoreContextMut<'a, StoreData>;
    let mut instance = linker.instance("bessai:edge/log@0.1.0")?;
    instance.func_wrap("write", |mut context: Context<'_>, (level, message): (Level, String)| {
        log::Host::write(context.data_mut(), level, message);
        Ok(())
    })?;
    let mut instance = linker.instance("bessai:edge/secrets@0.1.0")?;
    instance.func_wrap("hmac-sha256", |mut context: Context<'_>, (secret, data): (String, Vec<u8>)| {
        let signed = secrets::Host::hmac_sha256(context.data_mut(), secret, data);
        let signed: Result<Vec<u8>, SecretError> = signed.map_err(|error| match error {
            secrets::SecretError::Unknown => SecretError::Unknown,
            secrets::SecretError::Denied | secrets::SecretError::Unsuitable(_) => SecretError::Denied,
        });
        Ok((signed,))
    })?;
    let mut instance = linker.instance("bessai:edge/state@0.1.0")?;
    instance.func_wrap("get", |mut context: Context<'_>, (key,): (String,)| {
        Ok((state::Host::get(context.data_mut(), key),))
    })?;
    instance.func_wrap("set", |mut context: Context<'_>, (key, value): (String, Vec<u8>)| {
        let set: Result<(), StateError> = state::Host::set(context.data_mut(), key, value);
        Ok((set,))
    })?;
    instance.func_wrap("delete", |mut context: Context<'_>, (key,): (String,)| {
        state::Host::delete(context.data_mut(), key);
        Ok(())
    })
}

/// Where a component exports `transform` of 0.1.0.
pub(crate) struct TransformIndices {
    configure: ComponentExportIndex,
    process: ComponentExportIndex,
}

/// Where a component exports `session` of 0.1.0.
pub(crate) struct SessionIndices {
    connect: ComponentExportIndex,
    connected: ComponentExportIndex,
    closing: ComponentExportIndex,
}

impl TransformIndices {
    /// None if the component does not export it.
    pub(crate) fn find(pre: &InstancePre<StoreData>) -> Option<Self> {
        let find = exports(pre, TRANSFORM)?;
        Some(Self { configure: find("configure")?, process: find("process")? })
    }

    pub(crate) fn load(&self, store: &mut Store<StoreData>, instance: &Instance) -> Result<Transform, Error> {
        Ok(Transform {
            configure: instance.get_typed_func(&mut *store, self.configure)?,
            process: instance.get_typed_func(&mut *store, self.process)?,
        })
    }
}

impl SessionIndices {
    /// None if the component does not export it.
    pub(crate) fn find(pre: &InstancePre<StoreData>) -> Option<Self> {
        let find = exports(pre, SESSION)?;
        Some(Self { connect: find("connect")?, connected: find("connected")?, closing: find("closing")? })
    }

    pub(crate) fn load(&self, store: &mut Store<StoreData>, instance: &Instance) -> Result<Session, Error> {
        Ok(Session {
            connect: instance.get_typed_func(&mut *store, self.connect)?,
            connected: instance.get_typed_func(&mut *store, self.connected)?,
            closing: instance.get_typed_func(&mut *store, self.closing)?,
        })
    }
}

/// Finds the functions of an exported interface.
fn exports<'a>(
    pre: &'a InstancePre<StoreData>,
    interface: &str,
) -> Option<impl Fn(&str) -> Option<ComponentExportIndex> + 'a> {
    let component = pre.component();
    let interface = component.get_export_index(None, interface)?;
    Some(move |function: &str| component.get_export_index(Some(&interface), function))
}

/// A function of the plugin that returns one value.
type Function<Parameters, Returned> = TypedFunc<Parameters, (Returned,)>;

/// The functions of `transform` of a running component.
pub(crate) struct Transform {
    configure: Function<(Site, String), Result<(), String>>,
    process: Function<(Vec<Event>,), Result<Vec<Message>, Failure>>,
}

/// The functions of `session` of a running component.
pub(crate) struct Session {
    connect: Function<(Request,), Result<Login, String>>,
    connected: Function<(Welcome,), Result<Vec<Message>, Failure>>,
    closing: Function<(u64,), Vec<Message>>,
}

impl Transform {
    pub(crate) async fn configure(
        &self,
        store: &mut Store<StoreData>,
        site: Site,
        config: String,
    ) -> Result<Result<(), String>, Error> {
        Ok(self.configure.call_async(store, (site, config)).await?.0)
    }

    pub(crate) async fn process(
        &self,
        store: &mut Store<StoreData>,
        events: Vec<current::Event>,
    ) -> Result<Result<Vec<Message>, Failure>, Error> {
        let events = events.into_iter().filter_map(event).collect();
        Ok(self.process.call_async(store, (events,)).await?.0)
    }
}

impl Session {
    pub(crate) async fn connect(
        &self,
        store: &mut Store<StoreData>,
        request: Request,
    ) -> Result<Result<current::session::Login, String>, Error> {
        Ok(self.connect.call_async(store, (request,)).await?.0.map(Into::into))
    }

    pub(crate) async fn connected(
        &self,
        store: &mut Store<StoreData>,
        welcome: Welcome,
    ) -> Result<Result<Vec<Message>, Failure>, Error> {
        Ok(self.connected.call_async(store, (welcome,)).await?.0)
    }

    pub(crate) async fn closing(&self, store: &mut Store<StoreData>, at: u64) -> Result<Vec<Message>, Error> {
        Ok(self.closing.call_async(store, (at,)).await?.0)
    }
}
