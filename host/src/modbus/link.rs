//! A Modbus TCP connection that is dropped at the first doubt.

use std::time::Duration;

use bessai_domain::plan::Request;
use bessai_domain::register::Table;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_modbus::client::{Client, Context, tcp};
use tokio_modbus::prelude::{Response, Slave, SlaveContext};
use tokio_modbus::{ExceptionCode, Request as ModbusRequest};

/// What a device said to a request.
pub(super) enum Answer {
    /// As many registers as were asked for.
    Registers(Vec<u16>),
    /// An exception.
    Refused {
        /// For people.
        reason: String,
        /// The block may have a hole or be too long: a smaller one may do.
        block_too_wide: bool,
    },
}

pub(super) struct Link(Context);

impl Link {
    pub(super) async fn connect(host: &str, port: u16, limit: Duration) -> Result<Self, String> {
        let connecting = timeout(limit, TcpStream::connect((host, port))).await;
        let stream = match connecting {
            Err(_) => return Err(format!("no connection to {host}:{port} within {limit:?}")),
            Ok(Err(error)) => return Err(format!("failed to connect to {host}:{port}: {error}")),
            Ok(Ok(stream)) => stream,
        };
        // Requests are single small packets: waiting to fill one only adds delay.
        stream
            .set_nodelay(true)
            .map_err(|error| format!("failed to set up the connection to {host}:{port}: {error}"))?;
        Ok(Self(tcp::attach_slave(stream, Slave(0))))
    }

    /// An error means that the connection must not be used again.
    pub(super) async fn read(&mut self, request: &Request, limit: Duration) -> Result<Answer, String> {
        self.0.set_slave(Slave(request.unit.0));
        let (start, count) = (request.start, request.count);
        let call = match request.table {
            Table::Coil => ModbusRequest::ReadCoils(start, count),
            Table::Discrete => ModbusRequest::ReadDiscreteInputs(start, count),
            Table::Holding => ModbusRequest::ReadHoldingRegisters(start, count),
            Table::Input => ModbusRequest::ReadInputRegisters(start, count),
        };
        let answered = timeout(limit, self.0.call(call)).await;
        match answered {
            Err(_) => {
                Err(format!("no answer within {limit:?} from unit {} to registers {start}+{count}", request.unit.0))
            }
            Ok(Err(error)) => {
                Err(format!("connection broke while reading registers {start}+{count}: {}", told(&error)))
            }
            Ok(Ok(Err(exception))) => Ok(refused(exception)),
            Ok(Ok(Ok(response))) => registers(request, response),
        }
    }
}

/// tokio-modbus gives the end of a connection as whatever the last system call said, even as success.
fn told(error: &tokio_modbus::Error) -> String {
    let text = error.to_string();
    if text.contains("os error 0") { "closed by the device".into() } else { text }
}

fn refused(exception: ExceptionCode) -> Answer {
    let block_too_wide = matches!(exception, ExceptionCode::IllegalDataAddress | ExceptionCode::IllegalDataValue);
    Answer::Refused { reason: exception.to_string(), block_too_wide }
}

/// The library trusts the reply's own count; a device may send another.
fn registers(request: &Request, response: Response) -> Result<Answer, String> {
    let registers = match (request.table, response) {
        (Table::Holding, Response::ReadHoldingRegisters(registers)) => registers,
        (Table::Input, Response::ReadInputRegisters(registers)) => registers,
        (Table::Coil, Response::ReadCoils(bits)) | (Table::Discrete, Response::ReadDiscreteInputs(bits)) => {
            bits.into_iter().map(u16::from).collect()
        }
        _ => return Err(format!("a reply of another function to registers {}+{}", request.start, request.count)),
    };
    if registers.len() == usize::from(request.count) {
        Ok(Answer::Registers(registers))
    } else {
        let (start, count, got) = (request.start, request.count, registers.len());
        Err(format!("{got} registers came where {start}+{count} were asked"))
    }
}
