//! Text in registers: one or two characters in each, in either byte.

/// How the characters of a text are packed into registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextLayout {
    /// Two characters per register, the first in the high byte: the usual layout, and SunSpec's.
    HighLow,
    /// Two characters per register, the first in the low byte.
    LowHigh,
    /// One character per register, in its high byte.
    High,
    /// One character per register, in its low byte.
    Low,
}

impl TextLayout {
    /// Every layout with its name in profiles.
    pub const NAMES: [(&'static str, Self); 4] =
        [("high-low", Self::HighLow), ("low-high", Self::LowHigh), ("high", Self::High), ("low", Self::Low)];

    /// The text up to the first NUL with surrounding white space removed; none if nothing is left.
    ///
    /// Manufacturers use UTF-8 or Latin-1, so text that is not valid UTF-8 is read as Latin-1.
    pub fn decode(self, registers: &[u16]) -> Option<String> {
        let both = registers.iter().flat_map(|register| match self {
            Self::HighLow => [Some(high(*register)), Some(low(*register))],
            Self::LowHigh => [Some(low(*register)), Some(high(*register))],
            Self::High => [Some(high(*register)), None],
            Self::Low => [Some(low(*register)), None],
        });
        let bytes: Vec<u8> = both.flatten().take_while(|byte| *byte != 0).collect();
        let text = match std::str::from_utf8(&bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => bytes.iter().map(|&byte| char::from(byte)).collect(),
        };
        let trimmed = text.trim();
        (!trimmed.is_empty()).then(|| trimmed.to_owned())
    }

    /// The registers of a text, padded with NUL; none if it is too long.
    pub fn encode(self, text: &str, registers: u16) -> Option<Vec<u16>> {
        let per_register = if matches!(self, Self::HighLow | Self::LowHigh) { 2 } else { 1 };
        let mut bytes = text.as_bytes().to_vec();
        let room = usize::from(registers) * per_register;
        if bytes.len() > room {
            return None;
        }
        bytes.resize(room, 0);
        let one = |bytes: &[u8]| match (self, bytes) {
            (Self::HighLow, [first, second]) => u16::from_be_bytes([*first, *second]),
            (Self::LowHigh, [first, second]) => u16::from_be_bytes([*second, *first]),
            (Self::High, [byte, ..]) => u16::from_be_bytes([*byte, 0]),
            (_, [byte, ..]) => u16::from(*byte),
            (_, []) => 0,
        };
        Some(bytes.chunks(per_register).map(one).collect())
    }
}

fn high(register: u16) -> u8 {
    let [high, _] = register.to_be_bytes();
    high
}

fn low(register: u16) -> u8 {
    let [_, low] = register.to_be_bytes();
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layout_decodes_and_encodes() {
        let check = |layout: TextLayout, registers: &[u16], text: &str| {
            assert_eq!(layout.decode(registers).as_deref(), Some(text), "{layout:?}");
            assert_eq!(layout.encode(text, u16::try_from(registers.len()).unwrap()).as_deref(), Some(registers));
        };
        check(TextLayout::HighLow, &[0x4142, 0x4300], "ABC");
        check(TextLayout::LowHigh, &[0x4241, 0x0043], "ABC");
        check(TextLayout::High, &[0x4100, 0x4200, 0x4300], "ABC");
        check(TextLayout::Low, &[0x41, 0x42, 0x43], "ABC");
    }

    #[test]
    fn text_ends_at_nul_is_trimmed_and_may_be_latin_1() {
        let read = |registers: &[u16]| TextLayout::HighLow.decode(registers);
        assert_eq!(read(&[0, 0]), None);
        assert_eq!(read(&[0x2020, 0x4120]).as_deref(), Some("A"));
        assert_eq!(
            read(&[0x4100, 0x4242]).as_deref(),
            Some("A"),
            "what follows the NUL is left over from an older text"
        );
        assert_eq!(read(&[0xb043]).as_deref(), Some("°C"), "Latin-1");
        assert_eq!(read(&[0xc2b0, 0x4300]).as_deref(), Some("°C"), "UTF-8");
        assert_eq!(TextLayout::HighLow.encode("ABC", 1), None);
    }
}
