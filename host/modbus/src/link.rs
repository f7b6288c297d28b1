//! An open stream with tokio-modbus's client on it. It is used for one request at a time and not after an error.

use std::collections::BTreeSet;
use std::time::Duration;

use bessai_domain::plan::ReadRequest;
use bessai_domain::register::{Table, UnitId, WriteFunction};
use bessai_domain::write::WriteRequest;
use tokio::time::timeout;
use tokio_modbus::client::{Client, Context, rtu, tcp};
use tokio_modbus::prelude::{Response, Slave, SlaveContext};
use tokio_modbus::{ExceptionCode, Request as ModbusRequest};

use crate::reply::{self, Reply};
use crate::stream::{SharedStream, Unsolicited};
use crate::transport::{Dial, Medium};

/// Silence after which a bus is drained: longer than the holes in a frame that a converter forwards in pieces, and short
/// because the other units wait.
const DRAIN_SILENCE: Duration = Duration::from_millis(200);

/// Why a request has no valid reply.
#[derive(Debug)]
pub(crate) enum LinkError {
    /// No reply arrived within the time limit.
    Timeout(String),
    /// The reply is invalid, or the stream is closed.
    Broken(String),
}

pub(crate) struct Link {
    client: Context,
    stream: SharedStream,
    medium: Medium,
}

impl Link {
    pub(crate) async fn open(dialer: &dyn Dial, limit: Duration) -> Result<Self, String> {
        let opened = timeout(limit, dialer.dial()).await;
        let stream =
            opened.map_err(|_| format!("failed to connect to {}: timed out after {limit:?}", dialer.name()))??;
        stream.name(dialer.name());
        Ok(Self::on(stream, dialer.medium()))
    }

    fn on(stream: SharedStream, medium: Medium) -> Self {
        // The unit id is set before each request.
        let client = if medium.is_rtu() {
            rtu::attach_slave(stream.clone(), Slave(0))
        } else {
            stream.filter_replies();
            tcp::attach_slave(stream.clone(), Slave(0))
        };
        Self { client, stream, medium }
    }

    /// Discards unsolicited bytes. False if the peer has closed the stream, or the bus does not fall silent.
    pub(crate) async fn clear(&mut self) -> bool {
        let is_rtu = self.medium.is_rtu();
        if is_rtu {
            // Lets the runtime notice what has arrived: without a transaction id only its time tells it from the reply.
            tokio::task::yield_now().await;
        }
        match self.stream.discard_unsolicited() {
            Unsolicited::Nothing => true,
            // The transaction id tells the rest of it from the reply.
            Unsolicited::Discarded if !is_rtu => true,
            Unsolicited::Discarded => self.stream.drain(DRAIN_SILENCE).await.is_ok(),
            Unsolicited::End => false,
        }
    }

    /// Whether further requests can be sent after one without a reply.
    pub(crate) fn survives_timeout(&self) -> bool {
        self.stream.survives_timeout()
    }

    /// Whether replies have had the ids of their requests.
    pub(crate) fn copies_ids(&self) -> bool {
        self.stream.copies_ids()
    }

    /// The device copied ids on an earlier connection.
    pub(crate) fn trust_ids(&self) {
        self.stream.trust_ids();
    }

    /// What was noticed about the device's frames since the last call.
    pub(crate) fn take_notes(&self) -> BTreeSet<&'static str> {
        self.stream.take_notes()
    }

    /// The same stream with a new client, after late replies have been discarded; none if the stream is closed.
    pub(crate) async fn drain(mut self) -> Option<Self> {
        drop(self.client);
        self.stream.drain(DRAIN_SILENCE).await.ok()?;
        Some(Self::on(self.stream, self.medium))
    }

    pub(crate) async fn read(&mut self, request: &ReadRequest, limit: Duration) -> Result<Reply, LinkError> {
        let (start, count) = (request.start, request.count);
        let call = match request.table {
            Table::Coil => ModbusRequest::ReadCoils(start, count),
            Table::Discrete => ModbusRequest::ReadDiscreteInputs(start, count),
            Table::Holding => ModbusRequest::ReadHoldingRegisters(start, count),
            Table::Input => ModbusRequest::ReadInputRegisters(start, count),
        };
        let name = || format!("read of {} {start}+{count}", if request.table.is_bits() { "bits" } else { "registers" });
        match self.call(request.unit, call, limit, name).await? {
            Ok(response) => reply::values(request, response).map_err(LinkError::Broken),
            Err(code) => Ok(reply::exception(code)),
        }
    }

    pub(crate) async fn write(&mut self, write: &WriteRequest, limit: Duration) -> Result<Reply, LinkError> {
        let address = write.address;
        let first = write.words.first().copied().unwrap_or_default();
        let bits = || write.words.iter().map(|word| *word != 0).collect();
        let call = match write.function {
            WriteFunction::Coil => ModbusRequest::WriteSingleCoil(address, first != 0),
            WriteFunction::Register => ModbusRequest::WriteSingleRegister(address, first),
            WriteFunction::Coils => ModbusRequest::WriteMultipleCoils(address, bits()),
            WriteFunction::Registers => ModbusRequest::WriteMultipleRegisters(address, write.words.clone().into()),
        };
        match self.call(write.unit, call, limit, || format!("write to {address}")).await? {
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
        unit: UnitId,
        call: ModbusRequest<'_>,
        limit: Duration,
        name: impl Fn() -> String,
    ) -> Result<Result<Response, ExceptionCode>, LinkError> {
        let unit = unit.0;
        self.client.set_slave(Slave(unit));
        match timeout(limit, self.client.call(call)).await {
            Err(_) => Err(LinkError::Timeout(format!("no reply from unit {unit} within {limit:?} to the {}", name()))),
            Ok(Err(error)) => {
                let reason = self.explain(&error);
                Err(LinkError::Broken(format!("unit {unit} failed to reply to the {}: {reason}", name())))
            }
            Ok(Ok(response)) => Ok(response),
        }
    }

    fn explain(&self, error: &tokio_modbus::Error) -> String {
        if let (Medium::Tls, tokio_modbus::Error::Transport(error)) = (self.medium, error)
            && let Some(explanation) = bessai_tls::explain(error)
        {
            return explanation;
        }
        if self.stream.is_closed() { "closed by the device".into() } else { error.to_string() }
    }
}
