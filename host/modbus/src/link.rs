//! An open stream with tokio-modbus's client on it. It is used for one request at a time and not after an error.

use std::time::Duration;

use bessai_domain::plan::ReadRequest;
use bessai_domain::register::{Table, WriteFunction};
use bessai_domain::write::WriteRequest;
use tokio::time::{Instant, timeout};
use tokio_modbus::client::{Client, Context, rtu, tcp};
use tokio_modbus::prelude::{Response, Slave, SlaveContext};
use tokio_modbus::{ExceptionCode, ProtocolError, Request as ModbusRequest};

use crate::irregularity::Notes;
use crate::reply::{self, Reply};
use crate::reply_filter::{Contradiction, Habits, LateReplies, ReplyFilter};
use crate::reply_timer::ReplyTimer;
use crate::request::{BusRequest, no_reply};
use crate::stream::{SharedStream, Unsolicited};
use crate::transport::{Dial, Medium};

/// Silence after which a bus is drained: longer than the holes in a frame that a converter forwards in pieces, and short
/// because the other units wait.
const DRAIN_SILENCE: Duration = Duration::from_millis(200);
/// The same on a bus with other masters, whose frames leave less time between them.
const SHARED_DRAIN_SILENCE: Duration = Duration::from_millis(20);
/// Time for a second reply where another master asks the same unit: which of the two is the gateway's is unknown.
const SECOND_REPLY_TIME: Duration = Duration::from_millis(100);

/// How long a reply is waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReplyLimit {
    /// When the request is sent.
    pub(crate) asked_at: Instant,
    pub(crate) duration: Duration,
}

/// Why a request has no valid reply.
#[derive(Debug)]
pub(crate) enum LinkError {
    /// No reply arrived within the time limit.
    Timeout(String),
    /// A whole frame arrived that cannot be the reply; the stream can be used further.
    Invalid(String),
    /// The stream is closed, or what arrives on it makes no sense.
    Broken(String),
}

impl LinkError {
    /// The error as text.
    pub(crate) fn reason(&self) -> &str {
        let (Self::Timeout(reason) | Self::Invalid(reason) | Self::Broken(reason)) = self;
        reason
    }
}

pub(crate) struct Link {
    client: Context,
    stream: SharedStream,
    medium: Medium,
    timer: ReplyTimer,
}

impl Link {
    /// Opens a stream; `habits` is what was learnt on earlier ones.
    pub(crate) async fn open(dialer: &dyn Dial, limit: Duration, habits: Habits) -> Result<Self, String> {
        let opened = timeout(limit, dialer.dial()).await;
        let stream =
            opened.map_err(|_| format!("failed to connect to {}: timed out after {limit:?}", dialer.name()))??;
        stream.name(dialer.name());
        let medium = dialer.medium();
        stream.filter_replies(ReplyFilter::new(medium.is_rtu(), habits, dialer.counts()));
        Ok(Self::on(stream, medium))
    }

    fn on(stream: SharedStream, medium: Medium) -> Self {
        // The unit id is set before each request.
        let client = if medium.is_rtu() {
            rtu::attach_slave(stream.clone(), Slave(0))
        } else {
            tcp::attach_slave(stream.clone(), Slave(0))
        };
        Self { client, stream, medium, timer: ReplyTimer::default() }
    }

    /// Discards unsolicited bytes. False if the peer has closed the stream, or the bus does not fall silent.
    pub(crate) async fn clear(&mut self) -> bool {
        let tells_late_replies = self.tells_late_replies();
        if !tells_late_replies {
            // Lets the runtime notice what has arrived: without a transaction id only its time tells it from the reply.
            tokio::task::yield_now().await;
        }
        match self.stream.discard_unsolicited() {
            Unsolicited::Nothing => true,
            // The transaction id tells the rest of it from the reply.
            Unsolicited::Discarded if tells_late_replies => true,
            Unsolicited::Discarded => self.stream.drain(self.drain_silence()).await.is_ok(),
            Unsolicited::End => false,
        }
    }

