//! Where a device is: `tcp://host:502`, `rtu+tcp://host:502`, `tls://host:802`, `rtu:///dev/ttyUSB0?baud=9600`.

use std::time::Duration;

use bessai_domain::settings::{Table, unknown};
use bessai_domain::time::parse_duration;

use super::super::address;

/// The port of Modbus/TCP.
const TCP_PORT: u16 = 502;
/// The port of Modbus/TCP Security (MB-TCP-Security-v36).
const TLS_PORT: u16 = 802;
/// What most devices on serial lines are shipped with; the standard's own 19,200 with an even parity is rare.
const DEFAULT_BAUD: u32 = 9600;
const BAUDS: std::ops::RangeInclusive<u32> = 300..=4_000_000;
const LONGEST_TURNAROUND: Duration = Duration::from_secs(1);

/// Where a device is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// On a network.
    Network(Scheme, String, u16),
    /// On a serial port.
    Serial(Serial),
}

/// What is spoken on a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Modbus/TCP.
    Tcp,
    /// Serial frames over TCP.
    RtuOverTcp,
    /// Modbus/TCP Security.
    Tls,
}

/// A serial port and how it is spoken on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serial {
    /// Such as `/dev/ttyUSB0`.
    pub path: String,
    /// Bits per second.
    pub baud: u32,
    /// The check bit.
    pub parity: Parity,
    /// 1 or 2.
    pub stop_bits: u8,
    /// Time that the line needs between receiving and sending.
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

impl Address {
    pub(super) fn tcp(host: String, port: Option<u16>) -> Self {
        Self::Network(Scheme::Tcp, host, port.unwrap_or(TCP_PORT))
    }

    /// Its host, where it has one.
    pub fn host(&self) -> Option<&str> {
        match self {
            Self::Network(_, host, _) => Some(host),
            Self::Serial(_) => None,
        }
    }

