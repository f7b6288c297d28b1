//! Compression of frame values: each value is encoded by what changed since the source's previous frame. An unchanged
//! value takes one bit, a decimal number its difference in the last decimal place, any other value the bits that differ.
//! Decoding restores every bit.
//!
//! Registers hold scaled integers, so most values are decimals with few places: 53.2 after 53.1 takes a byte and a half,
//! although nearly all bits of the two floating-point numbers differ.
//!
//! A frame is a bitmap of the changed values, then a four-bit code per changed value that says how it is encoded, then
//! the encoded bytes.

use crate::bytes::{ByteReader, InvalidBytes, put_number, unzigzag, zigzag};

/// Powers of ten by the number of decimal places: a decimal value is an integer divided by one of these.
const POWERS: [f64; 5] = [1.0, 10.0, 100.0, 1_000.0, 10_000.0];
/// A value that is not decimal is tested for being one on every 32nd change: the test costs as much as encoding it.
const DECIMAL_TEST_CHANGES: u8 = 32;
/// Added to a small number it rounds the integer part into the low bits (52 bits of fraction, ulp 1).
const ROUNDING_OFFSET: f64 = 6_755_399_441_055_744.0;
/// Scaled values must be smaller than this for rounding with [`ROUNDING_OFFSET`] to be exact.
const INTEGER_LIMIT: f64 = 1_125_899_906_842_624.0;

/// Code 0: a decimal in full, its places and its integer.
const FULL_DECIMAL: u8 = 0;
/// Codes 1 to 4: the difference to the previous decimal, in as many bytes.
const DECIMAL_BYTES: u8 = 4;
/// Codes 5 to 8: the low bits that differ between two single floats, in 1 to 4 bytes.
const SINGLE: u8 = 4;
/// Codes 9 to 15: the low bits that differ between two doubles, in 2 to 8 bytes.
const DOUBLE: u8 = 7;

/// The previous value of one channel.
#[derive(Clone, Copy, Default)]
struct PreviousValue {
    bits: u64,
    kind: ValueEncoding,
    changes: u8,
}

#[derive(Clone, Copy, Default)]
enum ValueEncoding {
    /// Any double.
    #[default]
    Double,
    /// Exactly representable as a single float.
    Single,
    /// `integer` divided by a power of ten.
    Decimal { places: u8, integer: i64 },
}

/// The frames of one source so far; encoder and decoder keep the same.
#[derive(Clone, Default)]
pub(crate) struct FrameHistory {
    channels: Vec<PreviousValue>,
    codes: Vec<u8>,
    encoded: Vec<u8>,
}

/// The integer that represents `value` with this many decimal places, if decoding it restores every bit.
fn to_decimal(value: f64, places: u8) -> Option<i64> {
    let power = POWERS.get(usize::from(places))?;
    let scaled = value * power;
    if scaled.abs() >= INTEGER_LIMIT || scaled.is_nan() {
        return None;
    }
    let integer = (scaled + ROUNDING_OFFSET).to_bits().wrapping_sub(ROUNDING_OFFSET.to_bits()).cast_signed();
    (from_decimal(integer, places)?.to_bits() == value.to_bits()).then_some(integer)
}

fn from_decimal(integer: i64, places: u8) -> Option<f64> {
    let bits = ROUNDING_OFFSET.to_bits().wrapping_add(integer.cast_unsigned());
    Some((f64::from_bits(bits) - ROUNDING_OFFSET) / POWERS.get(usize::from(places))?)
}

/// The bits of the value as a single float, if that represents it exactly.
#[allow(clippy::cast_possible_truncation, reason = "a value that the cast changes is refused")]
fn single(bits: u64) -> Option<u32> {
    let single = f64::from_bits(bits) as f32;
    (f64::from(single).to_bits() == bits).then_some(single.to_bits())
}

const fn bytes_of(number: u64) -> u8 {
    match number.leading_zeros() {
        0..8 => 8,
        8..16 => 7,
        16..24 => 6,
        24..32 => 5,
        32..40 => 4,
        40..48 => 3,
        48..56 => 2,
        _ => 1,
    }
}

fn put_low(bytes: &mut Vec<u8>, number: u64, count: u8) {
    let all = number.to_le_bytes();
    bytes.extend_from_slice(all.get(..usize::from(count)).unwrap_or(&all));
}

