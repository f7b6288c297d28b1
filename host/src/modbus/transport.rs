//! How a line is reached: TCP, TLS, a serial port.

use std::error::Error;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;
use std::{fmt, io};

use tokio::io::DuplexStream;
use tokio::net::TcpStream;
use tokio_serial::SerialPortBuilderExt;

use super::shared::{ByteStream, Shared};

/// Where a line is.
#[derive(Clone, Debug)]
pub enum Address {
    /// Modbus/TCP.
    Tcp(String, u16),
    /// Serial frames over TCP, as simple converters pass them on.
    RtuOverTcp(String, u16),
    /// Modbus/TCP Security (MB-TCP-Security-v36).
    Tls(Tls),
    /// Modbus RTU on a serial port.
    Serial(Serial),
    /// What the caller gives, such as a test's.
    Given(Given),
}

/// A server that is spoken to in TLS.
#[derive(Clone)]
pub struct Tls {
    /// IP address or host name.
    pub host: String,
    /// Usually 802.
    pub port: u16,
    /// Speaks TLS over a connection.
    pub secure: Secure,
    /// What an error means, if it is one of TLS: a certificate may be refused after the handshake.
    pub explain: TlsExplanation,
}

/// Speaks TLS over a connection.
pub type Secure = Rc<dyn Fn(TcpStream) -> Pin<Box<dyn Future<Output = Result<Box<dyn ByteStream>, String>>>>>;

/// What an error means, if it is one of TLS.
pub type TlsExplanation = fn(&(dyn Error + 'static)) -> Option<String>;

impl fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Tls").field("host", &self.host).field("port", &self.port).finish_non_exhaustive()
    }
}

/// A serial port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serial {
    /// Such as `/dev/ttyUSB0`.
    pub path: String,
    /// Bits per second.
    pub baud: u32,
    /// The check bit of each character.
    pub parity: Parity,
    /// 1 or 2.
    pub stop_bits: u8,
    /// Time that the line needs to turn from receiving to sending, if longer than the standard's silence.
    pub turnaround: Duration,
}

/// The check bit of a character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Parity {
    None,
    Even,
    Odd,
}

/// Makes the stream of a new connection.
pub type Dial = Rc<dyn Fn() -> io::Result<DuplexStream>>;

/// A line whose streams the caller makes.
#[derive(Clone)]
pub struct Given {
    /// How messages give the place to the people's eyes.
    pub name: String,
    /// Whether frames are those of a serial line.
    pub is_serial: bool,
    /// Makes a stream.
    pub dial: Dial,
}

impl fmt::Debug for Given {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Given").field("name", &self.name).finish_non_exhaustive()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) | Self::RtuOverTcp(host, port) => write!(formatter, "{host}:{port}"),
            Self::Tls(Tls { host, port, .. }) => write!(formatter, "{host}:{port}"),
            Self::Serial(serial) => write!(formatter, "{}", serial.path),
            Self::Given(given) => write!(formatter, "{}", given.name),
        }
    }
}

impl Address {
    /// Whether frames are those of a serial line: no transaction ids, so that a late reply looks like the next one.
    pub(super) fn is_rtu(&self) -> bool {
        match self {
            Self::Tcp(..) | Self::Tls(_) => false,
            Self::RtuOverTcp(..) | Self::Serial(_) => true,
            Self::Given(given) => given.is_serial,
        }
    }

    /// Says what errors mean that come from TLS.
    pub(super) fn explanation(&self) -> Option<TlsExplanation> {
        match self {
            Self::Tls(server) => Some(server.explain),
            _ => None,
        }
    }

    /// Whether opening it anew does not help against a late reply, so that it must be drained.
    pub(super) fn is_drained(&self) -> bool {
        match self {
            Self::Serial(_) => true,
            Self::Given(given) => given.is_serial,
            Self::Tcp(..) | Self::Tls(_) | Self::RtuOverTcp(..) => false,
        }
    }

    /// The silence between two frames: on a serial line 3.5 characters, above 19,200 baud 1.75 ms (Modbus over Serial Line
    /// V1.02 §2.5.1.1).
    pub(super) fn least_gap(&self) -> Duration {
        const CHARACTER_BITS: u32 = 11;
        const FAST: Duration = Duration::from_micros(1750);
        match self {
            Self::Serial(serial) if serial.baud <= 19_200 => {
                let character = Duration::from_secs(1) * CHARACTER_BITS / serial.baud.max(1);
                (character * 7 / 2).max(serial.turnaround)
            }
            Self::Serial(serial) => FAST.max(serial.turnaround),
            _ => Duration::ZERO,
        }
    }

    /// After opening: what a client that was here before has left half said on a serial line is over by then.
    pub(super) fn least_pause(&self) -> Duration {
        const FORGOTTEN: Duration = Duration::from_millis(100);
        if matches!(self, Self::Serial(_)) { FORGOTTEN } else { Duration::ZERO }
    }

    /// Opens it. The caller limits the time.
    pub(super) async fn open(&self) -> Result<Shared, String> {
        let failed = |error: io::Error| format!("failed to connect to {self}: {error}");
        match self {
            Self::Tcp(host, port) | Self::RtuOverTcp(host, port) => {
                Ok(Shared::new(connect(host, *port).await.map_err(failed)?))
            }
            Self::Tls(server) => {
                let stream = connect(&server.host, server.port).await.map_err(failed)?;
                Ok(Shared::new((server.secure)(stream).await?))
            }
            Self::Serial(serial) => Ok(Shared::new(open_serial(serial)?)),
            Self::Given(given) => Ok(Shared::new((given.dial)().map_err(failed)?)),
        }
    }
}

async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    // Requests are single small packets: waiting to fill one only adds delay.
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn open_serial(serial: &Serial) -> Result<tokio_serial::SerialStream, String> {
    let builder = tokio_serial::new(&serial.path, serial.baud)
        .data_bits(tokio_serial::DataBits::Eight)
        .stop_bits(if serial.stop_bits == 2 { tokio_serial::StopBits::Two } else { tokio_serial::StopBits::One })
        .parity(match serial.parity {
            Parity::None => tokio_serial::Parity::None,
            Parity::Even => tokio_serial::Parity::Even,
            Parity::Odd => tokio_serial::Parity::Odd,
        });
    builder.open_native_async().map_err(|error| {
        let hint = match error.kind() {
            tokio_serial::ErrorKind::NoDevice => "; is it plugged in, and may this user open it?",
            _ => "",
        };
        format!("failed to open {}: {error}{hint}", serial.path)
    })
}