    /// Its port, where it has one.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Network(_, _, port) => Some(*port),
            Self::Serial(_) => None,
        }
    }

    /// Whether serial frames are spoken there.
    pub(super) fn is_rtu(&self) -> bool {
        matches!(self, Self::Serial(_) | Self::Network(Scheme::RtuOverTcp, ..))
    }

    /// The same on another host, or by another port.
    pub(super) fn moved(self, host: Option<String>, port: Option<u16>) -> Self {
        match self {
            Self::Network(scheme, old_host, old_port) => {
                Self::Network(scheme, host.unwrap_or(old_host), port.unwrap_or(old_port))
            }
            Self::Serial(serial) => host.map_or(Self::Serial(serial), |host| Self::tcp(host, port)),
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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

/// The address of a `[[device]]`; what is wrong with it is said there.
pub(super) fn read(table: &Table<'_>) -> Option<Address> {
    let text = table.text("address")?;
    let parsed = parse(text);
    if let Err(mend) = &parsed {
        table.wrong("address", mend.clone());
    }
    parsed.ok()
}

/// An address, or how to write one.
pub fn parse(text: &str) -> Result<Address, String> {
    let shapes =
        "write \"tcp://host:502\", \"rtu+tcp://host:502\", \"tls://host:802\" or \"rtu:///dev/ttyUSB0?baud=9600\"";
    let Some((scheme, rest)) = text.trim().split_once("://") else { return Err(shapes.into()) };
    let (scheme, port, example) = match scheme {
        "tcp" => (Scheme::Tcp, TCP_PORT, "tcp://host:502"),
        "rtu+tcp" => (Scheme::RtuOverTcp, TCP_PORT, "rtu+tcp://host:502"),
        "tls" => (Scheme::Tls, TLS_PORT, "tls://host:802"),
        "rtu" => return serial(rest).map(Address::Serial),
        _ => return Err(shapes.into()),
    };
    let (host, given) = address::split(rest).map_err(|error| format!("{error}; write \"{example}\""))?;
    Ok(Address::Network(scheme, host, given.unwrap_or(port)))
}

fn serial(rest: &str) -> Result<Serial, String> {
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    if !path.starts_with('/') || path.len() < 2 {
        return Err("the port is a path from the root, as in \"rtu:///dev/ttyUSB0?baud=9600\"".into());
    }
    let mut serial = Serial {
        path: path.into(),
        baud: DEFAULT_BAUD,
        parity: Parity::None,
        stop_bits: 1,
        turnaround: Duration::ZERO,
    };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        set(&mut serial, key, value)?;
    }
    Ok(serial)
}

fn set(serial: &mut Serial, key: &str, value: &str) -> Result<(), String> {
    const KEYS: [&str; 5] = ["baud", "parity", "stop_bits", "data_bits", "turnaround"];
    let wrong = |mend: &str| format!("{key}={value}: {mend}");
    match key {
        "baud" => {
            let baud = value.parse().ok().filter(|baud| BAUDS.contains(baud));
            serial.baud = baud.ok_or_else(|| wrong("write the bits per second, such as 9600"))?;
        }
        "parity" => {
            serial.parity = match value {
                "none" | "N" => Parity::None,
                "even" | "E" => Parity::Even,
                "odd" | "O" => Parity::Odd,
                _ => return Err(wrong("write none, even or odd")),
            }
        }
        "stop_bits" => {
            let bits = value.parse().ok().filter(|bits| (1..=2).contains(bits));
            serial.stop_bits = bits.ok_or_else(|| wrong("write 1 or 2"))?;
        }
        "data_bits" => {
            if value != "8" {
                return Err(wrong("RTU has characters of 8 bits; remove it, or set the device from ASCII to RTU"));
            }
        }
        "turnaround" => {
            let time = parse_duration(value).filter(|time| *time <= LONGEST_TURNAROUND);
            serial.turnaround = time.ok_or_else(|| wrong("write a time up to 1s, such as 20ms"))?;
        }
        key => return Err(format!("{key} {}", unknown(key, KEYS.into_iter()))),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        let check = |text: &str, scheme: Scheme, host: &str, port: u16| {
            assert_eq!(parse(text), Ok(Address::Network(scheme, host.into(), port)), "{text}");
        };
        check("tcp://a", Scheme::Tcp, "a", 502);
        check("rtu+tcp://10.0.0.1:4001", Scheme::RtuOverTcp, "10.0.0.1", 4001);
        check("tls://[::1]", Scheme::Tls, "::1", 802);
    }

    #[test]
    fn serial_ports() {
        let plain = parse("rtu:///dev/ttyUSB0").unwrap();
        assert_eq!(plain.to_string(), "/dev/ttyUSB0 at 9600 baud, 8N1");
        let all = parse("rtu:///dev/ttyS1?baud=19200&parity=even&stop_bits=2&data_bits=8&turnaround=20ms").unwrap();
        assert_eq!(all.to_string(), "/dev/ttyS1 at 19200 baud, 8E2, turnaround 20ms");
        let Address::Serial(serial) = all else { panic!("{all}") };
        assert_eq!(serial.turnaround, Duration::from_millis(20));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |text: &str, mend: &str| assert_eq!(parse(text), Err(mend.to_owned()), "{text}");
        check("rtu://ttyUSB0", "the port is a path from the root, as in \"rtu:///dev/ttyUSB0?baud=9600\"");
        check("rtu:///dev/ttyS0?baud=fast", "baud=fast: write the bits per second, such as 9600");
        check("rtu:///dev/ttyS0?parity=mark", "parity=mark: write none, even or odd");
        check("rtu:///dev/ttyS0?stop_bits=3", "stop_bits=3: write 1 or 2");
        let eight = "data_bits=7: RTU has characters of 8 bits; remove it, or set the device from ASCII to RTU";
        check("rtu:///dev/ttyS0?data_bits=7", eight);
        check("rtu:///dev/ttyS0?bauds=9600", "bauds is unknown; did you mean `baud`?");
        check("tls://a:0", "the port is a whole number from 1 to 65535; write \"tls://host:802\"");
    }
}
