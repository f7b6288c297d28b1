//! A read or a write on the gateway's connection, and its outcome.

use bessai_domain::plan::ReadRequest;
use bessai_domain::register::{Table, UnitId, WriteFunction};
use bessai_domain::relay::{Exception, MAX_WRITE, MAX_WRITE_BITS, RelayError, RelayFailure};
use bessai_domain::write::WriteRequest;
use bessai_modbus::BusRequest;
use serde_json::{Value, json};

use super::{LocalError, NOT_A_GATEWAY, VERSION};

/// The functions that write, by their codes.
const WRITE_FUNCTIONS: [WriteFunction; 4] =
    [WriteFunction::Coil, WriteFunction::Register, WriteFunction::Coils, WriteFunction::Registers];

/// A request as the gateway reads it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum DeviceRequest {
    Read(ReadRequest),
    Write(WriteRequest),
}

impl DeviceRequest {
    /// A request as a line.
    pub(crate) fn line(request: BusRequest<'_>) -> String {
        let request = match request {
            BusRequest::Read(ReadRequest { unit, table, start, count, .. }) => {
                json!({ "read": { "unit": unit.0, "table": table.name(), "start": start, "count": count } })
            }
            BusRequest::Write(WriteRequest { unit, function, address, words }) => {
                json!({ "write": { "unit": unit.0, "function": function.code(), "start": address, "words": words } })
            }
        };
        format!("{request}\n")
    }

    /// Reads a line.
    pub(crate) fn parse(line: &[u8]) -> Result<Self, LocalError> {
        let request: Option<Value> = serde_json::from_slice(line).ok();
        let parsed = request.and_then(|request| match (request.get("read"), request.get("write")) {
            (Some(read), None) => parse_read(read),
            (None, Some(write)) => parse_write(write),
            _ => None,
        });
        parsed.ok_or_else(|| LocalError::new("invalid", "this is neither a read nor a write of registers or bits"))
    }
}

fn parse_read(read: &Value) -> Option<DeviceRequest> {
    let table = read.get("table")?.as_str()?;
    let table = Table::NAMES.iter().find(|(name, _)| *name == table).map(|(_, table)| *table)?;
    let (unit, start, count) = (number(read, "unit")?, number(read, "start")?, number(read, "count")?);
    let is_possible = (1..=table.max_read()).contains(&count) && u32::from(start) + u32::from(count) <= 0x1_0000;
    is_possible.then(|| DeviceRequest::Read(ReadRequest::new(UnitId(unit), table, start, count)))
}

fn parse_write(write: &Value) -> Option<DeviceRequest> {
    let code: u8 = number(write, "function")?;
    let function = WRITE_FUNCTIONS.into_iter().find(|function| function.code() == code)?;
    let (unit, address) = (UnitId(number(write, "unit")?), number(write, "start")?);
    let word = |word: &Value| word.as_u64().and_then(|word| u16::try_from(word).ok());
    let words: Vec<u16> = write.get("words")?.as_array()?.iter().map(word).collect::<Option<_>>()?;
    let most = if function.table().is_bits() { MAX_WRITE_BITS } else { MAX_WRITE };
    let is_possible = !words.is_empty() && words.len() <= usize::from(most);
    is_possible.then_some(DeviceRequest::Write(WriteRequest { unit, function, address, words }))
}

fn number<N: TryFrom<u64>>(value: &Value, key: &str) -> Option<N> {
    N::try_from(value.get(key)?.as_u64()?).ok()
}

/// The outcome of a request as a line.
pub(crate) fn reply_of(outcome: &Result<Vec<u16>, RelayError>) -> String {
    let reply = match outcome {
        Ok(words) => json!({ "version": VERSION, "ok": { "words": words } }),
        Err(RelayError { exception, failure, reason }) => {
            let error = json!({ "code": failure.name(), "message": reason, "exception": exception.0 });
            json!({ "version": VERSION, "error": error })
        }
    };
    format!("{reply}\n")
}

/// What the line with an outcome says.
pub(crate) fn parse_outcome(line: &[u8]) -> Result<Vec<u16>, RelayError> {
    let not_understood = || RelayError::new(Exception::NO_REPLY, NOT_A_GATEWAY);
    let reply: Value = serde_json::from_slice(line).map_err(|_| not_understood())?;
    let words = reply.get("ok").and_then(|ok| ok.get("words")).and_then(Value::as_array);
    if let Some(words) = words {
        let word = |word: &Value| word.as_u64().and_then(|word| u16::try_from(word).ok());
        return words.iter().map(word).collect::<Option<_>>().ok_or_else(not_understood);
    }
    let error = reply.get("error").ok_or_else(not_understood)?;
    let text = |key: &str| error.get(key).and_then(Value::as_str);
    let failure = text("code").and_then(RelayFailure::from_name).unwrap_or(RelayFailure::Refused);
    let exception = Exception(number(error, "exception").unwrap_or(Exception::DEVICE_FAILURE.0));
    Err(RelayError { exception, failure, reason: text("message").unwrap_or(NOT_A_GATEWAY).to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_as_they_are_written() {
        let read = ReadRequest::new(UnitId(3), Table::Input, 65_000, 125);
        let line = DeviceRequest::line(BusRequest::Read(&read));
        assert_eq!(DeviceRequest::parse(line.as_bytes()), Ok(DeviceRequest::Read(read)));
        for function in WRITE_FUNCTIONS {
            let write = WriteRequest { unit: UnitId(1), function, address: 7, words: vec![1, 65_535] };
            let line = DeviceRequest::line(BusRequest::Write(&write));
            assert_eq!(DeviceRequest::parse(line.as_bytes()), Ok(DeviceRequest::Write(write)));
        }
    }

    #[test]
    fn what_no_device_can_be_asked_is_refused() {
        for line in [
            "hello",
            "{}",
            r#"{"read": {"unit": 1, "table": "holding", "start": 0, "count": 0}}"#,
            r#"{"read": {"unit": 1, "table": "holding", "start": 0, "count": 126}}"#,
            r#"{"read": {"unit": 1, "table": "holding", "start": 65535, "count": 2}}"#,
            r#"{"read": {"unit": 256, "table": "holding", "start": 0, "count": 1}}"#,
            r#"{"write": {"unit": 1, "function": 3, "start": 0, "words": [1]}}"#,
            r#"{"write": {"unit": 1, "function": 6, "start": 0, "words": []}}"#,
            r#"{"write": {"unit": 1, "function": 6, "start": 0, "words": [65536]}}"#,
        ] {
            assert_eq!(DeviceRequest::parse(line.as_bytes()).unwrap_err().code, "invalid", "{line}");
        }
    }

    #[test]
    fn outcomes_are_read_as_they_are_written() {
        let check = |outcome: Result<Vec<u16>, RelayError>| {
            assert_eq!(parse_outcome(reply_of(&outcome).as_bytes()), outcome);
        };
        check(Ok(vec![]));
        check(Ok(vec![0, 65_535]));
        check(Err(RelayError::of_device(Exception::NO_REPLY, "Gateway target device failed to respond")));
        check(Err(RelayError::new(Exception::NO_REPLY, "unit 1 did not reply")));
        check(Err(RelayError::new(Exception::PATH_UNAVAILABLE, "connection refused")));
        check(Err(RelayError::new(Exception::BUSY, "32 requests wait")));
        assert!(parse_outcome(b"220 mail.example").is_err() && parse_outcome(b"{}").is_err());
    }
}
