//! The rooms do not name each other: what one gives is made here into what the next one takes.

use std::rc::Rc;
use std::sync::Arc;

use bessai_domain::event::{Dispatch, Event, Sequence};
use bessai_domain::message::Message;
use bessai_domain::session::{Login, Request, Welcome};
use bessai_domain::site::Site;
use bessai_domain::state::State;
use bessai_domain::time::Timestamp;
use tokio::sync::mpsc;

use crate::app::now;
use crate::config::Reading;
use crate::pipeline::Input;
use crate::{config, feed, inference, journal, modbus, mqtt, plugin, tls};

impl From<modbus::Reported> for Input {
    fn from(reported: modbus::Reported) -> Self {
        match reported {
            modbus::Reported::Frame(at, frame) => Self::Frame(at, frame),
            modbus::Reported::Status(at, status) => Self::Status(at, status),
            modbus::Reported::Found(at, device, profile) => Self::Found(at, device, profile),
        }
    }
}

pub(super) fn device(device: &config::Device, sources: Vec<modbus::Source>) -> modbus::Settings {
    modbus::Settings {
        name: device.name.clone(),
        unit: device.unit,
        unit_was_given: device.unit_was_given,
        profile: Arc::clone(&device.profile),
        models: device.reading.models.clone(),
        timeout: device.reading.timeout,
        pacing: device.reading.pacing,
        blocks: device.reading.blocks,
        sources,
    }
}

pub(super) fn address(device: &config::Device) -> modbus::Address {
    match &device.address {
        config::Address::Network(config::Scheme::Tcp, host, port) => modbus::Address::Tcp(host.clone(), *port),
        config::Address::Network(config::Scheme::RtuOverTcp, host, port) => {
            modbus::Address::RtuOverTcp(host.clone(), *port)
        }
        config::Address::Network(config::Scheme::Tls, host, port) => modbus::Address::Tls(modbus::Tls {
            host: host.clone(),
            port: *port,
            secure: secure(device, host),
            explain: tls::explain_device,
        }),
        config::Address::Serial(serial) => modbus::Address::Serial(modbus::Serial {
            path: serial.path.clone(),
            baud: serial.baud,
            parity: match serial.parity {
                config::Parity::None => modbus::Parity::None,
                config::Parity::Even => modbus::Parity::Even,
                config::Parity::Odd => modbus::Parity::Odd,
            },
            stop_bits: serial.stop_bits,
            turnaround: serial.turnaround,
        }),
    }
}

/// Speaks TLS with a device.
fn secure(device: &config::Device, host: &str) -> modbus::Secure {
    let Reading { ca, identity, server_name, .. } = device.reading.clone();
    let settings = Rc::new(tls::Settings { ca, identity, alpn: None });
    let name: Rc<str> = server_name.as_deref().unwrap_or(host).into();
    Rc::new(move |stream| {
        let (settings, name) = (Rc::clone(&settings), Rc::clone(&name));
        Box::pin(async move {
            let stream = tls::connect(&settings, &name, stream).await?;
            Ok(Box::new(stream) as Box<dyn modbus::ByteStream>)
        })
    })
}

pub(super) fn model(model: &config::Model) -> inference::Settings {
    inference::Settings { name: model.name.clone(), file: model.file.clone(), device: model.device.clone() }
}

/// What the models' thread does with its results: back into the pipeline.
pub(super) fn results(inputs: mpsc::Sender<Input>) -> impl Fn(Timestamp, Dispatch) + Send {
    move |at, dispatch| {
        // When the pipeline is gone the gateway is stopping: nobody waits for the result.
        let _ = inputs.blocking_send(Input::Dispatch(at, dispatch));
    }
}

pub(super) fn journal(journal: &config::Journal) -> journal::Settings {
    journal::Settings {
        folder: journal.dir.clone(),
        sync: match journal.sync {
            config::Sync::Interval(interval) => journal::Sync::Interval(interval),
            config::Sync::EveryEvent => journal::Sync::EveryEvent,
            config::Sync::Memory => journal::Sync::Memory,
        },
        max_bytes: journal.max_size_bytes,
        max_age: journal.max_age,
    }
}