impl PreviousValue {
    /// Encodes a changed value and returns its code.
    fn encode(&mut self, value: f64, bytes: &mut Vec<u8>) -> u8 {
        let before = std::mem::replace(&mut self.bits, value.to_bits());
        let previous_kind = self.kind;
        if let ValueEncoding::Decimal { places, integer: before } = previous_kind
            && let Some(integer) = to_decimal(value, places)
        {
            self.kind = ValueEncoding::Decimal { places, integer };
            let difference = zigzag(integer.wrapping_sub(before));
            let count = bytes_of(difference);
            if count <= DECIMAL_BYTES {
                put_low(bytes, difference, count);
                return count;
            }
            return put_full_decimal(bytes, places, integer);
        }
        self.changes = self.changes.wrapping_add(1);
        if (matches!(previous_kind, ValueEncoding::Decimal { .. }) || self.changes % DECIMAL_TEST_CHANGES == 1)
            && let Some((places, integer)) = (0..=4).find_map(|places| Some((places, to_decimal(value, places)?)))
        {
            self.kind = ValueEncoding::Decimal { places, integer };
            return put_full_decimal(bytes, places, integer);
        }
        if let (Some(now), Some(before)) = (single(self.bits), single(before)) {
            self.kind = ValueEncoding::Single;
            let difference = u64::from(now ^ before);
            let count = bytes_of(difference);
            put_low(bytes, difference, count);
            return SINGLE + count;
        }
        self.kind = ValueEncoding::Double;
        let difference = self.bits ^ before;
        let count = bytes_of(difference).max(2);
        put_low(bytes, difference, count);
        DOUBLE + count
    }

    fn decode(&mut self, code: u8, bytes: &mut ByteReader<'_>) -> Result<(), InvalidBytes> {
        let count = usize::from(match code {
            FULL_DECIMAL..=DECIMAL_BYTES => code,
            5..=8 => code - SINGLE,
            _ => code - DOUBLE,
        });
        let (bits, kind) = match code {
            FULL_DECIMAL => {
                let (places, integer) = (bytes.byte()?, unzigzag(bytes.number()?));
                (
                    from_decimal(integer, places).ok_or(InvalidBytes)?.to_bits(),
                    ValueEncoding::Decimal { places, integer },
                )
            }
            1..=DECIMAL_BYTES => {
                let ValueEncoding::Decimal { places, integer } = self.kind else { return Err(InvalidBytes) };
                let integer = integer.wrapping_add(unzigzag(bytes.fixed(count)?));
                (
                    from_decimal(integer, places).ok_or(InvalidBytes)?.to_bits(),
                    ValueEncoding::Decimal { places, integer },
                )
            }
            5..=8 => {
                let before = single(self.bits).ok_or(InvalidBytes)?;
                let now = before ^ u32::try_from(bytes.fixed(count)?).map_err(|_| InvalidBytes)?;
                (f64::from(f32::from_bits(now)).to_bits(), ValueEncoding::Single)
            }
            _ => (self.bits ^ bytes.fixed(count)?, ValueEncoding::Double),
        };
        (self.bits, self.kind) = (bits, kind);
        Ok(())
    }
}

fn put_full_decimal(bytes: &mut Vec<u8>, places: u8, integer: i64) -> u8 {
    bytes.push(places);
    put_number(bytes, zigzag(integer));
    FULL_DECIMAL
}

impl FrameHistory {
    /// The number of values in a frame.
    pub(crate) fn len(&self) -> usize {
        self.channels.len()
    }

    /// Restarts with frames of this many values, all of them zero before the first frame.
    pub(crate) fn reset(&mut self, values: usize) {
        self.channels.clear();
        self.channels.resize(values, PreviousValue::default());
    }

    /// Encodes a frame of [`FrameHistory::len`] values.
    pub(crate) fn encode(&mut self, values: &[f64], bytes: &mut Vec<u8>) {
        self.codes.clear();
        self.encoded.clear();
        let mut half = None;
        for (values, channels) in values.chunks(8).zip(self.channels.chunks_mut(8)) {
            let mut changed = 0_u8;
            for (bit, (value, channel)) in values.iter().zip(channels).enumerate() {
                if value.to_bits() == channel.bits {
                    continue;
                }
                changed |= 1 << bit;
                let code = channel.encode(*value, &mut self.encoded);
                half = match half {
                    None => Some(code),
                    Some(low) => {
                        self.codes.push(low | code << 4);
                        None
                    }
                };
            }
            bytes.push(changed);
        }
        self.codes.extend(half);
        bytes.extend_from_slice(&self.codes);
        bytes.extend_from_slice(&self.encoded);
    }