    fn drain_silence(&self) -> Duration {
        let is_shared = self.stream.ask_filter(|filter| filter.is_shared()) == Some(true);
        if is_shared { SHARED_DRAIN_SILENCE } else { DRAIN_SILENCE }
    }

    /// Whether a late reply is distinguished from the reply to a later request.
    pub(crate) fn tells_late_replies(&self) -> bool {
        self.stream.ask_filter(|filter| filter.tells_late_replies()) == Some(true)
    }

    /// The late replies that could be taken for the reply to a read, where ids do not tell them.
    pub(crate) fn late_replies(&self, read: &ReadRequest) -> LateReplies {
        self.stream.ask_filter(|filter| filter.late_replies(&on_wire(read))).unwrap_or_default()
    }

    /// Whether the late reply to a read has come, on a bus without transaction ids.
    pub(crate) fn take_late_reply(&self, read: &ReadRequest) -> bool {
        self.stream.ask_filter(|filter| filter.take_late_reply(&on_wire(read))) == Some(true)
    }

    /// Whether further requests can be sent after one without a reply.
    pub(crate) fn is_usable(&self) -> bool {
        !self.stream.is_closed() && self.stream.ask_filter(|filter| filter.is_sent()) == Some(true)
    }

    /// What was noticed about the frames since the last call, and what has been learnt about the bus so far.
    pub(crate) fn take_observations(&self) -> Option<(Notes, Habits)> {
        self.stream.ask_filter(|filter| (filter.take_notes(), filter.habits()))
    }

    /// Has the connection closed with a reset: some devices serve one client, and forget a lost one only then.
    pub(crate) fn reset_on_close(&self) {
        self.stream.reset_on_close();
    }

    /// The same stream with a new client, after late replies have been discarded; none if the stream is closed.
    pub(crate) async fn drain(mut self) -> Option<Self> {
        drop(self.client);
        let is_shared = self.stream.ask_filter(|filter| filter.is_shared()) == Some(true);
        self.stream.drain(if is_shared { SHARED_DRAIN_SILENCE } else { DRAIN_SILENCE }).await.ok()?;
        Some(Self::on(self.stream, self.medium))
    }

    pub(crate) async fn read(&mut self, request: &ReadRequest, limit: ReplyLimit) -> Result<Reply, LinkError> {
        let (start, count) = (request.start, request.count);
        let call = match request.table {
            Table::Coil => ModbusRequest::ReadCoils(start, count),
            Table::Discrete => ModbusRequest::ReadDiscreteInputs(start, count),
            Table::Holding => ModbusRequest::ReadHoldingRegisters(start, count),
            Table::Input => ModbusRequest::ReadInputRegisters(start, count),
        };
        match self.call(BusRequest::Read(request), call, limit).await? {
            Ok(response) => reply::values(request, response).map_err(LinkError::Broken),
            Err(code) => Ok(reply::exception(code)),
        }
    }

    /// Where a reply may be another master's, it counts only if no other one follows it.
    async fn exclude_second_reply(&mut self, request: BusRequest<'_>) -> Result<(), LinkError> {
        let uncertainty = self.stream.ask_filter(|filter| (filter.may_be_foreign(), filter.is_ambiguous()));
        match uncertainty.unwrap_or_default() {
            (_, true) => {}
            (false, false) => return Ok(()),
            (true, false) => {
                let drained = self.stream.drain(SECOND_REPLY_TIME).await;
                drained.map_err(|_| LinkError::Broken("closed by the device".into()))?;
                if self.stream.ask_filter(|filter| filter.is_ambiguous()) != Some(true) {
                    return Ok(());
                }
            }
        }
        Err(LinkError::Invalid(format!(
            "expected one reply of unit {} to the {}, received two different ones: another master asks that unit too, and \
             neither is used",
            request.unit().0,
            request.name()
        )))
    }

