//! The protocol of the gateway's local socket: other commands of this program on the same machine ask the running gateway.
//!
//! A client writes one line of JSON, `{"version": 2, "request": …}`, and reads one: `{"version": 2, "ok": …}` or `{"version":
//! 2, "error": {"code": …, "message": …}}`. Any number of requests may follow each other. After the reply to `open` each further
//! line is a read or a write for that device: what it is answered with says whether the device has refused the request with an
//! exception, has not replied, or cannot be connected to, as a client with a connection of its own would know it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bessai_domain::address::Address;
use serde_json::{Value, json};

mod device_request;

pub(crate) use device_request::{DeviceRequest, parse_outcome, reply_of};

/// The version of the protocol; a gateway answers requests of its own version only.
pub(crate) const VERSION: u64 = 2;
/// Bytes of the longest line: a write or the values of as many coils as one request may have.
pub(crate) const MAX_LINE_BYTES: usize = 16_384;
/// Time for a reply other than the device's.
pub(crate) const REPLY_LIMIT: Duration = Duration::from_secs(3);
/// Why a reply is not understood.
const NOT_A_GATEWAY: &str = "the reply is not that of a gateway's local socket";
/// The beginning of the names of all requests to control.
const CONTROL: &str = "control-";
/// The socket's name in the data folder.
const FILE_NAME: &str = "control.sock";
/// Bytes that the path of a socket may have, with the zero at its end (`sockaddr_un`).
const MAX_PATH_BYTES: usize = 108;

/// Where a gateway with this data folder listens.
pub(crate) fn socket_path(data_dir: &Path) -> PathBuf {
    data_dir.join(FILE_NAME)
}

/// Why a socket cannot have this path; none if it can.
pub(crate) fn path_problem(path: &Path) -> Option<String> {
    let bytes = path.as_os_str().len();
    (bytes >= MAX_PATH_BYTES).then(|| {
        format!("its path has {bytes} bytes and a socket's at most {}; use a shorter BESSAI_DATA", MAX_PATH_BYTES - 1)
    })
}

/// A request as a client sends it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum LocalRequest {
    /// Whether the gateway has a connection to this device.
    HasConnection(DeviceAddress),
    /// What follows are requests to this device, each with this time limit.
    Open(DeviceAddress, Duration),
    /// Something that the operator wants of control.
    Control(ControlRequest),
}

/// What an operator asks of control.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ControlRequest {
    /// What is held, and what safety says.
    Status,
    /// Set a channel of a device for a time; no time for the default.
    Set { device: String, channel: String, value: f64, hold: Option<Duration> },
    /// End the operator's set-point of a channel.
    Release { device: String, channel: String },
    /// Reset the trips of a device, or of all.
    ResetTrips { device: Option<String> },
    /// Forget what may still be set on a device that is not controlled.
    Forget { device: String },
}

/// A device as both sides know it, whatever the protocol is that it speaks.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum DeviceAddress {
    Network(String, u16),
    Serial(String),
}

/// Why a request fails: a code for programs and a message for people.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LocalError {
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

impl LocalError {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl DeviceAddress {
    pub(crate) fn of(address: &Address) -> Self {
        match address {
            Address::Network(_, host, port) => Self::Network(host.clone(), *port),
            Address::Serial(serial) => Self::Serial(serial.path.clone()),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Network(host, port) => json!({ "host": host, "port": port }),
            Self::Serial(path) => json!({ "path": path }),
        }
    }

    fn parse(value: &Value) -> Option<Self> {
        if let Some(path) = value.get("path") {
            return Some(Self::Serial(path.as_str()?.to_owned()));
        }
        let port = u16::try_from(value.get("port")?.as_u64()?).ok()?;
        Some(Self::Network(value.get("host")?.as_str()?.to_owned(), port))
    }
}

impl LocalRequest {
    /// The request as a line.
    pub(crate) fn line(&self) -> String {
        let request = match self {
            Self::HasConnection(device) => {
                json!({ "version": VERSION, "request": "has-connection", "device": device.json() })
            }
            Self::Open(device, timeout) => {
                let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX).max(1);
                json!({ "version": VERSION, "request": "open", "device": device.json(), "timeout_ms": timeout_ms })
            }
            Self::Control(request) => request.json(),
        };
        format!("{request}\n")
    }

    /// Reads a line.
    pub(crate) fn parse(line: &[u8]) -> Result<Self, LocalError> {
        let request: Value =
            serde_json::from_slice(line).map_err(|error| LocalError::new("invalid", format!("no JSON: {error}")))?;
        let version = request.get("version").and_then(Value::as_u64);
        if version != Some(VERSION) {
            let version = version.map_or_else(|| "none".to_owned(), |version| version.to_string());
            let message = format!("the running gateway speaks version {VERSION} of the local protocol, not {version}");
            return Err(LocalError::new("version", message));
        }
        let incomplete = || LocalError::new("invalid", "the request lacks its device, or a member has the wrong type");
        let device = || request.get("device").and_then(DeviceAddress::parse).ok_or_else(incomplete);
        match request.get("request").and_then(Value::as_str) {
            Some("has-connection") => Ok(Self::HasConnection(device()?)),
            Some("open") => {
                let timeout = request.get("timeout_ms").and_then(Value::as_u64).ok_or_else(incomplete)?;
                Ok(Self::Open(device()?, Duration::from_millis(timeout)))
            }
            Some(name) if name.starts_with(CONTROL) => {
                ControlRequest::parse(name, &request).ok_or_else(incomplete)?.map(Self::Control)
            }
            name => {
                let message = format!("the running gateway knows no request {:?}", name.unwrap_or_default());
                Err(LocalError::new("unknown-request", message))
            }
        }
    }
}

