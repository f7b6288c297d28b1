//! How a stream carries frames: as Modbus/TCP or as Modbus RTU.

use std::io;

use tokio::io::AsyncRead;

use super::frame::ModbusFrame;
use super::rtu;

/// How requests and replies are delimited in a stream of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// By a header with a transaction id and the length, as over TCP and TLS.
    Tcp,
    /// By silence, and with a CRC, as on a serial bus, also when it is carried over TCP.
    Rtu,
}

/// Reads requests from a stream, one after the other.
pub(super) enum RequestReader {
    Tcp,
    Rtu(rtu::RtuReader),
}

impl Framing {
    pub(super) fn reader(self) -> RequestReader {
        match self {
            Self::Tcp => RequestReader::Tcp,
            Self::Rtu => RequestReader::Rtu(rtu::RtuReader::default()),
        }
    }

    pub(super) fn to_bytes(self, frame: &ModbusFrame) -> Vec<u8> {
        match self {
            Self::Tcp => frame.to_bytes(),
            Self::Rtu => rtu::to_bytes(frame),
        }
    }
}

impl RequestReader {
    /// The next request; an error, the end of the stream included, ends the connection.
    pub(super) async fn next(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> io::Result<ModbusFrame> {
        match self {
            Self::Tcp => ModbusFrame::read(stream).await,
            Self::Rtu(reader) => reader.next(stream).await,
        }
    }
}