    pub(crate) async fn write(&mut self, write: &WriteRequest, limit: ReplyLimit) -> Result<Reply, LinkError> {
        let address = write.address;
        let first = write.words.first().copied().unwrap_or_default();
        let bits = || write.words.iter().map(|word| *word != 0).collect();
        let call = match write.function {
            WriteFunction::Coil => ModbusRequest::WriteSingleCoil(address, first != 0),
            WriteFunction::Register => ModbusRequest::WriteSingleRegister(address, first),
            WriteFunction::Coils => ModbusRequest::WriteMultipleCoils(address, bits()),
            WriteFunction::Registers => ModbusRequest::WriteMultipleRegisters(address, write.words.clone().into()),
        };
        match self.call(BusRequest::Write(write), call, limit).await? {
            Ok(response) if reply::confirms(write, &response) => Ok(Reply::WriteConfirmed),
            Ok(_) => Err(LinkError::Broken(format!(
                "unit {} confirmed something else than the write to {address}",
                write.unit.0
            ))),
            Err(code) => Ok(reply::exception(code)),
        }
    }

    async fn call(
        &mut self,
        request: BusRequest<'_>,
        call: ModbusRequest<'_>,
        limit: ReplyLimit,
    ) -> Result<Result<Response, ExceptionCode>, LinkError> {
        self.client.set_slave(Slave(request.unit().0));
        match self.timer.limit(limit.asked_at + limit.duration, self.client.call(call)).await {
            None => {
                let instead = self.give_up();
                Err(LinkError::Timeout(no_reply(request, limit.duration) + &instead))
            }
            Some(Err(error)) => Err(self.explain(&error, request)),
            Some(Ok(response)) => {
                self.exclude_second_reply(request).await?;
                Ok(response)
            }
        }
    }

    /// Gives the outstanding request up. Returns what came instead of its reply.
    fn give_up(&self) -> String {
        let instead = self.stream.ask_filter(|filter| {
            let instead = filter.instead();
            filter.give_up();
            instead
        });
        instead.unwrap_or_default().received_instead()
    }

    fn explain(&mut self, error: &tokio_modbus::Error, request: BusRequest<'_>) -> LinkError {
        let (unit, name) = (request.unit().0, request.name());
        let reason = match error {
            tokio_modbus::Error::Transport(error) => {
                if let Some(contradiction) = error.get_ref().and_then(|source| source.downcast_ref::<Contradiction>()) {
                    // The client does not read on after an error.
                    *self = Self::on(self.stream.clone(), self.medium);
                    return LinkError::Invalid(format!("invalid reply to the {name} of unit {unit}: {contradiction}"));
                }
                let tls = (self.medium == Medium::Tls).then(|| bessai_tls::explain(error)).flatten();
                let closed = || self.stream.is_closed().then(|| "closed by the device".to_owned());
                tls.or_else(closed).unwrap_or_else(|| error.to_string())
            }
            // The library's own texts show its types.
            tokio_modbus::Error::Protocol(ProtocolError::HeaderMismatch { .. }) => {
                "received a frame with the header of another request".into()
            }
            tokio_modbus::Error::Protocol(ProtocolError::FunctionCodeMismatch { .. }) => {
                "received a frame with another function".into()
            }
        };
        LinkError::Broken(format!("unit {unit} failed to reply to the {name}: {reason}"))
    }
}

/// Unit and PDU of a read.
fn on_wire(read: &ReadRequest) -> [u8; 6] {
    let function = match read.table {
        Table::Coil => 1,
        Table::Discrete => 2,
        Table::Holding => 3,
        Table::Input => 4,
    };
    let ([a1, a0], [c1, c0]) = (read.start.to_be_bytes(), read.count.to_be_bytes());
    [read.unit.0, function, a1, a0, c1, c0]
}