impl ControlRequest {
    fn json(&self) -> Value {
        match self {
            Self::Status => json!({ "version": VERSION, "request": "control-status" }),
            Self::Set { device, channel, value, hold } => {
                let hold_ms = hold.map(|hold| u64::try_from(hold.as_millis()).unwrap_or(u64::MAX));
                json!({
                    "version": VERSION, "request": "control-set", "device": device, "channel": channel, "value": value,
                    "hold_ms": hold_ms,
                })
            }
            Self::Release { device, channel } => {
                json!({ "version": VERSION, "request": "control-release", "device": device, "channel": channel })
            }
            Self::ResetTrips { device } => {
                json!({ "version": VERSION, "request": "control-reset-trips", "device": device })
            }
            Self::Forget { device } => json!({ "version": VERSION, "request": "control-forget", "device": device }),
        }
    }

    /// None if a member is missing or of the wrong type.
    fn parse(name: &str, request: &Value) -> Option<Result<Self, LocalError>> {
        let text = |key: &str| request.get(key).and_then(Value::as_str).map(str::to_owned);
        let target = || Some((text("device")?, text("channel")?));
        Some(Ok(match name {
            "control-status" => Self::Status,
            "control-set" => {
                let ((device, channel), value) = (target()?, request.get("value")?.as_f64()?);
                let hold = match request.get("hold_ms") {
                    None | Some(Value::Null) => None,
                    Some(hold) => Some(Duration::from_millis(hold.as_u64()?)),
                };
                Self::Set { device, channel, value, hold }
            }
            "control-release" => {
                let (device, channel) = target()?;
                Self::Release { device, channel }
            }
            "control-reset-trips" => Self::ResetTrips { device: text("device") },
            "control-forget" => Self::Forget { device: text("device")? },
            _ => {
                let message = format!("the running gateway knows no request {name:?}");
                return Some(Err(LocalError::new("unknown-request", message)));
            }
        }))
    }
}

/// A reply as a line.
pub(crate) fn reply_line(reply: &Result<Value, LocalError>) -> String {
    let reply = match reply {
        Ok(value) => json!({ "version": VERSION, "ok": value }),
        Err(LocalError { code, message }) => {
            json!({ "version": VERSION, "error": { "code": code, "message": message } })
        }
    };
    format!("{reply}\n")
}

/// What a reply says, or the message of its error.
pub(crate) fn parse_reply(line: &[u8]) -> Result<Value, String> {
    let reply: Value = serde_json::from_slice(line).map_err(|_| NOT_A_GATEWAY.to_owned())?;
    let message = |error: &Value| error.get("message").and_then(Value::as_str).map(str::to_owned);
    match (reply.get("ok"), reply.get("error").and_then(message)) {
        (Some(ok), _) => Ok(ok.clone()),
        (None, Some(message)) => Err(message),
        (None, None) => Err(NOT_A_GATEWAY.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_as_they_are_written() {
        let network = DeviceAddress::Network("192.168.1.20".into(), 502);
        let serial = DeviceAddress::Serial("/dev/ttyUSB0".into());
        let (device, channel) = ("battery".to_owned(), "set_point_kw".to_owned());
        let set = |hold| ControlRequest::Set { device: device.clone(), channel: channel.clone(), value: -2.5, hold };
        for request in [
            LocalRequest::HasConnection(network.clone()),
            LocalRequest::Open(network, Duration::from_millis(300)),
            LocalRequest::Open(serial, Duration::from_secs(3)),
            LocalRequest::Control(ControlRequest::Status),
            LocalRequest::Control(set(None)),
            LocalRequest::Control(set(Some(Duration::from_secs(90)))),
            LocalRequest::Control(ControlRequest::Release { device: "battery".into(), channel: "set_point_kw".into() }),
            LocalRequest::Control(ControlRequest::ResetTrips { device: None }),
        ] {
            let line = request.line();
            assert_eq!((LocalRequest::parse(line.as_bytes()), line.matches('\n').count()), (Ok(request), 1));
        }
    }

    #[test]
    fn what_is_no_request_is_refused_with_a_code() {
        let code = |line: &str| LocalRequest::parse(line.as_bytes()).unwrap_err().code;
        assert_eq!(code("hello"), "invalid");
        assert_eq!(code("{}"), "version");
        assert_eq!(code(r#"{"version": 1, "request": "has-connection"}"#), "version");
        assert_eq!(code(r#"{"version": 2, "request": "open-the-gate"}"#), "unknown-request");
        assert_eq!(code(r#"{"version": 2, "request": "has-connection", "device": {"host": 5}}"#), "invalid");
        assert_eq!(code(r#"{"version": 2, "request": "open", "device": {"path": "/dev/x"}}"#), "invalid");
        assert_eq!(code(r#"{"version": 2, "request": "control-explode"}"#), "unknown-request");
        assert_eq!(code(r#"{"version": 2, "request": "control-set", "device": "battery", "value": 5}"#), "invalid");
    }

    #[test]
    fn replies_are_a_value_or_a_message() {
        let parse = |line: &str| parse_reply(line.as_bytes());
        assert_eq!(parse(&reply_line(&Ok(json!({ "a": 1 })))), Ok(json!({ "a": 1 })));
        assert_eq!(parse(&reply_line(&Err(LocalError::new("invalid", "no")))), Err("no".into()));
        assert!(parse("220 mail.example ESMTP").is_err() && parse("{}").is_err());
    }
}