impl From<config::Start> for journal::Start {
    fn from(start: config::Start) -> Self {
        match start {
            config::Start::Now => Self::Now,
            config::Start::Oldest => Self::Oldest,
            config::Start::At(at) => Self::At(at),
        }
    }
}

impl feed::Events for journal::Reader {
    type Cursor = journal::Cursor;

    fn site(&self) -> Option<Arc<Site>> {
        Self::site(self)
    }

    async fn next(&mut self) -> Vec<Arc<Event>> {
        Self::next(self, journal::CALL).await
    }

    fn cursor(&self) -> journal::Cursor {
        Self::cursor(self)
    }
}

impl feed::Cursor for journal::Cursor {
    fn passed(&mut self, sequence: Sequence, at: Timestamp, state: &State) {
        Self::passed(self, sequence, at, state);
    }

    async fn keep(&mut self, state: &State) {
        Self::keep(self, state).await;
    }
}

impl feed::Plugin for plugin::Plugin {
    fn version(&self) -> String {
        Self::version(self)
    }

    fn is_running(&self) -> bool {
        Self::is_running(self)
    }

    async fn start(&mut self, site: &Arc<Site>) -> Result<(), String> {
        Self::start(self, site, now().nanos()).await
    }

    async fn process(&mut self, events: &[Arc<Event>]) -> Result<feed::Processed, feed::CallError> {
        let processed = Self::process(self, events, now().nanos()).await;
        Ok(processed?.into())
    }

    fn has_session(&self) -> bool {
        Self::has_session(self)
    }

    async fn connect(&mut self, request: &Request) -> Result<Login, feed::ConnectError> {
        let login = Self::connect(self, request).await;
        login.map_err(|error| match error {
            plugin::ConnectError::Refused(reason) => feed::ConnectError::Refused(reason),
            plugin::ConnectError::Broken(reason) => feed::ConnectError::Broken(reason),
        })
    }

    async fn connected(&mut self, welcome: &Welcome) -> Result<feed::Processed, feed::CallError> {
        Ok(Self::connected(self, welcome).await?.into())
    }

    async fn closing(&mut self, at: Timestamp) -> Result<feed::Processed, feed::CallError> {
        Ok(Self::closing(self, at).await?.into())
    }

    fn state(&self) -> &State {
        Self::state(self)
    }

    fn restore(&mut self, state: State) {
        Self::restore(self, state);
    }
}

impl From<plugin::Processed> for feed::Processed {
    fn from(processed: plugin::Processed) -> Self {
        Self { messages: processed.messages, state: processed.state, took: processed.took }
    }
}

impl From<plugin::CallError> for feed::CallError {
    fn from(error: plugin::CallError) -> Self {
        match error {
            plugin::CallError::Retry(reason) => Self::Retry(reason),
            plugin::CallError::Reject(reason) => Self::Reject(reason),
            plugin::CallError::Broken(reason) => Self::Broken(reason),
        }
    }
}

impl feed::Broker for mqtt::Broker {
    type Session = mqtt::Session;

    fn request(&self, at: Timestamp, attempt: u32) -> Request {
        Self::request(self, at, attempt)
    }

    async fn sign_in(&mut self, login: Login) -> Result<mqtt::Session, String> {
        Self::sign_in(self, login).await
    }
}

impl feed::Session for mqtt::Session {
    fn publish(&mut self, message: &Message) -> Result<(), String> {
        Self::publish(self, message)
    }

    async fn notice(&mut self) -> feed::Notice {
        match Self::notice(self).await {
            mqtt::Notice::Acknowledged(number, complaint) => feed::Notice::Acknowledged(number, complaint),
            mqtt::Notice::Closed(reason) => feed::Notice::Closed(reason),
        }
    }

    fn welcome(&self) -> Welcome {
        Self::welcome(self, now())
    }

    fn largest(&self) -> usize {
        Self::largest(self)
    }

    fn window(&self) -> usize {
        Self::window(self)
    }

    async fn close(self) {
        Self::close(self).await;
    }
}
