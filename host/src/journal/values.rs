//! The values of one source's frames, each told by what changed since the frame before: nothing (a bit), a decimal number
//! by its difference in the last place, anything else by the bits that differ. What comes back is the same to the last bit.
//!
//! Registers hold scaled whole numbers, so most values are decimals of few places: 53.2 after 53.1 takes a byte and a half
//! here, where the bits of the two differ nearly everywhere.
//!
//! A frame is a bitmap of the values that changed, four bits for each of those that say how it is written, and then
//! their bytes.

use super::bytes::{Bytes, Unsound, put, unzigzag, zigzag};

/// A power of ten that values are whole multiples of, downwards.
const PLACES: [f64; 5] = [1.0, 10.0, 100.0, 1_000.0, 10_000.0];
/// Every so many changes a value that was no decimal is looked at again: the look costs as much as writing it.
const LOOK_AGAIN: u8 = 32;
/// Adding it moves the whole part of a small number into its low bits, rounded (52 bits of fraction, ulp 1).
const WHOLE: f64 = 6_755_399_441_055_744.0;
/// Beyond this the trick no longer holds.
const LARGEST_WHOLE: f64 = 1_125_899_906_842_624.0;

/// Four bits: how a changed value is written. 1 to 4: a decimal's difference in so many bytes.
const DECIMAL_ANEW: u8 = 0;
const DECIMAL_BYTES: u8 = 4;
/// 5 to 8: the differing low bits of single floats in 1 to 4 bytes.
const SINGLE: u8 = 4;
/// 9 to 15: those of doubles in 2 to 8 bytes.
const DOUBLE: u8 = 7;

/// What is remembered of the value at one position.
#[derive(Clone, Copy, Default)]
struct Channel {
    bits: u64,
    kind: Kind,
    changes: u8,
}

#[derive(Clone, Copy, Default)]
enum Kind {
    /// Not known to be one of the others.
    #[default]
    Double,
    /// Fits a single float.
    Single,
    /// A whole number of these places.
    Decimal { places: u8, whole: i64 },
}

/// One source's frames so far: the same on both sides.
#[derive(Clone, Default)]
pub(super) struct Column {
    channels: Vec<Channel>,
    codes: Vec<u8>,
    written: Vec<u8>,
}

/// The whole number that `value` is in so many decimal places, if it is one to the last bit.
fn decimal(value: f64, places: u8) -> Option<i64> {
    let power = PLACES.get(usize::from(places))?;
    let scaled = value * power;
    if scaled.abs() >= LARGEST_WHOLE || scaled.is_nan() {
        return None;
    }
    let whole = (scaled + WHOLE).to_bits().wrapping_sub(WHOLE.to_bits()).cast_signed();
    (from_decimal(whole, places)?.to_bits() == value.to_bits()).then_some(whole)
}

fn from_decimal(whole: i64, places: u8) -> Option<f64> {
    let whole = f64::from_bits(WHOLE.to_bits().wrapping_add(whole.cast_unsigned())) - WHOLE;
    Some(whole / PLACES.get(usize::from(places))?)
}

/// The value as a single float, if it is one.
#[allow(clippy::cast_possible_truncation, reason = "what is cut off is compared")]
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

impl Channel {
    /// Writes a changed value, and gives how.
    fn write(&mut self, value: f64, bytes: &mut Vec<u8>) -> u8 {
        let before = std::mem::replace(&mut self.bits, value.to_bits());
        let was = self.kind;
        if let Kind::Decimal { places, whole } = was
            && let Some(now) = decimal(value, places)
        {
            self.kind = Kind::Decimal { places, whole: now };
            let difference = zigzag(now.wrapping_sub(whole));
            let count = bytes_of(difference);
            if count <= DECIMAL_BYTES {
                put_low(bytes, difference, count);
                return count;
            }
            return anew(bytes, places, now);
        }
        self.changes = self.changes.wrapping_add(1);
        if (matches!(was, Kind::Decimal { .. }) || self.changes % LOOK_AGAIN == 1)
            && let Some((places, whole)) = (0..=4).find_map(|places| Some((places, decimal(value, places)?)))
        {
            self.kind = Kind::Decimal { places, whole };
            return anew(bytes, places, whole);
        }
        if let (Some(now), Some(before)) = (single(self.bits), single(before)) {
            self.kind = Kind::Single;
            let difference = u64::from(now ^ before);
            let count = bytes_of(difference);
            put_low(bytes, difference, count);
            return SINGLE + count;
        }
        self.kind = Kind::Double;
        let difference = self.bits ^ before;
        let count = bytes_of(difference).max(2);
        put_low(bytes, difference, count);
        DOUBLE + count
    }

