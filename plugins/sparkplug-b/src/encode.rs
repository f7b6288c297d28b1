//! Writes payloads in the protobuf encoding of `sparkplug_b.proto`: the fields that an edge node sends.

/// Nanoseconds of a millisecond, the unit of Sparkplug's times.
const NANOS_PER_MS: u64 = 1_000_000;
/// The most bytes of a varint.
const VARINT_BYTES: usize = 10;

/// Wire types: a varint, eight bytes, and a length with as many bytes.
const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const BYTES: u32 = 2;

/// How a metric's value is encoded; the numbers are those of `DataType` in `sparkplug_b.proto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DataType {
    Int64 = 4,
    Double = 10,
    Boolean = 11,
    String = 12,
}

/// A value to send.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Null,
    Int64(i64),
    Double(f64),
    Boolean(bool),
    String(&'a str),
}

/// A metric as it is sent. Births have a name and a data type, data messages an alias alone.
pub(crate) struct Metric<'a> {
    pub(crate) name: Option<&'a str>,
    pub(crate) alias: Option<u64>,
    /// Milliseconds since 1970.
    pub(crate) timestamp: u64,
    pub(crate) data_type: Option<DataType>,
    pub(crate) is_historical: bool,
    /// The property `engUnit`.
    pub(crate) unit: Option<&'a str>,
    pub(crate) value: Value<'a>,
}

/// Milliseconds since 1970.
pub(crate) fn millis(at: u64) -> u64 {
    at / NANOS_PER_MS
}

/// A payload under construction.
pub(crate) struct Payload {
    bytes: Vec<u8>,
    /// The metric under construction, whose length precedes it.
    metric: Vec<u8>,
}

impl Payload {
    pub(crate) fn new(timestamp: u64) -> Self {
        let mut payload = Self { bytes: Vec::with_capacity(1024), metric: Vec::with_capacity(128) };
        number(&mut payload.bytes, 1, timestamp);
        payload
    }

    pub(crate) fn metric(&mut self, metric: &Metric<'_>) {
        let bytes = &mut self.metric;
        bytes.clear();
        if let Some(name) = metric.name {
            text(bytes, 1, name);
        }
        if let Some(alias) = metric.alias {
            number(bytes, 2, alias);
        }
        number(bytes, 3, metric.timestamp);
        if let Some(data_type) = metric.data_type {
            number(bytes, 4, data_type as u64);
        }
        if metric.is_historical {
            number(bytes, 5, 1);
        }
        if let Some(unit) = metric.unit {
            text_bytes(bytes, 9, &unit_property(unit));
        }
        match metric.value {
            Value::Null => number(bytes, 7, 1),
            Value::Int64(value) => number(bytes, 11, u64::from_le_bytes(value.to_le_bytes())),
            Value::Double(value) => {
                varint(bytes, key(13, FIXED64));
                bytes.extend_from_slice(&value.to_le_bytes());
            }
            Value::Boolean(value) => number(bytes, 14, u64::from(value)),
            Value::String(value) => text(bytes, 15, value),
        }
        varint(&mut self.bytes, key(2, BYTES));
        varint(&mut self.bytes, self.metric.len() as u64);
        self.bytes.extend_from_slice(&self.metric);
    }

    /// The payload with its sequence number.
    pub(crate) fn finish(mut self, seq: u8) -> Vec<u8> {
        number(&mut self.bytes, 3, u64::from(seq));
        self.bytes
    }

    /// The payload of an NDEATH, which alone has no sequence number.
    pub(crate) fn finish_without_seq(self) -> Vec<u8> {
        self.bytes
    }
}

/// A `PropertySet` with `engUnit`.
fn unit_property(unit: &str) -> Vec<u8> {
    let mut value = Vec::new();
    number(&mut value, 1, DataType::String as u64);
    text(&mut value, 8, unit);
    let mut set = Vec::new();
    text(&mut set, 1, "engUnit");
    text_bytes(&mut set, 2, &value);
    set
}

fn key(field: u32, wire_type: u32) -> u64 {
    u64::from(field << 3 | wire_type)
}

fn number(bytes: &mut Vec<u8>, field: u32, value: u64) {
    varint(bytes, key(field, VARINT));
    varint(bytes, value);
}

fn text(bytes: &mut Vec<u8>, field: u32, value: &str) {
    text_bytes(bytes, field, value.as_bytes());
}

fn text_bytes(bytes: &mut Vec<u8>, field: u32, value: &[u8]) {
    varint(bytes, key(field, BYTES));
    varint(bytes, value.len() as u64);
    bytes.extend_from_slice(value);
}

fn varint(bytes: &mut Vec<u8>, mut value: u64) {
    let mut encoded = [0; VARINT_BYTES];
    let mut length = 0;
    for byte in &mut encoded {
        length += 1;
        let low = value.to_le_bytes()[0] & 0x7f;
        value >>= 7;
        *byte = if value == 0 { low } else { low | 0x80 };
        if value == 0 {
            break;
        }
    }
    bytes.extend_from_slice(encoded.get(..length).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(payload: Vec<u8>, expected: &str) {
        let hex: String = payload.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, expected);
    }

    fn metric(name: &'static str, timestamp: u64, data_type: DataType, value: Value<'static>) -> Metric<'static> {
        let data_type = Some(data_type);
        Metric { name: Some(name), alias: None, timestamp, data_type, is_historical: false, unit: None, value }
    }

    // Made with protoc from the public sparkplug_b.proto, except for the order of the fields in the payload.
    #[test]
    fn the_vectors_of_another_encoder() {
        let at = 1_486_144_502_122;
        let mut death = Payload::new(at);
        death.metric(&metric("bdSeq", at, DataType::Int64, Value::Int64(0)));
        check(death.finish_without_seq(), "08eaf2f5a8a02b12120a05626453657118eaf2f5a8a02b20045800");
        let mut birth = Payload::new(at);
        birth.metric(&metric("bdSeq", at, DataType::Int64, Value::Int64(7)));
        birth.metric(&metric("Node Control/Rebirth", at, DataType::Boolean, Value::Boolean(false)));
        check(
            birth.finish(0),
            "08eaf2f5a8a02b12120a05626453657118eaf2f5a8a02b2004580712210a144e6f646520436f6e74726f6c2f526562697274681\
             8eaf2f5a8a02b200b70001800",
        );
    }

    #[test]
    fn numbers_of_every_length() {
        for value in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = Vec::new();
            varint(&mut bytes, value);
            assert_eq!(crate::decode::varint(&mut bytes.as_slice()), Some(value), "{value}");
        }
    }
}