    /// Decodes a frame of [`FrameHistory::len`] values.
    pub(crate) fn decode(&mut self, bytes: &mut ByteReader<'_>) -> Result<Vec<f64>, InvalidBytes> {
        let bitmap = bytes.take(self.channels.len().div_ceil(8))?;
        let changed: usize = bitmap.iter().map(|byte| byte.count_ones() as usize).sum();
        let codes = bytes.take(changed.div_ceil(2))?;
        let mut codes = codes.iter().flat_map(|pair| [pair & 0xf, pair >> 4]);
        let mut values = Vec::with_capacity(self.channels.len());
        for (changed, channels) in bitmap.iter().zip(self.channels.chunks_mut(8)) {
            for (bit, channel) in channels.iter_mut().enumerate() {
                if changed & 1 << bit != 0 {
                    channel.decode(codes.next().ok_or(InvalidBytes)?, bytes)?;
                }
                values.push(f64::from_bits(channel.bits));
            }
        }
        Ok(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The encoded size of each frame, after checking that decoding restores every bit.
    fn sizes(frames: &[Vec<f64>]) -> Vec<usize> {
        let (mut encoder, mut decoder) = (FrameHistory::default(), FrameHistory::default());
        let values = frames[0].len();
        encoder.reset(values);
        decoder.reset(values);
        let size = |frame: &Vec<f64>| {
            let mut bytes = Vec::new();
            encoder.encode(frame, &mut bytes);
            let mut rest = ByteReader(&bytes);
            let decoded = decoder.decode(&mut rest).unwrap();
            let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&decoded), bits(frame));
            assert_eq!(rest.0, [0; 0]);
            bytes.len()
        };
        frames.iter().map(size).collect()
    }

    /// A pseudo-random number; a seed gives the same sequence in every run.
    fn random(seed: &mut u64) -> u64 {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        *seed
    }

    #[test]
    fn every_bit_survives_a_round_trip() {
        let odd = [0.0, -0.0, f64::NAN, -f64::NAN, f64::INFINITY, f64::MIN_POSITIVE, 5e-324, f64::MAX, 1e15, 1e16, 0.1];
        let odd: Vec<_> = odd.into_iter().chain([f64::from_bits(0x7ff0_0000_0000_0001), 1.0 / 3.0, -53.2]).collect();
        for rotation in 0..odd.len() {
            let mut frames = vec![odd.clone()];
            for _ in 0..3 {
                let mut next = frames.last().unwrap().clone();
                next.rotate_left(rotation);
                frames.push(next);
            }
            sizes(&frames);
        }
        let mut seed = 88_172_645_463_325_252;
        let mut frame = vec![0.0; 61];
        let mut frames = Vec::new();
        for _ in 0..3000 {
            for value in &mut frame {
                let dice = random(&mut seed);
                *value = match dice % 11 {
                    0 => f64::from_bits(random(&mut seed)),
                    1 => f64::from(f32::from_bits(u32::try_from(random(&mut seed) >> 32).unwrap())),
                    2 => f64::from(i32::try_from(random(&mut seed) >> 34).unwrap()) / 1000.0,
                    3 => -f64::from(u16::try_from(random(&mut seed) >> 48).unwrap()) / 10.0,
                    4 => f64::NAN,
                    _ => *value,
                };
            }
            frames.push(frame.clone());
        }
        sizes(&frames);
    }

    #[test]
    fn slow_values_take_few_bytes() {
        let frames = |next: &mut dyn FnMut(usize) -> f64| -> usize {
            let frames: Vec<Vec<f64>> = (0..101).map(|_| (0..100).map(&mut *next).collect()).collect();
            sizes(&frames)[1..].iter().sum::<usize>() / 100
        };
        let mut seed = 42;
        assert_eq!(frames(&mut |_| 230.1), 13, "an unchanged frame takes only its bitmap");
        let mut count = 0_u32;
        let mut decimals = |_| {
            count += 1;
            (500.0 + f64::from(count / 100 % 50)) / 10.0
        };
        let size = frames(&mut decimals);
        assert!(
            (163..=165).contains(&size),
            "a small step of a decimal takes a byte and a half, 100 values took {size} bytes"
        );
        let mut singles = |channel| {
            let noise = f32::from(u8::try_from(random(&mut seed) >> 56).unwrap()) * 0.0137;
            f64::from(f32::from(u16::try_from(channel).unwrap()) + 230.0 + noise)
        };
        let size = frames(&mut singles);
        assert!(size <= 364, "100 noisy single floats take {size} bytes");
    }

    #[test]
    fn random_bytes_do_not_panic() {
        let mut seed = 7;
        for length in 0..200_usize {
            let bytes: Vec<u8> = (0..length).map(|_| random(&mut seed).to_le_bytes()[3]).collect();
            let mut history = FrameHistory::default();
            history.reset(20);
            // Random bytes may happen to be valid, so that either result is correct.
            let _ = history.decode(&mut ByteReader(&bytes));
        }
        let mut history = FrameHistory::default();
        history.reset(8);
        assert_eq!(history.decode(&mut ByteReader(&[1, 1, 5])), Err(InvalidBytes), "a difference to no decimal");
    }
}
