//! The latest number of each channel: most values of a plant stay the same from one reading to the next, and giving a
//! 32-bit float its own digits takes longer than comparing registers.

use crate::profile::Decoder;

/// The latest numbers of a source's channels, in the order of a frame's values.
#[derive(Clone, Debug)]
pub(super) struct LatestNumbers(Vec<LatestNumber>);

/// What the registers of a value held, and the number that they encode; without a number, NaN.
#[derive(Clone, Copy, Debug)]
struct LatestNumber {
    bits: u64,
    number: f64,
}

impl LatestNumber {
    fn of(decoder: &Decoder, bits: u64) -> Self {
        Self { bits, number: decoder.number(bits).unwrap_or(f64::NAN) }
    }
}

impl LatestNumbers {
    pub(super) fn new(decoders: &[Decoder]) -> Self {
        Self(decoders.iter().map(|decoder| LatestNumber::of(decoder, 0)).collect())
    }

    /// The number in these registers of a channel, still without its scale factor; NaN if the device has no value.
    pub(super) fn decode(&mut self, channel: usize, decoder: &Decoder, registers: &[u16]) -> f64 {
        let (Some(bits), Some(latest)) = (decoder.layout.raw_bits(registers), self.0.get_mut(channel)) else {
            return f64::NAN;
        };
        if latest.bits != bits {
            *latest = LatestNumber::of(decoder, bits);
        }
        latest.number
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{Profile, RegisterMap, toml};

    #[test]
    fn a_number_follows_its_registers_and_nothing_else() {
        let text = "[points]\na = { address = 0, type = \"float32\", scale = 1 }\nb = { address = 2, type = \"uint16\", scale = 0.1 }";
        let profile: Profile = toml::read("box", text).unwrap();
        let map = RegisterMap::new(profile.readable(), None);
        let mut latest = LatestNumbers::new(&map.decoders);
        let mut decode = |channel: usize, registers: &[u16]| latest.decode(channel, &map.decoders[channel], registers);
        assert_eq!(decode(0, &[0, 0]), 0.0, "before anything was read");
        for registers in [[0x4248_u16, 0x0a3d], [0x4248, 0x0a3d], [0x4248, 0x0a3e], [0x4248, 0x0a3d]] {
            let expected = map.decoders[0].layout.decode(&registers).unwrap();
            assert_eq!(decode(0, &registers).to_bits(), expected.to_bits(), "{registers:?}");
        }
        assert!(decode(0, &[0x7fc0, 0]).is_nan());
        assert_eq!((decode(1, &[23]), decode(0, &[0x4248, 0x0a3d])), (2.3, 50.01));
        assert!(decode(0, &[1]).is_nan(), "too few registers");
        assert_eq!(decode(0, &[0x4248, 0x0a3d]), 50.01);
    }
}
