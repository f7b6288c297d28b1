//! Opens streams to a bus: TCP, TLS or a serial port.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bessai_domain::address::{Address, Parity, Scheme, Serial};
use tokio_serial::SerialPortBuilderExt;

use crate::BusEndpoint;
use crate::irregularity::FramingCounts;
use crate::reply_filter::Echo;
use crate::socket::{ResetSwitch, Socket};
use crate::stream::SharedStream;

/// Time after opening a serial port in which the rest of a previous client's frame arrives.
const SETTLE_TIME: Duration = Duration::from_millis(100);
/// Bits of one character on a serial bus: start bit, 8 data bits, parity and stop bit (Modbus over Serial Line V1.02 §2.5.1).
const CHARACTER_BITS: u32 = 11;
/// Highest baud rate at which the gap between frames is 3.5 characters (§2.5.1.1).
const MAX_CHARACTER_TIMED_BAUD: u32 = 19_200;
/// Gap between frames above that baud rate (§2.5.1.1).
const FAST_FRAME_GAP: Duration = Duration::from_micros(1750);

/// How frames travel on a bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Medium {
    /// Modbus/TCP.
    Tcp,
    /// Modbus/TCP Security.
    Tls,
    /// RTU frames over TCP.
    RtuOverTcp,
    /// RTU frames on a serial port.
    Serial {
        /// Least silence between two frames.
        frame_gap: Duration,
        /// Pause after opening the port.
        settle_time: Duration,
    },
}

impl Medium {
    /// Whether frames carry no transaction id, so that a late reply looks like the reply to the next request.
    pub(crate) fn is_rtu(self) -> bool {
        matches!(self, Self::RtuOverTcp | Self::Serial { .. })
    }

    /// Whether a late reply also arrives after reopening, so that the bus has to be drained.
    pub(crate) fn is_serial(self) -> bool {
        matches!(self, Self::Serial { .. })
    }

    /// Least silence between two frames.
    pub(crate) fn frame_gap(self) -> Duration {
        if let Self::Serial { frame_gap, .. } = self { frame_gap } else { Duration::ZERO }
    }

    /// Least pause between opening the stream and the first request.
    pub(crate) fn settle_time(self) -> Duration {
        if let Self::Serial { settle_time, .. } = self { settle_time } else { Duration::ZERO }
    }
}

/// A stream being opened. Boxed so that the idle future of a bus's task stays small.
pub(crate) type OpeningStream<'a> = Pin<Box<dyn Future<Output = Result<SharedStream, String>> + 'a>>;

/// Opens the streams of one bus.
pub(crate) trait Dial {
    /// The bus in logs and errors.
    fn name(&self) -> String;

    /// How frames travel on the streams.
    fn medium(&self) -> Medium;

    /// Opens a stream; the caller limits the time.
    fn dial(&self) -> OpeningStream<'_>;

    /// What the settings say about a local echo.
    fn echo(&self) -> Echo {
        Echo::Unknown
    }

    /// Where irregularities are counted.
    fn counts(&self) -> Arc<FramingCounts> {
        Arc::default()
    }
}

impl Dial for BusEndpoint {
    fn name(&self) -> String {
        match &self.address {
            Address::Serial(serial) => serial.path.clone(),
            network => network.to_string(),
        }
    }

    fn medium(&self) -> Medium {
        match &self.address {
            Address::Network(Scheme::Tcp, ..) => Medium::Tcp,
            Address::Network(Scheme::RtuOverTcp, ..) => Medium::RtuOverTcp,
            Address::Network(Scheme::Tls, ..) => Medium::Tls,
            Address::Serial(serial) => Medium::Serial { frame_gap: frame_gap(serial), settle_time: SETTLE_TIME },
        }
    }

    fn dial(&self) -> OpeningStream<'_> {
        Box::pin(async {
            match &self.address {
                Address::Network(Scheme::Tcp | Scheme::RtuOverTcp, host, port) => {
                    let (socket, reset) = self.connect(host, *port).await?;
                    Ok(SharedStream::resettable(socket, reset))
                }
                Address::Network(Scheme::Tls, host, port) => {
                    let (socket, reset) = self.connect(host, *port).await?;
                    let server_name = self.server_name.as_deref().unwrap_or(host);
                    Ok(SharedStream::resettable(bessai_tls::connect(&self.tls, server_name, socket).await?, reset))
                }
                Address::Serial(serial) => Ok(SharedStream::new(open_port(serial)?)),
            }
        })
    }

    fn echo(&self) -> Echo {
        if self.local_echo { Echo::Configured } else { Echo::Unknown }
    }

    fn counts(&self) -> Arc<FramingCounts> {
        Arc::clone(&self.framing)
    }
}

impl BusEndpoint {
    async fn connect(&self, host: &str, port: u16) -> Result<(Socket, ResetSwitch), String> {
        let failed = |error: io::Error| format!("failed to connect to {}: {error}", self.name());
        let stream = bessai_network::connect(host, port).await.map_err(failed)?;
        // Each request is one small packet: Nagle's algorithm would only delay it.
        stream.set_nodelay(true).map_err(failed)?;
        Ok(Socket::new(stream))
    }
}

fn frame_gap(serial: &Serial) -> Duration {
    let standard = if serial.baud <= MAX_CHARACTER_TIMED_BAUD {
        let character = Duration::from_secs(1) * CHARACTER_BITS / serial.baud.max(1);
        character * 7 / 2
    } else {
        FAST_FRAME_GAP
    };
    standard.max(serial.turnaround)
}

fn open_port(serial: &Serial) -> Result<tokio_serial::SerialStream, String> {
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
            tokio_serial::ErrorKind::NoDevice => "; check that it is plugged in and that this user may open it",
            _ => "",
        };
        format!("failed to open {}: {error}{hint}", serial.path)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frame_gap_is_three_and_a_half_characters_up_to_19200_baud() {
        let gap = |baud, turnaround| {
            let serial = Serial { path: "/dev/ttyUSB0".into(), baud, parity: Parity::None, stop_bits: 1, turnaround };
            BusEndpoint::new(Address::Serial(serial)).medium().frame_gap().as_micros()
        };
        assert_eq!(gap(9600, Duration::ZERO), 4010);
        assert_eq!(gap(19_200, Duration::ZERO), 2005);
        assert_eq!(gap(115_200, Duration::ZERO), 1750);
        assert_eq!(gap(115_200, Duration::from_millis(5)), 5000, "a longer turnaround counts");
    }

    #[test]
    fn logs_name_a_serial_port_without_its_settings() {
        let (parity, turnaround) = (Parity::Even, Duration::ZERO);
        let serial = Serial { path: "/dev/ttyUSB0".into(), baud: 9600, parity, stop_bits: 1, turnaround };
        assert_eq!(BusEndpoint::new(Address::Serial(serial)).name(), "/dev/ttyUSB0");
        let network = |scheme| BusEndpoint::new(Address::Network(scheme, "10.0.0.5".into(), 802)).name();
        assert_eq!(network(Scheme::Tcp), "10.0.0.5:802");
        assert_eq!(network(Scheme::Tls), "tls://10.0.0.5:802");
    }
}
