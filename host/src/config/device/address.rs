//! Addresses of devices: `tcp://host:502`, `rtu+tcp://host:502`, `tls://host:802`, `rtu:///dev/ttyUSB0?baud=9600`.

use std::ops::RangeInclusive;
use std::time::Duration;

use bessai_domain::address::{Address, Parity, Scheme, Serial};
use bessai_domain::settings::{SettingsTable, unknown_name_hint};
use bessai_domain::time::parse_duration;

use super::super::host_port;

/// The port of Modbus/TCP.
const TCP_PORT: u16 = 502;
/// The port of Modbus/TCP Security (MB-TCP-Security-v36).
const TLS_PORT: u16 = 802;
/// The factory setting of most serial devices; the standard's default, 19,200 baud with even parity, is rare.
const DEFAULT_BAUD: u32 = 9600;
/// Baud rates that can be configured, in bits per second.
const BAUDS: RangeInclusive<u32> = 300..=4_000_000;
/// The longest pause between receiving and sending.
const LONGEST_TURNAROUND: Duration = Duration::from_secs(1);

/// The hint for a text that is none of the forms.
const FORMS: &str =
    "write \"tcp://host:502\", \"rtu+tcp://host:502\", \"tls://host:802\" or \"rtu:///dev/ttyUSB0?baud=9600\"";

/// The address of a Modbus/TCP server.
pub(in super::super) fn tcp(host: String, port: Option<u16>) -> Address {
    Address::Network(Scheme::Tcp, host, port.unwrap_or(TCP_PORT))
}

/// Replaces the host, the port or both. A host replaces a serial port by Modbus/TCP.
pub(in super::super) fn with_host_and_port(address: Address, host: Option<String>, port: Option<u16>) -> Address {
    match address {
        Address::Network(scheme, old_host, old_port) => {
            Address::Network(scheme, host.unwrap_or(old_host), port.unwrap_or(old_port))
        }
        Address::Serial(serial) => host.map_or(Address::Serial(serial), |host| tcp(host, port)),
    }
}

/// Reads the address of a `[[device]]`.
pub(in super::super) fn read(table: &SettingsTable<'_>) -> Option<Address> {
    let text = table.text("address")?;
    let parsed = parse(text);
    if let Err(hint) = &parsed {
        table.add_mistake("address", hint.clone());
    }
    parsed.ok()
}

/// Parses an address; the error says what to write instead.
pub(crate) fn parse(text: &str) -> Result<Address, String> {
    let Some((scheme, rest)) = text.trim().split_once("://") else { return Err(FORMS.into()) };
    let (scheme, default_port, example) = match scheme {
        "tcp" => (Scheme::Tcp, TCP_PORT, "tcp://host:502"),
        "rtu+tcp" => (Scheme::RtuOverTcp, TCP_PORT, "rtu+tcp://host:502"),
        "tls" => (Scheme::Tls, TLS_PORT, "tls://host:802"),
        "rtu" => return parse_serial(rest).map(Address::Serial),
        _ => return Err(FORMS.into()),
    };
    let (host, port) = host_port::split(rest).map_err(|error| format!("{error}; write \"{example}\""))?;
    Ok(Address::Network(scheme, host, port.unwrap_or(default_port)))
}

fn parse_serial(rest: &str) -> Result<Serial, String> {
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    if !path.starts_with('/') || path.len() < 2 {
        return Err("the serial port must be an absolute path; write \"rtu:///dev/ttyUSB0?baud=9600\"".into());
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
        set_option(&mut serial, key, value)?;
    }
    Ok(serial)
}

fn set_option(serial: &mut Serial, key: &str, value: &str) -> Result<(), String> {
    /// The options of a serial port.
    const KEYS: [&str; 5] = ["baud", "parity", "stop_bits", "data_bits", "turnaround"];
    let invalid = |hint: &str| format!("{key}={value}: {hint}");
    match key {
        "baud" => {
            let baud = value.parse().ok().filter(|baud| BAUDS.contains(baud));
            serial.baud =
                baud.ok_or_else(|| invalid("write the bits per second, from 300 to 4000000, such as 9600"))?;
        }
        "parity" => {
            serial.parity = match value {
                "none" | "N" => Parity::None,
                "even" | "E" => Parity::Even,
                "odd" | "O" => Parity::Odd,
                _ => return Err(invalid("write none, even or odd")),
            }
        }
        "stop_bits" => {
            let bits = value.parse().ok().filter(|bits| (1..=2).contains(bits));
            serial.stop_bits = bits.ok_or_else(|| invalid("write 1 or 2"))?;
        }
        "data_bits" => {
            if value != "8" {
                return Err(invalid("RTU uses 8 data bits; remove it, or switch the device from ASCII to RTU"));
            }
        }
        "turnaround" => {
            let time = parse_duration(value).filter(|time| *time <= LONGEST_TURNAROUND);
            serial.turnaround = time.ok_or_else(|| invalid("write a time up to 1s, such as 20ms"))?;
        }
        key => return Err(format!("{key} {}", unknown_name_hint(key, KEYS.into_iter()))),
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
    fn errors_name_the_invalid_part() {
        let check = |text: &str, hint: &str| assert_eq!(parse(text), Err(hint.to_owned()), "{text}");
        check("rtu://ttyUSB0", "the serial port must be an absolute path; write \"rtu:///dev/ttyUSB0?baud=9600\"");
        check("rtu:///dev/ttyS0?baud=fast", "baud=fast: write the bits per second, from 300 to 4000000, such as 9600");
        check("rtu:///dev/ttyS0?parity=mark", "parity=mark: write none, even or odd");
        check("rtu:///dev/ttyS0?stop_bits=3", "stop_bits=3: write 1 or 2");
        let eight = "data_bits=7: RTU uses 8 data bits; remove it, or switch the device from ASCII to RTU";
        check("rtu:///dev/ttyS0?data_bits=7", eight);
        check("rtu:///dev/ttyS0?bauds=9600", "bauds is unknown; did you mean `baud`?");
        check("tls://a:0", "the port must be a whole number from 1 to 65535; write \"tls://host:802\"");
    }
}
