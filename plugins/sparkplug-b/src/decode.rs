//! Reads the metrics of a command, in the protobuf encoding of `sparkplug_b.proto`.

use bessai_plugin::Value;

/// The most metrics of a command; the rest is refused.
const MOST_METRICS: usize = 256;

/// A metric of a command: what is asked for.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) name: Option<String>,
    pub(crate) alias: Option<u64>,
    data_type: u64,
    raw: Raw,
}

/// A value as it is on the wire: its meaning depends on the data type.
#[derive(Debug, Default, PartialEq)]
enum Raw {
    #[default]
    None,
    Null,
    Int(u64),
    Double(f64),
    Boolean(bool),
    Text(String),
    /// A kind of value that no channel has.
    Unusable,
}

/// Data types whose integers have a sign, with their bits.
const SIGNED: [(u64, u32); 4] = [(1, 8), (2, 16), (3, 32), (4, 64)];

impl Wanted {
    /// The value, if a channel can be set to it; null ends a set-point. `data_type` is that of the birth, for a metric that
    /// has none itself.
    pub(crate) fn value(&self, data_type: u64) -> Result<Option<Value>, &'static str> {
        match &self.raw {
            Raw::None => Err("it has no value"),
            Raw::Null => Ok(None),
            Raw::Int(raw) => {
                let data_type = if self.data_type == 0 { data_type } else { self.data_type };
                Ok(Some(Value::Number(integer(*raw, data_type))))
            }
            Raw::Double(value) if value.is_finite() => Ok(Some(Value::Number(*value))),
            Raw::Double(_) => Err("it is not a finite number"),
            Raw::Boolean(value) => Ok(Some(Value::Number(f64::from(u8::from(*value))))),
            Raw::Text(text) => Ok(Some(Value::Text(text.clone()))),
            Raw::Unusable => Err("its value is neither a number nor a text"),
        }
    }

    pub(crate) fn is_true(&self) -> bool {
        self.raw == Raw::Boolean(true)
    }
}

/// Encoders disagree on how a negative number fills its field, so only the bits of its type count.
#[allow(clippy::cast_precision_loss, reason = "a channel's value is a double")]
fn integer(raw: u64, data_type: u64) -> f64 {
    match SIGNED.iter().find(|(signed, _)| *signed == data_type) {
        Some((_, bits)) => {
            let unused = 64 - bits;
            (i64::from_le_bytes((raw << unused).to_le_bytes()) >> unused) as f64
        }
        None => raw as f64,
    }
}

/// The metrics of a payload; none if it is not a payload.
pub(crate) fn metrics(mut bytes: &[u8]) -> Option<Vec<Wanted>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        if let (2, Field::Bytes(inner)) = field(&mut bytes)? {
            found.push(metric(inner)?);
        }
        if found.len() > MOST_METRICS {
            return None;
        }
    }
    Some(found)
}

fn metric(mut bytes: &[u8]) -> Option<Wanted> {
    let mut wanted = Wanted::default();
    while !bytes.is_empty() {
        match field(&mut bytes)? {
            (1, Field::Bytes(name)) => wanted.name = Some(String::from_utf8(name.to_vec()).ok()?),
            (2, Field::Number(alias)) => wanted.alias = Some(alias),
            (4, Field::Number(data_type)) => wanted.data_type = data_type,
            (7, Field::Number(1)) => wanted.raw = Raw::Null,
            (10 | 11, Field::Number(value)) => wanted.raw = Raw::Int(value),
            (12, Field::Four(value)) => wanted.raw = Raw::Double(f32::from_le_bytes(value).into()),
            (13, Field::Eight(value)) => wanted.raw = Raw::Double(f64::from_le_bytes(value)),
            (14, Field::Number(value)) => wanted.raw = Raw::Boolean(value != 0),
            (15, Field::Bytes(text)) => wanted.raw = Raw::Text(String::from_utf8(text.to_vec()).ok()?),
            (16..=19, _) => wanted.raw = Raw::Unusable,
            _ => {}
        }
    }
    Some(wanted)
}

pub(crate) enum Field<'a> {
    Number(u64),
    Eight([u8; 8]),
    Bytes(&'a [u8]),
    Four([u8; 4]),
}

/// The next field and its number.
pub(crate) fn field<'a>(bytes: &mut &'a [u8]) -> Option<(u64, Field<'a>)> {
    let key = varint(bytes)?;
    let value = match key & 7 {
        0 => Field::Number(varint(bytes)?),
        1 => Field::Eight(*take(bytes, 8)?.first_chunk()?),
        2 => {
            let length = usize::try_from(varint(bytes)?).ok()?;
            Field::Bytes(take(bytes, length)?)
        }
        5 => Field::Four(*take(bytes, 4)?.first_chunk()?),
        _ => return None,
    };
    Some((key >> 3, value))
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

pub(crate) fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
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
        let values: Vec<_> = found.iter().map(|metric| (metric.alias, metric.value(3))).collect();
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
}
