//! An open line that is not used again after the first doubt.

use std::time::Duration;

use bessai_domain::plan::Request;
use bessai_domain::register::{Table, UnitId};
use bessai_domain::write::{Write, WriteFunction};
use tokio::time::timeout;
use tokio_modbus::client::{Client, Context, rtu, tcp};
use tokio_modbus::prelude::{Response, Slave, SlaveContext};
use tokio_modbus::{ExceptionCode, Request as ModbusRequest};

use super::shared::{Shared, Unasked};
use super::transport::{Address, TlsExplanation};

/// A line on which nothing came for so long is quiet: a frame that a converter hands on in pieces has shorter holes, and
/// other units wait.
const DRAIN_SILENCE: Duration = Duration::from_millis(200);

/// What a device said to a request.
#[derive(Debug)]
pub(super) enum Answer {
    /// As many registers as were asked for, or bits as 0 and 1.
    Registers(Vec<u16>),
    /// The write was done.
    Written,
    /// An exception.
    Refused(Refusal, String),
}

/// What an exception means for what comes next (Modbus Application Protocol V1.1b3 §7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// 1: the function is not known: the device has not got the table.
    Function,
    /// 2, 3: an address that is not there, or a block too long.
    Block,
    /// 5, 6: later.
    Busy,
    /// 0x0A, 0x0B: a gateway does not reach the unit.
    Unreachable,
    /// 4, 8 and any other.
    Failure,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nothing came in time.
    Silent(String),
    /// What came is no answer, or the connection is gone.
    Broken(String),
}

pub(super) struct Link {
    context: Context,
    stream: Shared,
    is_rtu: bool,
    explain: Option<TlsExplanation>,
}

impl Link {
    pub(super) async fn open(address: &Address, limit: Duration) -> Result<Self, String> {
        let opened = timeout(limit, address.open()).await;
        let stream = opened.map_err(|_| format!("no connection to {address} within {limit:?}"))??;
        Ok(Self::over(stream, address.is_rtu(), address.explanation()))
    }

    fn over(stream: Shared, is_rtu: bool, explain: Option<TlsExplanation>) -> Self {
        // The unit is set before each request.
        let context = if is_rtu {
            rtu::attach_slave(stream.clone(), Slave(0))
        } else {
            tcp::attach_slave(stream.clone(), Slave(0))
        };
        Self { context, stream, is_rtu, explain }
    }

    /// Throws away what came unasked. False where the other end has closed, or never falls silent.
    pub(super) async fn clear(&mut self) -> bool {
        if self.is_rtu {
            // Lets what has arrived be noticed: a frame is told from an answer by its time alone.
            tokio::task::yield_now().await;
        }
        match self.stream.unasked() {
            Unasked::Nothing => true,
            // A transaction id tells it from the answer.
            Unasked::Bytes if !self.is_rtu => true,
            Unasked::Bytes => self.stream.drain(DRAIN_SILENCE).await.is_ok(),
            Unasked::End => false,
        }
    }

    /// The same line when all that was still under way has come and gone; none where it has ended.
    pub(super) async fn drained(mut self) -> Option<Self> {
        drop(self.context);
        self.stream.drain(DRAIN_SILENCE).await.ok()?;
        Some(Self::over(self.stream, self.is_rtu, self.explain))
    }

    pub(super) async fn read(&mut self, request: &Request, limit: Duration) -> Result<Answer, Failure> {
        let (start, count) = (request.start, request.count);
        let call = match request.table {
            Table::Coil => ModbusRequest::ReadCoils(start, count),
            Table::Discrete => ModbusRequest::ReadDiscreteInputs(start, count),
            Table::Holding => ModbusRequest::ReadHoldingRegisters(start, count),
            Table::Input => ModbusRequest::ReadInputRegisters(start, count),
        };
        let what = || format!("{} {start}+{count}", if request.table.is_bits() { "bits" } else { "registers" });
        match self.call(request.unit, call, limit, what).await? {
            Ok(response) => registers(request, response).map_err(Failure::Broken),
            Err(exception) => Ok(refused(exception)),
        }
    }

