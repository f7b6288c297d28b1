//! Reads the metrics of a command.

use bessai_plugin::Value;
use prost::Message;

use crate::proto::{Metric, MetricValue, Undecoded};

/// The most metrics of a command; one with more is refused, because a decoded metric takes many times its bytes. The gateway
/// limits the bytes of the whole message.
const MOST_METRICS: usize = 256;

/// Data types whose integers have a sign, with their bits.
const SIGNED: [(u32, u32); 4] = [(1, 8), (2, 16), (3, 32), (4, 64)];

/// The data type of metrics that are true or false.
const BOOLEAN: u32 = 11;

impl Metric {
    /// The value, if a channel can be set to it; null ends a set-point. `data_type` is that of the birth, for a metric that
    /// has none itself.
    pub(crate) fn wanted(&self, data_type: u32) -> Result<Option<Value>, &'static str> {
        // The flag counts, whatever default an encoder writes as the value.
        if self.is_null == Some(true) {
            return Ok(None);
        }
        let is_switch = data_type == BOOLEAN;
        let data_type = self.datatype.filter(|own| *own != 0).unwrap_or(data_type);
        match self.value.as_ref().ok_or("it has no value")? {
            MetricValue::Int(raw) => Ok(Some(Value::Number(integer((*raw).into(), data_type)))),
            MetricValue::Long(raw) => Ok(Some(Value::Number(integer(*raw, data_type)))),
            MetricValue::Float(value) => finite((*value).into()),
            MetricValue::Double(value) => finite(*value),
            // Who means a switch must not set a power of 1 kW.
            MetricValue::Boolean(_) if !is_switch => Err("its value is true or false, and the metric is a number"),
            MetricValue::Boolean(value) => Ok(Some(Value::Number(f64::from(u8::from(*value))))),
            MetricValue::String(text) => Ok(Some(Value::Text(text.clone()))),
            MetricValue::Bytes(_) | MetricValue::DataSet(_) | MetricValue::Template(_) | MetricValue::Extension(_) => {
                Err("its value is neither a number nor a text")
            }
        }
    }

    pub(crate) fn is_true(&self) -> bool {
        self.is_null != Some(true) && self.value == Some(MetricValue::Boolean(true))
    }
}

fn finite(value: f64) -> Result<Option<Value>, &'static str> {
    if value.is_finite() { Ok(Some(Value::Number(value))) } else { Err("it is not a finite number") }
}

/// Encoders disagree on how a negative number fills its field, so only the bits of its type count.
#[allow(clippy::cast_precision_loss, reason = "a channel's value is a double")]
fn integer(raw: u64, data_type: u32) -> f64 {
    match SIGNED.iter().find(|(signed, _)| *signed == data_type) {
        Some((_, bits)) => {
            let unused = 64 - bits;
            (i64::from_le_bytes((raw << unused).to_le_bytes()) >> unused) as f64
        }
        None => raw as f64,
    }
}

/// The metrics of a payload; none if it is not a payload, or has too many.
pub(crate) fn metrics(bytes: &[u8]) -> Option<Vec<Metric>> {
    let payload = Undecoded::decode(bytes).ok().filter(|payload| payload.metrics.len() <= MOST_METRICS)?;
    payload.metrics.iter().map(|metric| Metric::decode(metric.as_slice()).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn values_of_another_encoder() {
        // Alias 1 float 53.5; alias 2 int32 -1500; alias 3 double 21.25, historical; alias 4 null.
        let hex = "08eaf2f5a8a02b120e100118eaf2f5a8a02b6500005642120f100218eaf2f5a8a02b50a4f4ffff0f1214100318f0f1f5a8a02b\
                   2801690000000000403540120b100418eaf2f5a8a02b38011802";
        let found = metrics(&bytes(hex)).unwrap();
        let values: Vec<_> = found.iter().map(|metric| (metric.alias, metric.wanted(3))).collect();
        let number = |value| Ok(Some(Value::Number(value)));
        let expected = [(1, number(53.5)), (2, number(-1500.0)), (3, number(21.25)), (4, Ok(None))];
        assert_eq!(values, expected.map(|(alias, value)| (Some(alias), value)));
    }

    #[test]
    fn negative_numbers_of_either_convention() {
        for (raw, data_type, expected) in [
            (255, 1, -1.0),
            (0xffff_ffff, 1, -1.0),
            (0xffff, 2, -1.0),
            (0xffff_ffff, 3, -1.0),
            (u64::MAX, 3, -1.0),
            (u64::MAX, 4, -1.0),
            (255, 5, 255.0),
            (65_535, 6, 65_535.0),
        ] {
            assert_eq!(integer(raw, data_type), expected, "{raw} {data_type}");
        }
    }

    #[test]
    fn what_is_not_a_payload_is_refused() {
        let hex = "08eaf2f5a8a02b120e100118eaf2f5a8a02b6500005642";
        let whole = bytes(hex);
        for length in 8..whole.len() {
            assert_eq!(metrics(&whole[..length]), None, "{length}");
        }
        for hex in ["07", "12ffffffffffffffffff7f", "ffffffffffffffffffffff", "12030affff", "0b"] {
            assert_eq!(metrics(&bytes(hex)), None, "{hex}");
        }
        assert_eq!(metrics(&[0x12, 0].repeat(MOST_METRICS + 1)), None);
        assert_eq!(metrics(&[]), Some(Vec::new()));
    }

    #[test]
    fn the_most_metrics_and_unknown_fields_are_read_and_more_refused() {
        assert_eq!(metrics(&[0x12, 0].repeat(MOST_METRICS)).map(|metrics| metrics.len()), Some(MOST_METRICS));
        // Groups within groups, all of them unknown.
        let nested = |depth| [[0x0b].repeat(depth), [0x0c].repeat(depth)].concat();
        assert_eq!(metrics(&nested(50)), Some(Vec::new()));
        assert_eq!(metrics(&nested(50_000)), None);
    }

    #[test]
    fn values_that_no_channel_can_be_set_to() {
        let check = |value, expected| {
            assert_eq!(Metric { value, ..Metric::default() }.wanted(10), Err(expected));
        };
        check(None, "it has no value");
        check(Some(MetricValue::Double(f64::INFINITY)), "it is not a finite number");
        check(Some(MetricValue::Float(f32::NAN)), "it is not a finite number");
        check(Some(MetricValue::Boolean(true)), "its value is true or false, and the metric is a number");
        let switch = Metric { value: Some(MetricValue::Boolean(true)), ..Metric::default() };
        assert_eq!(switch.wanted(BOOLEAN), Ok(Some(Value::Number(1.0))));
        for hex in ["82010100", "8a0100", "920100", "9a0100"] {
            let metric = Metric::decode(bytes(hex).as_slice());
            let expected = Err("its value is neither a number nor a text");
            assert_eq!(metric.map(|metric| metric.wanted(10)), Ok(expected), "{hex}");
        }
    }

    #[test]
    fn null_wins_over_a_value() {
        let metric = Metric { is_null: Some(true), value: Some(MetricValue::Boolean(true)), ..Metric::default() };
        assert_eq!((metric.wanted(11), metric.is_true()), (Ok(None), false));
    }
}
