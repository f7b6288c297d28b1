//! Builds the payloads that an edge node sends.

use prost::Message;

use crate::proto::{self, MetricValue, PropertySet, PropertyValue};

/// Nanoseconds of a millisecond, the unit of Sparkplug's times.
const NANOS_PER_MS: u64 = 1_000_000;

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
pub(crate) struct Payload(proto::Payload);

impl Payload {
    pub(crate) fn new(timestamp: u64) -> Self {
        Self(proto::Payload { timestamp: Some(timestamp), metrics: Vec::new(), seq: None })
    }

    pub(crate) fn metric(&mut self, metric: &Metric<'_>) {
        let value = match metric.value {
            Value::Null => None,
            Value::Int64(value) => Some(MetricValue::Long(u64::from_le_bytes(value.to_le_bytes()))),
            Value::Double(value) => Some(MetricValue::Double(value)),
            Value::Boolean(value) => Some(MetricValue::Boolean(value)),
            Value::String(value) => Some(MetricValue::String(value.to_owned())),
        };
        self.0.metrics.push(proto::Metric {
            name: metric.name.map(str::to_owned),
            alias: metric.alias,
            timestamp: Some(metric.timestamp),
            datatype: metric.data_type.map(|data_type| data_type as u32),
            is_historical: metric.is_historical.then_some(true),
            is_null: value.is_none().then_some(true),
            properties: metric.unit.map(unit_property),
            value,
        });
    }

    /// The payload with its sequence number.
    pub(crate) fn finish(mut self, seq: u8) -> Vec<u8> {
        self.0.seq = Some(seq.into());
        self.0.encode_to_vec()
    }

    /// The payload of an NDEATH, which alone has no sequence number.
    pub(crate) fn finish_without_seq(self) -> Vec<u8> {
        self.0.encode_to_vec()
    }
}

/// The property `engUnit`.
fn unit_property(unit: &str) -> PropertySet {
    let value = PropertyValue { r#type: Some(DataType::String as u32), string_value: Some(unit.to_owned()) };
    PropertySet { keys: vec!["engUnit".to_owned()], values: vec![value] }
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
            let mut payload = Payload::new(value);
            let number = Value::Int64(i64::from_le_bytes(value.to_le_bytes()));
            payload.metric(&Metric { alias: Some(value), ..metric("n", value, DataType::Int64, number) });
            let bytes = payload.finish(0);
            let read = proto::Payload::decode(bytes.as_slice()).unwrap();
            let metric = &read.metrics[0];
            assert_eq!((read.timestamp, metric.alias, metric.timestamp), (Some(value), Some(value), Some(value)));
            assert_eq!(metric.value, Some(MetricValue::Long(value)));
        }
    }

    // A protobuf library writes fields by ascending number: null before the unit, the unit before a value.
    #[test]
    fn units_and_missing_values() {
        let named = |value| Metric { unit: Some("%"), ..metric("n", 1, DataType::Double, value) };
        let mut payload = Payload::new(1);
        payload.metric(&named(Value::Null));
        payload.metric(&named(Value::Double(0.0)));
        let unit = "4a100a07656e67556e69741205080c420125";
        let start = "0a016e1801200a";
        let expected = format!("0801121b{start}3801{unit}1222{start}{unit}690000000000000000");
        check(payload.finish_without_seq(), &expected);
    }
}