    pub(super) async fn write(&mut self, write: &Write, limit: Duration) -> Result<Answer, Failure> {
        let address = write.address;
        let first = write.words.first().copied().unwrap_or_default();
        let bits = || write.words.iter().map(|word| *word != 0).collect();
        let call = match write.function {
            WriteFunction::Coil => ModbusRequest::WriteSingleCoil(address, first != 0),
            WriteFunction::Register => ModbusRequest::WriteSingleRegister(address, first),
            WriteFunction::Coils => ModbusRequest::WriteMultipleCoils(address, bits()),
            WriteFunction::Registers => ModbusRequest::WriteMultipleRegisters(address, write.words.clone().into()),
        };
        let what = || format!("a write to {address}");
        match self.call(write.unit, call, limit, what).await? {
            Ok(response) if confirms(write, &response) => Ok(Answer::Written),
            Ok(_) => Err(Failure::Broken(format!("the reply to the write to {address} names something else"))),
            Err(exception) => Ok(refused(exception)),
        }
    }

    async fn call(
        &mut self,
        unit: UnitId,
        call: ModbusRequest<'_>,
        limit: Duration,
        what: impl Fn() -> String,
    ) -> Result<Result<Response, ExceptionCode>, Failure> {
        self.context.set_slave(Slave(unit.0));
        match timeout(limit, self.context.call(call)).await {
            Err(_) => Err(Failure::Silent(format!("no answer within {limit:?} from unit {} to {}", unit.0, what()))),
            Ok(Err(error)) => Err(Failure::Broken(format!(
                "connection broke while asking unit {} for {}: {}",
                unit.0,
                what(),
                self.told(&error)
            ))),
            Ok(Ok(answer)) => Ok(answer),
        }
    }

    fn told(&self, error: &tokio_modbus::Error) -> String {
        if let tokio_modbus::Error::Transport(error) = error
            && let Some(explained) = self.explain.and_then(|explain| explain(error))
        {
            return explained;
        }
        if self.stream.has_ended() { "closed by the device".into() } else { error.to_string() }
    }
}

fn refused(exception: ExceptionCode) -> Answer {
    let refusal = match exception {
        ExceptionCode::IllegalFunction => Refusal::Function,
        ExceptionCode::IllegalDataAddress | ExceptionCode::IllegalDataValue => Refusal::Block,
        ExceptionCode::Acknowledge | ExceptionCode::ServerDeviceBusy => Refusal::Busy,
        ExceptionCode::GatewayPathUnavailable | ExceptionCode::GatewayTargetDevice => Refusal::Unreachable,
        _ => Refusal::Failure,
    };
    Answer::Refused(refusal, exception.to_string())
}

/// The library trusts the reply's own count; a device may send another. Bits come in whole bytes.
fn registers(request: &Request, response: Response) -> Result<Answer, String> {
    let (start, count) = (request.start, request.count);
    let (mut registers, is_right): (Vec<u16>, bool) = match (request.table, response) {
        (Table::Holding, Response::ReadHoldingRegisters(registers))
        | (Table::Input, Response::ReadInputRegisters(registers)) => {
            let is_right = registers.len() == usize::from(count);
            (registers, is_right)
        }
        (Table::Coil, Response::ReadCoils(bits)) | (Table::Discrete, Response::ReadDiscreteInputs(bits)) => {
            let is_right = bits.len().div_ceil(8) == usize::from(count).div_ceil(8);
            (bits.into_iter().map(u16::from).collect(), is_right)
        }
        _ => return Err(format!("a reply of another function to {start}+{count}")),
    };
    if !is_right {
        return Err(format!("{} values came where {start}+{count} were asked", registers.len()));
    }
    registers.truncate(usize::from(count));
    Ok(Answer::Registers(registers))
}

/// The reply repeats what was asked.
fn confirms(write: &Write, response: &Response) -> bool {
    let first = write.words.first().copied().unwrap_or_default();
    match (write.function, response) {
        (WriteFunction::Coil, Response::WriteSingleCoil(address, on)) => {
            (*address, u16::from(*on)) == (write.address, u16::from(first != 0))
        }
        (WriteFunction::Register, Response::WriteSingleRegister(address, word)) => {
            (*address, *word) == (write.address, first)
        }
        (WriteFunction::Coils, Response::WriteMultipleCoils(address, count))
        | (WriteFunction::Registers, Response::WriteMultipleRegisters(address, count)) => {
            *address == write.address && usize::from(*count) == write.words.len()
        }
        _ => false,
    }
}
