//! The address of a Modbus device on a network or on a serial port.

use std::fmt;
use std::time::Duration;

/// The address of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// On a network: the protocol, the host name or IP address, and the TCP port.
    Network(Scheme, String, u16),
    /// On a serial port.
    Serial(Serial),
}

/// The protocol of a device on a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Modbus/TCP.
    Tcp,
    /// RTU frames over TCP, as transparent serial converters forward them.
    RtuOverTcp,
    /// Modbus/TCP Security (MB-TCP-Security-v36).
    Tls,
}

/// A serial port and its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serial {
    /// The device file, such as `/dev/ttyUSB0`.
    pub path: String,
    /// Bits per second.
    pub baud: u32,
    /// The parity bit of each character.
    pub parity: Parity,
    /// Number of stop bits, 1 or 2.
    pub stop_bits: u8,
    /// Pause between receiving and sending, if the bus needs a longer one than the standard's silence.
    pub turnaround: Duration,
}

/// The parity bit of a character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Parity {
    None,
    Even,
    Odd,
}

impl Address {
    /// Its host, if it is on a network.
    pub fn host(&self) -> Option<&str> {
        match self {
            Self::Network(_, host, _) => Some(host),
            Self::Serial(_) => None,
        }
    }

    /// Its port, if it is on a network.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Network(_, _, port) => Some(*port),
            Self::Serial(_) => None,
        }
    }

    /// Whether frames are RTU frames, which have no transaction ids.
    pub fn is_rtu(&self) -> bool {
        matches!(self, Self::Serial(_) | Self::Network(Scheme::RtuOverTcp, ..))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bracketed = |host: &str| if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        match self {
            Self::Network(Scheme::Tcp, host, port) => write!(formatter, "{}:{port}", bracketed(host)),
            Self::Network(Scheme::RtuOverTcp, host, port) => write!(formatter, "rtu+tcp://{}:{port}", bracketed(host)),
            Self::Network(Scheme::Tls, host, port) => write!(formatter, "tls://{}:{port}", bracketed(host)),
            Self::Serial(serial) => {
                let parity = match serial.parity {
                    Parity::None => 'N',
                    Parity::Even => 'E',
                    Parity::Odd => 'O',
                };
                let Serial { path, baud, stop_bits, turnaround, .. } = serial;
                write!(formatter, "{path} at {baud} baud, 8{parity}{stop_bits}")?;
                if turnaround.is_zero() { Ok(()) } else { write!(formatter, ", turnaround {turnaround:?}") }
            }
        }
    }
}