    fn read(&mut self, code: u8, bytes: &mut Bytes<'_>) -> Result<(), Unsound> {
        let count = usize::from(match code {
            DECIMAL_ANEW..=DECIMAL_BYTES => code,
            5..=8 => code - SINGLE,
            _ => code - DOUBLE,
        });
        let (bits, kind) = match code {
            DECIMAL_ANEW => {
                let (places, whole) = (bytes.byte()?, unzigzag(bytes.number()?));
                (from_decimal(whole, places).ok_or(Unsound)?.to_bits(), Kind::Decimal { places, whole })
            }
            1..=DECIMAL_BYTES => {
                let Kind::Decimal { places, whole } = self.kind else { return Err(Unsound) };
                let whole = whole.wrapping_add(unzigzag(bytes.fixed(count)?));
                (from_decimal(whole, places).ok_or(Unsound)?.to_bits(), Kind::Decimal { places, whole })
            }
            5..=8 => {
                let before = single(self.bits).ok_or(Unsound)?;
                let now = before ^ u32::try_from(bytes.fixed(count)?).map_err(|_| Unsound)?;
                (f64::from(f32::from_bits(now)).to_bits(), Kind::Single)
            }
            _ => (self.bits ^ bytes.fixed(count)?, Kind::Double),
        };
        (self.bits, self.kind) = (bits, kind);
        Ok(())
    }
}

fn anew(bytes: &mut Vec<u8>, places: u8, whole: i64) -> u8 {
    bytes.push(places);
    put(bytes, zigzag(whole));
    DECIMAL_ANEW
}

impl Column {
    /// Values of a frame, all from zero on the first.
    pub(super) fn len(&self) -> usize {
        self.channels.len()
    }

    /// Forgets what was, for frames of so many values.
    pub(super) fn reset(&mut self, values: usize) {
        self.channels.clear();
        self.channels.resize(values, Channel::default());
    }

    /// Adds a frame of [`Column::len`] values.
    pub(super) fn write(&mut self, values: &[f64], bytes: &mut Vec<u8>) {
        self.codes.clear();
        self.written.clear();
        let mut half = None;
        for (values, channels) in values.chunks(8).zip(self.channels.chunks_mut(8)) {
            let mut changed = 0_u8;
            for (bit, (value, channel)) in values.iter().zip(channels).enumerate() {
                if value.to_bits() == channel.bits {
                    continue;
                }
                changed |= 1 << bit;
                let code = channel.write(*value, &mut self.written);
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
        bytes.extend_from_slice(&self.written);
    }

    /// Takes a frame of [`Column::len`] values.
    pub(super) fn read(&mut self, bytes: &mut Bytes<'_>) -> Result<Vec<f64>, Unsound> {
        let bitmap = bytes.take(self.channels.len().div_ceil(8))?;
        let changed: usize = bitmap.iter().map(|byte| byte.count_ones() as usize).sum();
        let codes = bytes.take(changed.div_ceil(2))?;
        let mut codes = codes.iter().flat_map(|pair| [pair & 0xf, pair >> 4]);
        let mut values = Vec::with_capacity(self.channels.len());
        for (changed, channels) in bitmap.iter().zip(self.channels.chunks_mut(8)) {
            for (bit, channel) in channels.iter_mut().enumerate() {
                if changed & 1 << bit != 0 {
                    channel.read(codes.next().ok_or(Unsound)?, bytes)?;
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

    /// Bytes of each frame, having come back the same.
    fn sizes(frames: &[Vec<f64>]) -> Vec<usize> {
        let (mut writer, mut reader) = (Column::default(), Column::default());
        let values = frames[0].len();
        writer.reset(values);
        reader.reset(values);
        let size = |frame: &Vec<f64>| {
            let mut bytes = Vec::new();
            writer.write(frame, &mut bytes);
            let mut rest = Bytes(&bytes);
            let read = reader.read(&mut rest).unwrap();
            let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&read), bits(frame));
            assert_eq!(rest.0, [0; 0]);
            bytes.len()
        };
        frames.iter().map(size).collect()
    }

    /// A stream of numbers that looks random and is the same each time.
    fn random(seed: &mut u64) -> u64 {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        *seed
    }

    #[test]
    fn every_bit_comes_back() {
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
        assert_eq!(frames(&mut |_| 230.1), 13, "a frame that stays the same is its bitmap");
        let mut count = 0_u32;
        let mut decimals = |_| {
            count += 1;
            (500.0 + f64::from(count / 100 % 50)) / 10.0
        };
        let size = frames(&mut decimals);
        assert!((163..=165).contains(&size), "a small step of a decimal takes a byte and a half: {size}");
        let mut singles = |channel| {
            let noise = f32::from(u8::try_from(random(&mut seed) >> 56).unwrap()) * 0.0137;
            f64::from(f32::from(u16::try_from(channel).unwrap()) + 230.0 + noise)
        };
        let size = frames(&mut singles);
        assert!(size <= 364, "noise in single floats takes {size} bytes for 100 values");
    }

    #[test]
    fn nonsense_is_an_error() {
        let mut seed = 7;
        for length in 0..200_usize {
            let bytes: Vec<u8> = (0..length).map(|_| random(&mut seed).to_le_bytes()[3]).collect();
            let mut column = Column::default();
            column.reset(20);
            // Whatever it gives, it gives it without a panic.
            let _ = column.read(&mut Bytes(&bytes));
        }
        let mut column = Column::default();
        column.reset(8);
        assert_eq!(column.read(&mut Bytes(&[1, 1, 5])), Err(Unsound), "a difference to no decimal");
    }
}
